"""What the preprocessors of the ALBERT tasks share: packing of texts, label names, the default choice."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.packing import pack_segments


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertPreprocessor(keras_nlp.models.Preprocessor):
    """Texts to `[CLS] text [SEP]`, pairs to `[CLS] text [SEP] text_pair [SEP]`; targets pass as they are.

    Args:
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, length of the packed row, special tokens included; longer texts are cut, the longer of
            a pair first. Defaults to 128.

    Example:
        >>> preprocessor = AlbertPreprocessor(tokenizer, sequence_length=8)
        >>> preprocessor(["a fox"])["token_ids"].shape
        TensorShape([1, 8])
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=128, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs text.

        Args:
            x: strings [batch] or a scalar; for pairs a tuple (text, text_pair) or a dict with these keys.
            y: targets, which pass. Defaults to `None`.
            sample_weight: weights, which pass. Defaults to `None`.

        Returns:
            What `pack_texts` gives; with `y`, a tuple (dict, y) or (dict, y, sample_weight).
        """
        packed = pack_texts(self.tokenizer, named_texts(x, "text", "text_pair"), self.sequence_length)
        return keras.utils.pack_x_y_sample_weight(packed, y, sample_weight)

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}


def choose_preprocessor(
    backbone: Any, preprocessor: Any, tokenizer: Any, make: Callable, sequence_length: int = 128
) -> Any:
    """The preprocessor of a task: the one that was given, or one made of a tokenizer.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: a preprocessor or `None`.
        tokenizer: an `AlbertTokenizer` or `None`.
        make: function (tokenizer, sequence_length=...) -> preprocessor.
        sequence_length: int, length of the rows, if the backbone has as many positions. Defaults to 128.

    Returns:
        The preprocessor; `None` if neither was given.

    Raises:
        ValueError: both were given, or the tokenizer has more ids than the backbone.
    """
    if preprocessor is not None and tokenizer is not None:
        raise ValueError("Give preprocessor=... or tokenizer=..., not both: a preprocessor holds its tokenizer.")
    if tokenizer is None:
        return preprocessor
    if tokenizer.vocabulary_size() > backbone.vocabulary_size:
        raise ValueError(
            f"Expected a tokenizer with at most {backbone.vocabulary_size} ids, as the backbone has. Received: "
            f"{tokenizer.vocabulary_size()} ids. Take the tokenizer that belongs to the backbone's weights."
        )
    return make(tokenizer, sequence_length=min(sequence_length, backbone.max_sequence_length))


def named_texts(x: Any, *names: str) -> tuple[tf.Tensor, ...]:
    """One or more texts, however they were given.

    Args:
        x: strings, a tuple of strings, or a dict of them.
        *names: the keys of the dict; those that are missing are left out.

    Returns:
        A tuple of string tensors.

    Example:
        >>> named_texts({"text_pair": ["b"], "text": ["a"]}, "text", "text_pair")[0].numpy()
        array([b'a'], dtype=object)
    """
    if isinstance(x, dict):
        x = tuple(x[name] for name in names if name in x)
    return tuple(tf.convert_to_tensor(text) for text in (x if isinstance(x, tuple) else (x,)))


def pack_texts(
    tokenizer: Any, texts: Sequence[tf.Tensor], sequence_length: int, truncation: str = "longest_first"
) -> dict[str, tf.Tensor]:
    """Packs one text or two as a row of ids.

    Args:
        tokenizer: an `AlbertTokenizer`.
        texts: one or two string tensors, each [batch] or a scalar.
        sequence_length: int, length of a row.
        truncation: str, see `pack_segments`. Defaults to `"longest_first"`.

    Returns:
        A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length] or, for
        scalars, [sequence_length].
    """
    is_scalar = texts[0].shape.rank == 0
    packed = pack_segments(
        [tokenizer.tokenize(text[None] if is_scalar else text) for text in texts],
        sequence_length,
        start_id=tokenizer.cls_id,
        end_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        truncation=truncation,
    )
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: value[0] if is_scalar else value for name, value in zip(names, packed, strict=True)}


def label_ids(y: Any, labels: Sequence[str] | None) -> Any:
    """Label names to indices.

    Args:
        y: strings [batch]; anything else passes.
        labels: the names, in the order of their indices.

    Returns:
        int32 [batch].

    Raises:
        ValueError: `y` are strings and `labels` is `None`.
        InvalidArgumentError: a name is not among the labels.

    Example:
        >>> label_ids(["spam", "ham"], ["ham", "spam"]).numpy()
        array([1, 0], dtype=int32)
    """
    if y is None:
        return None
    y = tf.convert_to_tensor(y)
    if y.dtype != tf.string:
        return y
    if labels is None:
        raise ValueError("String targets need to be known: give the task labels=[...]. Received: labels=None")
    is_label = tf.equal(y[..., None], labels)  # [batch, classes]
    known = tf.reduce_all(tf.reduce_any(is_label, -1))
    message = f"A target is not one of the labels {labels}"
    with tf.control_dependencies([tf.debugging.assert_equal(known, True, message)]):
        return tf.argmax(is_label, -1, output_type=tf.int32)


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels of a task as a list of str; ValueError for fewer than two, or one that is there twice."""
    labels = [str(label) for label in labels]
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(f"labels must be two or more different names. Received: labels={labels}")
    return labels
