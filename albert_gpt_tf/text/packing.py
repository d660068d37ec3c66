"""Make rows of one length out of ragged ids: `[CLS] a [SEP] b [SEP]` for encoders, padded text for decoders.

Core ops only, which also convert to TFLite. The trimmers and packers of TF Text are avoided: the TF Text inside
TensorFlow Serving 2.14 to 2.19 lacks them. Windows over a long context are in `sliding_windows.py`.

Shapes: B rows, T = the length of a row.
"""

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

_TRUNCATIONS = ("longest_first", "only_second", "only_first")


def pack_segments(
    segments: Sequence[tf.RaggedTensor],
    sequence_length: int | Sequence[int],
    start_id: int,
    end_id: int,
    pad_id: int,
    truncation: str = "longest_first",
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Packs one segment as `[CLS] a [SEP]`, two as `[CLS] a [SEP] b [SEP]`.

    Args:
        segments: one or two integer `RaggedTensor`s of shape `[B, None]`.
        sequence_length: int, the length T of every row, special tokens included. Or increasing ints: T is the
            smallest of them that holds the longest row of the batch, after rows were cut to the largest. The tokens
            of a row are the same as with the largest alone, only the padding differs.
        start_id: int, the id of `[CLS]`.
        end_id: int, the id of `[SEP]`.
        pad_id: int, the id after the end.
        truncation: str, where a pair that is too long is cut, always from the end of a segment. "longest_first": the
            longer segment, token by token, and the second one if they are equally long (google-research/albert's
            `_truncate_seq_pair`). "only_second" and "only_first": that segment; if the other one alone is too long,
            nothing is left of that segment and the other one is cut to fit. With one segment all three are the same.
            Defaults to "longest_first".

    Returns:
        token_ids: int32 `[B, T]`.
        segment_ids: int32 `[B, T]`: 1 for `b [SEP]`, 0 elsewhere.
        padding_mask: bool `[B, T]`: True for tokens, False for padding.

    Raises:
        ValueError: not one or two segments, a `sequence_length` without room for the special tokens or not
            increasing, or another `truncation`.

    Example:
        >>> a, b = tf.ragged.constant([[5, 6, 7]]), tf.ragged.constant([[8]])
        >>> pack_segments([a, b], 8, start_id=2, end_id=3, pad_id=0)[0].numpy().tolist()
        [[2, 5, 6, 7, 3, 8, 3, 0]]
        >>> pack_segments([a, b], [4, 7, 12], start_id=2, end_id=3, pad_id=0)[0].numpy().tolist()
        [[2, 5, 6, 7, 3, 8, 3]]

    Reference: google-research/albert, `create_pretraining_data.py` and `classifier_utils.py`.
    """
    if len(segments) not in (1, 2):
        raise ValueError(f"Expected one or two segments. Received: {len(segments)}. Join the others first.")
    if truncation not in _TRUNCATIONS:
        raise ValueError(f"Expected one of {', '.join(_TRUNCATIONS)}. Received: truncation={truncation!r}. Pass one.")
    lengths = _checked_lengths(sequence_length, least=1 + len(segments))
    room = lengths[-1] - 1 - len(segments)
    # [B, 1] each: how many tokens of the two segments are kept.
    length_a = _row_lengths(segments[0])
    length_b = _row_lengths(segments[1]) if len(segments) == 2 else tf.zeros_like(length_a)
    if truncation == "longest_first":
        keep_a = tf.minimum(length_a, tf.maximum((room + 1) // 2, room - length_b))
    elif truncation == "only_second":
        keep_a = tf.minimum(length_a, room)
    else:
        keep_a = tf.minimum(length_a, room - tf.minimum(length_b, room))
    keep_b = tf.minimum(length_b, room - keep_a)
    first_end = keep_a + 1
    last_end = first_end if len(segments) == 1 else first_end + keep_b + 1

    length = _smallest_that_holds(lengths, last_end + 1)
    position = tf.range(length)[tf.newaxis]  # [1, T]
    # Tokens of a stand one place to the right of where they were, because of [CLS].
    tokens_a = tf.pad(_to_dense(segments[0], length - 1, pad_id), [[0, 0], [1, 0]])  # [B, T]
    if len(segments) == 1:
        token_ids = tokens_a
        segment_ids = tf.zeros_like(tokens_a)
    else:
        # The place of b varies by row: a gather shifts it. Places outside b hold anything and are overwritten below.
        tokens_b = _to_dense(segments[1], length, pad_id)  # [B, T]
        shifted = tf.clip_by_value(position - first_end - 1, 0, length - 1)
        token_ids = tf.where(position > first_end, tf.gather(tokens_b, shifted, batch_dims=1), tokens_a)
        segment_ids = tf.cast((position > first_end) & (position <= last_end), tf.int32)
    token_ids = tf.where((position == first_end) | (position == last_end), end_id, token_ids)
    token_ids = tf.where(position == 0, start_id, token_ids)
    padding_mask = position <= last_end
    return tf.where(padding_mask, token_ids, pad_id), segment_ids, padding_mask


def pack_causal(
    ids: tf.RaggedTensor, sequence_length: int | Sequence[int], end_id: int, pad_id: int, add_end: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Packs text for a decoder: cut at the end or padded on the right.

    Args:
        ids: integer `RaggedTensor` of shape `[B, None]`.
        sequence_length: int, the length T of every row. Or increasing ints: T is the smallest of them that holds the
            longest row of the batch, after rows were cut to the largest. The tokens of a row are the same as with the
            largest alone, only the padding differs.
        end_id: int, the id of the end of text.
        pad_id: int, the id after the end.
        add_end: bool, whether `end_id` follows the text. A row that is cut gets none: its text goes on.

    Returns:
        token_ids: int32 `[B, T]`.
        padding_mask: bool `[B, T]`: True for tokens and the end that was added, False for padding.

    Raises:
        ValueError: `sequence_length` is not positive, or not increasing.

    Example:
        >>> pack_causal(tf.ragged.constant([[5, 6]]), 4, end_id=9, pad_id=0, add_end=True)[0].numpy().tolist()
        [[5, 6, 9, 0]]
    """
    lengths = _checked_lengths(sequence_length, least=1)
    text_lengths = _row_lengths(ids)  # [B, 1]
    row_lengths = text_lengths + 1 if add_end else text_lengths
    length = _smallest_that_holds(lengths, row_lengths)
    position = tf.range(length)[tf.newaxis]  # [1, T]
    token_ids = _to_dense(ids, length, pad_id)  # [B, T]
    if add_end:
        token_ids = tf.where(position == text_lengths, end_id, token_ids)
    return token_ids, position < row_lengths


def _checked_lengths(sequence_length: int | Sequence[int], least: int) -> list[int]:
    lengths = list(sequence_length) if isinstance(sequence_length, Sequence) else [int(sequence_length)]
    if not lengths or any(a >= b for a, b in pairwise(lengths)):
        raise ValueError(
            f"Expected a sequence_length, or several that increase. Received: sequence_length={sequence_length}. "
            "Sort them and leave out what is there twice."
        )
    if lengths[0] < least:
        raise ValueError(
            f"Expected sequence_length of at least {least}, the room for special tokens or one token. "
            f"Received: sequence_length={sequence_length}. Raise it."
        )
    return lengths


def _smallest_that_holds(lengths: list[int], row_lengths: tf.Tensor) -> int | tf.Tensor:
    """The length to pad to: an int if there is one only, so that shapes stay static."""
    if len(lengths) == 1:
        return lengths[0]
    # A row that is longer than the largest is cut to it. Without rows the maximum is the least int32.
    longest = tf.minimum(tf.reduce_max(row_lengths), lengths[-1])
    return tf.gather(lengths, tf.reduce_sum(tf.cast(tf.constant(lengths) < longest, tf.int32)))


def _row_lengths(ids: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ids.row_lengths(), tf.int32)[:, tf.newaxis]


def _to_dense(ids: tf.RaggedTensor, length: int | tf.Tensor, pad_id: int) -> tf.Tensor:
    shape = [None, length] if isinstance(length, int) else tf.stack([-1, length])
    return tf.cast(ids.to_tensor(pad_id, shape=shape), tf.int32)
