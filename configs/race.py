"""ALBERT on RACE, exams in reading, as released: an article, a question, four options.

Command:   albert-gpt-tf train --config=race --workdir=runs/race --config.data.train=RACE/train
           --config.data.validation=RACE/dev --config.data.test=RACE/test
           The larger models: --config.preset=hf://albert/albert-xxlarge-v2
Data:      the folders of the data set as it is published; RACE/test/middle and RACE/test/high are its two levels
Expected:  published accuracies on the dev set for v2: 66.8 (base), 75.2 (large), 80.7 (xlarge), 86.8 (xxlarge). The
           published weights were not fine-tuned here
Time:      not measured; 12,000 steps of 32 questions, each of them four rows of at most 512 tokens

As released are the learning rate, batch, steps, warm-up, lengths and the optimizer. The weights at the end are those of
the best loss on the dev set, where the release takes the best accuracy.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "multiple_choice"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = "hf://albert/albert-base-v2"  # a preset or checkpoint; empty: start from scratch with the backbone
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"
    config.data.train = ""  # RACE/train: a folder with .txt files in it or below
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # questions of each split; 0 for all

    config.vocabulary_size = 30000  # of the backbone and the sizes below: where the preset is empty
    config.sequence_length = 512
    config.choice_length = 128  # tokens of question and option that are kept, the last ones; 0 for all
    config.backbone = ConfigDict()
    config.backbone.num_layers = 12
    config.backbone.num_heads = 12
    config.backbone.hidden_dim = 768
    config.backbone.intermediate_dim = 3072
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.max_sequence_length = 512
    config.dropout = 0.1  # of the classifier's input
    config.length_buckets = True  # batches of rows of about one length: less padding, if lengths differ much

    config.batch_size = 32
    config.micro_batch_size = 8  # questions that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 12_000
    config.validate_every = 1000
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 1e-5
    config.warmup_steps = 1000
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
    config.checkpoint_every = 1000
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
