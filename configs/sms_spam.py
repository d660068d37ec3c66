r"""A small ALBERT from scratch: is this text message spam?

Command:   albert-gpt-tf train --config=sms_spam --workdir=runs/sms_spam --config.data.train=SMSSpamCollection
Expected:  accuracy 0.986 on the fifth of the messages that is held out (seeds 1 and 2: 0.990, 0.991), F1 of spam 0.945.
           Logistic regression on TF-IDF of words: 0.965, of words and pairs of words, tuned: 0.985
Time:      50 seconds of CPU time, reckoned to be under 1 minute on 2 free cores

Data: the SMS Spam Collection (UCI, 5,574 messages), "label, tab, text" without a header. For your own file of that
form give its path; for one with a header:
    --config.data.columns= --config.data.text=message --config.data.label=kind
The messages to hold out are chosen by a hash of their text, so that no message is in both parts. The weights are those
of the last step, not those that did best on the held-out part.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "text_classifier"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset or checkpoint to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8
    config.model = "albert"  # or gpt
    config.regression = False  # whether labels are numbers to predict

    config.data = ConfigDict()
    config.data.source = "files"  # or docstrings
    config.data.train = ""  # .tsv, .csv or .jsonl; of any name if the columns are named here
    config.data.validation = ""
    config.data.test = ""
    config.data.columns = "label,text"  # names of tab-separated columns; empty: the file's first line has the names
    config.data.text = "text"  # column names
    config.data.text_pair = ""
    config.data.label = "label"
    config.data.held_out = 0.2  # share of the train file that becomes the validation split; 0 if there is a file for it
    config.data.limit = 0  # rows of each split; 0 for all

    config.vocabulary_size = 4000
    config.sequence_length = 96
    config.backbone = ConfigDict()
    config.backbone.num_layers = 2
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 128
    config.backbone.intermediate_dim = 512
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.1
    config.backbone.max_sequence_length = 128
    config.dropout = 0.1  # of the classifier's input
    config.length_buckets = True  # batches of rows of about one length: less padding, if lengths differ much
    config.token_dropout = 0.15  # share of tokens that become [MASK] in training

    config.batch_size = 32
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 400
    config.validate_every = 100
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "last"  # weights at the end, or best: those of the best validation
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
