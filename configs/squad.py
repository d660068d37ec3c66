"""SQuAD 1.1 or 2.0 with ALBERT, with the published hyperparameters.

Command:   albert-gpt-tf train --config=squad --workdir=runs/squad
           SQuAD 2.0: --config=squad:2.0
Data:      --config.data.train=train-v1.1.json --config.data.validation=dev-v1.1.json
           --config.preset=DIRECTORY (an ALBERT that was pretrained; without it a model starts from scratch)
           XQuAD, MLQA, CMRC and other files of that form do as well
Expected:  not run here. The published v2 models, fine-tuned, F1/EM on the dev splits: 1.1 90.2/83.2 (base), 91.8/85.2
           (large), 92.9/86.4 (xlarge), 94.6/89.1 (xxlarge); 2.0 82.1/79.3, 84.9/81.8, 87.9/84.1, 89.8/86.9
Time:      reckoned for base on one A100 that reaches 40 % of its peak: 5 minutes (1.1), 8 minutes (2.0)

Published are the learning rate, the batch, 2 epochs (3,649 or 5,429 steps), the warm-up of 10 %, and the lengths: rows
of 384, a window every 128 tokens, 64 tokens of the question, answers of 30 at most. Two things differ. Rows of about
one length share a batch: a row has 180 tokens on average in XQuAD, and the rest of 384 would be padding. For 2.0
ALBERT's release trains a head of its own to tell whether there is an answer; here `[CLS]` stands for no answer in the
span's own loss, as in BERT, and the threshold is tuned on the validation split, as there.
"""

from ml_collections import ConfigDict

# Steps of 2 epochs: 87,599 and 130,319 questions.
STEPS = {"1.1": 3649, "2.0": 5429}


def get_config(version: str = "1.1") -> ConfigDict:
    """Returns the locked configuration of a version: 1.1 or 2.0."""
    if version not in STEPS:
        raise ValueError(
            f"Expected a version among {sorted(STEPS)}. Received: version={version!r}. Write it behind the colon."
        )
    config = ConfigDict()
    config.task = "question_answerer"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"
    config.data.train = ""  # JSON files in SQuAD's form
    config.data.validation = ""
    config.data.test = ""
    config.data.limit = 0  # questions of each split; 0 for all

    config.vocabulary_size = 30000
    config.sequence_length = 384
    config.stride = 128  # tokens from the start of a window to that of the next
    config.max_question_length = 64  # tokens
    config.backbone = ConfigDict()
    config.backbone.num_layers = 12
    config.backbone.num_heads = 12
    config.backbone.hidden_dim = 768
    config.backbone.intermediate_dim = 3072
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.0
    config.backbone.max_sequence_length = 512

    config.batch_size = 48
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = STEPS[version]
    config.validate_every = 0  # steps between validations, which divide config.steps; 0 for none on the way
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 5e-5
    config.warmup_steps = STEPS[version] // 10
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
