"""The manifest of token shards: what they hold, of which text and which tokenizer, and whether they are all there."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from albert_gpt_tf.data.files import DataError, matching_files
from albert_gpt_tf.data.token_records import FORMATS

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
SHARD_SIZE_MB = 64  # of text, unless a run is told otherwise
COUNTS = ("documents", "sentences", "tokens", "bytes")  # of a manifest; bytes are those of the text
# What a tokenizer's configuration says about Keras, not about ids.
_NOT_OF_IDS = ("name", "trainable", "dtype", "config_file")


def read_manifest(directory: str | os.PathLike, tokenizer=None) -> dict:
    """Reads the manifest of token shards, and checks that the shards are all there.

    Args:
        directory: str or path, local or of any file system that TensorFlow has (`gs://...`).
        tokenizer: a tokenizer, or None. With one, it must be the one that the ids come from. Defaults to None.

    Returns:
        dict: `format_version`, `format` ("documents" or "sentences"), `tokenizer` (`kind`, `vocabulary_size`,
        `sha256`), `shard_size_mb`, `sources` (`name` and `bytes` of each file), the counts `documents`, `sentences`
        (lines), `tokens` and `bytes` (of text), and `shards`, each with `name`, `bytes`, `sha256` and its counts.

    Raises:
        DataError: there is no manifest, it is broken or of a newer version, or a shard is missing or not whole.
        ValueError: another tokenizer.

    Example:

    >>> read_manifest("shards")["tokens"]  # doctest: +SKIP
    2428614
    """
    directory = os.fspath(directory)
    path = os.path.join(directory, MANIFEST)
    if not tf.io.gfile.exists(path):
        raise DataError(
            f"{path}: expected the manifest of token shards, received a directory without one; finish "
            "`albert-gpt-tf prepare` for it, or check the path."
        )
    try:
        with tf.io.gfile.GFile(path) as file:
            manifest = json.loads(file.read())
        version = manifest["format_version"]
        shards = [(os.path.join(directory, shard["name"]), shard["bytes"]) for shard in manifest["shards"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected the manifest of token shards, received {error!r}; prepare it again."
        ) from None
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path}: expected format_version {FORMAT_VERSION}, received {version}; update the library, or prepare the "
            "shards again."
        )
    for shard, size in shards:
        received = tf.io.gfile.stat(shard).length if tf.io.gfile.exists(shard) else None
        if received != size:
            raise DataError(
                f"{shard}: expected a shard of {size} bytes, received {'none' if received is None else received}; copy "
                "it again, or prepare the shards again."
            )
    if tokenizer is not None and (ours := describe_tokenizer(tokenizer)) != manifest["tokenizer"]:
        theirs = manifest["tokenizer"]
        raise ValueError(
            f"Expected the tokenizer that the ids in {directory} come from, a {theirs['kind']} of "
            f"{theirs['vocabulary_size']} pieces (sha256 {theirs['sha256'][:12]}). Received: a {ours['kind']} of "
            f"{ours['vocabulary_size']} pieces (sha256 {ours['sha256'][:12]}). Give that tokenizer, or prepare the "
            "shards again."
        )
    return manifest


def describe_tokenizer(tokenizer) -> dict:
    """Says which tokenizer it is, so that ids of one are not read as ids of another.

    Args:
        tokenizer: a tokenizer with `get_vocabulary` and `get_config`.

    Returns:
        dict: `kind` (the name of its class), `vocabulary_size`, and `sha256`, of the pieces in their order and of the
        rules in its configuration.

    Example:

    >>> describe_tokenizer(tokenizer)["kind"]  # doctest: +SKIP
    'GPT2Tokenizer'
    """
    pieces = tokenizer.get_vocabulary()
    rules = {name: value for name, value in tokenizer.get_config().items() if name not in _NOT_OF_IDS}
    content = json.dumps([pieces, rules], sort_keys=True).encode()
    return {
        "kind": type(tokenizer).__name__,
        "vocabulary_size": len(pieces),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


# === What the writers share ===


def check_arguments(format: str, shard_size_mb: float, workers: int = 1) -> None:
    """Raises a ValueError for arguments of `write_token_shards` that cannot work."""
    if format not in FORMATS:
        raise ValueError(
            f"Expected a format among {', '.join(FORMATS)}. Received: format={format!r}. Give one of them."
        )
    if not (math.isfinite(shard_size_mb) and shard_size_mb > 0):
        raise ValueError(
            f"Expected a positive shard_size_mb. Received: shard_size_mb={shard_size_mb}. Give megabytes of text."
        )
    if workers < 1:
        raise ValueError(f"Expected at least one of workers. Received: workers={workers}. Raise it.")


def find_files(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Path]:
    """The files that paths and patterns name, each of them once."""
    patterns = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = list(dict.fromkeys(file for pattern in patterns for file in matching_files(pattern)))
    if not files:
        raise DataError("Expected files to read, received an empty list of paths; give at least one.")
    return files


def describe_job(sources: Sequence[dict], tokenizer: Any, format: str, shard_size_mb: float) -> dict:
    """The part of the manifest that is known before: what decides the bytes of the shards."""
    return {
        "format_version": FORMAT_VERSION,
        "format": format,
        "tokenizer": describe_tokenizer(tokenizer),
        "shard_size_mb": float(shard_size_mb),
        "sources": list(sources),
    }


def describe_files(files: Sequence[Path]) -> list[dict]:
    """Names, from the deepest folder that holds all of them, and sizes."""
    common = os.path.commonpath([file.absolute().parent for file in files])
    return [
        {"name": Path(os.path.relpath(file.absolute(), common)).as_posix(), "bytes": file.stat().st_size}
        for file in files
    ]


def make_manifest(settings: dict, counts: Sequence[int], shards: Sequence[dict]) -> dict:
    """The manifest, with no word of when and where the shards were made; counts as in `COUNTS`."""
    shards = [{name: shard[name] for name in ("name", "bytes", "sha256", "documents", "tokens")} for shard in shards]
    return {**settings, **dict(zip(COUNTS, counts, strict=True)), "shards": shards}


def dump_json(content: dict) -> bytes:
    """JSON as a person reads it."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
