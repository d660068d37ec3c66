"""N-gram masking, held against a loop over one row at a time, and against its probabilities on 10,000 rows."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.ngram_masking import choose_words, mask_ngrams, ngram_sizes
from albert_gpt_tf.data.whole_words import PieceTables, piece_tables, sentencepiece_begins_word, wordpiece_begins_word
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

PAD, UNK, CLS, SEP, MASK = range(5)
SIZE = 1000
# Ids from 5 on are ordinary; those that can be divided by 4 go on with a word.
TABLES = PieceTables(
    begins_word=tf.constant([i % 4 != 0 for i in range(SIZE)]),
    is_special=tf.constant([i < 5 for i in range(SIZE)]),
    ordinary_ids=tf.range(5, SIZE),
    pad_id=PAD,
    cls_id=CLS,
    sep_id=SEP,
    mask_id=MASK,
)
LENGTH, MOST = 64, 10


def random_rows(count, seed=0, shortest=5):
    """[CLS] first [SEP] second [SEP] of random pieces, a few of them unknown, and padding."""
    rng = np.random.default_rng(seed)
    rows = np.where(rng.random((count, LENGTH)) < 0.02, UNK, rng.integers(5, SIZE, (count, LENGTH)))
    ends = rng.integers(shortest - 1, LENGTH, count)
    middles = rng.integers(2, ends - 1)
    place = np.arange(LENGTH)
    rows[:, 0] = CLS
    rows[(place == middles[:, None]) | (place == ends[:, None])] = SEP
    rows[place > ends[:, None]] = PAD
    return rows.astype(np.int32)


def mask(rows, seed=(0, 0), most=MOST, as_released=False):
    masked = mask_ngrams(tf.constant(rows), tf.constant(rows != PAD), TABLES, most, tf.constant(seed), as_released)
    return [part.numpy() for part in masked]


def hidden_places(rows, positions, weights):
    hidden = np.zeros(rows.shape, bool)
    row, slot = np.nonzero(weights)
    hidden[row, positions[row, slot]] = True
    return hidden


def words_of(row):
    """Places of the words of a row, a list for each run between special pieces."""
    runs = [[]]
    for place, piece in enumerate(row.tolist()):
        if piece < 5:
            runs.append([])
        elif piece % 4 or not runs[-1]:
            runs[-1].append([place])
        else:
            runs[-1][-1].append(place)
    return [word for run in runs for word in run]


def choose_one_by_one(word_sizes, word_runs, priorities, sizes, budget):
    hidden = set()
    left = budget
    words = [w for w in range(len(word_sizes)) if word_sizes[w]]
    for word in sorted(words, key=lambda w: priorities[w]):
        ngram = [w for w in range(word, word + sizes[word]) if w in words and word_runs[w] == word_runs[word]]
        while ngram and sum(word_sizes[w] for w in ngram) > left:
            ngram.pop()
        if not hidden.intersection(ngram):
            hidden.update(ngram)
            left -= sum(word_sizes[w] for w in ngram)
    return [w in hidden for w in range(len(word_sizes))]


def test_words_are_chosen_as_by_a_loop_over_one_row_at_a_time():
    rng = np.random.default_rng(0)
    rows, most_words = 500, 40
    counts = rng.integers(0, most_words + 1, rows)
    word_sizes = np.where(np.arange(most_words) < counts[:, None], rng.integers(1, 5, (rows, most_words)), 0)
    word_runs = np.cumsum(rng.random((rows, most_words)) < 0.1, axis=1)
    priorities = rng.random((rows, most_words)).astype(np.float32)
    sizes = rng.integers(1, 4, (rows, most_words))
    budget = rng.integers(0, 15, rows)
    inputs = [word_sizes, word_runs, priorities, sizes, budget]
    chosen = choose_words(*(tf.constant(part, part.dtype if part is priorities else tf.int32) for part in inputs))
    expected = [choose_one_by_one(*(part[row].tolist() for part in inputs)) for row in range(rows)]
    np.testing.assert_array_equal(chosen, expected)
    assert np.mean(expected) > 0.05


def test_targets_are_what_stood_at_the_places_and_nothing_else_changes():
    rows = random_rows(200)
    ids, positions, targets, weights = mask(rows)
    assert (np.diff(positions, axis=1)[weights[:, 1:] == 1] > 0).all()  # in order, and each once
    assert (np.diff(weights, axis=1) <= 0).all()
    assert not positions[weights == 0].any() and not targets[weights == 0].any()
    hidden = hidden_places(rows, positions, weights)
    np.testing.assert_array_equal(rows[~hidden], ids[~hidden])
    np.testing.assert_array_equal(rows[hidden], targets[weights == 1])


def test_special_pieces_unknown_ones_and_padding_are_never_hidden():
    rows = random_rows(2000)
    _, _, targets, weights = mask(rows)
    assert (rows == UNK).sum() > 1000
    assert targets[weights == 1].min() >= 5
    rows[:] = CLS
    assert not mask(rows)[3].any()


def test_only_whole_words_are_hidden():
    rows = random_rows(1000)
    _, positions, _, weights = mask(rows)
    hidden = hidden_places(rows, positions, weights)
    for row, hides in zip(rows, hidden, strict=True):
        assert all(hides[word].all() or not hides[word].any() for word in map(np.array, words_of(row)))


def test_15_percent_of_the_pieces_are_hidden_at_least_1_and_at_most_what_is_allowed():
    rows = random_rows(2000, shortest=12)
    rows[rows % 4 == 0] += (rows[rows % 4 == 0] >= 5).astype(np.int32)  # words of one piece: any number fits
    lengths = (rows != PAD).sum(1)
    for most in (1, 5, 10):
        expected = [min(most, max(1, round(0.15 * length))) for length in lengths.tolist()]
        np.testing.assert_array_equal(mask(rows, most=most)[3].sum(1), expected)


def test_a_word_that_is_longer_than_what_may_be_hidden_stays():
    rows = np.array([[CLS, 5, 8, 8, SEP, 6, 8, SEP]], np.int32)  # two words, of 3 and of 2 pieces; 1 may be hidden
    assert not mask(rows)[3].any()


def test_as_released_a_word_may_go_on_behind_sep_and_otherwise_not():
    rows = np.tile(np.array([CLS, *[5] * 18, SEP, 8, *[5] * 18, SEP], np.int32), (2000, 1))

    def pairs_of_hidden(as_released):
        _, positions, _, weights = mask(rows, as_released=as_released)
        hidden = hidden_places(rows, positions, weights)
        return hidden[:, 18], hidden[:, 20]

    before, after = pairs_of_hidden(as_released=True)
    np.testing.assert_array_equal(before, after)
    assert before.any()
    before, after = pairs_of_hidden(as_released=False)
    assert (before & ~after).any() and (after & ~before).any()


def test_as_released_unknown_pieces_may_be_hidden_and_special_ones_drawn():
    rows = random_rows(10_000)
    ids, positions, targets, weights = mask(rows, as_released=True)
    assert set(targets[weights == 1]) >= {UNK, 5, 6}
    assert not {CLS, SEP, PAD} & set(targets[weights == 1])
    hidden = hidden_places(rows, positions, weights)
    assert set(ids[hidden & (ids != rows)]) >= {PAD, UNK, CLS, SEP}
    ids, positions, _, weights = mask(rows)
    hidden = hidden_places(rows, positions, weights)
    assert not {PAD, UNK, CLS, SEP} & set(ids[hidden])


def test_the_seed_decides_and_neighbours_do_not():
    rows = random_rows(100)
    first, again, other = mask(rows), mask(rows), mask(rows, seed=(0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != other[0]).any(axis=1).mean() > 0.9
    fewer_words = np.concatenate([rows[:50], random_rows(50, seed=1)])
    assert all((a[:50] == b[:50]).all() for a, b in zip(first, mask(fewer_words), strict=True))


def close(count, of, share):
    """Whether a share of independent draws is right, to 5 standard deviations: wrong once in two million tests."""
    return abs(count - of * share) <= 5 * np.sqrt(of * share * (1 - share))


def test_ngrams_are_of_1_2_and_3_words_in_proportion_to_1_over_n():
    sizes = ngram_sizes([10_000, 60], [0, 0]).numpy()
    assert set(np.unique(sizes)) == {1, 2, 3}
    for n in (1, 2, 3):
        assert close((sizes == n).sum(), sizes.size, {1: 6, 2: 3, 3: 2}[n] / 11)


def test_of_hidden_pieces_80_percent_become_mask_10_stay_and_10_become_any_other():
    rows = random_rows(10_000)
    ids, positions, targets, weights = mask(rows)
    shown = np.take_along_axis(ids, positions, axis=1)[weights == 1]
    targets = targets[weights == 1]
    # A random piece is the same by chance once in 995 times.
    assert close((shown == MASK).sum(), shown.size, 0.8)
    assert close((shown == targets).sum(), shown.size, 0.1 + 0.1 / 995)
    random_pieces = shown[(shown != MASK) & (shown != targets)]
    assert close(random_pieces.size, shown.size, 0.1 - 0.1 / 995)
    counts = np.bincount(random_pieces, minlength=SIZE)
    assert not counts[:5].any()
    expected = random_pieces.size / 995
    chi_squared = ((counts[5:] - expected) ** 2 / expected).sum()
    assert abs(chi_squared - 994) < 5 * np.sqrt(2 * 994)  # mean and deviation of its distribution


def test_every_word_is_as_likely_as_its_neighbours():
    rows = np.full((10_000, LENGTH), 5, np.int32)
    rows[:, [0, -1]] = CLS, SEP
    _, positions, _, weights = mask(rows)
    shares = hidden_places(rows, positions, weights).mean(0)
    # Away from the ends, where fewer n-grams reach. Deviations of places are not independent, so the bound is wide.
    assert np.abs(shares[4:-4] - shares[4:-4].mean()).max() < 6 * np.sqrt(0.15 * 0.85 / 10_000)
    assert abs(shares.sum() - MOST) < 1e-9


# === Which pieces begin a word ===


def test_sentencepiece_begins_words_by_the_rule_of_the_release():
    begin = ["▁the", "▁", "<unk>", "<0xE3>", ",", "(", "£", "€", "'", "1984", "é", "天", "été", "а"]
    go_on = ["ing", "s", "ING", "...", "e-mail"]
    assert [piece for piece in begin + go_on if sentencepiece_begins_word(piece)] == begin


def test_wordpiece_begins_words_without_its_prefix_and_with_each_ideograph():
    begin = ["play", "天", "##天", ",", "##", "[UNK]", "é"]
    assert [piece for piece in [*begin, "##ing", "##1", "##é"] if wordpiece_begins_word(piece)] == begin


def test_tables_hold_every_piece_and_leave_out_special_ones():
    tables = piece_tables(WordPieceTokenizer(["[PAD]", "a", "##b", "[UNK]", "[CLS]", "[SEP]", "天", "[MASK]"]))
    assert tables.ordinary_ids.numpy().tolist() == [1, 2, 6]
    assert tables.is_special.numpy().tolist() == [True, False, False, True, True, True, False, True]
    assert not tables.begins_word.numpy()[2] and tables.begins_word.numpy()[[1, 6]].all()
    assert (tables.pad_id, tables.cls_id, tables.sep_id, tables.mask_id) == (0, 4, 5, 7)


@pytest.mark.parametrize("as_released", [False, True])
def test_rows_of_any_number_of_words_are_masked(as_released):
    for rows in (random_rows(1), random_rows(300, shortest=LENGTH), np.full((3, LENGTH), 8, np.int32)):
        ids, positions, targets, weights = mask(rows, as_released=as_released)
        assert ids.shape == rows.shape and positions.shape == targets.shape == weights.shape == (len(rows), MOST)
