"""Clean text and split it into words as BERT does, on integers, without a regular expression.

The batch becomes one vector of code points. Tables say what each of them becomes (see `bert_classes.py`); the borders
of the words follow from comparing neighbours. Every character remembers the bytes of the text it came from.

Malformed UTF-8 is legal: like NUL, U+FFFD and control characters, it vanishes.

Shapes: R rows, N characters of the text, C characters that are left, W words, T tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from albert_gpt_tf.text.bert_classes import (
    CODE_POINTS,
    DROPPED,
    EXPANDED,
    ISOLATED,
    PAGE,
    SPACE,
    character_table,
    to_pages,
)

_KIND_BITS = 3
_KIND_MASK = (1 << _KIND_BITS) - 1


class Words(NamedTuple):
    """The words of a batch.

    Attributes:
        characters: int32 `[C]`, the code points of all words, one word after the other. `CODE_POINTS + s` is a word of
            its own: the special token number s.
        is_start: bool `[C]`, whether a word starts at the character.
        word_starts: int64 `[W]`, the places of these.
        row_splits: int64 `[R + 1]`, the words of each row.
        source_starts, source_ends: int32 `[C]`, the bytes of its row that a character stands for.
    """

    characters: tf.Tensor
    is_start: tf.Tensor
    word_starts: tf.Tensor
    row_splits: tf.Tensor
    source_starts: tf.Tensor
    source_ends: tf.Tensor

    def word_lengths(self) -> tf.Tensor:
        """The number of characters of each word: int64 `[W]`."""
        return tf.concat([self.word_starts[1:], [tf.size(self.characters, tf.int64)]], 0) - self.word_starts

    def encode_utf8(self, characters: tf.Tensor) -> tf.Tensor:
        """The words as strings `[W]`, with `characters` (int32 `[C]`) for their characters."""
        splits = tf.concat([self.word_starts, [tf.size(characters, tf.int64)]], 0)
        words = tf.RaggedTensor.from_row_splits(characters, splits, validate=False)
        return tf.strings.unicode_encode(words, "UTF-8")

    def by_row(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """The tokens of each word, `[W, None]`, as the tokens of each row, `[R, None]`."""
        row_splits = tf.gather(tokens.row_splits, self.row_splits)
        return tf.RaggedTensor.from_row_splits(tokens.flat_values, row_splits, validate=False)

    def source_spans(self, token_lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The bytes of the text that tokens stand for.

        Args:
            token_lengths: int64 `[T]`, how many characters each token has, all words' tokens one after the other.

        Returns:
            starts, ends: int32 `[T]`. A token that is a part of an expanded character has all bytes of that character.
        """
        limits = tf.cumsum(token_lengths)
        return tf.gather(self.source_starts, limits - token_lengths), tf.gather(self.source_ends, limits - 1)


class BertSplitter(tf.Module):
    """Cleans a batch of texts and splits it into words, as BertNormalizer and BertPreTokenizer of `tokenizers` do.

    The order of neighbouring combining marks is kept as typed. `tokenizers` sorts them (NFD); most are dropped right
    after, but among those added to Unicode since version 8 about 90 are not, and can come in another order there. No
    released vocabulary has any of them, so no id changes.

    Args:
        lowercase: bool, whether to lower-case and strip accents (together, as in BERT's `do_lower_case`).
        special_tokens: sequence of str: where the raw text holds one of them, it becomes a word of its own. The
            leftmost counts, then the longest. Defaults to none.

    Example:
        >>> words = BertSplitter(lowercase=True).split(tf.constant(["Ça va?"]))
        >>> words.encode_utf8(words.characters).numpy().tolist()
        [b'ca', b'va', b'?']

    Reference: BERT (https://arxiv.org/abs/1810.04805), google-research/bert `tokenization.BasicTokenizer`; the rules
    for each character are those of huggingface/tokenizers.
    """

    def __init__(self, lowercase: bool, special_tokens: Sequence[str] = ()) -> None:
        super().__init__()
        kinds, replacements, expansions = character_table(lowercase)
        shifts = replacements - np.arange(CODE_POINTS, dtype=np.int32)
        expanded = np.zeros((len(expansions) + 1, max(map(len, expansions.values()), default=1)), np.int32)
        for index, (code, characters) in enumerate(expansions.items()):
            expanded[index, : len(characters)] = characters
            shifts[code] = index
        starts, entries = to_pages((shifts << _KIND_BITS) | kinds)
        with tf.init_scope(), tf.device("cpu"):
            self._page_starts = tf.constant(starts)
            self._entries = tf.constant(entries)
            self._expanded = tf.constant(expanded)
            self._expanded_lengths = tf.math.count_nonzero(self._expanded, 1, dtype=tf.int32)
            self._special_tokens = _SpecialTokens(special_tokens) if special_tokens else None

    def split(self, rows: tf.Tensor) -> Words:
        """Splits every row into its words.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            The words.
        """
        codes, offsets = tf.strings.unicode_decode_with_offsets(rows, "UTF-8")
        row_ids = codes.value_rowids()  # [N]
        row_limits = codes.row_limits()
        starts = tf.cast(offsets.flat_values, tf.int32)
        codes = codes.flat_values
        ends = starts + 1 + sum(tf.cast(codes >= first, tf.int32) for first in (0x80, 0x800, 0x10000))

        page = tf.gather(self._page_starts, tf.bitwise.right_shift(codes, PAGE.bit_length() - 1))
        entries = tf.gather(self._entries, page + tf.bitwise.bitwise_and(codes, PAGE - 1))
        kinds = tf.bitwise.bitwise_and(entries, _KIND_MASK)
        shifts = tf.bitwise.right_shift(entries, _KIND_BITS)
        characters = tf.where(kinds == EXPANDED, shifts, codes + shifts)
        if self._special_tokens is not None:
            # A special token is one character, at its first place; the others vanish.
            first, last, number = self._special_tokens.find(codes, row_ids, row_limits)
            inside = tf.ragged.range(first, last + 1).flat_values
            kinds = _put(_put(kinds, inside, DROPPED), first, ISOLATED)
            characters = tf.tensor_scatter_nd_update(characters, first[:, tf.newaxis], CODE_POINTS + number)
            ends = tf.tensor_scatter_nd_update(ends, first[:, tf.newaxis], tf.gather(ends, last))

        # Two characters are of one word unless white space, or the end of a row, is between them.
        gap = row_ids + tf.cumsum(tf.cast(kinds == SPACE, tf.int64))
        kept = tf.where((kinds != SPACE) & (kinds != DROPPED))[:, 0]  # [C]
        characters, kinds, gap, starts, ends, row_ids = (
            tf.gather(values, kept) for values in (characters, kinds, gap, starts, ends, row_ids)
        )
        alone = kinds == ISOLATED
        is_start = (gap[1:] != gap[:-1]) | alone[1:] | alone[:-1]
        is_start = tf.concat([tf.ones_like(alone[:1]), is_start], 0)

        is_expanded = kinds == EXPANDED
        characters, is_start, starts, ends, row_ids = tf.cond(
            tf.reduce_any(is_expanded),
            lambda: self._expand(is_expanded, characters, is_start, starts, ends, row_ids),
            lambda: (characters, is_start, starts, ends, row_ids),
        )
        word_starts = tf.where(is_start)[:, 0]
        row_splits = tf.searchsorted(tf.gather(row_ids, word_starts), tf.range(tf.size(rows, tf.int64) + 1))
        return Words(characters, is_start, word_starts, tf.cast(row_splits, tf.int64), starts, ends)

    def _expand(
        self, is_expanded: tf.Tensor, characters: tf.Tensor, is_start: tf.Tensor, *others: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Replaces EXPANDED characters, whose place in the table is in `characters`, by what they become."""
        index = tf.where(is_expanded, characters, tf.shape(self._expanded)[0] - 1)  # the last stands for all others
        lengths = tf.where(is_expanded, tf.gather(self._expanded_lengths, index), 1)
        source = tf.repeat(tf.range(tf.size(index)), lengths)
        place = tf.range(tf.size(source)) - tf.gather(tf.cumsum(lengths, exclusive=True), source)
        expanded = tf.gather_nd(self._expanded, tf.stack([tf.gather(index, source), place], 1))
        characters = tf.where(tf.gather(is_expanded, source), expanded, tf.gather(characters, source))
        is_start = tf.gather(is_start, source) & (place == 0)
        return characters, is_start, *(tf.gather(values, source) for values in others)


class _SpecialTokens(tf.Module):
    """Finds special tokens in code points."""

    def __init__(self, tokens: Sequence[str]) -> None:
        super().__init__()
        # The longest first, so that the first match is the one that counts.
        order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
        lengths = [len(tokens[index]) for index in order]
        patterns = np.full((len(tokens), lengths[0]), -1, np.int32)
        for row, index in enumerate(order):
            patterns[row, : lengths[row]] = [ord(char) for char in tokens[index]]
        self._order = tf.constant(order, tf.int32)
        self._lengths = tf.constant(lengths, tf.int64)
        self._patterns = tf.constant(patterns)  # [S, L]
        self._first = sorted(set(patterns[:, 0].tolist()))

    def find(
        self, codes: tf.Tensor, row_ids: tf.Tensor, row_limits: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Finds all tokens.

        Returns:
            first, last: int64 `[K]`, the places of their first and last characters.
            number: int32 `[K]`, which tokens they are.
        """
        may_start = tf.zeros_like(codes, tf.bool)
        for first in self._first:
            may_start |= codes == first
        places = tf.where(may_start)[:, 0]  # [K]
        window = places[:, tf.newaxis] + tf.range(tf.shape(self._patterns)[1], dtype=tf.int64)  # [K, L]
        inside = window < tf.gather(row_limits, tf.gather(row_ids, places))[:, tf.newaxis]
        text = tf.where(inside, tf.gather(codes, tf.where(inside, window, 0)), -2)
        pattern = self._patterns[tf.newaxis]  # [1, S, L]
        matches = tf.reduce_all((text[:, tf.newaxis] == pattern) | (pattern == -1), 2)  # [K, S]
        is_match = tf.reduce_any(matches, 1)
        places = tf.boolean_mask(places, is_match)
        token = tf.argmax(tf.cast(tf.boolean_mask(matches, is_match), tf.int32), 1)
        ends = places + tf.gather(self._lengths, token)

        # A match that begins inside an earlier one does not count. From each match one goes on to the next that begins
        # after its end; those that count are the ones reached from the first. Doubling the stride reaches all of them.
        count = tf.size(places)
        following = tf.concat([tf.searchsorted(places, ends), [count]], 0)  # [K + 1], the last is the end of the text
        reached = tf.scatter_nd([[0]], [1], [count + 1])
        _, reached = tf.while_loop(
            lambda following, reached: following[0] < count,
            lambda following, reached: (
                tf.gather(following, following),
                tf.maximum(reached, tf.math.unsorted_segment_max(reached, following, count + 1)),
            ),
            (following, reached),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
        )
        counts = reached[:-1] > 0
        places, ends, token = (tf.boolean_mask(values, counts) for values in (places, ends, token))
        return places, ends - 1, tf.gather(self._order, token)


def _put(values: tf.Tensor, places: tf.Tensor, value: int) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(values, places[:, tf.newaxis], tf.fill(tf.shape(places), value))
