"""A small GPT that writes Tang poems, trained on the poems alone.

Command:   albert-gpt-tf train --config=tang_poems --workdir=runs/tang_poems "--config.data.train=*.json"
Data:      poet.tang.0.json and the three hundred poems of github.com/chinese-poetry/chinese-poetry, 1,330 poems
Expected:  validation bits per character 7.69 (7.87 with --config.vocabulary_size=2048)
Time:      134 seconds of CPU time, reckoned to be 2 minutes on 2 free cores

Then: albert-gpt-tf generate --preset=runs/tang_poems/preset --temperature=0.8 "$(printf '靜夜思\\n李白\\n')"

A bigram model of characters with Kneser-Ney smoothing has 7.69 on the same 122 poems, if any of 20,992 ideographs may
come next, and 7.62 if only those that do occur: 89,000 characters are too few for more. What it writes has a title, an
author and short lines with their marks, seldom of five or seven characters, and makes no sense: a model of verse needs
more files of the collection.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "verse"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"  # nothing else
    config.data.train = ""  # .json with title, author and paragraphs; a name or a pattern
    config.data.validation = ""
    config.data.test = ""
    config.data.held_out = 0.1  # share of the train file that becomes the validation split if that has no file
    config.data.limit = 0  # poems of each split; 0 for all

    config.vocabulary_size = 4096
    config.sequence_length = 128
    config.backbone = ConfigDict()
    config.backbone.num_layers = 3
    config.backbone.num_heads = 2
    config.backbone.hidden_dim = 128
    config.backbone.dropout = 0.2
    config.backbone.recompute = False  # compute layers once more in the backward pass, to save memory
    config.backbone.max_sequence_length = 256

    config.batch_size = 16
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 500
    config.validate_every = 100  # 0: only at the end
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 3e-3
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
