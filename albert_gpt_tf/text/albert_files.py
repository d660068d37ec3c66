"""What a directory says of its ALBERT tokenizer: google-research's, or one of Hugging Face's."""

import base64
import json
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text import presets
from albert_gpt_tf.text.albert_model import SPACE_SYMBOL
from albert_gpt_tf.text.charsmap import GOOGLE_RESEARCH, TRANSFORMERS

# The second name is that of the files which google-research released.
MODEL_FILES = ("spiece.model", "30k-clean.model")
HUGGING_FACE_CONFIGS = ("tokenizer_config.json", "config.json", "special_tokens_map.json")
# What Transformers' converter adds to the score of pieces like "▁2010,", so that they are hardly ever chosen.
_COMMA_PENALTY = -100.0


def read_albert_files(directory: Path, reference: str | None) -> dict[str, Any]:
    """Finds out which tokenizer a directory holds.

    Args:
        directory: Path, an existing directory.
        reference: str, the reference that was asked for, or None for the directory's own.

    Returns:
        dict: arguments of `AlbertTokenizer`.

    Raises:
        ValueError: nothing that is known is there, or a `tokenizer.json` with steps that ALBERT's has not.
    """
    model_file = next((directory / name for name in MODEL_FILES if (directory / name).is_file()), None)
    content = presets.read_hugging_face_json(directory, "Unigram")
    arguments: dict[str, Any] = {}
    if content is not None:
        arguments = _of_tokenizer_json(content, directory)
        if reference == GOOGLE_RESEARCH:
            # The other scores and special tokens are Transformers'.
            del arguments["special_tokens"]
            arguments["proto"] = model_file.read_bytes() if model_file else without_comma_penalty(arguments["proto"])
    elif model_file is not None:
        is_hugging_face = any((directory / name).is_file() for name in HUGGING_FACE_CONFIGS)
        arguments = {
            "proto": model_file.read_bytes(),
            "reference": TRANSFORMERS if is_hugging_face else GOOGLE_RESEARCH,
        }
    else:
        raise presets.nothing_recognised(directory, [*MODEL_FILES, presets.HUGGING_FACE_FILE])
    config = directory / "tokenizer_config.json"
    if config.is_file():
        saved = json.loads(config.read_text(encoding="utf-8"))
        for name, theirs in (("lowercase", "do_lower_case"), ("keep_accents", "keep_accents")):
            if theirs in saved:
                arguments[name] = saved[theirs]
    return arguments


def _of_tokenizer_json(content: dict[str, Any], directory: Path) -> dict[str, Any]:
    normalizer = content.get("normalizer") or {"type": "Sequence", "normalizers": []}
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    types = [step["type"] for step in steps]
    unknown_steps = set(types) - {"Replace", "NFKD", "StripAccents", "Lowercase", "Precompiled"}
    replaced = {step["pattern"].get("String") for step in steps if step["type"] == "Replace"} - {None}
    splits = json.dumps(content.get("pre_tokenizer"))
    if unknown_steps or replaced != {"``", "''"} or "WhitespaceSplit" not in splits or "Metaspace" not in splits:
        raise ValueError(
            f"Expected ALBERT's steps in {directory / presets.HUGGING_FACE_FILE}: quotes, NFKD, accents, lower case, "
            f"charsmap, and a split at white space. Received: {types} and {splits[:80]}. Load it with the class that "
            "wrote it."
        )
    model = content["model"]
    proto = sentencepiece_model_pb2.ModelProto()
    kinds = proto.SentencePiece
    added = [token["content"] for token in content["added_tokens"]]
    special = {token["content"] for token in content["added_tokens"] if token.get("special")}
    for id, (piece, score) in enumerate(model["vocab"]):
        kind = kinds.UNKNOWN if id == model.get("unk_id") else kinds.CONTROL if piece in special else kinds.NORMAL
        proto.pieces.add(piece=piece, score=score, type=kind)
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.trainer_spec.unk_id = model.get("unk_id", 0)
    proto.trainer_spec.bos_id = proto.trainer_spec.eos_id = -1
    proto.normalizer_spec.name = "tokenizer.json"
    for step in steps:
        if step["type"] == "Precompiled":
            proto.normalizer_spec.precompiled_charsmap = base64.b64decode(step["precompiled_charsmap"])
    return {
        "proto": proto.SerializeToString(),
        "reference": TRANSFORMERS,
        "lowercase": "Lowercase" in types,
        "keep_accents": "NFKD" not in types,
        "special_tokens": added,
    }


def without_comma_penalty(model: bytes) -> bytes:
    """The model with the scores that Transformers' converter has lowered as they were."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for piece in proto.pieces:
        number = piece.piece.removeprefix(SPACE_SYMBOL)
        if len(number) > 1 and number[-1] == "," and number[-2].isdigit() and piece.score <= _COMMA_PENALTY:
            piece.score -= _COMMA_PENALTY
    return proto.SerializeToString()
