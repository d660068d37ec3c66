"""Reads HDF5 files: the weights of Keras 3, and those of Transformers' former TensorFlow models."""

import os
import re
from pathlib import Path

import h5py
import numpy as np

from albert_gpt_tf.checkpoints.safetensors_files import read_weight_map
from albert_gpt_tf.checkpoints.tensors import Entry, Tensors, aligned_empty, widened


def open_h5(path: str | os.PathLike) -> Tensors:
    """The tensors of a Keras weights file; the names of nested groups are joined by "/".

    Args:
        path: str or path of a `.h5` file, as KerasHub's `model.weights.h5`, or of the `.json` of a model whose weights
            are in several.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: a file is cut off, no HDF5 file, missing, or takes its values from other files.

    Example:
        >>> open_h5("model.weights.h5").names()  # doctest: +SKIP
        ['layers/embedding/vars/0', ...]

    Reference:
        Keras, `keras/src/saving/saving_lib.py`, `H5IOStore` and `ShardedH5IOStore`.
    """
    path = Path(path)
    if path.suffix != ".json":
        return Tensors(path, _entries(path))
    files = [file if isinstance(file, list) else [file] for file in read_weight_map(path).values()]
    entries: dict[str, Entry] = {}
    for file in dict.fromkeys(name for names in files for name in names):
        entries |= _entries(path.parent / file)
    return Tensors(path, entries)


def open_transformers_h5(path: str | os.PathLike) -> Tensors:
    """The tensors of Transformers' `tf_model.h5`, with the names, shapes and axes that its PyTorch models have.

    Args:
        path: str or path of the file.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: the file is cut off, no HDF5 file, or two of its tensors have one name.

    Example:
        >>> open_transformers_h5("tf_model.h5").names()  # doctest: +SKIP
        ['transformer.h.0.attn.c_attn.bias', ...]

    Reference:
        Transformers 4, `modeling_tf_pytorch_utils.py`.
    """
    path = Path(path)
    entries: dict[str, Entry] = {}
    for h5_name, entry in _entries(path).items():
        name = _pytorch_name(h5_name)
        if name in entries:
            raise ValueError(
                f"Expected one tensor {name} in {path}. Received: two, one of them {h5_name}. Use model.safetensors."
            )
        entries[name] = _pytorch_entry(h5_name, entry)
    return Tensors(path, entries)


def _pytorch_name(h5_name: str) -> str:
    """albert/tf_albert_model/albert/embeddings/LayerNorm/gamma:0 -> albert.embeddings.LayerNorm.weight."""
    layer, *levels = h5_name.removesuffix(":0").split("/")
    # A dataset is called by its Keras layer, then by its variable: the model's own name, and the way down from there.
    # Files without the model's name exist; their variables begin with the layer.
    if levels[0] != layer or levels[1:2] == [layer]:
        levels = levels[1:]
    # "h_._0" stands for an element of a list; of "x___y" only y counts.
    levels = [part for level in levels for part in re.sub(r".*___", "", level).split("_._") if part]
    ends = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}
    return ".".join([*levels[:-1], ends.get(levels[-1], levels[-1])])


def _pytorch_entry(h5_name: str, entry: Entry) -> Entry:
    """Dense kernels are transposed; the biases of GPT's convolutions of width 1 have one axis more, in front."""
    end = h5_name.removesuffix(":0").split("/")[-1]
    if end == "kernel":
        return entry._replace(shape=entry.shape[::-1], read=lambda: entry.read().T)
    if end == "bias" and len(entry.shape) == 2 and entry.shape[0] == 1:
        return entry._replace(shape=entry.shape[1:], read=lambda: entry.read()[0])
    return entry


def _entries(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}

    def visit(name, item):  # links are not followed
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(
                    f"Expected the values of {name} in {path} itself. Received: a reference to another file. "
                    "Do not use a checkpoint that points out of its directory."
                )
            entries[name] = _entry(path, name, item)

    with _opened(path) as file:
        file.visititems(visit)
    return entries


def _entry(path: Path, name: str, dataset: h5py.Dataset) -> Entry:
    shape, stored = tuple(dataset.shape), dataset.dtype
    # HDF5 has no bfloat16: Keras stores two bytes of no type, and says so beside them.
    is_bfloat16 = dataset.attrs.get("dtype") == "bfloat16"

    def read():
        array = aligned_empty(shape, stored)
        with _opened(path) as file:
            file[name].read_direct(array)
        return widened(array.view(np.uint16)) if is_bfloat16 else array

    return Entry(shape, "bfloat16" if is_bfloat16 else stored.name, read)


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"Expected a whole HDF5 file at {path}. Received: {error}. Copy or download it again."
        ) from error
