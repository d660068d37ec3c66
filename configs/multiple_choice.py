"""ALBERT on multiple choice in tables: SWAG, CosmosQA or your own.

Command:   albert-gpt-tf train --config=multiple_choice --workdir=runs/swag --config.data.train=swag/train.csv
           --config.data.validation=swag/val.csv
           CosmosQA, with longer texts: --config.data.train=train.csv --config.data.validation=valid.csv
           --config.sequence_length=256 --config.steps=4740 --config.validate_every=1580 --config.warmup_steps=474
Data:      the tables as they are published, or your own with columns context, question, choices and answer (.jsonl) or
           context, question, choice0, choice1, ... and answer (.csv, .tsv); the answer counts from 0, or is a letter
Expected:  nothing is published for ALBERT on SWAG; BERT-base has 81.6 there. The published weights were not fine-tuned
           here
Time:      not measured; 13,800 steps of 16 questions, which is 3 epochs of SWAG, each of them four rows of at most 128
           tokens

A small model from scratch, to see that your files are right:
    --config.preset= --config.vocabulary_size=4000 --config.backbone.num_layers=2 --config.backbone.hidden_dim=128
    --config.backbone.num_heads=4 --config.backbone.intermediate_dim=512 --config.learning_rate=5e-4

Learning rate, batch and epochs are those of BERT on SWAG (Devlin et al., 2018, arXiv:1810.04805, section 4.4).
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
    config.data.train = ""  # .csv, .tsv or .jsonl, or a folder of RACE
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # questions of each split; 0 for all

    config.vocabulary_size = 30000  # of the backbone and the sizes below: where the preset is empty
    config.sequence_length = 128
    config.choice_length = 0  # tokens of question and choice that are kept, the last ones; 0 for all
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

    config.batch_size = 16
    config.micro_batch_size = 0  # questions that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 13_800
    config.validate_every = 4600
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 2e-5
    config.warmup_steps = 1380
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
