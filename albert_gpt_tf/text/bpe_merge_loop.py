"""BPE merges as a loop of TensorFlow ops, for any list of merges.

It does what `tokenizers` does with one piece of text, for many pieces at once: of the pairs of neighbours that are
listed, merge the one of lowest rank, the leftmost of these first, until none is listed.

Shapes: U pieces, M bytes of all pieces, A symbols of the pieces that still have something to merge.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from albert_gpt_tf.text.byte_pair_vocabulary import BytePairVocabulary

_NOT_LISTED = np.iinfo(np.int32).max  # the rank of pairs that are in no merge


class BPEMergeLoop(tf.Module):
    """Merges the bytes of pieces into tokens.

    It takes as many rounds as the longest piece has different merges: no matter for text, but half a minute for 200,000
    random letters without a blank, where SentencePiece takes half a second.

    Args:
        vocabulary: BytePairVocabulary with at least one merge.

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
        >>> vocabulary = BytePairVocabulary.from_tables(*train_byte_level_bpe(["to be or not to be"] * 9, 260))
        >>> BPEMergeLoop(vocabulary)(tf.constant(["to"])).to_list() == [[vocabulary.ids["to"]]]
        True

    Reference: Neural Machine Translation of Rare Words with Subword Units (https://arxiv.org/abs/1508.07909).
    """

    def __init__(self, vocabulary: BytePairVocabulary) -> None:
        super().__init__()
        size = len(vocabulary.tokens)
        pairs = [(vocabulary.ids[left], vocabulary.ids[right]) for left, right in vocabulary.ranks]
        ranks = list(vocabulary.ranks.values())
        results = np.zeros(len(vocabulary.merges), np.int32)
        results[ranks] = [vocabulary.ids[left + right] for left, right in vocabulary.ranks]
        at_once = _may_merge_at_once(pairs, ranks, results, size)
        self._all_at_once = bool(at_once[ranks].all())
        with tf.init_scope(), tf.device("cpu"):
            self._size = tf.constant(size, tf.int64)
            self._byte_ids = tf.constant(vocabulary.byte_ids, tf.int32)
            self._ranks = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([left * size + right for left, right in pairs], tf.int64), tf.constant(ranks, tf.int32)
                ),
                default_value=_NOT_LISTED,
            )
            self._results = tf.constant(results)  # by rank
            self._at_once = tf.constant(at_once)

    def __call__(self, pieces: tf.Tensor) -> tf.RaggedTensor:
        """Turns each piece into ids.

        Args:
            pieces: strings of shape `[U]`. Bytes that the vocabulary lacks are dropped before anything is merged.

        Returns:
            int32 ids of shape `[U, None]`.
        """
        count = tf.size(pieces)
        data = tf.io.decode_raw(tf.strings.reduce_join(pieces), tf.uint8)
        symbols = tf.gather(self._byte_ids, tf.cast(data, tf.int32))
        owners = tf.repeat(tf.range(count), tf.strings.length(pieces))  # the piece of each byte
        symbols, owners = tf.boolean_mask(symbols, symbols >= 0), tf.boolean_mask(owners, symbols >= 0)  # [M]
        places = tf.range(tf.size(symbols))
        # A symbol keeps the place of its first byte; -1 marks the places in between.
        final = tf.fill(tf.shape(symbols), -1)
        unknown = tf.TensorShape([None])
        _, _, _, final = tf.while_loop(
            lambda symbols, owners, places, final: tf.size(symbols) > 0,
            lambda symbols, owners, places, final: self._round(symbols, owners, places, final, count),
            [symbols, owners, places, final],
            shape_invariants=[unknown] * 4,
        )
        is_token = final >= 0
        return tf.RaggedTensor.from_value_rowids(
            tf.boolean_mask(final, is_token),
            tf.cast(tf.boolean_mask(owners, is_token), tf.int64),
            nrows=tf.cast(count, tf.int64),
            validate=False,
        )

    def _round(
        self, symbols: tf.Tensor, owners: tf.Tensor, places: tf.Tensor, final: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges the pair of lowest rank in each piece; pieces with none move to `final`."""
        pair = tf.cast(symbols[:-1], tf.int64) * self._size + tf.cast(symbols[1:], tf.int64)
        rank = tf.where(owners[:-1] == owners[1:], self._ranks.lookup(pair), _NOT_LISTED)
        rank = tf.concat([rank, [_NOT_LISTED]], 0)  # of each symbol with the next one, [A]
        lowest = tf.gather(tf.math.unsorted_segment_min(rank, owners, count), owners)
        is_hit = (rank == lowest) & (rank != _NOT_LISTED)

        # In "aaa" the pair (a, a) is there twice, but can be merged once: take every second one of a run.
        index = tf.range(tf.size(symbols))
        is_first = is_hit & ~tf.pad(is_hit, [[1, 0]])[:-1]
        run = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
        begin = tf.gather(tf.boolean_mask(index, is_first), tf.boolean_mask(run, is_hit))
        hit = tf.boolean_mask(index, is_hit)
        hit = tf.boolean_mask(hit, (hit - begin) % 2 == 0)
        if not self._all_at_once:
            owner = tf.gather(owners, hit)
            leftmost = tf.gather(tf.math.unsorted_segment_min(hit, owner, count), owner) == hit
            hit = tf.boolean_mask(hit, leftmost | tf.gather(self._at_once, tf.gather(rank, hit)))
        symbols = tf.tensor_scatter_nd_update(
            symbols, hit[:, tf.newaxis], tf.gather(self._results, tf.gather(rank, hit))
        )
        is_left = tf.tensor_scatter_nd_update(
            tf.ones_like(is_hit), (hit + 1)[:, tf.newaxis], tf.zeros_like(hit, tf.bool)
        )

        is_done = lowest == _NOT_LISTED
        final = tf.tensor_scatter_nd_update(
            final, tf.boolean_mask(places, is_done)[:, tf.newaxis], tf.boolean_mask(symbols, is_done)
        )
        is_left &= ~is_done
        return (
            tf.boolean_mask(symbols, is_left),
            tf.boolean_mask(owners, is_left),
            tf.boolean_mask(places, is_left),
            final,
        )


def _may_merge_at_once(
    pairs: Sequence[tuple[int, int]], ranks: Sequence[int], results: np.ndarray, size: int
) -> np.ndarray:
    """Whether all occurrences of a pair in a piece may be merged in one round: bool, by rank.

    Not so where the merged token is in a pair of lower rank, which would have to be merged next.
    """
    lowest = np.full(size, _NOT_LISTED)
    for (left, right), rank in zip(pairs, ranks, strict=True):
        lowest[left], lowest[right] = min(lowest[left], rank), min(lowest[right], rank)
    return lowest[results] > np.arange(len(results))
