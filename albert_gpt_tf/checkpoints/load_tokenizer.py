"""Finds the tokenizer that belongs to a checkpoint of another library."""

import json
import logging
from pathlib import Path
from typing import Any

from albert_gpt_tf.checkpoints import keras_hub
from albert_gpt_tf.text.albert_files import MODEL_FILES
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.presets import HUGGING_FACE_FILE
from albert_gpt_tf.text.wordpiece_files import VOCABULARY_FILE as WORDPIECE_FILE
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

logger = logging.getLogger(__name__)

# Any of these is a byte-pair vocabulary: vocab.json of Hugging Face, the others of OpenAI.
_BYTE_PAIR_FILES = ("vocab.json", "encoder.json", "encoder_bpe_40000.json")


def load_tokenizer(directory: Path, kind: str, is_gpt1: bool = False) -> Any | None:
    """Loads the tokenizer of a directory.

    Args:
        directory: Path.
        kind: str, see `kind_of`.
        is_gpt1: bool, whether a byte-pair vocabulary is GPT-1's. Defaults to `False`.

    Returns:
        The tokenizer; `None`, and a line in the log, if the directory holds no vocabulary.

    Raises:
        ValueError: the vocabulary files are broken, or are those of a tokenizer that is not known.

    Example:
        >>> load_tokenizer(Path("albert-base-v2"), "hugging_face")  # doctest: +SKIP
    """
    if kind == "keras_hub":
        return keras_hub.tokenizer(directory)
    model = _model_of_tokenizer_json(directory / HUGGING_FACE_FILE)
    if model == "Unigram" or any((directory / name).is_file() for name in MODEL_FILES):
        return AlbertTokenizer.from_preset(directory)
    if model == "WordPiece" or (model is None and (directory / WORDPIECE_FILE).is_file()):
        return WordPieceTokenizer.from_preset(directory)
    if model == "BPE" or any((directory / name).is_file() for name in _BYTE_PAIR_FILES):
        return (GPT1Tokenizer if is_gpt1 else GPT2Tokenizer).from_preset(directory)
    logger.warning("%s holds no vocabulary: the model takes ids, until it is given a tokenizer.", directory)
    return None


def _model_of_tokenizer_json(path: Path) -> str | None:
    """The type of model in a `tokenizer.json` of the `tokenizers` library; `None` without such a file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    model = (content.get("model") if isinstance(content, dict) else None) or {}
    # Old files leave out the type: a list of pieces with scores is Unigram, merges make it BPE.
    inferred = "Unigram" if isinstance(model.get("vocab"), list) else "BPE" if "merges" in model else "WordPiece"
    return model.get("type") or inferred
