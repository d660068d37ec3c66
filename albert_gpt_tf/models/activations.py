"""The two GELUs and the other activations, under the names that published configurations use."""

from collections.abc import Callable

import keras


def gelu_tanh(x):
    """GELU by its tanh approximation: `gelu_new` in Hugging Face, `gelu` in google-research and OpenAI code."""
    return keras.ops.gelu(x, approximate=True)


def gelu_erf(x):
    """GELU by the error function: `gelu` in Hugging Face."""
    return keras.ops.gelu(x, approximate=False)


ACTIVATIONS = {"gelu_new": gelu_tanh, "gelu": gelu_erf, "relu": keras.ops.relu}


def get_activation(name: str) -> Callable:
    """Returns the activation function that a configuration names.

    Args:
        name: str, one of `"gelu_new"` (tanh form), `"gelu"` (error function) and `"relu"`.

    Returns:
        A function from a float tensor to a float tensor of the same shape.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> float(get_activation("relu")(-1.0))
        0.0

    Reference:
        The two forms differ by at most 4.7e-4 (Hendrycks and Gimpel, 2016, arXiv:1606.08415).
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}. Received: activation={name!r}")
    return ACTIVATIONS[name]
