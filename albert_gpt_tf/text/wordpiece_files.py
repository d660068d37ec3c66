"""Read WordPiece vocabularies: `vocab.txt`, and the files of Hugging Face, whose rules have to be BERT's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from albert_gpt_tf.text import presets

VOCABULARY_FILE = "vocab.txt"
HUGGING_FACE_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# A longer word is unknown, as in Transformers (200 in google-research).
MAX_CHARACTERS = 100


def read_vocabulary(path: Any) -> list[str]:
    """Reads a `vocab.txt`: one piece a line, the id is the number of the line, from 0.

    Args:
        path: str or path.

    Returns:
        list of str, the pieces. A piece may be any white space but a line break.

    Raises:
        ValueError: there is no such file, or it is not UTF-8.

    Example:
        >>> read_vocabulary("vocab.txt")[0]  # doctest: +SKIP
        '[PAD]'
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"Expected a list of pieces or the path of a vocab.txt. Received: {str(path)!r}, which is not a file. Give "
            "the path of the file itself."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected UTF-8 text in {path}. Received: {error}. Save it as UTF-8.") from error
    return text.removesuffix("\n").split("\n")


def check_vocabulary(pieces: Sequence[str]) -> None:
    """Raises ValueError unless all special pieces are there, and no piece is there twice."""
    missing = [piece for piece in SPECIAL_PIECES if piece not in set(pieces)]
    if missing:
        raise ValueError(
            f"Expected the pieces {', '.join(SPECIAL_PIECES)} in the vocabulary. Received: {len(pieces)} pieces "
            f"without {', '.join(missing)}. Give the vocab.txt of a BERT-like model."
        )
    ids = {}
    for id, piece in enumerate(pieces):
        if piece in ids:
            raise ValueError(
                f"Expected pieces that differ. Received: {piece!r} as piece {ids[piece]} and piece {id}. Rename one to "
                "something that no text gives, such as '[unused-1]', which keeps the other ids."
            )
        ids[piece] = id


def read_directory(directory: Path) -> tuple[list[str], bool]:
    """Reads the vocabulary of a directory, and whether text is lower-cased.

    A `tokenizer.json` counts before a `vocab.txt`, and `do_lower_case` of a `tokenizer_config.json` before the
    normalizer of the `tokenizer.json`, as in Transformers. If none says, text is lower-cased.

    Args:
        directory: Path, an existing directory.

    Returns:
        The pieces by id, and bool.

    Raises:
        ValueError: none of the files is there, or they ask for something else than BERT's rules.

    Example:
        >>> pieces, lowercase = read_directory(Path("albert_zh"))  # doctest: +SKIP

    Reference: Transformers, `BertTokenizer`.
    """
    content = presets.read_hugging_face_json(directory, "WordPiece")
    normalizer = {}
    if content is not None:
        pieces = _read_tokenizer_json(content, directory / presets.HUGGING_FACE_FILE)
        normalizer = content["normalizer"]
    elif (directory / VOCABULARY_FILE).is_file():
        pieces = read_vocabulary(directory / VOCABULARY_FILE)
    else:
        raise presets.nothing_recognised(directory, [presets.HUGGING_FACE_FILE, VOCABULARY_FILE])

    config, path = {}, directory / HUGGING_FACE_CONFIG_FILE
    if path.is_file():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"Expected JSON in {path}. Received: {error}. Copy the file again.") from error
    lowercase = _first(config.get("do_lower_case"), normalizer.get("lowercase"), True)
    strip_accents = _first(config.get("strip_accents"), normalizer.get("strip_accents"), lowercase)
    _require("strip_accents", strip_accents, lowercase, directory)
    _require("tokenize_chinese_chars", config.get("tokenize_chinese_chars", True), True, directory)
    return pieces, lowercase


def _read_tokenizer_json(content: dict[str, Any], path: Path) -> list[str]:
    model, normalizer = content["model"], content.get("normalizer") or {}
    _require("unk_token", model.get("unk_token"), "[UNK]", path)
    _require("continuing_subword_prefix", model.get("continuing_subword_prefix", "##"), "##", path)
    _require("max_input_chars_per_word", model.get("max_input_chars_per_word", 100), MAX_CHARACTERS, path)
    _require("normalizer", normalizer.get("type"), "BertNormalizer", path)
    _require("clean_text", normalizer.get("clean_text"), True, path)
    _require("handle_chinese_chars", normalizer.get("handle_chinese_chars"), True, path)
    _require("pre_tokenizer", (content.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer", path)
    vocabulary = model["vocab"]
    for token in content["added_tokens"]:
        if token["content"] not in SPECIAL_PIECES or token["id"] != vocabulary.get(token["content"]):
            raise ValueError(
                f"Expected no added tokens but {', '.join(SPECIAL_PIECES)} in {path}. Received: {token['content']!r} "
                f"with the id {token['id']}. Write all pieces into a vocab.txt, and leave the tokenizer.json out."
            )
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(
            f"Expected the ids 0 to {len(vocabulary) - 1}, each once, in {path}. Received: other ids. Number the "
            "pieces without gaps."
        )
    return sorted(vocabulary, key=vocabulary.get)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _require(name: str, received: Any, expected: Any, path: Path) -> None:
    if received != expected:
        raise ValueError(
            f"Expected BERT's rules in {path}: {name}={expected!r}. Received: {name}={received!r}. Tokenize such text "
            "with the library that wrote the file, and give the ids to the model."
        )
