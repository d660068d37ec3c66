"""Where a checkpoint lies, and of which kind it is."""

import json
import os
import re
from pathlib import Path

_HUB = "hf://"
# What is downloaded: weights that are no pickles, configurations and vocabularies.
_FILES = ["*.json", "*.safetensors", "*.weights.h5", "*.model", "*.spm", "*.txt"]
_WEIGHTS = ["*.safetensors", "*.weights.h5"]
_OLD_WEIGHTS = ["tf_model.h5"]

_BY_FILE = {"albert_config.json": "google_albert", "hparams.json": "openai_gpt2", "params_shapes.json": "openai_gpt1"}


def local_directory(source: str | os.PathLike) -> Path:
    """The directory of a checkpoint on this machine; one on the Hugging Face hub is downloaded first.

    Args:
        source: str or path of a directory, or `hf://owner/name`, or `hf://owner/name@revision` with a branch, a tag or
            a commit. Downloads are kept in the cache of huggingface_hub, whose environment variables hold here:
            `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`.

    Returns:
        Path of the directory.

    Raises:
        ValueError: there is no such directory, repository or revision, or it cannot be reached.
        ImportError: huggingface_hub is not installed.

    Example:
        >>> local_directory("hf://albert/albert-base-v2@main").name  # doctest: +SKIP
        '8e2f239c5f8a2c0f253781ca60135db913e5c80c'
    """
    if os.fspath(source).startswith(_HUB):
        return _downloaded(os.fspath(source))
    directory = Path(source)
    if not directory.is_dir():
        raise ValueError(
            "Expected the directory of a preset or checkpoint, or hf://owner/name. Received: "
            f"{os.fspath(source)!r}, which is not there. Check the path."
        )
    return directory


def _downloaded(source: str) -> Path:
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./+-]+))?/?", source)
    if match is None:
        raise ValueError(
            f"Expected hf://owner/name or hf://owner/name@revision. Received: {source!r}. Copy the name from the "
            "repository's page."
        )
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(
            f"Expected the package huggingface_hub, which downloads {source}. Received: {error}. "
            "Run pip install 'albert-gpt-tf[hub]'."
        ) from error
    repository, revision = match.groups()

    def download(patterns):
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))

    try:
        directory = download(_FILES)
        # Many repositories hold the same weights twice: the old file is taken only where there is no other.
        if not any(next(directory.rglob(pattern), None) for pattern in _WEIGHTS):
            directory = download([*_FILES, *_OLD_WEIGHTS])
    except errors.GatedRepoError as error:
        raise ValueError(
            f"Expected a repository that is open to you at {source}. Received: it asks for consent first. "
            "Give it on the repository's page, and set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"Expected a repository at {source}. Received: not found, or not yours to see. "
            "Check the name; set HF_TOKEN if it is private."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(
            f"Expected a branch, tag or commit of {repository} after the @. Received: {revision!r}, which it does not "
            "have. Check the revision."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError, errors.OfflineModeIsEnabled) as error:
        raise ValueError(
            f"Expected {source} in the cache, or a connection to the hub. Received: neither. "
            "Connect, unset HF_HUB_OFFLINE, or give a directory."
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ValueError(
            f"Expected the hub to send {source}. Received: {str(error).strip().splitlines()[0]} "
            "Check HF_TOKEN and HF_ENDPOINT, or try again later."
        ) from error
    return directory


def kind_of(directory: str | os.PathLike) -> str:
    """Of which kind the checkpoint in a directory is, told by its files.

    Args:
        directory: str or path.

    Returns:
        str: `"preset"` (our own), `"keras_hub"`, `"hugging_face"`, `"google_albert"`, `"openai_gpt2"` or
        `"openai_gpt1"`.

    Raises:
        ValueError: it is none of them, or its `config.json` is broken.

    Example:
        >>> kind_of("models/124M")  # doctest: +SKIP
        'openai_gpt2'
    """
    directory = Path(directory)
    config = directory / "config.json"
    if config.is_file():
        try:
            fields = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"Expected JSON in {config}. Received: {error}. Copy or download it again.") from error
        fields = fields if isinstance(fields, dict) else {}
        package = str(fields.get("registered_name")).partition(">")[0]
        if package in ("albert_gpt_tf", "keras_hub"):
            return "preset" if package == "albert_gpt_tf" else "keras_hub"
        if "model_type" in fields:
            return "hugging_face"
    for name, kind in _BY_FILE.items():
        if (directory / name).is_file():
            return kind
    there = sorted(path.name for path in directory.iterdir())[:8] if directory.is_dir() else []
    raise ValueError(
        f"Expected a checkpoint in {directory}: config.json with a model_type or a registered_name, or one of "
        f"{', '.join(_BY_FILE)}. Received: {', '.join(there) or 'nothing'}. Check the path."
    )
