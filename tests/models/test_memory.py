"""Bytes by formula against the tensors that TensorFlow's gradients keep, and against figures worked out by hand."""

import pytest
import tensorflow as tf

from albert_gpt_tf.models.memory import (
    COMPUTE_BYTES,
    activation_bytes,
    cache_bytes_per_token,
    layer_activation_bytes,
    logits_bytes,
    weight_bytes,
)
from albert_gpt_tf.models.sizes import NAMED_SIZES

BATCH, LENGTH = 2, 12
# Operations whose output is their input's memory.
VIEWS = {"Reshape", "Identity", "ExpandDims", "Squeeze"}
# Weights, shapes, and sums of gradients, whose names do not tell that they belong to the backward pass.
NO_ACTIVATIONS = {"ReadVariableOp", "Placeholder", "Const", "Shape", "Prod", "Pack", "ConcatV2", "StridedSlice", "AddN"}


def is_backward(operation):
    return "gradient_tape" in operation.name


def kept_bytes(backbone, inputs):
    """Bytes of the forward pass's tensors that the backward pass of a traced training step reads."""

    def step(inputs):
        with tf.GradientTape() as tape:
            outputs = backbone(inputs, training=True)
            hidden = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
            loss = tf.reduce_sum(tf.square(tf.cast(hidden, "float32")))
        return tape.gradient(loss, [variable.value for variable in backbone.trainable_variables])

    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    kept = {}
    for operation in tf.function(step).get_concrete_function(signature).graph.get_operations():
        for tensor in operation.inputs if is_backward(operation) else ():
            while tensor.op.type in VIEWS:
                tensor = tensor.op.inputs[0]
            is_cast_weight = tensor.op.type == "Cast" and tensor.op.inputs[0].op.type == "ReadVariableOp"
            if not is_backward(tensor.op) and tensor.op.type not in NO_ACTIVATIONS and not is_cast_weight:
                kept[tensor.name] = tensor.shape.num_elements() * tensor.dtype.size
    return sum(kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("architecture", ["albert", "gpt"])
def test_a_layer_keeps_what_the_formula_says(architecture, policy, dropout, request):
    make = request.getfixturevalue(f"make_{architecture}")
    inputs = request.getfixturevalue(f"{architecture}_inputs")(request.getfixturevalue("make_ids")(BATCH, LENGTH))
    sizes = dict(num_heads=4, hidden_dim=24, intermediate_dim=40, dropout=dropout, attention_dropout=dropout)
    two, three = (kept_bytes(make(num_layers=layers, dtype=policy, **sizes), inputs) for layers in (2, 3))
    expected = BATCH * LENGTH * layer_activation_bytes(LENGTH, **sizes, policy=policy)
    assert three - two == pytest.approx(expected, abs=8)  # a constant cast once a layer


def test_head_width_counts_for_attention_alone(make_gpt, gpt_inputs, make_ids):
    inputs = gpt_inputs(make_ids(BATCH, LENGTH))
    sizes = dict(num_heads=3, hidden_dim=16, head_dim=7, intermediate_dim=20)
    two, three = (kept_bytes(make_gpt(num_layers=layers, **sizes), inputs) for layers in (2, 3))
    assert three - two == BATCH * LENGTH * layer_activation_bytes(LENGTH, **sizes)


def test_a_layer_that_is_recomputed_keeps_its_input_alone():
    sizes = dict(num_heads=2, hidden_dim=16, intermediate_dim=20)
    two, three = (activation_bytes(BATCH, LENGTH, recompute=True, num_layers=layers, **sizes) for layers in (2, 3))
    assert three - two == BATCH * LENGTH * 16 * 4
    assert two == BATCH * LENGTH * (2 * 16 * 4 + layer_activation_bytes(LENGTH, **sizes))


def test_inner_repetitions_are_layers_like_others():
    sizes = dict(num_heads=2, hidden_dim=16, intermediate_dim=20)
    twice = activation_bytes(BATCH, LENGTH, num_layers=3, num_inner_repetitions=2, **sizes)
    assert twice == activation_bytes(BATCH, LENGTH, num_layers=6, **sizes)


def test_adamw_in_float32_takes_sixteen_bytes_a_weight_and_a_mixed_policy_two_more():
    for policy, expected in (("float32", 16), ("mixed_bfloat16", 18), ("mixed_float16", 18)):
        counts = weight_bytes(1000, policy)
        for optimizer in ("AdamW", "LAMB"):
            names = ("weights", "cast copy", "gradients", optimizer)
            assert sum(counts[name] for name in names) == expected * 1000
        assert counts["SGD"] == 0


def test_frozen_weights_have_no_gradients_and_no_slots():
    counts = weight_bytes(1000, trainable=10)
    assert (counts["weights"], counts["gradients"], counts["AdamW"]) == (4000, 40, 80)


def test_the_cache_of_gpt3_takes_what_its_paper_implies():
    # 2 x 96 layers x 12288 numbers of 2 bytes.
    assert cache_bytes_per_token(**NAMED_SIZES["gpt3-175B"], policy="mixed_float16") == 4_718_592
    assert cache_bytes_per_token(**NAMED_SIZES["gpt2-124M"]) == 2 * 12 * 768 * 4
    assert cache_bytes_per_token(**NAMED_SIZES["gpt3-1.3B"]) == 2 * 24 * 24 * 128 * 4  # wider than hidden_dim


def test_logits_and_their_gradient_are_float32_under_every_policy():
    sizes = {policy: logits_bytes(2, 3, vocabulary_size=50, policy=policy) for policy in COMPUTE_BYTES}
    assert sizes == {"float32": 2 * 3 * 50 * 8, "mixed_bfloat16": 2 * 3 * 50 * 10, "mixed_float16": 2 * 3 * 50 * 10}
