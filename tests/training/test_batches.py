"""Batches of a run: a function of seed and step alone, with and without buckets of lengths."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.training.batches import bytes_of, evaluation_batches, token_counts, training_batches, trim_padding

ROWS, LENGTH = 53, 64
CONFIG = SimpleNamespace(batch_size=4, seed=3)


@pytest.fixture(scope="module")
def lengths():
    return np.random.default_rng(0).integers(1, LENGTH + 1, ROWS).astype("int32")


def to_batch(rows, seed):
    number, length = rows
    mask = tf.sequence_mask(length, LENGTH)
    return {"number": number, "padding_mask": mask, "ids": tf.where(mask, length[:, None], 0)}, seed


def take(count, lengths, first_step=0, with_lengths=True):
    rows = (tf.range(ROWS), tf.constant(lengths))
    batches = training_batches(rows, to_batch, CONFIG, first_step, lengths if with_lengths else None)
    return list(batches.take(count).as_numpy_iterator())


@pytest.mark.parametrize("with_lengths", [False, True])
def test_every_epoch_has_every_row_once(lengths, with_lengths):
    batches = take(4 * ROWS // CONFIG.batch_size, lengths, with_lengths=with_lengths)
    numbers = np.concatenate([x["number"] for x, _ in batches]).reshape(-1, ROWS)  # [4 epochs, rows]
    assert all(sorted(epoch) == list(range(ROWS)) for epoch in numbers)
    assert len({tuple(epoch) for epoch in numbers}) == len(numbers)


@pytest.mark.parametrize("with_lengths", [False, True])
def test_the_batches_from_a_step_on_do_not_depend_on_where_one_begins(lengths, with_lengths):
    whole, rest = take(40, lengths, 0, with_lengths), take(20, lengths, 20, with_lengths)
    for one, other in zip(whole[20:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_buckets_leave_a_fraction_of_the_padding(lengths):
    def padding(batches):
        return 1 - sum(x["padding_mask"].sum() for x, _ in batches) / sum(x["padding_mask"].size for x, _ in batches)

    # Whole multiples of 8 leave 3.5 of some 32.5 tokens a row; neighbours in length add some.
    assert padding(take(52, lengths)) < 0.2 < 0.45 < padding(take(52, lengths, with_lengths=False))


def test_rows_of_a_batch_are_about_equally_long(lengths):
    spreads = [np.ptp(x["padding_mask"].sum(1)) for x, _ in take(52, lengths)]
    # One batch an epoch holds rows of two epochs, and one the longest beside the rest.
    assert np.median(spreads) <= 8 < np.median([np.ptp(x["ids"].max(1)) for x, _ in take(52, lengths, 0, False)])


def test_nothing_real_is_cut_off(lengths):
    for x, _ in take(30, lengths):
        np.testing.assert_array_equal(x["padding_mask"].sum(1), lengths[x["number"]])
        assert x["padding_mask"].shape[1] % 8 == 0 and x["ids"].shape == x["padding_mask"].shape


def test_only_what_has_the_length_is_trimmed():
    mask = tf.sequence_mask([3, 9], 40)
    x = {"padding_mask": mask, "token_ids": tf.ones([2, 40], tf.int32), "mask_positions": tf.ones([2, 5], tf.int32)}
    x, tags, label, weight = trim_padding((x, tf.ones([2, 40]), tf.constant([1, 2]), tf.ones([2])))
    assert x["token_ids"].shape == x["padding_mask"].shape == tags.shape == (2, 16)
    assert x["mask_positions"].shape == (2, 5) and label.shape == weight.shape == (2,)


def test_targets_of_a_batch_as_large_as_rows_are_long_stay():
    _, label = trim_padding(({"padding_mask": tf.sequence_mask([3] * 40, 40)}, tf.zeros([40])))
    assert label.shape == (40,)


def test_choices_are_trimmed_to_the_longest_of_all():
    mask = tf.sequence_mask([[3, 9], [17, 1]], 40)  # [batch, choices, length]
    (x,) = trim_padding(({"padding_mask": mask},))
    assert x["padding_mask"].shape == (2, 2, 24)


def test_a_batch_of_empty_rows_keeps_columns():
    (x,) = trim_padding(({"padding_mask": tf.zeros([2, 40], tf.bool)},))
    assert x["padding_mask"].shape == (2, 8)


def test_evaluation_has_every_row_once_in_order(lengths):
    rows = (tf.range(ROWS), tf.constant(lengths))
    batches = list(evaluation_batches(rows, lambda rows: to_batch(rows, tf.zeros([])), 8, lengths).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([x["number"] for x, _ in batches]), np.arange(ROWS))
    assert len(batches[-1][0]["number"]) == ROWS % 8


def test_tokens_are_counted_as_they_are_packed():
    def preprocessor(texts):
        return {"padding_mask": tf.sequence_mask(tf.minimum(tf.strings.length(texts) + 2, 6), 6)}

    counts = token_counts(tf.constant(["ab", "", "abcdefgh"] * 1000), preprocessor)
    assert counts.numpy().tolist() == [4, 2, 6] * 1000


def test_a_row_is_as_long_as_its_texts_together():
    assert bytes_of((tf.constant(["ab", ""]), tf.constant(["é", "x"]))).numpy().tolist() == [4, 1]
