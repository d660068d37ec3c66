"""Layer norm, attention and the activations against NumPy in float64."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.activations import get_activation
from albert_gpt_tf.models.transformer_layers import (
    MASKED,
    FeedForward,
    LayerNorm,
    SelfAttention,
    causal_bias,
    key_padding_bias,
)

ALBERT_EPSILON = 1e-12


def norm_in_float64(x, epsilon):
    x = x.astype("float64")
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


def apply_norm(norm_class, x, epsilon=ALBERT_EPSILON, dtype=None):
    norm = norm_class(epsilon=epsilon, dtype=dtype)
    norm.build(x.shape)
    return tf.function(norm)(x).numpy()


def draw_rows(mean, spread):
    return (mean + spread * np.random.RandomState(0).standard_normal((64, 768))).astype("float32")


# === Layer norm ===


@pytest.mark.parametrize("epsilon", [1e-12, 1e-5])
@pytest.mark.parametrize("mean, spread", [(0, 1), (0, 1e-3), (1, 1), (0, 1e4)])
def test_layer_norm_equals_float64(mean, spread, epsilon):
    x = draw_rows(mean, spread)
    np.testing.assert_allclose(apply_norm(LayerNorm, x, epsilon), norm_in_float64(x, epsilon), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mean, spread", [(100, 1), (100, 0.01), (1000, 0.01)])
def test_rounding_of_a_large_mean_is_all_that_layer_norm_loses(mean, spread):
    # The mean is a float32, so it is off by up to a few units in its last place; nothing else may be added to that.
    x = draw_rows(mean, spread)
    difference = abs(apply_norm(LayerNorm, x) - norm_in_float64(x, ALBERT_EPSILON)).max()
    assert difference < 3 * np.spacing(np.float32(mean)) / spread
    # A control: Keras' layer subtracts two large products.
    assert difference < abs(apply_norm(keras.layers.LayerNormalization, x) - norm_in_float64(x, ALBERT_EPSILON)).max()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -7.77, 123.456, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_layer_norm_of_a_constant_row_is_finite_with_the_epsilon_of_albert(value, dtype):
    normed = apply_norm(LayerNorm, np.full((2, 768), min(value, 6e4), "float32"), dtype=dtype).astype("float32")
    assert np.isfinite(normed).all()
    assert abs(normed).max() <= 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_layer_norm_computes_in_float32_under_mixed_precision(dtype):
    # The result is the float64 one of the half-precision input, rounded once.
    x = tf.cast(draw_rows(0, 3), dtype)
    norm = LayerNorm(epsilon=ALBERT_EPSILON, dtype=f"mixed_{dtype}")
    norm.build(x.shape)
    gain, shift = draw_rows(1, 0.01)[0], draw_rows(0, 0.01)[0]
    norm.set_weights([gain, shift])
    exact = norm_in_float64(x.numpy().astype("float32"), ALBERT_EPSILON) * gain + shift
    rounded = tf.cast(tf.constant(exact, "float32"), dtype)
    assert norm(x).dtype == dtype
    assert (norm(x).numpy() == rounded.numpy()).mean() > 0.99


def test_layer_norm_has_the_weights_of_the_layer_of_keras():
    ours, theirs = LayerNorm(epsilon=1e-5), keras.layers.LayerNormalization(epsilon=1e-5)
    x = draw_rows(0, 1)
    for norm in (ours, theirs):
        norm.build(x.shape)
        norm.set_weights([draw_rows(1, 0.1)[0], draw_rows(0, 0.1)[0]])
    assert [weight.name for weight in ours.weights] == [weight.name for weight in theirs.weights]
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)


# === Attention ===


def make_attention(dtype=None):
    attention = SelfAttention(2, 4, keras.initializers.RandomNormal(stddev=0.5, seed=1), dtype=dtype)
    attention.build((None, None, 8))
    for index, weight in enumerate(attention.weights):  # biases too
        weight.assign(0.5 * np.random.RandomState(index).standard_normal(weight.shape))
    return attention


def attend_in_float64(attention, x, bias):
    query, key, value = (
        x @ dense.kernel.numpy().astype("float64") + dense.bias.numpy()
        for dense in (attention.query, attention.key, attention.value)
    )
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = query[..., part] @ key[..., part].swapaxes(-1, -2) / math.sqrt(4) + bias
        scores -= scores.max(-1, keepdims=True)
        probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        heads.append(probabilities @ value[..., part])
    return np.concatenate(heads, -1) @ attention.output_dense.kernel.numpy() + attention.output_dense.bias.numpy()


@pytest.mark.parametrize("bias", [np.zeros((5, 5)), np.triu(np.full((5, 5), MASKED), 1)])
def test_attention_equals_float64(bias):
    attention, x = make_attention(), np.random.RandomState(3).standard_normal((3, 5, 8))
    ours = attention(x.astype("float32"), tf.constant(bias[None, None], "float32"))
    np.testing.assert_allclose(ours, attend_in_float64(attention, x, bias), atol=1e-5)


def test_attention_takes_its_softmax_in_float32_under_mixed_precision(monkeypatch):
    seen, softmax = [], tf.nn.softmax
    monkeypatch.setattr(tf.nn, "softmax", lambda scores: seen.append(scores.dtype) or softmax(scores))
    attention = make_attention("mixed_bfloat16")
    mixed = attention(tf.ones([1, 5, 8], "bfloat16"), causal_bias(5))
    assert seen == [tf.float32]
    assert mixed.dtype == tf.bfloat16


def test_biases_are_flat_so_that_rank_tells_them_from_kernels():
    assert sorted({len(weight.shape) for weight in make_attention().weights}) == [1, 2]


def test_a_hidden_key_has_no_weight_even_under_two_masks_in_half_precision():
    bias = key_padding_bias(np.array([[True, False]])) + causal_bias(2)
    assert bias.shape == (1, 1, 2, 2)
    probabilities = tf.nn.softmax(bias + 100.0 * tf.constant([[[[0.0, 1.0]]]])).numpy()
    np.testing.assert_array_equal(probabilities[0, 0], [[1, 0], [1, 0]])
    assert np.isfinite(tf.cast(bias, "float16").numpy()).all()


def test_causal_bias_hides_what_stands_to_the_right():
    np.testing.assert_array_equal(causal_bias(3)[0, 0] == 0, np.tril(np.ones((3, 3), bool)))


# === Feed-forward and activations ===


def test_feed_forward_equals_float64():
    layer = FeedForward(6, "relu", keras.initializers.RandomNormal(stddev=0.5, seed=1))
    layer.build((None, None, 8))
    for index, weight in enumerate(layer.weights):
        weight.assign(0.5 * np.random.RandomState(index).standard_normal(weight.shape))
    widen, narrow = layer.intermediate_dense, layer.output_dense
    x = np.random.RandomState(3).standard_normal((3, 5, 8))
    inner = np.maximum(x @ widen.kernel.numpy() + widen.bias.numpy(), 0)
    np.testing.assert_allclose(
        layer(x.astype("float32")), inner @ narrow.kernel.numpy() + narrow.bias.numpy(), atol=1e-5
    )


X = np.linspace(-6, 6, 2001)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gelu", [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in X]),
        ("gelu_new", 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
        ("relu", np.maximum(X, 0)),
    ],
)
def test_activations_equal_their_formulas(name, expected):
    np.testing.assert_allclose(get_activation(name)(X.astype("float32")), expected, atol=1e-6)


def test_the_two_gelus_differ_by_less_than_five_ten_thousandths():
    difference = abs(get_activation("gelu")(X) - get_activation("gelu_new")(X)).numpy()
    assert 4e-4 < difference.max() < 5e-4


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['gelu', 'gelu_new', 'relu'\]. Received: activation='tanh'"):
        get_activation("tanh")
