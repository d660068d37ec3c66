"""Parts of speech with a small ALBERT from scratch, on a treebank in CoNLL-U.

Command:   albert-gpt-tf train --config=ud_pos --workdir=runs/ud_pos --config.data.train=en_ewt-ud-test.conllu
Expected:  tag accuracy 0.782 on the fifth of English EWT's test file that is held out; 0.826 for each word's most
           frequent tag, which this small model does not reach on 1,662 sentences
Time:      0.7 minutes of CPU time

With a train file, name it and the others: --config.data.train=train.conllu --config.data.validation=dev.conllu
--config.data.test=test.conllu --config.data.held_out=0.0. Better tags come from pretrained weights: --config.preset=...
--config.learning_rate=5e-5.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the locked configuration."""
    config = ConfigDict()
    config.task = "token_classifier"
    config.seed = 0
    config.precision = "float32"  # or mixed_bfloat16, mixed_float16
    config.preset = ""  # a preset directory to start from; empty: train a vocabulary and start from scratch
    config.train_only = "all"  # with a preset also head, adapters, gates (of ALBERT's layers) or lora
    config.adapter_dim = 16  # width of the adapters
    config.lora_rank = 8

    config.data = ConfigDict()
    config.data.source = "files"
    config.data.train = ""  # columns as in CoNLL-2003, .conllu, or .jsonl; or tfds:NAME@SPLIT, hf:OWNER/NAME@SPLIT
    config.data.validation = ""
    config.data.test = ""
    config.data.held_out = 0.2  # share of the train file that becomes the test split, if there is no test file
    config.data.words = ""  # column or key of the words; empty: the usual place
    config.data.tags = ""  # column or key of the tags
    config.data.limit = 0  # sentences of each file; 0 for all

    config.vocabulary_size = 6000
    config.lowercase = False  # of the new vocabulary; a preset has its own
    config.sequence_length = 64
    config.backbone = ConfigDict()
    config.backbone.num_layers = 2
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 64
    config.backbone.intermediate_dim = 128
    config.backbone.embedding_dim = 64
    config.backbone.dropout = 0.2
    config.backbone.max_sequence_length = 256
    config.dropout = 0.2  # of the hidden states that are classified
    config.length_buckets = True  # batches of rows of about one length: less padding, if lengths differ much
    config.token_dropout = 0.2  # share of tokens that become [MASK] in training

    config.batch_size = 16
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 1800
    config.validate_every = 0
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 3e-3
    config.warmup_steps = 50
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.05
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
