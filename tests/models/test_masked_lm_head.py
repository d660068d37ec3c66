"""MaskedLMHead: its numbers against NumPy, and that the token embedding stays the backbone's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.masked_lm_head import MaskedLMHead

POSITIONS = np.array([[0, 3, 3], [5, 1, 0]], "int32")


@pytest.fixture
def make_task(make_albert):
    """The function (dtype) -> backbone, head, and the model that a task makes of them."""

    def make(dtype=None):
        backbone = make_albert(dtype=dtype)
        head = MaskedLMHead(8, "gelu_new", 1e-12, 0.3, backbone.token_embedding, dtype=dtype, name="masked_lm_head")
        positions = keras.Input((None,), dtype="int32", name="mask_positions")
        outputs = head(backbone(backbone.input)["sequence_output"], positions)
        model = keras.Model({**backbone.input, "mask_positions": positions}, outputs)
        random = np.random.RandomState(1)
        for weight in (head.bias, head.norm.gamma, head.norm.beta, head.dense.bias):
            weight.assign(weight + 0.3 * random.standard_normal(weight.shape))
        return backbone, head, model

    return make


@pytest.fixture
def inputs(albert_inputs, make_ids):
    return {**albert_inputs(make_ids(2, 7), [7, 6]), "mask_positions": POSITIONS}


def compute_in_float64(head, embeddings, hidden):
    x = hidden.astype("float64") @ head.dense.kernel.numpy() + head.dense.bias.numpy()
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head.norm.gamma.numpy() + head.norm.beta.numpy()
    return x @ embeddings.numpy().T + head.bias.numpy()


def test_logits_equal_float64(make_task):
    backbone, head, _ = make_task()
    hidden = np.random.RandomState(2).standard_normal((2, 7, 16)).astype("float32")
    expected = compute_in_float64(head, backbone.token_embedding.embeddings, hidden)
    np.testing.assert_allclose(head(hidden), expected, atol=1e-5)
    chosen = np.take_along_axis(expected, POSITIONS[..., None], 1)
    np.testing.assert_allclose(head(hidden, POSITIONS), chosen, atol=1e-5)


def test_a_model_of_backbone_and_head_gives_the_logits_of_the_positions(make_task, inputs):
    backbone, head, model = make_task()
    hidden = backbone({name: inputs[name] for name in backbone.input})["sequence_output"]
    np.testing.assert_allclose(model(inputs), tf.gather(head(hidden), POSITIONS, batch_dims=1), atol=1e-6)
    assert model.output.shape == (None, None, 50)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(make_task, inputs, dtype):
    _, _, full = make_task()
    _, _, mixed = make_task(dtype)
    mixed.set_weights(full.get_weights())
    logits = mixed(inputs)
    assert logits.dtype == mixed.output.dtype == "float32"
    # The bias is not rounded: a bias that half precision cannot hold arrives.
    before, shift = logits.numpy(), np.full(50, 1 + 2**-16, "float32")
    mixed.get_layer("masked_lm_head").bias.assign_add(shift)
    np.testing.assert_allclose(mixed(inputs).numpy() - before, np.broadcast_to(shift, before.shape), atol=3e-6)
    assert 0 < abs(before - full(inputs).numpy()).max() < 1


def test_the_token_embedding_is_counted_once_and_belongs_to_the_backbone(make_task):
    backbone, head, model = make_task()
    assert head.count_params() == 16 * 8 + 8 + 2 * 8 + 50
    assert model.count_params() == backbone.count_params() + head.count_params()
    table = backbone.token_embedding.embeddings
    assert not any(weight is table for weight in head.weights)
    head.trainable = False
    assert any(weight is table for weight in model.trainable_variables)


def test_gradients_reach_the_token_embedding_through_the_head(make_task):
    backbone, head, _ = make_task()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(tf.ones([1, 2, 16]))[..., 7])
    gradient = tape.gradient(loss, backbone.token_embedding.embeddings)
    assert np.flatnonzero(abs(tf.convert_to_tensor(gradient).numpy()).sum(-1)).tolist() == [7]


def test_a_new_token_embedding_is_used_at_once(make_task):
    backbone, head, _ = make_task()
    hidden = tf.ones([1, 2, 16])
    table = backbone.token_embedding.embeddings
    table.assign(2 * table)
    np.testing.assert_allclose(head(hidden), compute_in_float64(head, table, hidden.numpy()), atol=1e-5)


def test_weights_round_trip(make_task, inputs, tmp_path):
    (_, _, first), (_, _, second) = make_task(), make_task()
    first.save_weights(tmp_path / "task.weights.h5")
    assert abs(first(inputs).numpy() - second(inputs).numpy()).max() > 0.01
    second.load_weights(tmp_path / "task.weights.h5")
    np.testing.assert_array_equal(first(inputs), second(inputs))


def test_training_moves_the_head_and_the_embedding(make_task, inputs):
    backbone, head, model = make_task()
    before = [weight.numpy() for weight in (*head.weights, backbone.token_embedding.embeddings)]
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(inputs, np.array([[4, 5, 6], [7, 8, 9]]), verbose=0)
    after = [weight.numpy() for weight in (*head.weights, backbone.token_embedding.embeddings)]
    assert all(abs(a - b).max() > 0 for a, b in zip(after, before, strict=True))
