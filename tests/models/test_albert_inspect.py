"""AlbertBackbone.inspect: hidden states and attention maps, against the encoder written anew in NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf


def draw_weights(backbone):
    """Gives a backbone other values everywhere, biases, norms and gates included."""
    random = np.random.RandomState(0)
    for weight in backbone.weights:
        weight.assign(0.3 * random.standard_normal(weight.shape) + ("gamma" in weight.path))
    return backbone


def dense_in_float64(dense, x):
    return x @ dense.kernel.numpy().astype("float64") + dense.bias.numpy()


def norm_in_float64(norm, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * norm.gamma.numpy() + norm.beta.numpy()


def gelu_in_float64(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def split_heads(x):
    return x.reshape(*x.shape[:2], 2, 8).transpose(0, 2, 1, 3)  # [batch, heads, length, head_dim]


def encode_in_float64(backbone, inputs):
    """Hidden states and attention maps, written down anew."""
    ids, segments = inputs["token_ids"], inputs["segment_ids"]
    embedded = backbone.token_embedding.embeddings.numpy()[ids].astype("float64")
    embedded += backbone.position_embedding.position_embeddings.numpy()[: ids.shape[1]]
    embedded += backbone.segment_embedding.embeddings.numpy()[segments]
    hidden = norm_in_float64(backbone.embedding_norm, embedded)
    if backbone.embedding_projection is not None:
        hidden = dense_in_float64(backbone.embedding_projection, hidden)
    hidden_states, attentions = [hidden], []
    for index in range(backbone.num_layers):
        before = hidden
        for layer in backbone.groups[index * len(backbone.groups) // backbone.num_layers]:
            parts = (layer.attention.query, layer.attention.key, layer.attention.value)
            query, key, value = (split_heads(dense_in_float64(part, hidden)) for part in parts)
            scores = query @ key.swapaxes(-1, -2) / np.sqrt(8)
            scores = np.exp(scores - scores.max(-1, keepdims=True)) * inputs["padding_mask"][:, None, None]
            attentions.append(scores / scores.sum(-1, keepdims=True))
            mixed = (attentions[-1] @ value).transpose(0, 2, 1, 3).reshape(hidden.shape)
            mixed = dense_in_float64(layer.attention.output_dense, mixed)
            hidden = norm_in_float64(layer.attention_norm, hidden + mixed)
            inner = gelu_in_float64(dense_in_float64(layer.feed_forward.intermediate_dense, hidden))
            inner = dense_in_float64(layer.feed_forward.output_dense, inner)
            hidden = norm_in_float64(layer.feed_forward_norm, hidden + inner)
        if backbone.adapters:
            adapter = backbone.adapters[index]
            hidden = hidden + dense_in_float64(adapter.up, gelu_in_float64(dense_in_float64(adapter.down, hidden)))
        if backbone.gates:
            hidden = hidden + backbone.gates[index].gate.numpy() * (hidden - before)
        hidden_states.append(hidden)
    return hidden_states, attentions


@pytest.mark.parametrize(
    "changes",
    [
        dict(num_layers=4, num_groups=2),
        dict(num_layers=2, num_inner_repetitions=2, cross_layer_sharing="attention"),
        dict(num_layers=2, cross_layer_sharing="ffn", embedding_dim=16, use_embedding_projection=False),
        dict(num_layers=2, num_inner_repetitions=2, adapter_dim=3, layer_gates=True),
        dict(num_layers=2, adapter_dim=3),
        dict(num_layers=2, layer_gates=True),
    ],
    ids=str,
)
def test_hidden_states_and_attention_maps_equal_float64(make_albert, albert_inputs, make_ids, changes):
    backbone, inputs = draw_weights(make_albert(**changes)), albert_inputs(make_ids(2, 8), [8, 5])
    outputs = backbone.inspect(inputs)
    hidden_states, attentions = encode_in_float64(backbone, inputs)
    assert isinstance(outputs["hidden_states"], tuple) and isinstance(outputs["attentions"], tuple)
    assert len(outputs["hidden_states"]) == backbone.num_layers + 1
    assert len(outputs["attentions"]) == backbone.num_layers * backbone.num_inner_repetitions
    for ours, expected in zip(outputs["hidden_states"], hidden_states, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=1e-5)
    for ours, expected in zip(outputs["attentions"], attentions, strict=True):
        assert ours.shape == (2, 2, 8, 8)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_inspecting_gives_what_calling_gives(make_albert, albert_inputs, make_ids, dtype):
    backbone = make_albert(dtype=dtype, dropout=0.5, attention_dropout=0.5, adapter_dim=3, layer_gates=True)
    inputs = albert_inputs(make_ids(2, 8), [8, 3])
    outputs = backbone.inspect(inputs)
    for name, expected in backbone(inputs).items():
        np.testing.assert_array_equal(outputs[name], expected)
    np.testing.assert_array_equal(outputs["hidden_states"][-1], outputs["sequence_output"])
    assert {probabilities.dtype.name for probabilities in outputs["attentions"]} == {"float32"}


def test_inspecting_works_in_a_graph(make_albert, albert_inputs, make_ids):
    backbone, inputs = make_albert(), albert_inputs(make_ids(2, 8), [8, 3])
    eager, graph = backbone.inspect(inputs), tf.function(backbone.inspect)(inputs)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), eager, graph)


def test_attention_maps_are_probabilities_over_the_real_tokens(make_albert, albert_inputs, make_ids):
    attentions = make_albert().inspect(albert_inputs(make_ids(2, 8), [8, 3]))["attentions"]
    for probabilities in attentions:
        np.testing.assert_allclose(tf.reduce_sum(probabilities, -1), np.ones((2, 2, 8)), atol=1e-6)
        assert not probabilities[1, ..., 3:].numpy().any()
