"""A tiny GPT that talks: trained on question and answer, from scratch, with a loss on the answers alone.

Command:   albert-gpt-tf train --config=dialogue --workdir=runs/dialogue "--config.data.train=english/*.yml"
Data:      chatterbot_corpus/data/english of github.com/gunthercox/chatterbot-corpus, 898 different conversations
Expected:  training loss 0.83 (0.85 of the answers' tokens right); validation perplexity 813, after 214 at step 300
Time:      142 seconds of CPU time, reckoned to be 2 minutes on 2 free cores

Then: albert-gpt-tf chat --preset=runs/dialogue/preset

So little text teaches nothing that holds for a question which is not in it: the model learns answers by heart, and the
perplexity of held-out ones grows meanwhile. Of questions in the files some are answered word for word ("My computer
won't turn on." with "Check if it's plugged in and hold the power button for 10 seconds."); others, and all further
questions, get words in a row. To start from GPT-2 instead: --config.preset=DIR, with a smaller learning rate and
--config.keep=best.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "dialogue"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"  # nothing else
    config.data.train = ""  # .yml of chatterbot's form, or .jsonl with messages or turns; a name or a pattern
    config.data.validation = ""
    config.data.test = ""
    config.data.held_out = 0.1  # share of the train file that becomes the validation split if that has no file
    config.data.limit = 0  # conversations of each split; 0 for all

    config.vocabulary_size = 2048
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
    config.steps = 1500
    config.validate_every = 300  # 0: only at the end
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 2e-3
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
    config.checkpoint_every = 300
    config.keep_checkpoints = 3
    config.log_every = 20
    config.tensorboard = False  # needs the extra tensorboard
    return config.lock()
