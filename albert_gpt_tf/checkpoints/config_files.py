"""Reads the JSON object in which a checkpoint says what model it belongs to."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from albert_gpt_tf.checkpoints.hugging_face_config import Config


def read_fields(path: str | os.PathLike, required: Sequence[str] = ()) -> Config:
    """The fields of a JSON file.

    Args:
        path: str or path of the file.
        required: names of fields that must be there. Defaults to none.

    Returns:
        The fields, to be read one by one with `get`.

    Raises:
        ValueError: there is no such file, it holds no JSON object, or it lacks a field.

    Example:
        >>> read_fields("124M/hparams.json", required=["n_embd"]).get("n_embd", int, 768)  # doctest: +SKIP
        768
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"Expected a file {path.name} in {path.parent}. Received: none. Copy the whole directory.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    missing = [name for name in required if not isinstance(values, dict) or name not in values]
    if missing or not isinstance(values, dict):
        raise ValueError(
            f"Expected a JSON object with the fields {', '.join(required)} in {path}. Received: one without "
            f"{', '.join(missing)}. Copy the file again."
        )
    return Config(values, path)
