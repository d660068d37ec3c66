"""The choice of a token: against NumPy probabilities, over many draws."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.generation.sampling import choose, penalize_repetition, uniform_draws

DRAWS = 20_000
LOGITS = np.array([1.5, -0.3, 0.2, 2.0, -4.0, 1.4, 0.0, -1.0], "float32")
JUST_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@pytest.fixture(scope="module")
def first_draws():
    """The first draw of each of 20,000 seeds: as `generate` would use them."""
    draw = tf.function(lambda seeds: uniform_draws(seeds, 1)[:, 0])
    return draw(tf.range(DRAWS)).numpy()


def choose_many(logits, draws, sampling_of, **parameters):
    rows = len(draws)
    return choose(tf.constant(np.broadcast_to(logits, [rows, logits.shape[-1]])), tf.constant(draws),
                  sampling_of(rows, **parameters)).numpy()  # fmt: skip


# === Frequencies ===


@pytest.mark.parametrize(
    "parameters",
    [
        dict(temperature=1.0),
        dict(temperature=0.5),
        dict(temperature=2.5),
        dict(temperature=1.0, top_k=3),
        dict(temperature=1.0, top_p=0.7),
        dict(temperature=1.0, top_p=0.05),
        dict(temperature=1.5, top_k=5, top_p=0.8),
        dict(temperature=1.0, top_k=100, top_p=2.0),
    ],
    ids=str,
)
def test_frequencies_are_those_of_the_distribution(parameters, first_draws, sampling_of, kept):
    stats = pytest.importorskip("scipy.stats")
    probabilities = kept(LOGITS, **{"top_k": 0, "top_p": 1.0, **parameters})
    counts = np.bincount(choose_many(LOGITS, first_draws, sampling_of, **parameters), minlength=len(LOGITS))
    assert {token for token in range(len(LOGITS)) if counts[token]} == set(probabilities)
    expected = np.array(list(probabilities.values()))
    if len(expected) > 1:
        result = stats.chisquare(counts[list(probabilities)], DRAWS * expected / expected.sum())
        assert result.pvalue > 0.001  # fixed seeds: the same on every run


def test_first_draws_of_consecutive_seeds_are_uniform_and_in_range(first_draws):
    stats = pytest.importorskip("scipy.stats")
    assert first_draws.min() >= 0 and first_draws.max() < 1
    assert stats.kstest(first_draws, "uniform").pvalue > 0.001


def test_draws_of_one_seed_are_uniform(sampling_of):
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(uniform_draws(tf.constant([7]), DRAWS)[0].numpy(), "uniform").pvalue > 0.001


# === Draws ===


def test_draws_depend_only_on_the_seed_of_the_row():
    together = uniform_draws(tf.constant([5, -3, 5, 2**31 - 1]), 6).numpy()
    for row, seed in enumerate([5, -3, 5, 2**31 - 1]):
        np.testing.assert_array_equal(together[row], uniform_draws(tf.constant([seed]), 6)[0])
    np.testing.assert_array_equal(together[0], together[2])
    assert len(np.unique(together)) == 18


def test_no_rows_need_no_draws():
    assert uniform_draws(tf.zeros([0], tf.int32), 6).shape == (0, 6)


# === Sets ===


def test_no_token_outside_the_kept_set_is_ever_chosen(sampling_of, kept):
    random = np.random.RandomState(0)
    rows = 2000
    logits = (3 * random.standard_normal((rows, 50))).astype("float32")
    parameters = dict(
        temperature=random.uniform(0.2, 3, rows),
        top_k=random.randint(0, 60, rows),
        top_p=random.uniform(0.01, 1.1, rows),
    )
    draws = random.uniform(size=rows).astype("float32")
    draws[::4], draws[1::4] = 0.0, JUST_BELOW_ONE
    chosen = choose(tf.constant(logits), tf.constant(draws), sampling_of(rows, **parameters)).numpy()
    for row in range(rows):
        temperature, top_k, top_p = (parameters[name][row] for name in ("temperature", "top_k", "top_p"))
        # A hair above p: float32 sums may reach it one token later.
        assert chosen[row] in kept(logits[row], temperature, top_k, top_p + 1e-5)


@pytest.mark.parametrize("draw", [0.0, 0.5, JUST_BELOW_ONE])
def test_one_token_of_top_k_and_a_tiny_top_p_are_greedy(draw, sampling_of):
    logits = np.random.RandomState(1).standard_normal((200, 30)).astype("float32")
    draws = np.full(200, draw, "float32")
    for parameters in (dict(top_k=1), dict(top_p=1e-9), dict(top_k=1, top_p=0.5)):
        chosen = choose_many(logits, draws, sampling_of, temperature=1.7, **parameters)
        np.testing.assert_array_equal(chosen, logits.argmax(-1))


def test_a_tiny_temperature_is_greedy_and_gives_no_nan(sampling_of):
    logits = np.random.RandomState(1).standard_normal((200, 30)).astype("float32")
    draws = np.linspace(0, 0.999, 200, dtype="float32")
    np.testing.assert_array_equal(choose_many(logits, draws, sampling_of, temperature=1e-4), logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_no_temperature_is_greedy_whatever_the_filters(temperature, sampling_of):
    draws = np.linspace(0, 0.999, 100, dtype="float32")
    chosen = choose_many(LOGITS, draws, sampling_of, temperature=temperature, top_k=4, top_p=0.9)
    assert set(chosen.tolist()) == {3}


def test_equal_logits_go_to_the_lowest_id(sampling_of):
    logits = np.zeros(9, "float32")
    draws = np.linspace(0, 0.999, 50, dtype="float32")
    for parameters in (dict(temperature=0.0), dict(temperature=1.0, top_k=1), dict(temperature=1.0, top_p=0.01)):
        assert set(choose_many(logits, draws, sampling_of, **parameters).tolist()) == {0}


def test_filters_of_zero_and_above_one_keep_all(sampling_of):
    draws = np.linspace(0, JUST_BELOW_ONE, 5000, dtype="float32")
    for parameters in (dict(), dict(top_k=0), dict(top_k=-1), dict(top_p=1.0), dict(top_p=7.0), dict(top_k=8)):
        chosen = choose_many(LOGITS, draws, sampling_of, temperature=1.0, **parameters)
        assert set(chosen.tolist()) == set(range(8))


def test_each_row_has_parameters_of_its_own(sampling_of):
    parameters = dict(temperature=[0.0, 1.0, 1.0, 1.0], top_k=[0, 1, 0, 2], top_p=[1.0, 1.0, 1e-6, 1.0])
    draws = np.full(4, JUST_BELOW_ONE, "float32")
    # Greedy, one token, the most probable one, and the second of two.
    assert choose_many(LOGITS, draws, sampling_of, **parameters).tolist() == [3, 3, 3, 0]


# === Repetition penalty ===


def test_repetition_penalty_equals_numpy():
    random = np.random.RandomState(0)
    logits = random.standard_normal((5, 20)).astype("float32")
    seen, penalty = random.uniform(size=(5, 20)) < 0.4, np.array([1.0, 1.3, 2.0, 0.5, 5.0], "float32")
    expected = logits.copy()
    for row, token in zip(*np.nonzero(seen), strict=True):
        expected[row, token] *= penalty[row] if logits[row, token] <= 0 else 1 / penalty[row]
    penalized = penalize_repetition(tf.constant(logits), tf.constant(seen), tf.constant(penalty)).numpy()
    np.testing.assert_allclose(penalized, expected, rtol=1e-6)
    np.testing.assert_array_equal(penalized[0], logits[0])
    assert (penalized[seen & (penalty[:, None] > 1)] < logits[seen & (penalty[:, None] > 1)]).all()
