"""ALBERT's pretraining as published, v2: masked n-grams and sentence order, with LAMB.

Command:   albert-gpt-tf train --config=albert_pretraining --workdir=runs/albert_base
           The other sizes: --config=albert_pretraining:large, :xlarge or :xxlarge
Data:      --config.data.train='corpus/train/*.txt' --config.data.validation=corpus/validation.txt
           --config.vocabulary=DIRECTORY (with a spiece.model; without it one is trained)
           One sentence a line, a blank line between documents, about 16 GB: Wikipedia and books.
Expected:  not run here. The published v2 models of Google, fine-tuned: MNLI 84.6 (base), 86.5 (large), 87.9 (xlarge),
           90.6 (xxlarge); SQuAD 2.0 F1 82.1, 84.9, 87.9, 89.8
Time:      reckoned, on 8 A100 that reach 40 % of their peak: 1.7 days (base), 6, 23 and 45 days (xxlarge), for the
           125,000 steps of the paper. The released v2 models were trained longer, base 10 million steps and the others
           3 million, on more data

Published are the sizes, the optimizer with all its numbers, the batch of 4096 rows of 512, and no dropout. Two things
differ. Up to 77 pieces of a row are hidden, which is 15 %, where the released script hides 20 (give
--config.max_predictions=20). The learning rate falls from the end of the warm-up, where the script's falls from step 0
and so drops by 2.5 % when the warm-up ends.
"""

from ml_collections import ConfigDict

# Lan et al., 2019, arXiv:1909.11942, table 1: layers, width, heads; and rows at a time, which take some 11 to 15 GB of
# activations as reckoned by arXiv:2205.05198, section 4.
SIZES = {
    "base": (12, 768, 12, 32),
    "large": (24, 1024, 16, 16),
    "xlarge": (24, 2048, 16, 8),
    "xxlarge": (12, 4096, 64, 8),
}


def get_config(size: str = "base") -> ConfigDict:
    """Returns the locked configuration of a size: base, large, xlarge or xxlarge."""
    if size not in SIZES:
        raise ValueError(f"Expected a size among {sorted(SIZES)}. Received: size={size!r}. Write it behind the colon.")
    num_layers, hidden_dim, num_heads, rows = SIZES[size]
    config = ConfigDict()
    config.task = "albert_pretraining"
    config.seed = 0
    config.precision = "mixed_bfloat16"  # or float32, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8
    config.vocabulary = ""  # a directory with a tokenizer; empty: train one

    config.data = ConfigDict()
    config.data.source = "files"  # or docstrings
    config.data.train = ""  # plain text, one sentence a line, a blank line between documents; a name or a pattern
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # documents of each split of the docstrings; 0 for all

    config.vocabulary_size = 30000
    config.sequence_length = 512
    config.max_predictions = 0  # pieces that are hidden in a row at most; 0 for 15 %
    config.short_sequence_probability = 0.1
    config.shuffle_buffer = 65536  # rows
    config.backbone = ConfigDict()
    config.backbone.num_layers = num_layers
    config.backbone.num_heads = num_heads
    config.backbone.hidden_dim = hidden_dim
    config.backbone.intermediate_dim = 4 * hidden_dim
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.max_sequence_length = 512

    config.batch_size = 4096
    config.micro_batch_size = rows  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 125_000
    config.validate_every = 5000
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "lamb"  # or adamw
    config.learning_rate = 0.00176
    config.warmup_steps = 3125
    config.decay = "polynomial"  # or constant, linear, cosine
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.01
    config.beta_1 = 0.9
    config.beta_2 = 0.999
    config.epsilon = 1e-6
    config.bias_correction = False
    config.global_clipnorm = 1.0
    config.non_finite = "skip"  # if a gradient is not finite: leave the step out, or stop
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 5000
    config.keep_checkpoints = 5
    config.log_every = 100
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
