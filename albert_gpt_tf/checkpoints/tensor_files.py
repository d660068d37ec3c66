"""Opens the weights of a checkpoint: those of Hugging Face, of TensorFlow 1, and OpenAI's of GPT-1.

None of the formats read here can run code. A pickle can, so it is never opened.
"""

import functools
import glob
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_gpt_tf.checkpoints.h5_files import open_h5, open_transformers_h5
from albert_gpt_tf.checkpoints.safetensors_files import INDEX, open_safetensors, open_sharded_safetensors
from albert_gpt_tf.checkpoints.tensors import Entry, Tensors, aligned_empty, read_bytes

__all__ = ["open_h5", "open_hugging_face", "open_openai_gpt1", "open_tf_checkpoint"]

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# What optimizers keep beside the weights, the count of steps among it.
_NO_WEIGHT = re.compile(r"(.*/)?(adam_m|adam_v|AdamWeightDecayOptimizer|LAMBOptimizer)(_\d+)?(/.*)?|global_step")


def open_hugging_face(directory: str | os.PathLike) -> Tensors:
    """The tensors of a directory in the layout of Hugging Face, under the names that its PyTorch models have.

    Args:
        directory: str or path of a directory with `model.safetensors`, or `model.safetensors.index.json` and the files
            it names, or `tf_model.h5`. The first of them that is there is taken.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: none of the files is there, or one is broken. A pickle is never opened.

    Example:
        >>> open_hugging_face("albert-base-v2").shape("albert.pooler.weight")  # doctest: +SKIP
        (768, 768)
    """
    directory = Path(directory)
    for name, open_file in (
        ("model.safetensors", open_safetensors),
        (INDEX, open_sharded_safetensors),
        ("tf_model.h5", open_transformers_h5),
    ):
        if (directory / name).is_file():
            return open_file(directory / name)
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    raise ValueError(
        f"Expected model.safetensors, {INDEX} or tf_model.h5 in {directory}. Received: "
        + (f"{pickles[0]}, a pickle, which can run code. " if pickles else "none of them. ")
        + "To convert a PyTorch checkpoint that you trust, run where PyTorch and Transformers are installed: "
        f'python -c "from transformers import AutoModelForPreTraining as M; d={str(directory)!r}; '
        'M.from_pretrained(d).save_pretrained(d)"'
    )


def open_tf_checkpoint(prefix_or_directory: str | os.PathLike) -> Tensors:
    """The weights of a TensorFlow checkpoint, without what optimizers keep, and without a leading `module/`.

    Args:
        prefix_or_directory: str or path. What stands before `.index`, or a directory: there the checkpoint that the
            file `checkpoint` names, else `model.ckpt-best`, else the only one, also in the subdirectory `variables`.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: there is no checkpoint, more than one to choose from, or a broken one.

    Example:
        >>> open_tf_checkpoint("albert_base_v2").shape("bert/pooler/dense/kernel")  # doctest: +SKIP
        (768, 768)
    """
    prefix = _prefix(Path(prefix_or_directory))
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected a whole TensorFlow checkpoint at {prefix}. Received: {error}. Copy or download it again."
        ) from error
    # The index does not tell that the files of values are cut off.
    wanted = sum(math.prod(shape) * dtypes[name].size for name, shape in shapes.items() if dtypes[name] != tf.string)
    there = sum(path.stat().st_size for path in prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*"))
    if there < wanted:
        raise ValueError(
            f"Expected at least {wanted} bytes in {prefix}.data-*. Received: {there}. Copy or download them again."
        )
    entries = {}
    for name in sorted(shapes):
        if not _NO_WEIGHT.fullmatch(name):
            read = functools.partial(_read_tf, reader, name)
            entries[name.removeprefix("module/")] = Entry(tuple(shapes[name]), dtypes[name].name, read)
    return Tensors(prefix, entries)


def _read_tf(reader, name: str) -> np.ndarray:
    array = reader.get_tensor(name)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _prefix(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [file.with_suffix("") for folder in (path, path / "variables") for file in sorted(folder.glob("*.index"))]
    # The file may name a path of the machine it was written on; the name in it counts.
    state = tf.train.get_checkpoint_state(str(path))
    named = [Path(state.model_checkpoint_path).name] if state else []
    for name in [*named, "model.ckpt-best"]:
        if path / name in found:
            return path / name
    if len(found) != 1:
        raise ValueError(
            f"Expected one TensorFlow checkpoint, a file *.index, in {path}. Received: "
            f"{', '.join(prefix.name for prefix in found) or 'none'}. "
            + ("Give the path of one, without .index." if found else "Give the directory that has it.")
        )
    return found[0]


def open_openai_gpt1(directory: str | os.PathLike) -> Tensors:
    """The tensors of OpenAI's GPT-1: one row of numbers, cut into ten files without regard to the tensors.

    Args:
        directory: str or path of the directory with `params_shapes.json`, `params_0.npy`, `params_1.npy` and so on.

    Returns:
        Tensors: `positions`, `tokens`, then for each layer `h0/attn/c_attn/` with `w` and `b`, `h0/attn/c_proj/` with
        `w` and `b`, `h0/ln_1/` with `g` and `b`, `h0/mlp/c_fc/`, `h0/mlp/c_proj/` and `h0/ln_2/` likewise. Nothing is
        read yet but shapes.

    Raises:
        ValueError: files are missing or broken, or have not as many numbers as the shapes want.

    Example:
        >>> open_openai_gpt1("finetune-transformer-lm/model").shape("h0/attn/c_attn/w")  # doctest: +SKIP
        (1, 768, 2304)

    Reference:
        openai/finetune-transformer-lm, `train.py`.
    """
    directory = Path(directory)
    shapes = _gpt1_shapes(directory / "params_shapes.json")
    files = []  # of (path, offset in bytes, count of numbers)
    while (path := directory / f"params_{len(files)}.npy").is_file():
        try:
            header = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(
                f"Expected a whole file of numbers at {path}. Received: {error}. Copy it again."
            ) from error
        if not isinstance(header, np.memmap) or header.dtype != np.float32 or header.ndim != 1:
            raise ValueError(
                f"Expected one row of float32 numbers in {path}. Received: {getattr(header, 'dtype', 'an archive')} "
                f"of shape {getattr(header, 'shape', None)}. Copy it again."
            )
        files.append((path, header.offset, header.size))
    wanted, there = sum(math.prod(shape) for shape in shapes), sum(count for *_, count in files)
    if wanted != there:
        raise ValueError(
            f"Expected {wanted} numbers in the files params_*.npy of {directory}. Received: {there} in {len(files)} "
            "files. Copy all of them, from params_0.npy on."
        )
    entries, start = {}, 0
    for name, shape in zip(_gpt1_names(len(shapes)), shapes, strict=True):
        entries[name] = Entry(shape, "float32", functools.partial(_read_across, files, shape, start))
        start += math.prod(shape)
    return Tensors(directory, entries)


def _gpt1_shapes(path: Path) -> list[tuple[int, ...]]:
    try:
        shapes = [tuple(shape) for shape in json.loads(path.read_text(encoding="utf-8"))]
        good = len(shapes) % 12 == 2 and all(isinstance(size, int) and size > 0 for shape in shapes for size in shape)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"Expected a list of shapes in {path}. Received: {error}. Copy it again.") from error
    if not good:
        raise ValueError(
            f"Expected the shapes of 2 tensors and 12 for each layer in {path}. Received: {len(shapes)} shapes, "
            f"{shapes[:3]} and so on. Copy it again."
        )
    return shapes


def _gpt1_names(count: int) -> list[str]:
    """In the order in which the original program makes its variables."""
    of_layer = ["attn/c_attn/w", "attn/c_attn/b", "attn/c_proj/w", "attn/c_proj/b", "ln_1/g", "ln_1/b"]
    of_layer += ["mlp/c_fc/w", "mlp/c_fc/b", "mlp/c_proj/w", "mlp/c_proj/b", "ln_2/g", "ln_2/b"]
    return ["positions", "tokens", *(f"h{i}/{name}" for i in range((count - 2) // 12) for name in of_layer)]


def _read_across(files, shape, start):
    """The numbers from `start` on of all files one after another."""
    array = aligned_empty(shape, np.float32)
    rest = array.reshape(-1)
    for path, offset, count in files:
        take = min(max(count - start, 0), rest.size)
        if take:
            read_bytes(path, offset + 4 * start, rest[:take])
        start, rest = max(start - count, 0), rest[take:]
    return array
