"""A tiny GPT that writes Shakespeare letter by letter: nanoGPT's recipe for a laptop, with a larger learning rate.

Command:   albert-gpt-tf train --config=tinyshakespeare --workdir=runs/tinyshakespeare
Data:      --config.data.train=train.txt --config.data.validation=validation.txt
           input.txt of github.com/karpathy/char-rnn, data/tinyshakespeare, of 1,115,394 letters, cut in two:
           head -c 1003854 input.txt > train.txt
           tail -c +1003855 input.txt > validation.txt
Expected:  validation loss 1.79. nanoGPT gives 1.88 for its own learning rate, with which this one has 1.88 too
           (--config.learning_rate=1e-3)
Time:      3 minutes of CPU time, reckoned to be 2 minutes on 2 free cores

A token is a byte, as a vocabulary of 257 has no merges; a blank line is one token, the end of a text. The loss is the
mean over every token of the validation text, each once, in windows of 64; nanoGPT's is that of some windows at random.
For each letter of the file, blank lines too, 1.79 is 1.77, and 1.88 is 1.87.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "causal_lm"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
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
    config.vocabulary_size = 257  # the 256 bytes, and the end of a text
    config.sequence_length = 64
    config.backbone = ConfigDict()
    config.backbone.num_layers = 4
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.recompute = False  # compute layers once more in the backward pass, to save memory
    config.backbone.max_sequence_length = 64

    config.batch_size = 12
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 2000
    config.validate_every = 500
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 3e-3
    config.warmup_steps = 100
    config.decay = "cosine"  # or constant, linear, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 1e-4  # learning rate that the decay ends at
    config.weight_decay = 0.1
    config.beta_1 = 0.9
    config.beta_2 = 0.99
    config.epsilon = 1e-8
    config.bias_correction = True
    config.global_clipnorm = 1.0
    config.non_finite = "stop"  # if a gradient is not finite, or skip: leave the step out
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 500
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
