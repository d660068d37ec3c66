"""Tokenized sentences to pairs of segments, `[CLS] A [SEP] B [SEP]`, in order or swapped.

The tokens of a block of lines are one vector, and a segment is a range of it. Where ranges begin and end follows from
the lengths of the sentences, for all documents of the block at once: nothing loops over sentences or tokens.

Shapes: S sentences, T tokens and D documents of a block, E pairs, L the length of a row.
"""

from typing import NamedTuple

import tensorflow as tf

from albert_gpt_tf.data.whole_words import PieceTables

# [CLS], two [SEP], and a piece in each segment.
SHORTEST = 5


class SentencePairs(NamedTuple):
    """Pairs of segments.

    Attributes:
        token_ids: int32 `[E, L]`, `[CLS] first [SEP] second [SEP]` and padding.
        second_begins: int32 `[E]`, the place after the first `[SEP]`.
        length: int32 `[E]`, the tokens of a row without padding.
        sentence_order: int32 `[E]`, 0 if the segments are in the order of the text, 1 if they are swapped.
    """

    token_ids: tf.Tensor
    second_begins: tf.Tensor
    length: tf.Tensor
    sentence_order: tf.Tensor


def sentence_pairs(
    lines: tf.data.Dataset,
    tables: PieceTables,
    sequence_length: int,
    seed: tf.Tensor,
    short_sequence_probability: float = 0.1,
    as_released: bool = False,
) -> tf.data.Dataset:
    """Collects the sentences of each document into pairs of segments.

    Sentences are collected until they have the target number of tokens, `sequence_length - 3`, or the document ends.
    The first of them, a random number, are one segment, the others the second one. Half of the pairs are swapped. What
    is too long loses one token at a time, from the front or the back of the longer segment. A single sentence is parted
    before one of its words; a single word gives no pair.

    Args:
        lines: a dataset of (ids, is_blank): ragged int32 `[lines, None]`, one sentence a line, and bool `[lines]`, True
            for a line that ends a document, which has no ids. Documents may go on in the next element; the last line of
            the dataset must end one. In memory are one element and one pair.
        tables: the `PieceTables` of the vocabulary.
        sequence_length: int, tokens of a row, at least 5.
        seed: int64 `[2]`. All draws follow from it and from the number of the element.
        short_sequence_probability: float, the share of documents whose target is drawn from 2 to `sequence_length - 3`.
            Defaults to 0.1.
        as_released: bool. If True, a single sentence is not parted: the second segment is text of a random document of
            the same element, with the label 1. Defaults to False.

    Returns:
        A dataset of `SentencePairs`, as many as an element of `lines` completes, possibly none.

    Example:

    >>> pairs = sentence_pairs(lines, piece_tables(tokenizer), 128, tf.constant([0, 0], tf.int64))  # doctest: +SKIP

    Reference: ALBERT (https://arxiv.org/abs/1909.11942), section 3.1; google-research/albert
    `create_pretraining_data.py`, `create_instances_from_document`.
    """
    longest = sequence_length - 3
    first_seed, blocks_seed = tf.unstack(tf.random.split(seed))

    def draw_targets(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        choice_seed, length_seed = tf.unstack(tf.random.split(seed))
        is_short = tf.random.stateless_uniform([count], choice_seed) < short_sequence_probability
        return tf.where(is_short, tf.random.stateless_uniform([count], length_seed, 2, longest + 1, tf.int32), longest)

    def pair(state: tuple, element: tuple) -> tuple[tuple, SentencePairs]:
        rest_tokens, rest_lengths, rest_target = state
        number, (ids, is_blank) = element
        seeds = tf.unstack(tf.random.split(tf.random.fold_in(blocks_seed, number), 6))
        # What the last element left over belongs to document 0, as do the lines before the first blank one.
        line_lengths = tf.cast(ids.row_lengths(), tf.int32)
        has_tokens = line_lengths > 0
        document = tf.boolean_mask(tf.cumsum(tf.cast(is_blank, tf.int32)), has_tokens)
        document = tf.concat([tf.zeros_like(rest_lengths), document], 0)  # [S]
        lengths = tf.concat([rest_lengths, tf.boolean_mask(line_lengths, has_tokens)], 0)  # [S]
        tokens = tf.concat([rest_tokens, ids.flat_values], 0)  # [T]
        blank_count = tf.reduce_sum(tf.cast(is_blank, tf.int32))
        targets = tf.concat([[rest_target], draw_targets(blank_count, seeds[0])], 0)  # [D]

        begins = tf.pad(tf.cumsum(lengths), [[1, 0]])  # [S + 1]: where sentences begin, and where the last one ends
        target = tf.gather(targets, document)  # [S]
        chunk_begins, chunk_ends, rest = _chunks(begins, document, target, open_document=blank_count)
        rest_state = (tokens[begins[rest] :], lengths[rest:], targets[-1])

        single = chunk_ends - chunk_begins == 1  # [E], as all below
        begin, end = tf.gather(begins, chunk_begins), tf.gather(begins, chunk_ends)
        share = tf.random.stateless_uniform(tf.shape(begin), seeds[1])
        middle = tf.gather(begins, chunk_begins + 1 + _pick(share, tf.maximum(chunk_ends - chunk_begins - 1, 1)))
        swapped = tf.random.stateless_uniform(tf.shape(begin), seeds[2]) < 0.5
        if as_released:
            rooms = tf.gather(target, chunk_begins) - (end - begin)
            other_begin, other_end = _other_documents(begins, document, chunk_begins, rooms, seeds[3], seeds[4])
            ranges = [(begin, tf.where(single, end, middle)),
                      (tf.where(single, other_begin, middle), tf.where(single, other_end, end))]  # fmt: skip
            order = tf.cast(swapped | single, tf.int32)
            swapped &= ~single
            kept = tf.ones_like(single)
        else:
            word_middle, has_two_words = _word_inside(tokens, begin, end, share, tables)
            middle = tf.where(single, word_middle, middle)
            ranges = [(begin, middle), (middle, end)]
            order = tf.cast(swapped, tf.int32)
            kept = ~single | has_two_words
        first = [tf.where(swapped, b, a) for a, b in zip(*ranges, strict=True)]
        second = [tf.where(swapped, a, b) for a, b in zip(*ranges, strict=True)]
        first, second, order = (tf.boolean_mask(values, kept, axis=axis)
                                for values, axis in ((first, 1), (second, 1), (order, 0)))  # fmt: skip
        (first_begin, first_length), (second_begin, second_length) = _truncate(first, second, longest, seeds[5])
        rows = _pack(tokens, first_begin, first_length, second_begin, second_length, sequence_length, tables)
        return rest_state, SentencePairs(rows, first_length + 2, first_length + second_length + 3, order)

    nothing = tf.zeros([0], tf.int32)
    first_target = draw_targets(tf.constant(1), first_seed)[0]
    return lines.enumerate().scan((nothing, nothing, first_target), pair)


def _chunks(
    begins: tf.Tensor, document: tf.Tensor, target: tf.Tensor, open_document: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The first sentences of all chunks `[E]`, those after their last ones `[E]`, and the first that is left over."""
    count = tf.size(document)
    # Where a chunk would end if one began at a sentence: past the last sentence if the target is never reached.
    reached = tf.searchsorted(begins, begins[:-1] + target)
    ends = tf.minimum(reached, tf.searchsorted(document, document, side="right"))  # [S]
    is_open = (document == open_document) & (reached > count)

    # From the beginnings of documents, the end of each chunk is the beginning of the next. Steps are doubled, so that
    # all chunks are found in log2(S) rounds.
    is_first = tf.concat([tf.ones_like(document[:1]), tf.cast(document[1:] != document[:-1], tf.int32), [0]], 0)

    def double(size: tf.Tensor, begun: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        begun = tf.maximum(begun, tf.math.unsorted_segment_max(begun, steps, count + 1))
        return 2 * size, begun, tf.gather(steps, steps)

    state = (tf.constant(1), is_first, tf.concat([ends, [count]], 0))  # [S + 1]
    _, begun, _ = tf.while_loop(lambda size, *_: size <= count, double, state)
    is_begun = begun[:-1] > 0
    chunk_begins = tf.cast(tf.where(is_begun & ~is_open)[:, 0], tf.int32)
    left_over = tf.cast(tf.where(is_begun & is_open)[:, 0], tf.int32)
    return chunk_begins, tf.gather(ends, chunk_begins), tf.reduce_min(tf.concat([left_over, [count]], 0))


def _pick(share: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """A whole number from 0 to count - 1, for a number from 0 to 1."""
    return tf.minimum(tf.cast(share * tf.cast(count, tf.float32), tf.int32), count - 1)


def _word_inside(
    tokens: tf.Tensor, begin: tf.Tensor, end: tf.Tensor, share: tf.Tensor, tables: PieceTables
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random place between begin and end where a word begins, and whether there is one, both `[E]`."""
    words = tf.cast(tf.where(tf.gather(tables.begins_word, tokens))[:, 0], tf.int32)
    least = tf.searchsorted(words, begin, side="right")
    count = tf.searchsorted(words, end) - least
    chosen = least + _pick(share, tf.maximum(count, 1))
    return tf.gather(tf.concat([words, [0, 0]], 0), chosen), count > 0


def _other_documents(
    begins: tf.Tensor,
    document: tf.Tensor,
    chunk_begins: tf.Tensor,
    rooms: tf.Tensor,
    document_seed: tf.Tensor,
    sentence_seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Text from a random sentence of a random other document on, until it fills the room, as a range of tokens."""
    _, ranks, counts = tf.unique_with_counts(document)  # [S], [D']
    ends = tf.cumsum(counts)
    others = tf.size(counts) - 1  # the only document has to do for itself, as in the release
    shape = tf.shape(chunk_begins)
    chosen = _pick(tf.random.stateless_uniform(shape, document_seed), tf.fill(shape, tf.maximum(others, 1)))
    chosen = tf.minimum(chosen + tf.cast(chosen >= tf.gather(ranks, chunk_begins), tf.int32), others)
    count, last = tf.gather(counts, chosen), tf.gather(ends, chosen)
    sentence = last - count + _pick(tf.random.stateless_uniform(shape, sentence_seed), count)
    begin = tf.gather(begins, sentence)
    end = tf.minimum(tf.searchsorted(begins, begin + tf.maximum(rooms, 1)), last)
    return begin, tf.gather(begins, end)


def _truncate(first: tf.Tensor, second: tf.Tensor, longest: int, seed: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Begins and lengths of two segments, from begins and ends `[2, E]`, so that both have `longest` tokens at most.

    Taking one token at a time from the longer segment, the second one if they are equal, leaves these lengths; of the
    tokens taken, a binomial number is from the front.
    """
    first_length, second_length = first[1] - first[0], second[1] - second[0]
    keep_first = tf.minimum(first_length, tf.maximum((longest + 1) // 2, longest - second_length))
    keep_second = tf.minimum(second_length, longest - keep_first)
    lengths = tf.stack([first_length, second_length])
    keeps = tf.stack([keep_first, keep_second])
    surplus = tf.cast(lengths - keeps, tf.float32)
    from_front = tf.random.stateless_binomial(tf.shape(surplus), seed, surplus, 0.5)  # [2, E]
    return [(first[0] + from_front[0], keep_first), (second[0] + from_front[1], keep_second)]


def _pack(
    tokens: tf.Tensor,
    first_begin: tf.Tensor,
    first_length: tf.Tensor,
    second_begin: tf.Tensor,
    second_length: tf.Tensor,
    sequence_length: int,
    tables: PieceTables,
) -> tf.Tensor:
    """Rows `[E, L]` of two ranges of the tokens."""
    first_begin, first_length, second_begin, second_length = (
        values[:, tf.newaxis] for values in (first_begin, first_length, second_begin, second_length)
    )
    place = tf.range(sequence_length)[tf.newaxis]  # [1, L]
    first_end = first_length + 1
    last_end = first_end + second_length + 1
    source = tf.where(place < first_end, first_begin + place - 1, second_begin + place - first_end - 1)
    rows = tf.gather(tokens, tf.clip_by_value(source, 0, tf.maximum(tf.size(tokens) - 1, 0)))
    rows = tf.where((place == first_end) | (place == last_end), tables.sep_id, rows)
    rows = tf.where(place == 0, tables.cls_id, rows)
    return tf.where(place <= last_end, rows, tables.pad_id)
