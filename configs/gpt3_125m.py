"""GPT-3 small, 125 million parameters, from scratch, by llm.c's recipe.

Command:   albert-gpt-tf train --config=gpt3_125m --workdir=runs/gpt3_125m
Data:      --config.data.train='fineweb/*.txt' --config.data.validation=held-out.txt
           Plain text, a blank line between documents.
Expected:  not run here. The paper's model, without examples: accuracy 42.7 on LAMBADA, 33.7 on HellaSwag
Time:      reckoned, on 8 A100 that reach 40 % of their peak: 3.4 days for 572,000 steps, 300 billion tokens

All layers attend to the whole row. In the paper every other layer has a band, of a width that it does not give. Its own
warm-up is 375 million tokens, which is 715 steps, and its decay ends after 260 billion.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "causal_lm"
    config.seed = 0
    config.precision = "mixed_bfloat16"  # or float32, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"  # or docstrings, shards (of albert-gpt-tf prepare), wikitext
    config.data.train = ""  # plain text, a blank line between documents, by name or pattern; or the directory of shards
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # documents of each split; 0 for all

    config.vocabulary = ""  # a directory of tokenizer files; empty: train one of vocabulary_size on the train split
    config.vocabulary_size = 50257
    config.sequence_length = 2048
    config.backbone = ConfigDict()
    config.backbone.num_layers = 12
    config.backbone.num_heads = 12
    config.backbone.hidden_dim = 768
    config.backbone.dropout = 0.0
    config.backbone.recompute = False  # compute layers once more in the backward pass, to save memory
    config.backbone.max_sequence_length = 2048

    config.batch_size = 256
    config.micro_batch_size = 8  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 572_000
    config.validate_every = 1000
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 6e-4
    config.warmup_steps = 700
    config.decay = "cosine"  # or constant, linear, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 6e-5  # learning rate that the decay ends at
    config.weight_decay = 0.1
    config.beta_1 = 0.9
    config.beta_2 = 0.95
    config.epsilon = 1e-8
    config.bias_correction = True
    config.global_clipnorm = 1.0
    config.non_finite = "skip"  # if a gradient is not finite: leave the step out, or stop
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 1000
    config.keep_checkpoints = 3
    config.log_every = 10
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
