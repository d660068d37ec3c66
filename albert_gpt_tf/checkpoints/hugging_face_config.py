"""Reads `config.json` of Hugging Face: one checked field at a time, its labels, and the names of its classes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from albert_gpt_tf.models.activations import ACTIVATIONS

CONFIG_FILE = "config.json"
# Other names of the same functions.
_SAME_ACTIVATION = {"gelu_pytorch_tanh": "gelu_new", "swish": "silu"}


class Config(NamedTuple):
    """A configuration and where it was read.

    Fields:
        values: dict, the content of the file.
        path: Path of the file, for messages.
    """

    values: dict[str, Any]
    path: Path

    def get(self, name: str, kind: type, default: Any) -> Any:
        """A field, checked.

        Args:
            name: str, the field.
            kind: `int`, `float`, `bool` or `str`.
            default: what the library that wrote the file takes for a field that is left out. A field may be null if
                this is `None`.

        Raises:
            ValueError: the field is of another kind, or a number below zero.
        """
        value = self.values.get(name, default)
        if value is None and default is None:
            return None
        kinds = (int, float) if kind is float else (kind,)
        is_right = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
        if not is_right or (kind in (int, float) and value < 0):
            what = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}[kind]
            raise ValueError(
                f"Expected {what} as {name} in {self.path}. Received: {json.dumps(value)}. Correct the file."
            )
        return kind(value)

    def activation(self, name: str, default: str, renamed: dict[str, str] | None = None) -> str:
        """The activation that a field names, under our name; `renamed` are names that mean something else here."""
        received = self.get(name, str, default)
        ours = {**_SAME_ACTIVATION, **(renamed or {})}.get(received, received)
        if ours not in ACTIVATIONS:
            known = sorted({*ACTIVATIONS, *_SAME_ACTIVATION})
            raise ValueError(
                f"Expected an activation among {known} as {name} in {self.path}. Received: {received!r}. A model with "
                "another one cannot be computed here."
            )
        return ours

    def refuse(self, name: str, refused: Any, default: Any, reason: str) -> None:
        """Raises for a switch that is set to what our model cannot do."""
        if self.get(name, type(refused), default) == refused:
            raise ValueError(
                f"Expected {name} other than {json.dumps(refused)} in {self.path}. Received: {json.dumps(refused)}. "
                f"{reason}"
            )

    def architecture(self) -> str | None:
        """The class that wrote the file, such as `AlbertForMaskedLM`; `None` if the file does not say."""
        names = self.values.get("architectures")
        return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None

    def labels(self) -> list[str] | None:
        """Names of the classes in the order of the logits; `None` if the file has none."""
        names = self.values.get("id2label")
        if names is None:
            return None
        numbers = [str(index) for index in range(len(names))]
        if not isinstance(names, dict) or sorted(names) != sorted(numbers):
            raise ValueError(
                f"Expected id2label with the keys 0, 1, ... in {self.path}. Received: {json.dumps(names)[:80]}. "
                "Correct the file, or give labels=[...]."
            )
        return [str(names[number]) for number in numbers]


def read_config(directory: str | Path) -> Config:
    """Reads the configuration of a Hugging Face directory.

    Args:
        directory: str or Path.

    Returns:
        The configuration; its `model_type` is a string.

    Raises:
        ValueError: there is no such file, or it is not a JSON object with a `model_type`.

    Example:
        >>> read_config("albert-base-v2").get("hidden_size", int, 4096)  # doctest: +SKIP
        768
    """
    path = Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"Expected a {CONFIG_FILE} in {directory}. Received: none. Copy the whole directory.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        received = values.get("model_type") if isinstance(values, dict) else values
        raise ValueError(
            f"Expected a model_type such as 'albert' in {path}. Received: {json.dumps(received)[:80]}. Give the "
            "directory of a Hugging Face model."
        )
    return Config(values, path)
