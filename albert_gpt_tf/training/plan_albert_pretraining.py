"""The plan of ALBERT's pretraining: masked language modelling and sentence order."""

from albert_gpt_tf.data.albert_pretraining import albert_evaluation_batches, albert_pretraining_batches
from albert_gpt_tf.data.files import read_lines
from albert_gpt_tf.data.sentences import split_sentences
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.batches import document_splits, named_files
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan


def albert_pretraining(config, strategy) -> Plan:
    """Masked language modelling and sentence order, on documents of one sentence a line."""
    if config.data.source == "docstrings":
        sources = {
            split: [sentences for text in texts if (sentences := split_sentences(text))]
            for split, texts in document_splits(config.data).items()
        }
    else:
        sources = named_files(config.data)
    with strategy.scope():
        if config.preset:
            backbone = AlbertPretrainer.backbone_cls.from_preset(config.preset)
            tokenizer = AlbertTokenizer.from_preset(config.preset)
        else:
            tokenizer = _pretraining_tokenizer(config, sources["train"])
            backbone = AlbertPretrainer.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        task = with_trained_parts(AlbertPretrainer(backbone, tokenizer=tokenizer), config)
    arguments = {
        "max_predictions": config.max_predictions or None,
        "short_sequence_probability": config.short_sequence_probability,
    }

    def batches(first_step):
        dataset = albert_pretraining_batches(
            sources["train"], tokenizer, config.sequence_length, config.batch_size, config.seed,
            shuffle_buffer=config.shuffle_buffer, **arguments,
        )  # fmt: skip
        return dataset.skip(first_step) if first_step else dataset

    evaluation = {
        split: albert_evaluation_batches(
            sources[split], tokenizer, config.sequence_length, config.batch_size, **arguments
        )
        for split in ("validation", "test")
        if split in sources
    }
    return Plan(task, "pretraining", batches, evaluation, lambda split, metrics: metrics)


def _pretraining_tokenizer(config, source):
    if config.vocabulary:
        return AlbertTokenizer.from_preset(config.vocabulary)
    if isinstance(source, str):
        return AlbertTokenizer(train_sentencepiece(read_lines(source, progress=True), config.vocabulary_size))
    sentences = [sentence for document in source for sentence in document]
    return AlbertTokenizer(train_sentencepiece(sentences, config.vocabulary_size))
