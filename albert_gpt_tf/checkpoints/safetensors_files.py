"""Reads safetensors files, one or many with an index.

The library checks the header: its length, its fields, gaps and overlaps. The values are read here, because the library
maps the whole file into memory, where the pages it has touched stay beside the model.
"""

import json
import os
from pathlib import Path

import numpy as np
import safetensors

from albert_gpt_tf.checkpoints.tensors import Entry, Tensors, aligned_empty, read_bytes, widened

INDEX = "model.safetensors.index.json"

# Others, of four to eight bits, keep the format's own names. They can be listed, but not read.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}
_DTYPES |= {
    f"{sign}{bits}": f"{kind}{bits}" for sign, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}


def open_safetensors(path: str | os.PathLike) -> Tensors:
    """The tensors of one safetensors file.

    Args:
        path: str or path of the file.

    Returns:
        Tensors: nothing is read yet but the header.

    Raises:
        ValueError: the file is cut off, or is no safetensors file.

    Example:
        >>> open_safetensors("model.safetensors").names()  # doctest: +SKIP
        ['wte.weight', 'wpe.weight', ...]

    Reference:
        https://github.com/huggingface/safetensors, "Format".
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"Expected a whole safetensors file at {path}. Received: {error}. Copy or download it again."
        ) from error
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    in_order = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return Tensors(path, {name: _entry(path, fields, start) for name, fields in in_order})


def _entry(path, fields, start):
    shape, dtype = tuple(fields["shape"]), _DTYPES.get(fields["dtype"], fields["dtype"])

    def read():
        array = aligned_empty(shape, np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<"))
        read_bytes(path, start + fields["data_offsets"][0], array)
        return widened(array) if dtype == "bfloat16" else array

    return Entry(shape, dtype, read)


def open_sharded_safetensors(index: str | os.PathLike) -> Tensors:
    """The tensors of all safetensors files that an index names.

    Args:
        index: str or path of `model.safetensors.index.json`. The files lie beside it.

    Returns:
        Tensors: nothing is read yet but the headers.

    Raises:
        ValueError: the index is broken, names a file outside its directory, one that is missing, or a tensor that is
            not in its file.

    Example:
        >>> open_sharded_safetensors("model.safetensors.index.json").names()  # doctest: +SKIP
        ['wte.weight', 'wpe.weight', ...]
    """
    index = Path(index)
    weight_map = read_weight_map(index)
    shards = {file: open_safetensors(index.parent / file) for file in dict.fromkeys(weight_map.values())}
    lost = [name for name, file in weight_map.items() if name not in shards[file].entries]
    if lost:
        raise ValueError(
            f"Expected the tensors that {index} names in the files it names. Received: no {lost[0]} in "
            f"{weight_map[lost[0]]} ({len(lost)} such tensors). Take the index and the files from one place."
        )
    return Tensors(index, {name: shards[file].entries[name] for name, file in weight_map.items()})


def read_weight_map(index: Path) -> dict[str, str | list[str]]:
    """What an index calls `weight_map`: a name -> the name of a file beside the index, or a list of them.

    All is checked before any of the files is opened: that each name is a plain one, and that the file is there.
    """
    try:
        weight_map = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected JSON with a weight_map in {index}. Received: {error!r}. Download the file again."
        ) from error
    files = [file for value in weight_map.values() for file in (value if isinstance(value, list) else [value])]
    for file in files:
        # A plain name: no directory, no drive, no way up.
        if not isinstance(file, str) or file in ("", ".", "..") or set(file) & set("/\\:\0"):
            raise ValueError(
                f"Expected plain names of files in the weight_map of {index}. Received: {file!r}. "
                "Do not use a checkpoint that points out of its directory."
            )
    missing = sorted({file for file in files if not (index.parent / file).is_file()})
    if missing:
        raise ValueError(
            f"Expected all files that {index} names beside it. Received: no {', '.join(missing)}. Download them too."
        )
    return weight_map
