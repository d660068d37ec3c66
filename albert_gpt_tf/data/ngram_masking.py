"""N-gram masking: runs of one to three whole words are hidden, for a batch of rows at once.

Shapes: B rows, L their length, W the most words in a row, M the most pieces that are hidden in a row.
"""

from typing import NamedTuple

import tensorflow as tf

from albert_gpt_tf.data.whole_words import PieceTables

MASKED_SHARE = 0.15
_LONGEST = 3  # words of an n-gram


class MaskedRows(NamedTuple):
    """Rows with hidden pieces.

    Attributes:
        token_ids: int32 `[B, L]`.
        mask_positions: int32 `[B, M]`, the places of hidden pieces in their order, then 0.
        targets: int32 `[B, M]`, the ids that stood there, then 0.
        weights: float32 `[B, M]`, 1 for a hidden piece, 0 after the last one.
    """

    token_ids: tf.Tensor
    mask_positions: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor


def mask_ngrams(
    token_ids: tf.Tensor,
    padding_mask: tf.Tensor,
    tables: PieceTables,
    max_predictions: int,
    seed: tf.Tensor,
    as_released: bool = False,
) -> MaskedRows:
    """Hides 15 % of the pieces of each row.

    Words are taken in random order, each as the first of an n-gram of n words, n being 1, 2 or 3 with the probability
    6/11, 3/11 or 2/11. An n-gram ends with its segment. It is shortened while it has more pieces than are still to be
    hidden, and left out if one word has too many or if one of its words is hidden already. Then each hidden piece on
    its own becomes `[MASK]` (80 %), stays (10 %) or becomes a random piece (10 %).

    Args:
        token_ids: int32 `[B, L]`, L static.
        padding_mask: bool `[B, L]`, True for tokens.
        tables: the `PieceTables` of the vocabulary.
        max_predictions: int, M. Hidden are `round(0.15 * tokens)` pieces, at least 1, at most so many, or fewer where
            no word fits.
        seed: int `[2]`. The same seed hides the same pieces.
        as_released: bool. If True, an n-gram or a word may go on behind `[SEP]`, all pieces but `[CLS]` and `[SEP]` may
            be hidden, and random pieces may be special ones. Defaults to False: special pieces, the unknown piece among
            them, are never hidden, never drawn, and end an n-gram.

    Returns:
        A `MaskedRows`.

    Example:

    >>> rows = mask_ngrams(token_ids, token_ids != 0, piece_tables(tokenizer), 19, [0, 1])  # doctest: +SKIP

    Reference: ALBERT (https://arxiv.org/abs/1909.11942), section 4.1; google-research/albert
    `create_pretraining_data.py`, `create_masked_lm_predictions`.
    """
    length = token_ids.shape[1]
    shape = tf.shape(token_ids)
    order_seed, size_seed, kind_seed, piece_seed = tf.unstack(tf.random.split(seed, 4))
    if as_released:
        maskable = padding_mask & (token_ids != tables.cls_id) & (token_ids != tables.sep_id)
    else:
        maskable = padding_mask & ~tf.gather(tables.is_special, token_ids)
    word, word_sizes, word_runs = _words(token_ids, maskable, tables, as_released)
    # Python's round() of the double, for every length there may be.
    budgets = tf.constant([min(max_predictions, max(1, round(MASKED_SHARE * count))) for count in range(length + 1)])
    budget = tf.gather(budgets, tf.reduce_sum(tf.cast(padding_mask, tf.int32), 1))
    # Drawn for L words, so that the draws of a row do not depend on the words of its neighbours.
    most_words = tf.shape(word_sizes)[1]
    priorities = tf.random.stateless_uniform(shape, order_seed)[:, :most_words]
    hidden_words = choose_words(
        word_sizes, word_runs, priorities, ngram_sizes(shape, size_seed)[:, :most_words], budget
    )
    hidden = maskable & tf.gather(hidden_words, tf.maximum(word, 0), batch_dims=1)  # [B, L]

    kind = tf.random.stateless_uniform(shape, kind_seed)
    ids = tf.range(tf.size(tables.is_special)) if as_released else tables.ordinary_ids
    random_ids = tf.gather(ids, tf.random.stateless_uniform(shape, piece_seed, 0, tf.size(ids), tf.int32))
    replaced = tf.where(kind < 0.8, tables.mask_id, tf.where(kind < 0.9, token_ids, random_ids))

    places = tf.broadcast_to(tf.range(length), shape)
    positions = tf.ragged.boolean_mask(places, hidden).to_tensor(0, shape=[None, max_predictions])
    weights = tf.sequence_mask(tf.reduce_sum(tf.cast(hidden, tf.int32), 1), max_predictions)  # [B, M]
    targets = tf.where(weights, tf.gather(token_ids, positions, batch_dims=1), 0)
    return MaskedRows(tf.where(hidden, replaced, token_ids), positions, targets, tf.cast(weights, tf.float32))


def ngram_sizes(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws the number of words of n-grams: 1, 2 or 3 with the probability 6/11, 3/11 or 2/11, in proportion to 1/n.

    Args:
        shape: ints.
        seed: int `[2]`.

    Returns:
        int32 of the shape.

    Example:

    >>> ngram_sizes([2, 3], [0, 1]).shape
    TensorShape([2, 3])
    """
    draw = 11 * tf.random.stateless_uniform(shape, seed)
    return 1 + tf.cast(draw >= 6, tf.int32) + tf.cast(draw >= 9, tf.int32)


def choose_words(
    word_sizes: tf.Tensor, word_runs: tf.Tensor, priorities: tf.Tensor, sizes: tf.Tensor, budget: tf.Tensor
) -> tf.Tensor:
    """Chooses words to hide, an n-gram at a time, in the order of their priorities.

    Args:
        word_sizes: int32 `[B, W]`, pieces of the words of a row in their order, then 0.
        word_runs: int32 `[B, W]`: an n-gram's words are all of one run.
        priorities: float `[B, W]`, from 0 to 1; small ones come first.
        sizes: int32 `[B, W]`, words of the n-gram that begins with each word, 1 to 3.
        budget: int32 `[B]`, pieces to hide.

    Returns:
        bool `[B, W]`.

    Example:

    >>> choose_words([[1, 2, 1, 0]], [[0, 0, 0, 0]], [[0.3, 0.1, 0.2, 0.0]], [[1, 2, 1, 1]], [3]).numpy().tolist()
    [[False, True, True, False]]
    """
    is_word = tf.convert_to_tensor(word_sizes) > 0
    word_count = tf.reduce_sum(tf.cast(is_word, tf.int32), 1)  # [B]
    batch_size, most_words = tf.unstack(tf.shape(word_sizes))
    after = [[0, 0], [0, _LONGEST - 1]]
    padded_sizes, padded_runs = tf.pad(word_sizes, after), tf.pad(word_runs, after, constant_values=-1)
    # By n - 1, then by row and word: pieces of the n-gram of n words that begins there, and whether there is one.
    pieces, fits = [tf.convert_to_tensor(word_sizes)], [is_word]
    for n in range(1, _LONGEST):
        pieces.append(pieces[-1] + padded_sizes[:, n : n + most_words])
        in_run = (padded_sizes[:, n : n + most_words] > 0) & (padded_runs[:, n : n + most_words] == word_runs)
        fits.append(fits[-1] & in_run)
    sizes = tf.minimum(sizes, tf.reduce_sum(tf.cast(fits, tf.int32), 0))

    order = tf.argsort(tf.where(is_word, priorities, 2.0))  # [B, W]
    by_rank = tf.transpose(tf.gather(tf.stack([*pieces, sizes, tf.broadcast_to(tf.range(most_words), tf.shape(order))],
                                              axis=2), order, batch_dims=1), [1, 2, 0])  # fmt: skip  # [W, 5, B]
    offsets = tf.range(_LONGEST)[:, tf.newaxis]  # [3, 1]
    rows = tf.range(batch_size) * (most_words + _LONGEST - 1)  # [B], where rows begin in the flat vector of words

    # `hidden` is a flat vector of all rows, each with room for the n-gram of its last word.
    def is_unfinished(rank: tf.Tensor, hidden: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any((left > 0) & (rank < word_count))

    def hide(rank: tf.Tensor, hidden: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        here = by_rank[rank]  # [5, B]
        pieces, size, word = here[:_LONGEST], here[_LONGEST], here[_LONGEST + 1]
        size = tf.minimum(size, tf.reduce_sum(tf.cast(pieces <= left, tf.int32), 0))
        window = rows + word + offsets  # [3, B]
        in_ngram = offsets < size  # [3, B]
        before = tf.gather(hidden, window)  # int32 [3, B]
        is_free = tf.reduce_all((before == 0) | ~in_ngram, 0)  # [B]
        added = tf.cast(in_ngram & is_free, tf.int32)  # [3, B]
        hidden = tf.tensor_scatter_nd_add(hidden, window[:, :, tf.newaxis], added)
        # Pieces of an n-gram are those of its words, so what the words added have is what is taken.
        alone = tf.concat([pieces[:1], pieces[1:] - pieces[:-1]], 0)
        return rank + 1, hidden, left - tf.reduce_sum(alone * added, 0)

    hidden = tf.zeros([batch_size * (most_words + _LONGEST - 1)], tf.int32)
    _, hidden, _ = tf.while_loop(is_unfinished, hide, (tf.constant(0), hidden, tf.convert_to_tensor(budget)))
    return tf.reshape(hidden, (batch_size, most_words + _LONGEST - 1))[:, :most_words] > 0


def _words(
    token_ids: tf.Tensor, maskable: tf.Tensor, tables: PieceTables, as_released: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The word of each token `[B, L]` (anything where none is maskable), and pieces and runs of words `[B, W]`."""
    breaks = tf.cumsum(tf.cast(~maskable, tf.int32), axis=1)  # [B, L]
    is_first = maskable & tf.concat([tf.ones_like(maskable[:, :1]), ~maskable[:, :-1]], 1)
    if as_released:  # only the first of a row is sure to begin a word, and all words are of one run
        is_first &= tf.cumsum(tf.cast(is_first, tf.int32), axis=1) == 1
        breaks = tf.zeros_like(breaks)
    begins = maskable & (tf.gather(tables.begins_word, token_ids) | is_first)
    word = tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1  # [B, L], -1 before the first word
    batch_size = tf.shape(word)[0]
    most_words = tf.maximum(tf.reduce_max(word) + 1, 1)
    flat = tf.maximum(word, 0) + most_words * tf.range(batch_size)[:, tf.newaxis]
    sizes, runs = (
        tf.reshape(tf.math.unsorted_segment_sum(values, flat, batch_size * most_words), (batch_size, most_words))
        for values in (tf.cast(maskable, tf.int32), tf.where(begins, breaks, 0))
    )
    return word, sizes, runs
