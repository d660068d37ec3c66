"""The cross-entropy: its value and gradient are those of the definition, in every precision."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.losses import cross_entropy


def by_definition(targets, logits):
    """Loss and gradient of its sum, in float64."""
    logits = np.asarray(logits, "float64").reshape(-1, logits.shape[-1])
    shifted = logits - logits.max(-1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    rows = np.arange(len(logits))
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[rows, np.ravel(targets)]
    gradient = probabilities
    gradient[rows, np.ravel(targets)] -= 1
    return losses, gradient


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("spread", [0.1, 10.0, 1000.0])
def test_loss_and_gradient_are_those_of_the_definition(shape, spread):
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(*shape, 7)) * spread, tf.float32)
    targets = tf.constant(rng.integers(0, 7, shape), tf.int32)
    weights = tf.constant(rng.normal(size=shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = cross_entropy(targets, logits)
        weighted = tf.reduce_sum(weights * losses)
    expected, gradient = by_definition(targets.numpy(), logits.numpy())
    assert losses.dtype == "float32" and losses.shape == shape
    np.testing.assert_allclose(np.ravel(losses), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(weighted, logits).numpy().reshape(-1, 7),
        gradient * np.ravel(weights)[:, None],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits = tf.cast(tf.random.stateless_normal([4, 1000], [0, 1]), dtype)
    targets = tf.constant([0, 1, 500, 999])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = cross_entropy(targets, logits)
    expected, gradient = by_definition(targets.numpy(), tf.cast(logits, "float32").numpy())
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    got = tape.gradient(losses, logits)
    assert got.dtype == dtype
    np.testing.assert_allclose(tf.cast(got, "float32"), gradient, rtol=1e-2, atol=1e-6)


def test_a_target_of_vanishing_probability_has_a_finite_loss():
    assert cross_entropy(tf.constant([1]), tf.constant([[500.0, -500.0]])).numpy() == [1000.0]


def test_without_rows_there_is_no_loss():
    assert cross_entropy(tf.zeros([0, 3], tf.int32), tf.zeros([0, 3, 5])).shape == (0, 3)


def test_int64_targets_are_the_same():
    logits = tf.random.stateless_normal([3, 5], [2, 3])
    both = [cross_entropy(tf.constant([0, 4, 2], dtype), logits).numpy() for dtype in ("int32", "int64")]
    np.testing.assert_array_equal(*both)
