"""Make rows of one length out of ragged ids: `[CLS] a [SEP] b [SEP]` for encoders, padded text for decoders.

Core ops only, which also convert to TFLite. The trimmers and packers of TF Text are avoided: the TF Text inside
TensorFlow Serving 2.14 to 2.19 lacks them.

Shapes: B rows, T = sequence_length.
"""

from collections.abc import Sequence

import tensorflow as tf


def pack_segments(
    segments: Sequence[tf.RaggedTensor], sequence_length: int, start_id: int, end_id: int, pad_id: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Packs one segment as `[CLS] a [SEP]`, two as `[CLS] a [SEP] b [SEP]`.

    What does not fit is cut from the end of the longer segment, token by token, from the second one if they are
    equally long (google-research/albert's `_truncate_seq_pair`).

    Args:
        segments: one or two integer `RaggedTensor`s of shape `[B, None]`.
        sequence_length: int, the length T of every row, special tokens included.
        start_id: int, the id of `[CLS]`.
        end_id: int, the id of `[SEP]`.
        pad_id: int, the id after the end.

    Returns:
        token_ids: int32 `[B, T]`.
        segment_ids: int32 `[B, T]`: 1 for `b [SEP]`, 0 elsewhere.
        padding_mask: bool `[B, T]`: True for tokens, False for padding.

    Raises:
        ValueError: not one or two segments, or a `sequence_length` without room for the special tokens.

    Example:
        >>> a, b = tf.ragged.constant([[5, 6, 7]]), tf.ragged.constant([[8]])
        >>> pack_segments([a, b], 8, start_id=2, end_id=3, pad_id=0)[0].numpy().tolist()
        [[2, 5, 6, 7, 3, 8, 3, 0]]
    """
    if len(segments) not in (1, 2):
        raise ValueError(f"Expected one or two segments. Received: {len(segments)}. Join the others first.")
    room = sequence_length - 1 - len(segments)
    if room < 0:
        raise ValueError(
            f"Expected sequence_length of at least {1 + len(segments)}, the number of special tokens. "
            f"Received: sequence_length={sequence_length}."
        )
    # [B, 1] each: how many tokens of the two segments are kept.
    length_a = _row_lengths(segments[0])
    length_b = _row_lengths(segments[1]) if len(segments) == 2 else tf.zeros_like(length_a)
    keep_a = tf.minimum(length_a, tf.maximum((room + 1) // 2, room - length_b))
    keep_b = tf.minimum(length_b, room - keep_a)

    position = tf.range(sequence_length)[tf.newaxis]  # [1, T]
    first_end = keep_a + 1
    # Tokens of a stand one place to the right of where they were, because of [CLS].
    tokens_a = tf.pad(_to_dense(segments[0], sequence_length - 1, pad_id), [[0, 0], [1, 0]])  # [B, T]
    if len(segments) == 1:
        last_end = first_end
        token_ids = tokens_a
        segment_ids = tf.zeros_like(tokens_a)
    else:
        last_end = first_end + keep_b + 1
        # The place of b varies by row: a gather shifts it. Places outside b hold anything and are overwritten below.
        tokens_b = _to_dense(segments[1], sequence_length, pad_id)  # [B, T]
        shifted = tf.clip_by_value(position - first_end - 1, 0, sequence_length - 1)
        token_ids = tf.where(position > first_end, tf.gather(tokens_b, shifted, batch_dims=1), tokens_a)
        segment_ids = tf.cast((position > first_end) & (position <= last_end), tf.int32)
    token_ids = tf.where((position == first_end) | (position == last_end), end_id, token_ids)
    token_ids = tf.where(position == 0, start_id, token_ids)
    padding_mask = position <= last_end
    return tf.where(padding_mask, token_ids, pad_id), segment_ids, padding_mask


def pack_causal(
    ids: tf.RaggedTensor, sequence_length: int, end_id: int, pad_id: int, add_end: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Packs text for a decoder: cut at the end or padded on the right.

    Args:
        ids: integer `RaggedTensor` of shape `[B, None]`.
        sequence_length: int, the length T of every row.
        end_id: int, the id of the end of text.
        pad_id: int, the id after the end.
        add_end: bool, whether `end_id` follows the text. A row that is cut gets none: its text goes on.

    Returns:
        token_ids: int32 `[B, T]`.
        padding_mask: bool `[B, T]`: True for tokens and the end that was added, False for padding.

    Raises:
        ValueError: `sequence_length` is not positive.

    Example:
        >>> pack_causal(tf.ragged.constant([[5, 6]]), 4, end_id=9, pad_id=0, add_end=True)[0].numpy().tolist()
        [[5, 6, 9, 0]]
    """
    if sequence_length < 1:
        raise ValueError(f"Expected a positive sequence_length. Received: sequence_length={sequence_length}.")
    position = tf.range(sequence_length)[tf.newaxis]  # [1, T]
    lengths = _row_lengths(ids)  # [B, 1]
    token_ids = _to_dense(ids, sequence_length, pad_id)  # [B, T]
    if add_end:
        token_ids = tf.where(position == lengths, end_id, token_ids)
        lengths += 1
    return token_ids, position < lengths


def _row_lengths(ids: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ids.row_lengths(), tf.int32)[:, tf.newaxis]


def _to_dense(ids: tf.RaggedTensor, length: int, pad_id: int) -> tf.Tensor:
    return tf.cast(ids.to_tensor(pad_id, shape=[None, length]), tf.int32)
