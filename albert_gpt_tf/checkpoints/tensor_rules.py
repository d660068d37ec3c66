"""Which tensor of a checkpoint fills which variables of a model, in both directions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class TensorRule(NamedTuple):
    """One tensor of a checkpoint and the variables that it fills.

    Fields:
        name: str, its name in the checkpoint.
        variables: tuple of Keras variables, one for most tensors, three for a fused query, key and value.
        to_ours: function from the checkpoint's array to a tuple of arrays, one a variable.
        to_theirs: function from such a tuple to the checkpoint's array.
        shape: tuple of int, the shape of the tensor in the checkpoint.
    """

    name: str
    variables: tuple
    to_ours: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    to_theirs: Callable[[tuple[np.ndarray, ...]], np.ndarray]
    shape: tuple[int, ...]


def same(name: str, variable) -> TensorRule:
    """The tensor is the variable as it is."""
    return TensorRule(name, (variable,), lambda x: (x,), lambda xs: xs[0], tuple(variable.shape))


def transposed(name: str, variable) -> TensorRule:
    """The tensor is `[out, in]`, as PyTorch's Linear stores it, the variable `[in, out]`."""
    return TensorRule(name, (variable,), lambda x: (x.T,), lambda xs: xs[0].T, tuple(variable.shape)[::-1])


def thirds(name: str, variables: tuple) -> TensorRule:
    """The tensor holds query, key and value side by side on its last axis."""
    *leading, width = variables[0].shape
    return TensorRule(
        name,
        tuple(variables),
        lambda x: tuple(np.split(x, len(variables), axis=-1)),
        lambda xs: np.concatenate(xs, axis=-1),
        (*leading, len(variables) * width),
    )


def leading_one(rule: TensorRule) -> TensorRule:
    """The same with one more axis of size 1 in front, as OpenAI's convolutions of width 1 have it."""
    return rule._replace(
        to_ours=lambda x: rule.to_ours(x[0]),
        to_theirs=lambda xs: rule.to_theirs(xs)[None],
        shape=(1, *rule.shape),
    )


def reshaped(name: str, variable, shape: tuple[int, ...]) -> TensorRule:
    """The tensor holds the same numbers in the same order in another shape, as one with an axis for the heads."""
    ours, theirs = tuple(variable.shape), tuple(shape)
    return TensorRule(name, (variable,), lambda x: (x.reshape(ours),), lambda xs: xs[0].reshape(theirs), theirs)
