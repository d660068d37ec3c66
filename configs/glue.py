"""ALBERT on a task of GLUE, with the published numbers of each.

Command:   albert-gpt-tf train --config=glue:mrpc --workdir=runs/mrpc --config.data.train=glue_data/MRPC
           The tasks: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli
Data:      the folder of the task with train.tsv and dev.tsv as on gluebenchmark.com; for stsb also that of the STS
           benchmark with sts-train.csv, sts-dev.csv and sts-test.csv
Expected:  published for ALBERT-base v2: MNLI 84.6, SST-2 92.9. The published weights were not fine-tuned here
Time:      not measured; mrpc is 800 steps of 32 pairs

The paper starts RTE, STS-B and MRPC from a model that was fine-tuned on MNLI:
    --config=glue:rte --config.preset=runs/mnli/preset
A small model from scratch, on a machine without a GPU. It learns the form of the task, and little more:
    --config=glue:mrpc --config.preset= --config.vocabulary_size=4000 --config.sequence_length=128
    --config.backbone.num_layers=2 --config.backbone.hidden_dim=128 --config.backbone.num_heads=4
    --config.backbone.intermediate_dim=512 --config.learning_rate=5e-4 --config.bias_correction=True

As released are the learning rates, batches, steps, warm-ups, the length and the optimizer. WNLI is not in the released
script: it has the numbers of RTE.
"""

from ml_collections import ConfigDict

# google-research/albert `run_glue.sh`: learning rate, batch, steps, warm-up.
TASKS = {
    "cola": (1e-5, 16, 5336, 320),
    "stsb": (2e-5, 16, 3598, 214),
    "sst2": (1e-5, 32, 20935, 1256),
    "mnli": (3e-5, 128, 10000, 1000),
    "qnli": (1e-5, 32, 33112, 1986),
    "qqp": (5e-5, 128, 14000, 1000),
    "rte": (3e-5, 32, 800, 200),
    "mrpc": (2e-5, 32, 800, 200),
    "wnli": (3e-5, 32, 800, 200),
}


def get_config(task: str = "mrpc") -> ConfigDict:
    """Returns the locked configuration of a task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or wnli."""
    if task not in TASKS:
        raise ValueError(f"Expected a task among {sorted(TASKS)}. Received: task={task!r}. Write it behind the colon.")
    learning_rate, batch_size, steps, warmup_steps = TASKS[task]
    config = ConfigDict()
    config.task = "text_classifier"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = "hf://albert/albert-base-v2"  # a preset or checkpoint; empty: start from scratch with the backbone
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8
    config.model = "albert"  # or gpt

    config.data = ConfigDict()
    config.data.source = "glue"  # or files, docstrings
    config.data.task = task
    config.data.train = ""  # the folder of the task
    config.data.validation = ""  # of other sources, as the column names
    config.data.test = ""
    config.data.text = "text"
    config.data.text_pair = ""
    config.data.label = "label"
    config.data.limit = 0  # rows of each split; 0 for all

    config.vocabulary_size = 30000  # of the backbone and the sizes below: where the preset is empty
    config.sequence_length = 512
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
    config.token_dropout = 0.0  # share of tokens that become [MASK] in training

    config.batch_size = batch_size
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = steps
    config.validate_every = 0  # steps between validations, a divisor of the steps; 0: at the end only
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = learning_rate
    config.warmup_steps = warmup_steps
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
