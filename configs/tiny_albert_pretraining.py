"""A tiny ALBERT pretrained from scratch on the documentation that lies on this machine.

Command:   albert-gpt-tf train --config=tiny_albert_pretraining --workdir=runs/tiny_albert
Expected:  sentence-order accuracy 0.77 (validation; test 0.76), where chance has 0.50, and masked-token accuracy 0.18
           (test 0.19), where the most frequent piece alone has about 0.07
Time:      9 minutes of CPU time, reckoned to be 5 to 6 minutes on 2 free cores

Of the validation's pairs 18 % are one sentence cut in two, which is easier (its full stop is a hint): 0.93 of them are
right, and 0.74 of the pairs of several sentences.

For your own text, one sentence a line and a blank line between documents:
    --config.data.source=files --config.data.train=train.txt --config.data.validation=dev.txt
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "albert_pretraining"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8
    config.vocabulary = ""  # a directory with a tokenizer; empty: train one

    config.data = ConfigDict()
    config.data.source = "docstrings"  # or files
    config.data.train = ""  # plain text, one sentence a line, a blank line between documents; a name or a pattern
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # documents of each split of the docstrings; 0 for all

    config.vocabulary_size = 4000
    config.sequence_length = 64
    config.max_predictions = 0  # pieces that are hidden in a row at most; 0 for 15 %
    config.short_sequence_probability = 0.1
    config.shuffle_buffer = 8192  # rows
    config.backbone = ConfigDict()
    config.backbone.num_layers = 2
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 128
    config.backbone.intermediate_dim = 512
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.max_sequence_length = 128

    config.batch_size = 64
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 2000
    config.validate_every = 250
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "lamb"  # or adamw
    config.learning_rate = 5e-3
    config.warmup_steps = 150
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.01
    config.beta_1 = 0.9
    config.beta_2 = 0.999
    config.epsilon = 1e-6
    config.bias_correction = False
    config.global_clipnorm = 1.0
    config.non_finite = "stop"  # if a gradient is not finite, or skip: leave the step out
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 500
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
