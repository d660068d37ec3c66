"""A small GPT from scratch on the documentation that lies on this machine.

Command:   albert-gpt-tf train --config=docstrings_gpt --workdir=runs/docstrings_gpt
Expected:  validation bits per byte about 1.77 (1.70 with --config.steps=1200)
Time:      about 3 minutes on 2 CPU cores

For your own text: --config.data.source=files --config.data.train=train.txt --config.data.validation=dev.txt
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
    config.data.source = "docstrings"  # or files, shards (of albert-gpt-tf prepare), wikitext
    config.data.train = ""  # plain text, a blank line between documents, by name or pattern; or the directory of shards
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # documents of each split; 0 for all

    config.vocabulary = ""  # a directory of tokenizer files; empty: train one of vocabulary_size on the train split
    config.vocabulary_size = 4096
    config.sequence_length = 128
    config.backbone = ConfigDict()
    config.backbone.num_layers = 3
    config.backbone.num_heads = 2
    config.backbone.hidden_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.recompute = False  # compute layers once more in the backward pass, to save memory
    config.backbone.max_sequence_length = 256

    config.batch_size = 16
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 900
    config.validate_every = 0  # 0: only at the end
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 5e-3
    config.warmup_steps = 50
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.1
    config.beta_1 = 0.9
    config.beta_2 = 0.95
    config.epsilon = 1e-8
    config.bias_correction = True
    config.global_clipnorm = 1.0
    config.non_finite = "stop"  # if a gradient is not finite, or skip: leave the step out
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 200
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
