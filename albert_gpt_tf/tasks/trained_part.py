"""Presets that hold only what was trained, beside the name of the model that it was trained upon.

Such a directory is a preset with `base.json` and `trained.npz` in the place of the two files of weights. Loading it
gives an ordinary task: LoRA's two factors are merged into their kernels, and `save_to_preset` writes a whole preset.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from albert_gpt_tf.tasks.task import Task

BASE, TRAINED = "base.json", "trained.npz"
LORA_A, LORA_B = "lora_kernel_a", "lora_kernel_b"


def save_trained_part(task: keras.Model, directory: str | os.PathLike, base: str | os.PathLike) -> None:
    """Writes the trainable weights of a task, its configuration and its tokenizer.

    Args:
        task: a `Task` whose other weights are those of `base`.
        directory: str or Path, as for `save_to_preset`.
        base: str or Path, what `from_preset` of the backbone loads. A path is kept as an absolute one.

    Example:
        >>> backbone = AlbertBackbone.from_preset("albert-base-v2", layer_gates=True)
        >>> backbone.train_per_layer_parameters_only()
        >>> task = AlbertTextClassifier(backbone, ["ham", "spam"], tokenizer=tokenizer)
        >>> save_trained_part(task, "runs/spam/preset", "albert-base-v2")

    Reference:
        Hu et al., 2021, arXiv:2106.09685, section 4.1, for the factors of LoRA.
    """
    directory = Path(directory)
    task.save_to_preset(str(directory))
    for file in directory.glob("*.weights.h5"):
        file.unlink()
    path = Path(base).resolve() if Path(base).exists() else base
    of_base = {"base": str(path), "sha256": hash_of(base_weights(task.backbone))}
    (directory / BASE).write_text(json.dumps(of_base, indent=2) + "\n", encoding="utf-8")
    np.savez(directory / TRAINED, **by_name(task.trainable_variables))


def load_trained_part(cls: type, preset: str | os.PathLike, load_weights: bool = True, **arguments: Any) -> Any | None:
    """Loads what `save_trained_part` wrote, as a whole task.

    Args:
        cls: class of the task that was saved.
        preset: str or Path, the directory.
        load_weights: bool; `False` gives a new model of the same shape. Defaults to `True`.
        **arguments: arguments of the task, as for `from_preset`.

    Returns:
        The task; `None` if the directory is another kind of preset.

    Raises:
        ValueError: the model that it was trained upon is not there, or has other weights.

    Example:
        >>> load_trained_part(AlbertTextClassifier, "runs/spam/preset").save_to_preset("merged")
    """
    directory = Path(preset)
    if not (directory / BASE).is_file():
        return None
    task = super(Task, cls).from_preset(str(directory), load_weights=False, **arguments)
    if not load_weights:
        return task
    of_base = json.loads((directory / BASE).read_text(encoding="utf-8"))
    backbone = type(task.backbone).from_preset(of_base["base"])
    if hash_of(base_weights(backbone)) != of_base["sha256"]:
        raise ValueError(
            f"Expected the model that {directory} was trained upon in {of_base['base']}. Received: one with other "
            f"weights. Put the right one there, or its path into {directory / BASE}."
        )
    for new, old in zip(base_weights(task.backbone), base_weights(backbone), strict=True):
        new.assign(old)
    with np.load(directory / TRAINED, allow_pickle=False) as trained:
        variables = {variable.path: variable for variable in task.variables}
        for name in trained.files:
            if name.endswith(LORA_A):
                kernel = variables[name.removesuffix(LORA_A) + "kernel"]
                kernel.assign_add(trained[name] @ trained[name.removesuffix(LORA_A) + LORA_B])
            elif not name.endswith(LORA_B):
                variables[name].assign(trained[name])
    return task


def base_weights(backbone: keras.Model) -> list[keras.Variable]:
    """The weights that a backbone shares with the one it was made of: all but adapters, gates and LoRA's factors."""
    own_layers = [*getattr(backbone, "adapters", []), *getattr(backbone, "gates", [])]
    own = {id(weight) for layer in own_layers for weight in layer.weights}
    return [w for w in backbone.weights if id(w) not in own and w.name not in (LORA_A, LORA_B)]


def hash_of(weights: list[keras.Variable]) -> str:
    """SHA-256 of the bytes of weights, in their order."""
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


def by_name(variables: list[keras.Variable]) -> dict[str, np.ndarray]:
    """Values by the path of their variable; ValueError if two have one path."""
    named = {variable.path: variable.numpy() for variable in variables}
    if len(named) < len(variables):
        raise ValueError(
            f"Expected a path of its own for each of {len(variables)} weights. Received: {len(named)} paths. Give "
            "layers of one kind different names."
        )
    return named
