"""Building a model without drawing random values that a checkpoint replaces at once.

Drawing the 124M numbers of GPT-2 small takes longer than reading them, and holds them in memory beside those that are
read. Here a new variable asks for memory without touching it, so the system gives none before the values come, and a
large array becomes the memory of its variable instead of being copied.
"""

import contextlib
import threading
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from albert_gpt_tf.checkpoints.tensors import ALIGNMENT, aligned_empty

# Below this size a copy costs nothing, and nobody has to think of who owns the memory.
_SHARED_FROM_BYTES = 1 << 20

_one_at_a_time = threading.Lock()  # two threads that exchange Keras' methods would leave one of them exchanged
_of_thread = threading.local()  # .pending: id(variable) -> (variable, initializer) within the scope, else None


@contextlib.contextmanager
def without_initial_values() -> Iterator[None]:
    """A scope in which new variables get memory, but no values.

    Build the model inside the scope and fill it there, with `fill`, `put`, or by `assign`. On leaving the scope every
    variable that got nothing gets its values from its own initializer, so none is left without. Inside the scope the
    model must not be used. If the scope is left by an exception, the model must not be used at all.

    Example:
        >>> with without_initial_values():
        ...     dense = keras.layers.Dense(2)
        ...     dense.build((None, 3))
        ...     put(dense.kernel, np.ones((3, 2), "float32"))
        >>> dense.kernel.numpy().sum(), dense.bias.numpy().sum()
        (np.float32(6.0), np.float32(0.0))
    """
    if _pending() is not None:  # inside another such scope, which does the rest
        yield
        return
    with _one_at_a_time:
        _of_thread.pending = {}
        try:
            with _deferred_initializers():
                yield
            for variable, initializer in _of_thread.pending.values():
                variable.assign(initializer(variable.shape, dtype=variable.dtype))
        finally:
            _of_thread.pending = None


def _pending() -> dict | None:
    return getattr(_of_thread, "pending", None)


@contextlib.contextmanager
def _deferred_initializers() -> Iterator[None]:
    """Keras' variables of this thread get untouched memory instead of what their initializers give."""
    initialize, assign = keras.Variable._initialize_with_initializer, keras.Variable.assign

    def defer(variable, initializer):
        # Floating point only: counters and seeds are small, and layers may read them while they are built.
        if _pending() is None or not tf.as_dtype(variable.dtype).is_floating:
            return initialize(variable, initializer)
        initialize(variable, lambda shape, dtype: tf.raw_ops.Empty(shape=tuple(shape), dtype=tf.as_dtype(dtype)))
        _pending()[id(variable)] = (variable, initializer)

    def assign_and_note(variable, value):
        assigned = assign(variable, value)
        if _pending() is not None:
            _pending().pop(id(variable), None)
        return assigned

    keras.Variable._initialize_with_initializer, keras.Variable.assign = defer, assign_and_note
    try:
        yield
    finally:
        keras.Variable._initialize_with_initializer, keras.Variable.assign = initialize, assign


def put(variable: keras.Variable, array: np.ndarray) -> None:
    """Assigns an array to a variable, without a copy if it is large.

    Args:
        variable: Keras variable.
        array: array of the variable's shape and of any floating type. The variable may take over its memory, so
            nobody must write into the array afterwards.

    Example:
        >>> variable = keras.Variable(np.zeros(3, "float32"))
        >>> put(variable, np.ones(3, "float32"))
        >>> variable.numpy()
        array([1., 1., 1.], dtype=float32)
    """
    dtype = tf.as_dtype(variable.dtype).as_numpy_dtype
    if array.nbytes < _SHARED_FROM_BYTES or variable.dtype == "bfloat16":  # NumPy cannot hand out bfloat16
        variable.assign(np.asarray(array, dtype))
    else:
        variable.assign(_shared(array, dtype))


def _shared(array: np.ndarray, dtype) -> tf.Tensor:
    """An eager tensor in the memory of the array, or of a copy if it has to be another.

    TensorFlow never writes into memory that it does not own: the first update of the variable moves it to new memory.
    """
    usable = array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0
    if not usable or array.dtype != dtype:
        copy = aligned_empty(array.shape, dtype)
        np.copyto(copy, array, casting="same_kind")
        array = copy
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
