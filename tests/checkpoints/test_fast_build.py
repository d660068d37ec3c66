"""Models are built without values and filled without copies, and nothing is left without a value."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.checkpoints.fast_build import put, without_initial_values
from albert_gpt_tf.checkpoints.tensors import ALIGNMENT, aligned_empty
from albert_gpt_tf.models.gpt_backbone import GPTBackbone

LARGE = 300_000  # float32 numbers: more than a megabyte


class Counting(keras.initializers.Initializer):
    """Fills with sevens and counts."""

    calls = 0

    def __call__(self, shape, dtype=None):
        self.calls += 1
        return keras.ops.full(shape, 7, dtype=dtype)

    def clone(self):
        return self


def built_dense(initializer, **kwargs):
    dense = keras.layers.Dense(4, kernel_initializer=initializer, bias_initializer=initializer, **kwargs)
    dense.build((None, 3))
    return dense


def large(value=1.0):
    array = aligned_empty((LARGE,), "float32")
    array[:] = value
    return array


# === Without initial values ===


def test_keras_still_has_the_methods_that_are_exchanged():
    # `without_initial_values` exchanges them. If this fails after an update of Keras, look there first.
    assert callable(keras.Variable._initialize_with_initializer)
    assert keras.Variable is keras.src.backend.Variable, "layers make variables of another class"


def test_nothing_is_drawn_for_variables_that_get_values():
    initializer = Counting()
    with without_initial_values():
        dense = built_dense(initializer)
        assert initializer.calls == 0
        put(dense.kernel, np.ones((3, 4), "float32"))
        dense.bias.assign(np.full(4, 2.0))  # any way to assign will do
    assert initializer.calls == 0
    assert (dense.kernel.numpy() == 1).all()
    assert (dense.bias.numpy() == 2).all()


def test_variables_that_get_no_value_are_initialized_on_leaving():
    initializer = Counting()
    with without_initial_values():
        dense = built_dense(initializer)
        put(dense.kernel, np.ones((3, 4), "float32"))
    assert initializer.calls == 1
    assert (dense.bias.numpy() == 7).all()
    assert (dense.kernel.numpy() == 1).all()


def test_a_whole_model_gets_the_same_values_as_without_the_scope():
    arguments = {"vocabulary_size": 11, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "dropout": 0.1}
    keras.utils.set_random_seed(3)
    wanted = GPTBackbone(**arguments)
    keras.utils.set_random_seed(3)
    with without_initial_values():
        model = GPTBackbone(**arguments)
    assert [weight.path for weight in model.weights] == [weight.path for weight in wanted.weights]
    for ours, theirs in zip(model.weights, wanted.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_counters_and_seeds_have_their_values_at_once():
    with without_initial_values():
        assert keras.random.SeedGenerator(5).state.numpy().tolist() == [5, 0]


def test_variables_made_afterwards_are_initialized_as_ever():
    with without_initial_values():
        pass
    assert (built_dense("ones").kernel.numpy() == 1).all()


def test_an_exception_ends_the_scope():
    with pytest.raises(KeyError), without_initial_values():
        raise KeyError
    initializer = Counting()
    assert (built_dense(initializer).kernel.numpy() == 7).all()
    with without_initial_values():
        built_dense(initializer)
        assert initializer.calls == 2


def test_a_scope_in_a_scope_leaves_the_rest_to_the_outer_one():
    initializer = Counting()
    with without_initial_values():
        with without_initial_values():
            dense = built_dense(initializer)
        assert initializer.calls == 0
        put(dense.kernel, np.ones((3, 4), "float32"))
    assert initializer.calls == 1


def test_other_threads_are_not_in_the_scope():
    initializer, result = Counting(), []
    with without_initial_values():
        thread = threading.Thread(target=lambda: result.append(built_dense(initializer)))
        thread.start()
        thread.join()
        assert initializer.calls == 2
        assert (result[0].kernel.numpy() == 7).all()


def test_threads_that_load_at_once_both_get_their_values():
    results = {}

    def load(name, value):
        for _ in range(5):
            with without_initial_values():
                dense = built_dense("zeros")
                put(dense.kernel, np.full((3, 4), value, "float32"))
            results.setdefault(name, []).append(dense.kernel.numpy())

    threads = [threading.Thread(target=load, args=(name, name)) for name in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in (1, 2):
        assert (np.stack(results[name]) == name).all()
    assert (built_dense("ones").bias.numpy() == 1).all()


# === Without copies ===


def test_a_large_array_becomes_the_memory_of_the_variable():
    variable = keras.Variable(np.zeros(LARGE, "float32"))
    array = large(1)
    put(variable, array)
    array[7] = 5  # what nobody should do shows that they are one
    assert variable.numpy()[7] == 5


def test_an_update_does_not_reach_the_array():
    first, second = (keras.Variable(np.zeros(LARGE, "float32")) for _ in range(2))
    array = large(1)
    put(first, array)
    put(second, array)
    first.assign_add(tf.ones([LARGE]))
    first.value.assign_add(tf.ones([LARGE]))  # in place, as optimizers do
    assert (first.numpy() == 3).all()
    assert (second.numpy() == 1).all()
    assert (array == 1).all()


def test_a_training_step_updates_a_variable_that_was_filled():
    with without_initial_values():
        layer = keras.layers.Dense(600, use_bias=False)
        layer.build((None, 600))
        put(layer.kernel, np.ones((600, 600), "float32"))
    model = keras.Sequential([keras.Input((600,)), layer])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.ones((2, 600), "float32")
    before = model.evaluate(x, np.zeros((2, 600)), verbose=0)
    model.fit(x, np.zeros((2, 600)), verbose=0, epochs=3)
    assert model.evaluate(x, np.zeros((2, 600)), verbose=0) < before


@pytest.mark.parametrize(
    "array",
    [
        large(3).reshape(600, 500).T,  # not contiguous
        np.full(LARGE + 1, 3, "float32")[1:],  # not aligned
        np.broadcast_to(np.float32(3), (LARGE,)),  # not writable
        np.full(LARGE, 3, "float16"),
        np.full(LARGE, 3, "float64"),
    ],
    ids=["transposed", "unaligned", "read-only", "float16", "float64"],
)
def test_an_array_that_cannot_be_shared_is_copied(array):
    variable = keras.Variable(np.zeros(array.shape, "float32"))
    put(variable, array)
    assert (variable.numpy() == 3).all()
    assert variable.shape == array.shape


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="must match"):
        put(keras.Variable(np.zeros(LARGE - 1, "float32")), large())


@pytest.mark.parametrize("shape", [(), (3,), (5, 7)])
def test_aligned_arrays_are_aligned(shape):
    for _ in range(20):
        array = aligned_empty(shape, "float32")
        assert array.shape == shape
        assert array.ctypes.data % ALIGNMENT == 0
