"""The plan of a token classifier: the words of sentences to their tags."""

import re

import numpy as np
import tensorflow as tf

from albert_gpt_tf.data.tagging import hold_out, read_tagged_file, sentence_texts
from albert_gpt_tf.data.token_dropout import drop_tokens
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.entities import (
    IGNORED,
    label_scheme,
    piece_kinds,
    piece_targets,
    piece_windows,
    unit_starts,
)
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.batches import evaluation_batches, named_files, training_batches
from albert_gpt_tf.training.entity_scores import evaluate_token_classifier, most_frequent_tag_baseline
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan

SENTENCES_AT_A_TIME = 1000


def token_classifier(config, strategy) -> Plan:
    """The words of sentences to their tags."""
    splits = tagged_splits(config.data)
    names = tag_names(tag for rows in splits.values() for row in rows for tag in row.tags)
    with strategy.scope():
        if config.preset:
            backbone = AlbertTokenClassifier.backbone_cls.from_preset(config.preset)
            tokenizer = AlbertTokenizer.from_preset(config.preset)
        else:
            texts = sentence_texts(splits["train"]).texts
            proto = train_sentencepiece(texts, config.vocabulary_size, lowercase=config.lowercase)
            tokenizer = AlbertTokenizer(proto, lowercase=config.lowercase)
            backbone = AlbertTokenClassifier.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        preprocessor = AlbertPreprocessor(tokenizer, config.sequence_length)
        task = AlbertTokenClassifier(backbone, labels=names, preprocessor=preprocessor, dropout=config.dropout)
        task = with_trained_parts(task, config)
    windows = {split: tagged_windows(rows, names, tokenizer, config.sequence_length) for split, rows in splits.items()}
    lengths = {split: tf.constant(columns["length"]) for split, columns in windows.items()}

    def to_batch(batch, seed=None):
        token_ids = batch["token_ids"]
        if seed is not None and config.token_dropout:
            token_ids = drop_tokens(token_ids, config.token_dropout, tokenizer, seed)
        mask = tf.range(token_ids.shape[1])[None] < batch["length"][:, None]
        ids = {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": mask}
        return ids, batch["targets"]

    def batches(first_step):
        buckets = lengths["train"] if config.length_buckets else None
        return training_batches(windows["train"], to_batch, config, first_step, buckets)

    def measured(split, metrics):
        scores = evaluate_token_classifier(task, splits[split], config.batch_size)
        baseline = most_frequent_tag_baseline(splits["train"], splits[split])
        compared = {f"baseline_{name}": baseline[name] for name in ("tag_accuracy", "f1") if name in baseline}
        return metrics | scores | compared

    evaluation = {
        split: evaluation_batches(windows[split], to_batch, config.batch_size, lengths[split])
        for split in ("validation", "test")
        if split in splits
    }
    return Plan(task, "token classifier", batches, evaluation, measured, len(windows["train"]["length"]))


def tagged_splits(data) -> dict[str, list]:
    """The sentences of each split that the configuration names; without a test file, a share of the train file."""
    if data.source != "files":
        raise ValueError(
            f"config.data.source must be 'files' for a token classifier. Received: config.data.source={data.source!r}"
        )
    splits = {
        split: read_tagged_file(path, data.words, data.tags, data.limit or None)
        for split, path in named_files(data).items()
    }
    if data.held_out and "test" in splits:
        raise ValueError(
            "Expected config.data.test or config.data.held_out, which takes the test split from the train file. "
            f"Received: both, {data.test!r} and {data.held_out}. Set config.data.held_out=0.0."
        )
    if data.held_out:
        splits["train"], splits["test"] = hold_out(splits["train"], data.held_out)
        if not splits["test"]:
            raise ValueError(
                "Expected enough sentences to hold some out. Received: "
                f"{len(splits['train'])} sentences, config.data.held_out={data.held_out}"
            )
    return splits


def tag_names(tags) -> list[str]:
    """All labels of a task, sorted: the tags that occur, and `I-TYPE` for every `B-TYPE`, which goes on with it."""
    names = set(tags)
    if not label_scheme(sorted(names)).stands_alone.any():
        names |= {f"I-{tag[2:]}" for tag in names if re.match("[BES]-", tag)}
    return sorted(names)


def tagged_windows(rows, labels, tokenizer, sequence_length) -> dict[str, np.ndarray]:
    """The rows that a token classifier is trained on: a sentence each, or several windows of a long one.

    Args:
        rows: list of TaggedSentence.
        labels: list of str.
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, of a window.

    Returns:
        A dict of int32 arrays: `token_ids` and `targets` [windows, sequence_length], and `length` [windows]. Each word
        has its target in one window only; other tokens have -100.

    Example:
        >>> tagged_windows([TaggedSentence(["Ada"], ["B"])], ["B", "O"], tokenizer, 4)["targets"]
        array([[-100, 0, -100, -100]], dtype=int32)
    """
    kinds, continuing = piece_kinds(tokenizer), label_scheme(labels).continuing
    number = {label: index for index, label in enumerate(labels)}

    offset_spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string), offset_spec, offset_spec, tf.TensorSpec([None], tf.int32)]
    )
    def convert(text, word_starts, word_ends, word_labels):
        ids, starts, ends = tokenizer.tokenize_with_offsets(text)
        is_unit = unit_starts(ids, kinds)
        targets = piece_targets(starts, ends, is_unit, word_starts, word_ends, word_labels, continuing)
        windows = piece_windows(ids, sequence_length, tokenizer)
        nothing = tf.fill(tf.shape(windows.token_ids), IGNORED)
        places = tf.stack([windows.window, windows.position], 1)
        length = tf.reduce_sum(tf.cast(windows.padding_mask, tf.int32), 1)
        return windows.token_ids, tf.tensor_scatter_nd_update(nothing, places, targets), length

    parts = []
    for first in range(0, len(rows), SENTENCES_AT_A_TIME):
        chosen = rows[first : first + SENTENCES_AT_A_TIME]
        texts, *offsets = sentence_texts(chosen)
        offsets = [tf.ragged.constant(column, tf.int32, ragged_rank=1) for column in offsets]
        word_labels = tf.constant([number[tag] for row in chosen for tag in row.tags], tf.int32)
        parts.append(convert(tf.constant(texts), *offsets, word_labels))
    names = ("token_ids", "targets", "length")
    return {name: np.concatenate(columns) for name, columns in zip(names, zip(*parts, strict=True), strict=True)}
