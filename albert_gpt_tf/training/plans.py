"""What a configuration trains: the task, its batches from any step on, and what it is measured on."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from albert_gpt_tf.data.albert_pretraining import albert_evaluation_batches, albert_pretraining_batches
from albert_gpt_tf.data.files import read_lines
from albert_gpt_tf.data.language_model import causal_windows, count_bytes, evaluation_windows
from albert_gpt_tf.data.sentences import split_sentences
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier, AlbertTextClassifierPreprocessor
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.training.batches import (
    document_splits,
    labelled_dataset,
    labelled_splits,
    named_files,
    training_batches,
    with_mask,
)


class Plan(NamedTuple):
    """A run before its first step.

    `batches(first_step)` is the endless dataset of the steps from there on, a function of the seed and the step alone.
    `evaluation` are the datasets of the other splits; `measured(split, metrics)` adds what follows from a split's
    metrics. `rows` is the number of rows of an epoch, or None where nobody counted. `sample` returns a text that the
    model wrote, or is None.
    """

    task: keras.Model
    title: str
    batches: Callable[[int], tf.data.Dataset]
    evaluation: dict[str, tf.data.Dataset]
    measured: Callable[[str, dict], dict]
    rows: int | None = None
    sample: Callable[[], str] | None = None


def text_classifier(config, strategy) -> Plan:
    """One or two texts to a label."""
    data = labelled_splits(config.data)
    texts, labels = data["train"]
    names = sorted(set(labels))
    for split, (_, split_labels) in data.items():
        unknown = sorted(set(split_labels) - set(names))
        if unknown:
            raise ValueError(
                f"Expected labels of the train split, {names}, in the {split} split. Received: {unknown} as well. "
                "Add rows with them to the train split, or remove them here."
            )
    tokenizer_texts = [text for row in texts for text in (row if isinstance(row, tuple) else (row,))]
    with strategy.scope():
        if config.preset:
            backbone = AlbertTextClassifier.backbone_cls.from_preset(config.preset)
            tokenizer = AlbertTokenizer.from_preset(config.preset)
        else:
            tokenizer = AlbertTokenizer(train_sentencepiece(tokenizer_texts, config.vocabulary_size))
            backbone = AlbertTextClassifier.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        preprocessor = AlbertTextClassifierPreprocessor(tokenizer, config.sequence_length, labels=names)
        task = AlbertTextClassifier(backbone, labels=names, preprocessor=preprocessor, dropout=config.dropout)
    evaluation = {
        split: labelled_dataset(*data[split]).batch(config.batch_size)
        for split in ("validation", "test")
        if split in data
    }

    def batches(first_step):
        return training_batches(texts, labels, preprocessor, config, first_step)

    return Plan(task, "classifier", batches, evaluation, lambda split, metrics: metrics, len(labels))


def causal_lm(config, strategy) -> Plan:
    """Text to more text; measured in bits per byte too."""
    documents = document_splits(config.data)
    with strategy.scope():
        if config.preset:
            task = GPTCausalLM.from_preset(config.preset)
            tokenizer = task.preprocessor.tokenizer
        else:
            tokenizer = GPT2Tokenizer(*train_byte_level_bpe(documents["train"], config.vocabulary_size))
            backbone = GPTCausalLM.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
            task = GPTCausalLM(backbone, tokenizer=tokenizer)
    length, end_id = config.sequence_length, task.preprocessor.end_id

    def batches(first_step):
        windows = causal_windows(
            documents["train"], tokenizer, length, config.batch_size,
            shuffle_seed=config.seed, repeat=True, first_batch=first_step, end_id=end_id,
        )  # fmt: skip
        return windows.map(with_mask)

    windows = {
        split: evaluation_windows(documents[split], tokenizer, length, config.batch_size, end_id=end_id)
        for split in ("validation", "test")
        if split in documents
    }

    def measured(split, metrics):
        tokens = float(sum(weights.numpy().sum() for _, _, weights in windows[split]))
        bits_per_byte = metrics["loss"] / math.log(2) * tokens / count_bytes(documents[split])
        return {**metrics, "bits_per_byte": bits_per_byte}

    evaluation = {split: dataset.map(with_mask) for split, dataset in windows.items()}
    sample_length = min(64, task.backbone.max_sequence_length - 1)
    return Plan(
        task, "language model", batches, evaluation, measured,
        sample=lambda: task.generate("", sample_length, temperature=0.8, seed=config.seed),
    )  # fmt: skip


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
        task = AlbertPretrainer(backbone, tokenizer=tokenizer)
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


PLANS = {"albert_pretraining": albert_pretraining, "causal_lm": causal_lm, "text_classifier": text_classifier}


def make_plan(config, strategy) -> Plan:
    """Reads the data and makes the task that a configuration describes.

    Raises:
        ValueError: a setting that cannot work.
        DataError: a file with a broken row.

    Example:
        >>> plan = make_plan(get_config(), make_strategy("one_device"))
        >>> plan.task.fit(plan.batches(0), steps_per_epoch=10)
    """
    plan = PLANS[config.task](config, strategy)
    if config.sequence_length > plan.task.backbone.max_sequence_length:
        raise ValueError(
            "config.sequence_length must be at most the model's max_sequence_length of "
            f"{plan.task.backbone.max_sequence_length}. Received: sequence_length={config.sequence_length}"
        )
    return plan
