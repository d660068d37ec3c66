"""A small ALBERT from scratch: which library does this docstring come from?

Command:   albert-gpt-tf train --config=docstrings_albert --workdir=runs/docstrings_albert
Expected:  test accuracy about 0.87 (0.89 with --config.sequence_length=256 --config.steps=900
           --config.validate_every=300)
Time:      about 4 minutes on 2 CPU cores (the longer run: 5)

Data: the docstrings on this machine, library names masked. For your own files:
    --config.data.source=files --config.data.train=train.tsv --config.data.validation=dev.tsv
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "text_classifier"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "docstrings"  # or files
    config.data.train = ""  # .tsv, .csv or .jsonl with a header; or tfds:NAME@SPLIT, hf:OWNER/NAME@SPLIT
    config.data.validation = ""
    config.data.test = ""
    config.data.text = "text"  # column names
    config.data.text_pair = ""
    config.data.label = "label"
    config.data.limit = 0  # rows of each split; 0 for all

    config.vocabulary_size = 8000
    config.sequence_length = 192
    config.backbone = ConfigDict()
    config.backbone.num_layers = 2
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 128
    config.backbone.intermediate_dim = 512
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.1
    config.backbone.max_sequence_length = 256
    config.dropout = 0.1  # of the classifier's input
    config.length_buckets = False  # batches of rows of about one length: less padding, if lengths differ much
    config.token_dropout = 0.25  # share of tokens that become [MASK] in training

    config.batch_size = 32
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 1050
    config.validate_every = 350
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 1e-3
    config.warmup_steps = 50
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.1
    config.beta_1 = 0.9
    config.beta_2 = 0.99
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
