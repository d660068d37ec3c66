"""Puts the tensors of a checkpoint into the variables of a model: all of them, or none."""

import re
from collections.abc import Iterable, Sequence

from albert_gpt_tf.checkpoints.fast_build import put
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule
from albert_gpt_tf.checkpoints.tensors import Tensors

_NAMES_SHOWN = 8


def fill(
    rules: Iterable[TensorRule], tensors: Tensors, may_lack: Iterable[str] = (), ignored: Sequence[str] = ()
) -> list[str]:
    """Fills variables with the tensors of a checkpoint, one tensor at a time, after all names and shapes were checked.

    Args:
        rules: `TensorRule`s, one for every tensor that the model wants.
        tensors: the checkpoint.
        may_lack: names of tensors that may be missing. Their variables keep what they have. Defaults to none.
        ignored: regular expressions of names that the model has no use for; each must match a whole name. Defaults to
            none.

    Returns:
        list of str: the names in `may_lack` that are missing. The caller reports them.

    Raises:
        ValueError: tensors are missing, unexpected, or of another shape. No variable was changed then.

    Example:
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> rules = [transposed("w", dense.kernel), same("b", dense.bias)]
        >>> fill(rules, open_hugging_face("directory"))  # doctest: +SKIP
        []
    """
    rules = list(rules)
    present, lacking_allowed = set(tensors.names()), set(may_lack)
    wanted = {rule.name for rule in rules}
    missing = [rule.name for rule in rules if rule.name not in present]
    unexpected = [
        name
        for name in tensors.names()
        if name not in wanted and not any(re.fullmatch(pattern, name) for pattern in ignored)
    ]
    misshaped = []
    for rule in rules:
        if rule.name in present and tuple(tensors.shape(rule.name)) != tuple(rule.shape):
            misshaped.append(f"{rule.name} {list(tensors.shape(rule.name))} instead of {list(rule.shape)}")
    problems = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in [
            ("missing", [name for name in missing if name not in lacking_allowed]),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        ]
        if names
    ]
    if problems:
        raise ValueError(
            f"Expected the {len(wanted)} tensors of this model in {tensors.source}. Received: {'; '.join(problems)}. "
            "Check that the configuration belongs to these weights, and that the class is the one they were saved from."
        )
    for rule in rules:
        if rule.name in present:
            for variable, array in zip(rule.variables, rule.to_ours(tensors.read(rule.name)), strict=True):
                put(variable, array)
    return missing


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
