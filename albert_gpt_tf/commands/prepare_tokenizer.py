"""Finds the tokenizer in whatever directory `--tokenizer` names."""

import json
import os
from typing import Any

from albert_gpt_tf.checkpoints.load import find_directory
from albert_gpt_tf.checkpoints.load_tokenizer import load_tokenizer
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.presets import CONFIG_FILE
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

_CLASSES = {cls.__name__: cls for cls in (AlbertTokenizer, GPT2Tokenizer, GPT1Tokenizer, WordPieceTokenizer)}
_BYTE_PAIR_FILES = ("encoder_bpe_40000.json", "vocab.json", CONFIG_FILE)


def find_tokenizer(source: str | os.PathLike) -> Any:
    """Loads the tokenizer of a preset, of a checkpoint of any format, or of a directory of vocabulary files.

    Args:
        source: str or path of a directory, `hf://owner/name`, or the name of a KerasHub preset.

    Returns:
        An `AlbertTokenizer`, `GPT2Tokenizer`, `GPT1Tokenizer` or `WordPieceTokenizer`.

    Raises:
        ValueError: there is no such directory, or it holds no vocabulary.

    Example:

    >>> find_tokenizer("hf://openai-community/gpt2").vocabulary_size()  # doctest: +SKIP
    50257
    """
    directory = find_directory(source)
    package, _, name = _registered_name(directory / CONFIG_FILE).partition(">")
    if package == "albert_gpt_tf" and name in _CLASSES:
        return _CLASSES[name].from_preset(directory)
    # Words of GPT-1's vocabulary end with a mark of their own.
    texts = (directory / file for file in _BYTE_PAIR_FILES)
    is_gpt1 = any('</w>"' in path.read_text(encoding="utf-8") for path in texts if path.is_file())
    kind = "keras_hub" if package in ("keras_hub", "keras_nlp") else "hugging_face"
    tokenizer = load_tokenizer(directory, kind, is_gpt1=is_gpt1)
    if tokenizer is None:
        there = ", ".join(sorted(path.name for path in directory.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"Expected a directory with a tokenizer. Received: {directory}, which holds {there}. Give a preset, a "
            "checkpoint or a directory of vocabulary files."
        )
    return tokenizer


def _registered_name(path) -> str:
    """The class in a file that Keras wrote; empty for a file of another library, or none."""
    if not path.is_file():
        return ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    return str(content.get("registered_name", "")) if isinstance(content, dict) else ""
