"""GPT-2 with 124 million parameters, fine-tuned on WikiText-2, by the recipe of Transformers' run_clm.py.

Command:   albert-gpt-tf train --config=gpt2_wikitext --workdir=runs/gpt2_wikitext
Data:      --config.data.train=wiki.train.raw --config.data.validation=wiki.valid.raw --config.data.test=wiki.test.raw
           WikiText-2, of Merity et al. The files with <unk> (wiki.train.tokens) work too, with other figures.
Expected:  not run here. Transformers' documentation gives a perplexity of about 20 a token, on the raw text in windows
           of 1024
Time:      reckoned, on one A100 that reaches 40 % of its peak: 1 minute for 870 steps, which are 3 epochs

The learning rate, its linear decay, the rows of a batch, the length, 3 epochs and no weight decay are the defaults and
the example of run_clm.py; dropout is that of the checkpoint. Articles are de-tokenized (data/wikitext.py), which
run_clm.py does not do: compare perplexities of the same text only, or perplexities of a word.

Without fine-tuning, and after it:
    albert-gpt-tf evaluate --preset=hf://openai-community/gpt2 with a window of 1024 and a stride of 512.
Published for the weights of OpenAI, not verified here: 29.41 in the paper (Radford et al., 2019, table 3), an original
token (not one of GPT-2's), by a de-tokenizer that was not released; 37.37 a word in lm-evaluation-harness, on the raw
test text, an article at a time, in windows of 1024 that do not overlap. Neither comes out to the digit with another
de-tokenizer; files with <unk>, which GPT-2 has never seen, give other figures again.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "causal_lm"
    config.seed = 0
    config.precision = "mixed_bfloat16"  # or float32, mixed_float16
    config.preset = "hf://openai-community/gpt2"  # a checkpoint to start from; empty: start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "wikitext"  # or files, docstrings, shards (of albert-gpt-tf prepare)
    config.data.train = ""  # files with articles of WikiText, by name or pattern
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # articles of each split; 0 for all

    # Of a model from scratch alone: with a preset its own vocabulary and sizes count.
    config.vocabulary = ""  # a directory of tokenizer files; empty: train one of vocabulary_size on the train split
    config.vocabulary_size = 50257
    config.sequence_length = 1024
    config.backbone = ConfigDict()
    config.backbone.num_layers = 12
    config.backbone.num_heads = 12
    config.backbone.hidden_dim = 768
    config.backbone.dropout = 0.1
    config.backbone.recompute = False  # compute layers once more in the backward pass, to save memory
    config.backbone.max_sequence_length = 1024

    config.batch_size = 8
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 870
    config.validate_every = 290  # an epoch
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 5e-5
    config.warmup_steps = 0
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.0
    config.beta_1 = 0.9
    config.beta_2 = 0.999
    config.epsilon = 1e-8
    config.bias_correction = True
    config.global_clipnorm = 1.0
    config.non_finite = "skip"  # if a gradient is not finite: leave the step out, or stop
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 290
    config.keep_checkpoints = 3
    config.log_every = 10
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
