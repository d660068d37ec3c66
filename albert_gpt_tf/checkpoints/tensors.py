"""The tensors of a checkpoint by name, each read when it is asked for."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

# What eager tensors need to share the memory of a NumPy array.
ALIGNMENT = 64
FLOATS = ("float16", "bfloat16", "float32", "float64")


class Entry(NamedTuple):
    """One tensor: its shape, its data type by NumPy's name, and a function without arguments that reads it.

    The function gives a new array each time, which the caller owns.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


class Tensors:
    """The tensors of one checkpoint. Nothing is read but names and shapes until `read`.

    Args:
        source: str or path, what messages call the checkpoint.
        entries: dict, name -> `Entry`.

    Example:
        >>> tensors = Tensors("an example", {"w": Entry((2,), "float32", lambda: np.ones(2, "float32"))})
        >>> tensors.shape("w"), tensors.read("w")
        ((2,), array([1., 1.], dtype=float32))
    """

    def __init__(self, source: str | os.PathLike, entries: Mapping[str, Entry]):
        self.source = str(source)
        self.entries = dict(entries)

    def names(self) -> list[str]:
        """All names, in the order of the checkpoint."""
        return list(self.entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            KeyError: there is no tensor of this name.
            ValueError: it does not hold floating point numbers, so it is no weight.
        """
        entry = self.entries[name]
        if entry.dtype not in FLOATS:
            raise ValueError(
                f"Expected {name} in {self.source} to hold one of {', '.join(FLOATS)}. Received: {entry.dtype}. "
                "Use a checkpoint that is not quantized."
            )
        return tuple(entry.shape)

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor as a new array: float16, float32 or float64 as stored, bfloat16 as float32.

        Raises:
            KeyError: there is no tensor of this name.
            ValueError: it does not hold floating point numbers, or its file has become shorter.
        """
        self.shape(name)
        return self.entries[name].read()


def aligned_empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """`np.empty`, placed so that an eager tensor can share its memory."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def read_bytes(path: Path, offset: int, array: np.ndarray) -> None:
    """Fills a contiguous array with the bytes of a file from an offset on, without mapping the file into memory.

    Mapped pages stay in memory beside the model; what `read` goes through is the system's cache.
    """
    wanted = memoryview(array.reshape(-1).view(np.uint8))
    done = 0
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while done < len(wanted):
            count = file.readinto(wanted[done:])  # the system gives at most 2 GiB at once
            if not count:
                raise ValueError(
                    f"Expected {len(wanted)} bytes at {offset} of {path}. Received: {done}. "
                    "The file changed after it was opened; load it again."
                )
            done += count


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16 numbers, given as uint16, as float32: the same bits followed by 16 zeros."""
    numbers = aligned_empty(bits.shape, np.uint32)
    np.left_shift(bits, 16, out=numbers, dtype=np.uint32)
    return numbers.view(np.float32)
