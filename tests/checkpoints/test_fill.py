"""Tensors go into the variables that the rules name, all of them or none."""

import keras
import numpy as np
import pytest

from albert_gpt_tf.checkpoints.fill import fill
from albert_gpt_tf.checkpoints.tensor_rules import leading_one, reshaped, same, thirds, transposed
from albert_gpt_tf.checkpoints.tensors import Entry, Tensors

RNG = np.random.default_rng(0)


def random(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def variable(*shape, dtype="float32"):
    return keras.Variable(np.zeros(shape), dtype=dtype)


def checkpoint(arrays):
    """`Tensors` in memory. As the real ones they give a new array each time."""
    return Tensors("a test", {name: Entry(x.shape, x.dtype.name, x.copy) for name, x in arrays.items()})


@pytest.fixture
def dense():
    """Rules for a dense layer, `[out, in]` in the checkpoint, its variables, and arrays that fit."""
    kernel, bias = variable(3, 2), variable(2)
    return [transposed("w", kernel), same("b", bias)], (kernel, bias), {"w": random(2, 3), "b": random(2)}


def test_each_tensor_goes_into_its_variable(dense):
    rules, (kernel, bias), arrays = dense
    assert fill(rules, checkpoint(arrays)) == []
    np.testing.assert_array_equal(kernel, arrays["w"].T)
    np.testing.assert_array_equal(bias, arrays["b"])


def test_one_tensor_may_fill_several_variables():
    kernels = [variable(4, 4) for _ in range(3)]
    fused = random(1, 4, 12)
    fill([leading_one(thirds("qkv", kernels))], checkpoint({"qkv": fused}))
    np.testing.assert_array_equal(np.concatenate([kernel.numpy() for kernel in kernels], axis=1), fused[0])


@pytest.mark.parametrize(("stored", "held"), [("float16", "float32"), ("float64", "float32"), ("float32", "bfloat16")])
def test_numbers_take_the_type_of_the_variable(stored, held):
    for size in (3, 300_000):  # small arrays are copied, large ones are not
        array, kernel = random(size, dtype=stored), variable(size, dtype=held)
        fill([same("w", kernel)], checkpoint({"w": array}))
        assert kernel.dtype == held
        np.testing.assert_array_equal(kernel.numpy(), array.astype(kernel.numpy().dtype))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: arrays.pop("b"), "1 missing: b."),
        (lambda arrays: arrays.update(extra=random(1)), "1 unexpected: extra."),
        (lambda arrays: arrays.update(w=random(3, 2)), r"1 of another shape: w \[3, 2\] instead of \[2, 3\]."),
    ],
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(dense, change, told):
    rules, variables, arrays = dense
    change(arrays)
    with pytest.raises(ValueError, match=f"Expected the 2 tensors of this model in a test. Received: {told}"):
        fill(rules, checkpoint(arrays))
    assert not any(variable.numpy().any() for variable in variables)


def test_all_that_is_wrong_is_told_at_once(dense):
    rules, _, _ = dense
    with pytest.raises(ValueError, match=r"1 missing: b; 1 unexpected: c; 1 of another shape: w \[1\] instead of"):
        fill(rules, checkpoint({"w": random(1), "c": random(1)}))


def test_long_lists_are_cut_and_counted():
    rules = [same(f"w{i}", variable(1)) for i in range(20)]
    with pytest.raises(ValueError, match="20 missing: w0, w1, w2, w3, w4, w5, w6, w7 and 12 more; 1 unexpected: x"):
        fill(rules, checkpoint({"x": random(1)}))


def test_a_weight_of_another_type_changes_nothing(dense):
    rules, variables, arrays = dense
    arrays["b"] = np.zeros(2, "int8")
    with pytest.raises(ValueError, match="Expected b in a test to hold one of"):
        fill(rules, checkpoint(arrays))
    assert not any(variable.numpy().any() for variable in variables)


def test_what_may_be_missing_is_reported_and_keeps_its_values(dense):
    rules, (kernel, bias), arrays = dense
    del arrays["b"]
    bias.assign([5, 6])
    assert fill(rules, checkpoint(arrays), may_lack={"w", "b"}) == ["b"]
    np.testing.assert_array_equal(kernel, arrays["w"].T)
    np.testing.assert_array_equal(bias, [5, 6])


def test_what_may_be_missing_must_have_its_shape_if_it_is_there(dense):
    rules, _, arrays = dense
    arrays["b"] = random(7)
    with pytest.raises(ValueError, match=r"b \[7\] instead of \[2\]"):
        fill(rules, checkpoint(arrays), may_lack=["b"])


def test_ignored_patterns_are_of_whole_names(dense):
    rules, _, arrays = dense
    buffers = {"h.0.attn.bias": random(1), "h.11.attn.bias": np.ones(3, "int64")}
    assert fill(rules, checkpoint(arrays | buffers), ignored=[r"h\.\d+\.attn\.bias"]) == []
    with pytest.raises(ValueError, match=r"2 unexpected: h\.0\.attn\.bias, h\.11\.attn\.bias"):
        fill(rules, checkpoint(arrays | buffers), ignored=["attn", r"h\.\d+"])


def test_a_tensor_that_a_rule_wants_is_not_ignored(dense):
    rules, (kernel, _), arrays = dense
    fill(rules, checkpoint(arrays), ignored=[".*"])
    np.testing.assert_array_equal(kernel, arrays["w"].T)


def test_two_rules_for_one_tensor_fill_both():
    first, second = variable(3), variable(3)
    fill([same("w", first), same("w", second)], checkpoint({"w": np.ones(3, "float32")}))
    assert first.numpy().all()
    assert second.numpy().all()


@pytest.mark.parametrize(
    "rule",
    [
        same("a", variable(3, 6)),
        transposed("a", variable(3, 6)),
        thirds("a", (variable(3, 2), variable(3, 2), variable(3, 2))),
        reshaped("a", variable(3, 6), (3, 2, 3)),
        leading_one(transposed("a", variable(3, 6))),
    ],
)
def test_every_rule_gives_back_what_it_was_given(rule):
    array = random(*rule.shape)
    ours = rule.to_ours(array)
    assert [x.shape for x in ours] == [tuple(variable.shape) for variable in rule.variables]
    np.testing.assert_array_equal(rule.to_theirs(ours), array)
    fill([rule], checkpoint({"a": array}))
    np.testing.assert_array_equal(rule.to_theirs(tuple(variable.numpy() for variable in rule.variables)), array)
