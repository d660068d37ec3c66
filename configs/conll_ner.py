"""Named entities with ALBERT: fine-tuning on the CoNLL-2003 format, or any file of words and tags.

Command:   albert-gpt-tf train --config=conll_ner --workdir=runs/conll_ner --config.preset=albert_base_v2
           --config.data.train=train.txt --config.data.validation=valid.txt --config.data.test=test.txt
Expected:  not measured with released weights. A small model from scratch on WNUT 2017 (below): tag accuracy 0.925 on
           the test split, as each word's most frequent tag; F1 of entities 0.03, below the 0.06 of that tag
Time:      from scratch 1.5 minutes of CPU time

Learning rate, batch size and epochs (1,317 steps are three over CoNLL-2003's 14,041 sentences) are from the ranges of
Devlin et al., 2018, arXiv:1810.04805, appendix A.3. From scratch:
    --config.lowercase=False --config.vocabulary_size=2000 --config.sequence_length=64 --config.batch_size=16
    --config.steps=2500 --config.validate_every=0 --config.learning_rate=2e-3 --config.token_dropout=0.1
    --config.beta_2=0.99 --config.epsilon=1e-8 --config.dropout=0.2 --config.backbone.num_layers=1
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
    config.data.held_out = 0.0  # share of the train file that becomes the test split, if there is no test file
    config.data.words = ""  # column or key of the words; empty: the usual place
    config.data.tags = ""  # column or key of the tags
    config.data.limit = 0  # sentences of each file; 0 for all

    config.vocabulary_size = 8000
    config.lowercase = True  # of the new vocabulary; a preset has its own
    config.sequence_length = 128
    config.backbone = ConfigDict()
    config.backbone.num_layers = 2
    config.backbone.num_heads = 4
    config.backbone.hidden_dim = 128
    config.backbone.intermediate_dim = 512
    config.backbone.embedding_dim = 128
    config.backbone.dropout = 0.1
    config.backbone.max_sequence_length = 512
    config.dropout = 0.1  # of the hidden states that are classified
    config.length_buckets = True  # batches of rows of about one length: less padding, if lengths differ much
    config.token_dropout = 0.0  # share of tokens that become [MASK] in training

    config.batch_size = 32
    config.micro_batch_size = 0  # rows that a device computes at a time, to save memory; 0 for its whole share
    config.steps = 1317
    config.validate_every = 439
    config.patience = 0  # validations without a better loss after which the run ends; 0 for no such end
    config.keep = "best"  # weights at the end: those of the best validation, or last
    config.optimizer = "adamw"  # or lamb
    config.learning_rate = 5e-5
    config.warmup_steps = 131
    config.decay = "linear"  # or constant, cosine, polynomial
    config.power = 1.0  # of the polynomial decay
    config.floor = 0.0  # learning rate that the decay ends at
    config.weight_decay = 0.01
    config.beta_1 = 0.9
    config.beta_2 = 0.999
    config.epsilon = 1e-6
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
