"""Find the tokenizer that a directory holds.

`save_to_preset` (KerasHub's layout) writes `tokenizer.json`, the configuration, and the vocabulary files under
`assets/tokenizer/`. Hugging Face writes a `tokenizer.json` too, with other content: the two are told apart by
Keras' `registered_name`.
"""

import json
from pathlib import Path
from typing import Any

import keras

CONFIG_FILE = "tokenizer.json"
HUGGING_FACE_FILE = "tokenizer.json"


def require_directory(source: Any) -> Path:
    """The directory that `source` names, or a ValueError that says what was expected."""
    path = Path(source)
    if not path.is_dir():
        raise ValueError(
            f"Expected a directory with a tokenizer. Received: {str(source)!r}, which does not exist or is not a "
            "directory. Give the path of a preset directory or of a directory with vocabulary files."
        )
    return path


def load_saved_tokenizer(cls: type, directory: Path, config_file: str = CONFIG_FILE, **overrides: Any) -> Any | None:
    """Loads what `save_to_preset` wrote.

    Args:
        cls: the tokenizer class that is asked for.
        directory: Path, an existing directory.
        config_file: str, the name of the configuration; its vocabulary files are in `assets/<name less .json>/`.
            Defaults to `"tokenizer.json"`.
        **overrides: constructor arguments that replace the saved ones.

    Returns:
        The tokenizer, or None if the directory holds no saved Keras tokenizer.

    Raises:
        ValueError: the saved tokenizer is of another class, or its files are missing.
    """
    path = directory / config_file
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Save the tokenizer again.") from error
    if not isinstance(config, dict) or "registered_name" not in config:
        return None  # not written by Keras: a Hugging Face tokenizer.json, say
    registered = config["registered_name"]
    if registered != keras.saving.get_registered_name(cls):
        raise ValueError(
            f"Expected a saved {cls.__name__} in {path}. Received: {registered!r}. Call from_preset of that class."
        )
    assets = directory / "assets" / Path(config_file).stem
    config["config"] = {**config["config"], **overrides}
    tokenizer = keras.saving.deserialize_keras_object(config)
    missing = [name for name in tokenizer.file_assets if not (assets / name).is_file()]
    if missing:
        raise ValueError(
            f"Expected the vocabulary files {tokenizer.file_assets} in {assets}. Received: no {', '.join(missing)}. "
            "Copy the whole preset directory."
        )
    tokenizer.load_assets(str(assets))
    return tokenizer


def read_hugging_face_json(directory: Path, model_type: str) -> dict[str, Any] | None:
    """Reads the `tokenizer.json` of the `tokenizers` library.

    Args:
        directory: Path, an existing directory.
        model_type: str, the type of model that is asked for: `"Unigram"`, `"BPE"` or `"WordPiece"`.

    Returns:
        The content of the file, with at least `"model"` (a dict with `"vocab"`) and `"added_tokens"` (a list), or None
        if the directory has no such file.

    Raises:
        ValueError: the file is not JSON, or its model is of another type.

    Example:
        >>> read_hugging_face_json(Path("gpt2"), "BPE")["model"]["vocab"]["Hello"]  # doctest: +SKIP
        15496

    Reference: https://huggingface.co/docs/tokenizers, the serialization of `Tokenizer`.
    """
    path = directory / HUGGING_FACE_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    if not isinstance(content, dict) or "registered_name" in content:
        return None  # written by Keras
    model = content.get("model") or {}
    if "vocab" not in model:
        raise ValueError(
            f"Expected a tokenizer of the `tokenizers` library in {path}. Received: no model with a vocabulary. Copy "
            "the file again."
        )
    # Old files leave out the type: a list of pieces with scores is Unigram, merges make it BPE.
    inferred = "Unigram" if isinstance(model["vocab"], list) else "BPE" if "merges" in model else "WordPiece"
    received = model.get("type") or inferred
    if received != model_type:
        raise ValueError(
            f"Expected a {model_type} model in {path}. Received: {received}. Call from_preset of the tokenizer class "
            "that reads this type."
        )
    return {**content, "added_tokens": content.get("added_tokens") or []}


def nothing_recognised(directory: Path, file_sets: list[str]) -> ValueError:
    """The error for a directory without any of the `file_sets` that a tokenizer reads."""
    received = ", ".join(sorted(path.name for path in directory.iterdir())[:10]) or "an empty directory"
    return ValueError(
        f"Expected in {directory}: a preset written by save_to_preset, or {', or '.join(file_sets)}. "
        f"Received: {received}. Give the directory that holds these files."
    )
