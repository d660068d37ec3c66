"""Question answering: pack a question with overlapping windows of a context that is too long for one row.

Core ops only, no RaggedTensor inside: the number of windows of a batch follows from the lengths.

Shapes: B questions, W windows of all of them, T = sequence_length.
"""

from typing import NamedTuple

import tensorflow as tf


class SlidingWindows(NamedTuple):
    """What `pack_sliding_windows` returns; its docstring gives shapes and types."""

    token_ids: tf.Tensor
    segment_ids: tf.Tensor
    padding_mask: tf.Tensor
    example: tf.Tensor
    context_start: tf.Tensor
    is_max_context: tf.Tensor


def pack_sliding_windows(
    question: tf.RaggedTensor,
    context: tf.RaggedTensor,
    sequence_length: int,
    stride: int,
    start_id: int,
    end_id: int,
    pad_id: int,
    max_question_length: int = 64,
) -> SlidingWindows:
    """Packs `[CLS] question [SEP] window [SEP]` for windows that overlap and together cover the context.

    A window starts every `stride` tokens, until one reaches the end of the context. A context that fits has one
    window, and so has an empty one.

    Args:
        question: integer `RaggedTensor` of shape `[B, None]`.
        context: integer `RaggedTensor` of shape `[B, None]`.
        sequence_length: int, the length T of every row, special tokens included.
        stride: int, how many tokens the start of a window lies behind the start of the one before, as `doc_stride` of
            google-research. A window holds `room = sequence_length - 3 - (tokens of the question)` tokens of the
            context; a stride beyond it counts as `room`, so that no token is left out. In Transformers and tokenizers
            `stride` is the overlap of two windows instead, which is `room - stride`.
        start_id: int, the id of `[CLS]`.
        end_id: int, the id of `[SEP]`.
        pad_id: int, the id after the end.
        max_question_length: int, a longer question is cut at its end. Defaults to 64.

    Returns:
        token_ids: int32 `[W, T]`, the windows of the first question, then those of the second, and so on.
        segment_ids: int32 `[W, T]`: 1 for `window [SEP]`, 0 elsewhere.
        padding_mask: bool `[W, T]`: True for tokens, False for padding.
        example: int32 `[W]`, the row of the batch that a window belongs to.
        context_start: int32 `[W]`, which token of the context is the first of the window.
        is_max_context: bool `[W, T]`: True for a token of the context in the one window that shows the most of the
            context on both of its sides: min(left, right) + 0.01 * (length of the window) is greatest, in the earlier
            window if two are equal. False for all other tokens.

    Raises:
        ValueError: `stride` or `max_question_length` is not positive, or `sequence_length` leaves no room for a token
            of the context beside the longest question.

    Example:
        >>> question, context = tf.ragged.constant([[5, 6]]), tf.ragged.constant([[11, 12, 13, 14, 15]])
        >>> windows = pack_sliding_windows(question, context, 8, 2, 2, 3, pad_id=0, max_question_length=4)
        >>> windows.token_ids.numpy().tolist()  # sequence_length=8, stride=2, start_id=2, end_id=3
        [[2, 5, 6, 3, 11, 12, 13, 3], [2, 5, 6, 3, 13, 14, 15, 3]]

    Reference: google-research/albert, `squad_utils.py`: `convert_examples_to_features`, `_check_is_max_context`.
    """
    if stride < 1 or max_question_length < 1:
        raise ValueError(
            "Expected a positive stride and max_question_length. "
            f"Received: stride={stride}, max_question_length={max_question_length}. Raise them."
        )
    if sequence_length < max_question_length + 4:
        raise ValueError(
            f"Expected sequence_length of at least max_question_length + 4 = {max_question_length + 4}: three special "
            f"tokens and one of the context. Received: sequence_length={sequence_length}. Raise it, or lower "
            "max_question_length."
        )
    question_length = tf.minimum(_row_lengths(question), max_question_length)  # [B]
    context_length = _row_lengths(context)
    room = sequence_length - 3 - question_length
    step = tf.minimum(room, stride)
    windows = 1 + tf.maximum(context_length - room + step - 1, 0) // step  # [B], how many each question has

    example = tf.repeat(tf.range(tf.size(windows)), windows)  # [W]
    number = tf.range(tf.size(example)) - tf.gather(tf.cumsum(windows, exclusive=True), example)  # 0, 1, … of each

    def of_window(per_question: tf.Tensor) -> tf.Tensor:
        return tf.gather(per_question, example)[:, tf.newaxis]  # [W, 1]

    step, room, context_length = of_window(step), of_window(room), of_window(context_length)
    start = number[:, tf.newaxis] * step
    length = tf.minimum(room, context_length - start)

    position = tf.range(sequence_length)[tf.newaxis]  # [1, T]
    first_end = of_window(question_length) + 1
    last_end = first_end + length + 1
    in_context = (position > first_end) & (position < last_end)
    token = start + position - first_end - 1  # [W, T], which token of the context stands here
    token_ids = tf.where(
        in_context,
        _lookup(context, of_window(_row_starts(context)) + token),
        _lookup(question, of_window(_row_starts(question)) + position - 1),
    )
    token_ids = tf.where((position == first_end) | (position == last_end), end_id, token_ids)
    token_ids = tf.where(position == 0, start_id, token_ids)
    padding_mask = position <= last_end

    # From window to window the left side of a token shrinks and its right side grows, so the score rises and then
    # falls: a window that beats both of its neighbours beats all.
    following = start + step
    score = _context_score(token, start, length)
    score_before = _context_score(token, start - step, room)
    score_after = _context_score(token, following, tf.minimum(room, context_length - following))
    is_first, is_last = start == 0, start + length == context_length
    is_max_context = in_context & (is_first | (score > score_before)) & (is_last | (score >= score_after))
    return SlidingWindows(
        token_ids=tf.where(padding_mask, token_ids, pad_id),
        segment_ids=tf.cast((position > first_end) & padding_mask, tf.int32),
        padding_mask=padding_mask,
        example=example,
        context_start=start[:, 0],
        is_max_context=is_max_context,
    )


def _context_score(token: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """A hundred times google-research's score, in whole numbers; -1 for a token that the window does not hold."""
    nearer_side = tf.minimum(token - start, start + length - 1 - token)
    return tf.where(nearer_side >= 0, 100 * nearer_side + length, -1)


def _row_lengths(ids: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ids.row_lengths(), tf.int32)


def _row_starts(ids: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(ids.row_starts(), tf.int32)


def _lookup(ids: tf.RaggedTensor, places: tf.Tensor) -> tf.Tensor:
    """The ids at places of the flat values; a place outside gives some id or 0, which the caller overwrites."""
    values = tf.pad(tf.cast(ids.flat_values, tf.int32), [[0, 1]])  # one more, so that there is something to gather
    return tf.gather(values, tf.clip_by_value(places, 0, tf.size(values) - 1))
