"""GPT-1 on a task of GLUE, as in its paper: classification with language modelling as a second task.

Command:   albert-gpt-tf train --config=gpt1_classification:sst2 --workdir=runs/gpt1_sst2
           --config.data.train=glue_data/SST-2
           The tasks: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli
Data:      the folder of the task with train.tsv and dev.tsv as on gluebenchmark.com
Expected:  published: CoLA 45.4, SST-2 91.3, MNLI 82.1 (test sets). The published weights were not fine-tuned here
Time:      not measured; 3 epochs, for sst2 6,314 steps of 32 texts

Two things differ from the paper. For STS-B it reads each pair in both orders and adds the two states, where here the
order of the file is read. And cleaning and splitting of text is that of Transformers, see `GPT1Tokenizer`.
A small model from scratch, on a machine without a GPU:
    --config.preset= --config.vocabulary_size=4000 --config.sequence_length=64 --config.backbone.num_layers=2
    --config.backbone.hidden_dim=128 --config.backbone.num_heads=4 --config.learning_rate=1e-3
"""

from ml_collections import ConfigDict

# Rows of the published train splits.
TASKS = {
    "cola": 8551,
    "sst2": 67349,
    "mrpc": 3668,
    "stsb": 5749,
    "qqp": 363846,
    "mnli": 392702,
    "qnli": 104743,
    "rte": 2490,
    "wnli": 635,
}
EPOCHS = 3
BATCH_SIZE = 32  # 8 on each of 4 GPUs


def get_config(task: str = "sst2") -> ConfigDict:
    """Returns the locked configuration of a task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or wnli."""
    if task not in TASKS:
        raise ValueError(f"Expected a task among {sorted(TASKS)}. Received: task={task!r}. Write it behind the colon.")
    steps = EPOCHS * TASKS[task] // BATCH_SIZE
    config = ConfigDict()
    config.task = "text_classifier"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = "hf://openai-community/openai-gpt"  # a preset or checkpoint; empty: start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8
    config.model = "gpt"  # or albert
    config.auxiliary_lm_weight = 0.5  # of the language model's loss, lambda in the paper; 0 for none

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

    config.vocabulary_size = 40000  # of the backbone and the sizes below: where the preset is empty
    config.sequence_length = 512
    config.backbone = ConfigDict()
    config.backbone.num_layers = 12
    config.backbone.num_heads = 12
    config.backbone.hidden_dim = 768
    config.backbone.dropout = 0.1
    config.backbone.norm_first = False  # GPT-1; true for GPT-2's form
    config.backbone.max_sequence_length = 512
    config.dropout = 0.1  # of the classifier's input
    config.length_buckets = True  # batches of rows of about one length: less padding, if lengths differ much
    config.token_dropout = 0.0  # ALBERT has a [MASK] to drop tokens for, GPT has none

    config.batch_size = BATCH_SIZE
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = steps
    config.validate_every = 0  # steps between validations, a divisor of the steps; 0: at the end only
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 6.25e-5
    config.warmup_steps = max(1, round(0.002 * steps))
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.01
    config.beta_1 = 0.9
    config.beta_2 = 0.999
    config.epsilon = 1e-8
    config.bias_correction = True
    config.global_clipnorm = 1.0
    config.non_finite = "stop"  # if a gradient is not finite, or skip: leave the step out
    config.jit_compile = False  # XLA, on one device only
    config.resume = True  # go on with the run in the working directory
    config.checkpoint_every = 1000
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
