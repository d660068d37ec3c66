"""Recomputation: the same gradients, dropout included, for less memory."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

SCRIPT = Path(__file__).with_name("train_recomputed.py")


def gradients_of(backbone, inputs):
    """Output and gradients of a fixed loss."""
    with tf.GradientTape() as tape:
        hidden = backbone(inputs, training=True)
        loss = tf.reduce_sum(hidden * tf.reshape(tf.linspace(-1.0, 1.0, tf.size(hidden)), tf.shape(hidden)))
    gradients = tape.gradient(loss, [variable.value for variable in backbone.trainable_variables])
    return hidden, [tf.convert_to_tensor(gradient) for gradient in gradients]


def make_pair(make_gpt, **changes):
    """Two backbones with equal weights and equal seeds, the second of which recomputes."""
    pair = []
    for recompute in (False, True):
        random.seed(7)  # of initializers and dropout
        pair.append(make_gpt(recompute=recompute, **changes))
    return pair


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("form", ["gpt2", "gpt1"])
def test_gradients_are_the_same_with_dropout(mode, form, make_gpt, gpt_inputs, make_ids):
    changes = {"gpt2": {}, "gpt1": dict(norm_first=False, attention_window=3, use_bias=False)}[form]
    layers = 1 if mode == "xla" else 3  # it compiles slowly
    inputs = {name: tf.constant(value) for name, value in gpt_inputs(make_ids(3, 8), [8, 5, 2]).items()}
    results = []
    for backbone in make_pair(make_gpt, num_layers=layers, dropout=0.3, **changes):
        compute = gradients_of if mode == "eager" else tf.function(gradients_of, jit_compile=mode == "xla")
        compute(backbone, inputs)  # the second call draws other masks
        results.append(compute(backbone, inputs))
    tolerance = 0 if mode == "eager" else 1e-5  # compiled, sums are grouped in another way
    (hidden, gradients), (hidden_again, gradients_again) = results
    np.testing.assert_allclose(hidden_again, hidden, atol=tolerance)
    for ours, theirs in zip(gradients_again, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_under_mixed_bfloat16_gradients_are_the_same(make_gpt, gpt_inputs, make_ids):
    inputs = gpt_inputs(make_ids(3, 8))
    pair = make_pair(make_gpt, dropout=0.3, dtype="mixed_bfloat16")
    results = []
    for backbone in pair:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(backbone(inputs, training=True), "float32") ** 3)
        results.append(tape.gradient(loss, [variable.value for variable in backbone.trainable_variables]))
    for first, second in zip(*results, strict=True):
        assert second.dtype == "float32"
        np.testing.assert_array_equal(tf.convert_to_tensor(first), tf.convert_to_tensor(second))


def test_every_call_draws_other_masks(make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(dropout=0.5, recompute=True), gpt_inputs(make_ids(2, 8))
    first, second = (backbone(inputs, training=True).numpy() for _ in range(2))
    assert abs(first - second).max() > 0.01


@pytest.mark.parametrize("recompute", [False, True])
def test_the_backward_pass_computes_the_layers_once_more(recompute, make_gpt, gpt_inputs, make_ids, monkeypatch):
    backbone, calls = make_gpt(recompute=recompute), []
    for index, layer in enumerate(backbone.transformer_layers):
        activation = layer.feed_forward.activation
        monkeypatch.setattr(
            layer.feed_forward, "activation", lambda x, index=index, f=activation: calls.append(index) or f(x)
        )
    inputs = gpt_inputs(make_ids(2, 8))
    backbone(inputs, training=False)
    assert calls == [0, 1]
    gradients_of(backbone, inputs)
    assert calls == [0, 1, 0, 1] + [1, 0] * recompute


def run(*arguments):
    """What the script prints last, in a process of its own."""
    process = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
def test_fit_on_two_replicas_in_two_micro_batches_gives_the_same_weights():
    plain, recomputed = run("weights", "0"), run("weights", "1")
    assert plain.keys() == recomputed.keys() and len(plain) > 20
    for name, weights in plain.items():
        np.testing.assert_allclose(recomputed[name], weights, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_a_training_step_needs_less_than_half_the_memory():
    # Measured: 910 MB and 280 MB above what the process has before the step.
    assert run("memory", "1")["megabytes"] < run("memory", "0")["megabytes"] / 2
