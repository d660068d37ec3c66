"""Answers as spans: from characters of a context to positions in its windows, and from logits to the best span.

Shapes: B questions, W windows of all of them, T positions of a row, L = max_answer_length.
"""

import numpy as np
import tensorflow as tf

from albert_gpt_tf.text.sliding_windows import SlidingWindows

# The logit of a position where an answer can neither start nor end. Finite, so that no row gives NaN.
IMPOSSIBLE = -1e9
# Rows are as long as the longest window needs, to a multiple of this, so that there are few shapes.
LENGTH_STEP = 64


def context_mask(ids: dict[str, tf.Tensor]) -> tf.Tensor:
    """True for the tokens of the context: a dict of ids [W, T] -> bool [W, T]."""
    mask = tf.cast(ids["padding_mask"], "bool")
    # The last real token is the separator after the context.
    is_followed = tf.concat([mask[:, 1:], tf.zeros_like(mask[:, :1])], 1)
    return tf.equal(ids["segment_ids"], 1) & mask & is_followed


def nth(rows: tf.RaggedTensor, index: tf.Tensor) -> tf.Tensor:
    """One value of each row: ragged int32 [B, (length)], int32 [B] -> int32 [B], 0 outside of a row."""
    values = tf.pad(rows.flat_values, [[0, 1]])  # one more, so that there is something to gather
    is_inside = (index >= 0) & (index < tf.cast(rows.row_lengths(), tf.int32))
    places = tf.where(is_inside, tf.cast(rows.row_starts(), tf.int32) + index, tf.size(values) - 1)
    return tf.gather(values, places)


def trim_windows(windows: SlidingWindows) -> SlidingWindows:
    """Cuts off columns at the end that are padding in every window, to a multiple of `LENGTH_STEP` columns."""
    longest = tf.reduce_max(tf.math.count_nonzero(windows.padding_mask, -1, dtype=tf.int32))
    # Without windows the maximum is the least int32.
    length = (tf.maximum(longest, 1) + LENGTH_STEP - 1) // LENGTH_STEP * LENGTH_STEP
    names = ("token_ids", "segment_ids", "padding_mask", "is_max_context")
    return windows._replace(**{name: getattr(windows, name)[:, :length] for name in names})


# === From characters to positions ===


def tokens_of_span(
    context: tf.Tensor, start: tf.Tensor, end: tf.Tensor, token_starts: tf.RaggedTensor, token_ends: tf.RaggedTensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The tokens that hold a span of characters.

    A token that the span begins or ends within counts whole: the tokens may hold a few characters more than the span.

    Args:
        context: strings [B].
        start: int32 [B], the first character of the span.
        end: int32 [B], the character after its last.
        token_starts: ragged int32 [B, None], the first byte of each token of the context.
        token_ends: ragged int32 [B, None], the byte after its last.

    Returns:
        first, last: int32 [B], indices of tokens; -1 and -1 where no token holds a part of the span.

    Example:
        >>> ids, starts, ends = tokenizer.tokenize_with_offsets(["die Über-Maus"])
        >>> first, last = tokens_of_span(tf.constant(["die Über-Maus"]), [4], [8], starts, ends)

    Reference: google-research/albert, `squad_utils.py`: `_convert_index`, which aligns by edit distance instead.
    """
    start, end = tf.cast(start, tf.int32), tf.cast(end, tf.int32)
    nothing = tf.zeros_like(start)

    def bytes_before(character):
        before = tf.strings.substr(context, nothing, tf.maximum(character, 0), unit="UTF8_CHAR")
        return tf.strings.length(before)[:, tf.newaxis]  # [B, 1]

    # A lone space symbol has no byte, and is no part of any span.
    touches = (token_ends > bytes_before(start)) & (token_starts < bytes_before(end)) & (token_ends > token_starts)
    touches = touches.with_flat_values(tf.cast(touches.flat_values, tf.int32))
    index = tf.ragged.range(tf.cast(touches.row_lengths(), tf.int32), row_splits_dtype=tf.int64)
    highest = tf.int32.max
    first = tf.reduce_min(index * touches + highest * (1 - touches), 1)
    last = tf.reduce_max((index + 1) * touches, 1) - 1  # of an empty row: the least int32, minus one
    is_held = (tf.reduce_max(touches, 1) > 0) & (end > start)
    return tf.where(is_held, first, -1), tf.where(is_held, last, -1)


def positions_in_windows(
    windows: SlidingWindows, first: tf.Tensor, last: tf.Tensor, has_answer: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Where the answer of each window starts and ends, as targets.

    Args:
        windows: see `pack_sliding_windows`.
        first: int32 [B], the first token of the answer in the context; -1 if there is none.
        last: int32 [B], the last one.
        has_answer: bool [B], whether the question has an answer.

    Returns:
        A dict of `start` and `end`, int32 [W]: positions in the row; 0, which is `[CLS]`, in a window without the whole
        answer; -1, which has no weight, if there is an answer but no token that holds it.
    """
    in_context = context_mask(windows._asdict())
    length = tf.math.count_nonzero(in_context, -1, dtype=tf.int32)  # [W]
    offset = tf.argmax(in_context, -1, output_type=tf.int32) - windows.context_start
    first, last = tf.gather(first, windows.example), tf.gather(last, windows.example)
    is_inside = (first >= windows.context_start) & (last < windows.context_start + length)
    outside = tf.where(tf.gather(has_answer, windows.example) & (first < 0), -1, 0)
    return {
        "start": tf.where(is_inside, first + offset, outside),
        "end": tf.where(is_inside, last + offset, outside),
    }


# === From logits to spans ===


def best_spans(
    context: tf.Tensor,
    windows: SlidingWindows,
    logits: dict[str, tf.Tensor],
    token_starts: tf.RaggedTensor,
    token_ends: tf.RaggedTensor,
    max_answer_length: int,
) -> dict[str, tf.Tensor]:
    """The best span of each context, as graph operations.

    The score of a span is the sum of two logits, and the best of all windows is taken; a span starts only in the window
    that shows the most of the context around its start. No answer has the score of `[CLS]` in the window where it is
    least. Probabilities are those of the start times those of the end, over all windows and no answer.

    Args:
        context: strings [B].
        windows: see `pack_sliding_windows`.
        logits: dict of `start` and `end`, float32 [W, T].
        token_starts, token_ends: ragged int32 [B, None], the bytes of each token of the context.
        max_answer_length: int, tokens of a span at most.

    Returns:
        `answer` string [B], `start` and `end` int32 [B] in characters, `score` and `no_answer_score` float32 [B]: see
        `AlbertQuestionAnswerer.answer`. `no_answer_log_odds` float32 [B], log(no_answer_score / score), which is
        SQuAD's null score difference; 1e9 without a token of the context.

    Reference: google-research/albert, `squad_utils.py`: `write_predictions_v1`.
    """
    start, end = logits["start"], logits["end"]
    example, count = windows.example, tf.size(context)
    in_context, may_start, offset = _places(windows)
    scores = span_scores(start, end, may_start, in_context, max_answer_length)  # [W, T, L]
    scores = tf.reshape(scores, [tf.size(example), tf.shape(start)[1] * max_answer_length])
    of_window = tf.reduce_max(scores, -1)
    window = best_windows(of_window, example, count)  # [B]
    best_score = tf.gather(of_window, window)
    has_span = best_score > 3 * IMPOSSIBLE
    best = tf.gather(tf.argmax(scores, -1, output_type=tf.int32), window)

    # From positions in the row to tokens of the context, and from these to bytes and characters.
    token = best // max_answer_length + tf.gather(offset, window)
    first_byte = tf.where(has_span, nth(token_starts, token), 0)
    end_byte = tf.where(has_span, nth(token_ends, token + best % max_answer_length), 0)
    answer = tf.strings.substr(context, first_byte, end_byte - first_byte)
    before = tf.strings.substr(context, tf.zeros_like(first_byte), first_byte)
    characters_before = tf.strings.length(before, unit="UTF8_CHAR")

    none_score, log_sum = _no_answer(start, end, may_start, in_context, example, count)
    return {
        "answer": tf.strings.unicode_transcode(answer, "UTF-8", "UTF-8"),  # malformed bytes are replaced
        "start": characters_before,
        "end": characters_before + tf.strings.length(answer, unit="UTF8_CHAR"),
        "score": tf.where(has_span, tf.exp(best_score - log_sum), 0.0),
        "no_answer_score": tf.exp(none_score - log_sum),
        "no_answer_log_odds": tf.where(has_span, none_score - best_score, -IMPOSSIBLE),
    }


def top_spans(
    context: tf.Tensor,
    windows: SlidingWindows,
    logits: dict[str, tf.Tensor],
    token_starts: tf.RaggedTensor,
    token_ends: tf.RaggedTensor,
    max_answer_length: int,
    top: int,
) -> list[dict]:
    """The best spans of one context, in Python.

    Args:
        context: strings [1]; the others as for `best_spans`.
        top: int, spans at most.

    Returns:
        A list of dicts of `answer` (str), `start`, `end` (int, characters) and `score` (float), the best first.
    """
    start, end = logits["start"], logits["end"]
    in_context, may_start, offset = _places(windows)
    scores = span_scores(start, end, may_start, in_context, max_answer_length).numpy()
    _, log_sum = _no_answer(start, end, may_start, in_context, windows.example, 1)
    best = np.argsort(-scores, axis=None, kind="stable")[:top]
    best = best[scores.ravel()[best] > 3 * IMPOSSIBLE]
    window, first, length = np.unravel_index(best, scores.shape)
    token = first + offset.numpy()[window]
    data, spans = context.numpy()[0], []
    for place, of_first, of_last in zip(best, token, token + length, strict=True):
        first_byte, end_byte = int(token_starts[0, of_first]), int(token_ends[0, of_last])
        answer, before = (part.decode(errors="replace") for part in (data[first_byte:end_byte], data[:first_byte]))
        score = float(np.exp(scores.ravel()[place] - log_sum[0]))
        spans.append({"answer": answer, "start": len(before), "end": len(before) + len(answer), "score": score})
    return spans


def _places(windows):
    """Where a span may end and start, bool [W, T]; the token of the context at position 0 of each row, if it went so
    far, int32 [W]."""
    in_context = context_mask(windows._asdict())
    offset = windows.context_start - tf.argmax(in_context, -1, output_type=tf.int32)
    return in_context, in_context & windows.is_max_context, offset


def _no_answer(start, end, may_start, in_context, example, count):
    """The score of no answer, and the log of the sum over all starts and ends: float32 [B] each."""
    of_none = start[:, 0] + end[:, 0]
    window = best_windows(-of_none, example, count)
    log_sum = log_sum_over_windows(start, may_start, example, tf.gather(start[:, 0], window), count)
    log_sum += log_sum_over_windows(end, in_context, example, tf.gather(end[:, 0], window), count)
    return tf.gather(of_none, window), log_sum


def span_scores(
    start: tf.Tensor, end: tf.Tensor, may_start: tf.Tensor, may_end: tf.Tensor, max_answer_length: int
) -> tf.Tensor:
    """The score of every span, the sum of two logits.

    Args:
        start: float32 [W, T], logits.
        end: float32 [W, T], logits.
        may_start: bool [W, T].
        may_end: bool [W, T].
        max_answer_length: int, L, tokens of a span at most.

    Returns:
        float32 [W, T, L]: of the span from position t to t + l; about `4 * IMPOSSIBLE` where there cannot be one.
    """
    length = tf.shape(start)[1]
    ends = tf.range(length)[:, tf.newaxis] + tf.range(max_answer_length)[tf.newaxis]  # [T, L]
    is_inside = ends < length
    ends = tf.minimum(ends, length - 1)
    is_span = may_start[:, :, tf.newaxis] & tf.gather(may_end, ends, axis=1) & is_inside
    return tf.where(is_span, start[:, :, tf.newaxis] + tf.gather(end, ends, axis=1), 4 * IMPOSSIBLE)


def best_windows(scores: tf.Tensor, example: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The first window with the highest score of each question: float [W], int32 [W], B -> int32 [B]."""
    highest = tf.math.unsorted_segment_max(scores, example, count)
    window = tf.range(tf.size(example))
    is_best = scores >= tf.gather(highest, example)
    return tf.math.unsorted_segment_min(tf.where(is_best, window, tf.int32.max), example, count)


def log_sum_over_windows(
    logits: tf.Tensor, mask: tf.Tensor, example: tf.Tensor, more: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """The log of the sum of exponentials over all windows of a question.

    Args:
        logits: float32 [W, T].
        mask: bool [W, T], what counts.
        example: int32 [W].
        more: float32 [B], one more logit of each question.
        count: int, B.

    Returns:
        float32 [B].
    """
    highest = tf.reduce_max(tf.where(mask, logits, IMPOSSIBLE), -1)
    highest = tf.maximum(tf.math.unsorted_segment_max(highest, example, count), more)
    parts = tf.exp(tf.where(mask, logits - tf.gather(highest, example)[:, tf.newaxis], IMPOSSIBLE))
    total = tf.math.unsorted_segment_sum(tf.reduce_sum(parts, -1), example, count)
    return highest + tf.math.log(total + tf.exp(more - highest))
