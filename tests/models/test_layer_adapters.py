"""Adapters and gates: nothing before training, then the only thing that is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.layer_adapters import Adapter, LayerGate
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier

PER_LAYER = [dict(adapter_dim=3), dict(layer_gates=True), dict(adapter_dim=3, layer_gates=True)]
X = np.random.RandomState(0).standard_normal((2, 5, 16)).astype("float32")


def add_per_layer_parameters(make_albert, plain, **changes):
    """A backbone with adapters or gates and the shared weights of a plain one."""
    backbone = make_albert(**changes)
    values = {weight.path: weight for weight in plain.weights}
    for weight in shared_weights(backbone):
        weight.assign(values[weight.path])
    return backbone


def per_layer_weights(backbone):
    return [weight for layer in (*backbone.adapters, *backbone.gates) for weight in layer.weights]


def shared_weights(backbone):
    own = {id(weight) for weight in per_layer_weights(backbone)}
    return [weight for weight in backbone.weights if id(weight) not in own]


def draw(weights):
    random = np.random.RandomState(1)
    for weight in weights:
        weight.assign(0.3 * random.standard_normal(weight.shape))


# === The layers ===


def test_an_adapter_is_a_bottleneck_beside_the_residual():
    adapter = Adapter(3, "relu", 0.3)
    adapter.build(X.shape)
    draw(adapter.weights)
    down, up = adapter.down, adapter.up
    inner = np.maximum(X @ down.kernel.numpy() + down.bias.numpy(), 0)
    np.testing.assert_allclose(adapter(X), X + inner @ up.kernel.numpy() + up.bias.numpy(), atol=1e-5)
    assert adapter.count_params() == 2 * 16 * 3 + 3 + 16


def test_a_new_adapter_gives_its_input_and_can_learn():
    adapter = Adapter(3, "gelu_new", 0.3)
    with tf.GradientTape() as tape:
        outputs = adapter(X)
        loss = tf.reduce_sum(outputs**2)
    np.testing.assert_array_equal(outputs, X)
    kernel, bias = tape.gradient(loss, [adapter.up.kernel.value, adapter.up.bias.value])
    assert abs(kernel).numpy().max() > 0.01 and abs(bias).numpy().max() > 0.01


def test_a_gate_makes_the_step_of_a_layer_longer_or_shorter():
    gate, after = LayerGate(), X[::-1]
    np.testing.assert_array_equal(gate(X, after), after)  # new: 0
    assert gate.count_params() == 16
    gate.gate.assign(np.full(16, -1))
    np.testing.assert_allclose(gate(X, after), X, atol=1e-6)
    values = np.linspace(-1, 1, 16)
    gate.gate.assign(values)
    np.testing.assert_allclose(gate(X, after), after + values * (after - X), atol=1e-6)


# === In the backbone ===


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("changes", PER_LAYER, ids=str)
def test_new_adapters_and_gates_change_no_bit(make_albert, albert_inputs, make_ids, changes, dtype):
    plain = make_albert(num_inner_repetitions=2, dtype=dtype)
    backbone = add_per_layer_parameters(make_albert, plain, num_inner_repetitions=2, dtype=dtype, **changes)
    inputs = albert_inputs(make_ids(2, 8), [8, 5])
    for name, expected in plain(inputs).items():
        np.testing.assert_array_equal(backbone(inputs)[name], expected)


def test_there_is_one_for_every_layer_and_none_for_inner_repetitions(make_albert):
    backbone = make_albert(num_layers=4, num_groups=2, num_inner_repetitions=3, adapter_dim=3, layer_gates=True)
    assert len(backbone.adapters) == len(backbone.gates) == 4
    assert len({id(layer) for layer in (*backbone.adapters, *backbone.gates)}) == 8
    assert make_albert().adapters == make_albert().gates == []


@pytest.mark.parametrize("changes", PER_LAYER, ids=str)
def test_each_layer_uses_its_own(make_albert, albert_inputs, make_ids, changes):
    # Layer 1 of 3 changes: what comes before stays, its own output and all after it move.
    backbone, inputs = make_albert(num_layers=3, **changes), albert_inputs(make_ids(2, 8))
    before = backbone.inspect(inputs)["hidden_states"]
    draw([weight for layers in (backbone.adapters, backbone.gates) if layers for weight in layers[1].weights])
    after = backbone.inspect(inputs)["hidden_states"]
    moved = [abs(a.numpy() - b.numpy()).max() > 1e-3 for a, b in zip(after, before, strict=True)]
    assert moved == [False, False, True, True]


def test_gradients_reach_every_gate_and_every_adapter_at_once(make_albert, albert_inputs, make_ids):
    backbone = make_albert(num_layers=3, adapter_dim=3, layer_gates=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(backbone(albert_inputs(make_ids(2, 8), [8, 5]))["pooled_output"])
    moving = [adapter.up.kernel for adapter in backbone.adapters] + [gate.gate for gate in backbone.gates]
    for gradient in tape.gradient(loss, [weight.value for weight in moving]):
        assert abs(gradient).numpy().max() > 1e-3


@pytest.mark.parametrize("changes", [dict(), *PER_LAYER], ids=str)
def test_parameters_are_counted_by_kind(make_albert, changes):
    backbone = make_albert(num_layers=3, **changes)
    adapters = 3 * (2 * 16 * 3 + 3 + 16) if "adapter_dim" in changes else 0
    gates = 3 * 16 if "layer_gates" in changes else 0
    shared = make_albert().count_params()
    counts = dict(shared_weights=shared, adapters=adapters, gates=gates, trainable=shared + adapters + gates)
    assert backbone.parameter_counts() == counts
    if changes:
        backbone.train_per_layer_parameters_only()
        assert backbone.parameter_counts() == {**counts, "trainable": adapters + gates}
    backbone.trainable = False
    assert backbone.parameter_counts() == {**counts, "trainable": 0}


def test_without_adapters_and_gates_nothing_can_be_trained_alone(make_albert):
    with pytest.raises(ValueError, match=r"with adapters or gates\. Received: adapter_dim=None, layer_gates=False"):
        make_albert().train_per_layer_parameters_only()


@pytest.mark.parametrize("changes, mode", list(zip(PER_LAYER, ["all", "attention", "ffn"], strict=True)), ids=str)
def test_only_adapters_gates_and_the_head_are_trained(make_albert, albert_inputs, make_ids, changes, mode):
    backbone = make_albert(cross_layer_sharing=mode, **changes)
    backbone.trainable = False  # does not stay in the way
    backbone.train_per_layer_parameters_only()
    task = AlbertTextClassifier(backbone, labels=["a", "b"], dropout=0.0)
    assert {id(weight) for weight in task.trainable_variables} == {
        id(weight) for weight in (*per_layer_weights(backbone), *task.output_dense.weights)
    }
    before = {weight.path: weight.numpy() for weight in task.weights}
    task.compile(keras.optimizers.SGD(0.5))
    task.fit(albert_inputs(make_ids(4, 8)), np.array([0, 1, 1, 0]), epochs=1, verbose=0)  # one step
    for weight in shared_weights(backbone):
        np.testing.assert_array_equal(weight, before[weight.path])
    # `down` stands behind a zero in the first step.
    moving = [adapter.up.kernel for adapter in backbone.adapters] + [gate.gate for gate in backbone.gates]
    assert all(abs(weight.numpy() - before[weight.path]).max() > 0 for weight in moving)


def test_xla_compiles_the_backbone_with_adapters(make_albert, albert_inputs, make_ids):
    backbone = make_albert(cross_layer_sharing="attention", adapter_dim=3, layer_gates=True)
    draw(per_layer_weights(backbone))
    inputs = {name: tf.constant(value) for name, value in albert_inputs(make_ids(2, 8), [8, 5]).items()}
    compiled = tf.function(backbone, jit_compile=True)(inputs)
    for name, expected in backbone(inputs).items():
        np.testing.assert_allclose(compiled[name], expected, atol=1e-5)


def test_a_preset_gets_adapters_and_gates_that_change_nothing_at_first(make_albert, albert_inputs, make_ids, tmp_path):
    plain = make_albert()
    plain.save_to_preset(str(tmp_path / "plain"))
    inputs = albert_inputs(make_ids(2, 6), [6, 4])
    wider = AlbertBackbone.from_preset(tmp_path / "plain", adapter_dim=3, layer_gates=True)
    assert len(wider.adapters) == len(wider.gates) == 2
    np.testing.assert_array_equal(wider(inputs)["sequence_output"], plain(inputs)["sequence_output"])
    # Its own preset has them; asking for the same again keeps their values, asking for others makes new ones.
    wider.adapters[1].up.kernel.assign(np.ones(wider.adapters[1].up.kernel.shape))
    wider.save_to_preset(str(tmp_path / "wider"))
    again = AlbertBackbone.from_preset(tmp_path / "wider", adapter_dim=3)
    np.testing.assert_array_equal(again(inputs)["pooled_output"], wider(inputs)["pooled_output"])
    without = AlbertBackbone.from_preset(tmp_path / "wider", adapter_dim=None, layer_gates=False)
    np.testing.assert_array_equal(without(inputs)["pooled_output"], plain(inputs)["pooled_output"])
