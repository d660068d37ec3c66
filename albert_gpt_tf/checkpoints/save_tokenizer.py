"""Writes tokenizers as Transformers reads them: vocabulary files, and `tokenizer_config.json` that names the class."""

import base64
import json
import logging
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.byte_pair_vocabulary import END_OF_TEXT
from albert_gpt_tf.text.charsmap import GOOGLE_RESEARCH
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt1_vocabulary import UNKNOWN
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.presets import HUGGING_FACE_FILE
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

logger = logging.getLogger(__name__)

CONFIG_FILE = "tokenizer_config.json"
_BERT_TOKENS = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}


def save_tokenizer(tokenizer: Any, directory: Path, max_length: int) -> dict[str, int | None]:
    """Writes a tokenizer of this library into a Hugging Face directory.

    Args:
        tokenizer: an `AlbertTokenizer`, `WordPieceTokenizer`, `GPT2Tokenizer` or `GPT1Tokenizer`.
        directory: Path, an existing directory.
        max_length: int, the number of positions of the model.

    Returns:
        dict: the ids of special tokens, as fields of the model's `config.json`.

    Raises:
        ValueError: the tokenizer is of another class.

    Example:
        >>> save_tokenizer(tokenizer, Path("directory"), 512)  # doctest: +SKIP
        {'pad_token_id': 0, 'bos_token_id': 2, 'eos_token_id': 3}

    Reference:
        Transformers 5, the `tokenization_*.py` of albert, bert, gpt2 and openai.
    """
    writers = {
        AlbertTokenizer: _write_albert,
        WordPieceTokenizer: _write_wordpiece,
        GPT2Tokenizer: _write_gpt2,
        GPT1Tokenizer: _write_gpt1,
    }
    write = next((write for cls, write in writers.items() if isinstance(tokenizer, cls)), None)
    if write is None:
        raise ValueError(
            f"Expected a tokenizer among {[cls.__name__ for cls in writers]}. Received: {type(tokenizer).__name__}. "
            "Save the model without its preprocessor, and the tokenizer with the library it comes from."
        )
    tokenizer.save_assets(str(directory))
    config, ids = write(tokenizer, directory)
    _write_json(directory / CONFIG_FILE, {**config, "model_max_length": max_length})
    return ids


def _write_albert(tokenizer, directory):
    if tokenizer.reference == GOOGLE_RESEARCH:
        logger.warning(
            "Transformers tokenizes as AlbertTokenizer(reference='transformers') does. This one has the ids of "
            "google-research, which differ for some texts, such as numbers followed by a comma."
        )
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.proto)
    if model.normalizer_spec.name == HUGGING_FACE_FILE:  # where its scores come from, which are not the original's
        _write_json(directory / HUGGING_FACE_FILE, _albert_json(tokenizer, model))
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "[MASK]"}
    names |= dict.fromkeys(("bos_token", "cls_token"), "[CLS]") | dict.fromkeys(("eos_token", "sep_token"), "[SEP]")
    config = {"do_lower_case": tokenizer.lowercase, "keep_accents": tokenizer.keep_accents}
    # Transformers 5 leaves the segments of a pair out unless it is told.
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    ids = {"pad_token_id": tokenizer.pad_id, "bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
    return {"tokenizer_class": "AlbertTokenizer", **config, **names}, ids


def _write_wordpiece(tokenizer, directory):
    ids = {"pad_token_id": tokenizer.pad_id, "bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
    names = {**_BERT_TOKENS, "mask_token": "[MASK]"}
    return {"tokenizer_class": "BertTokenizer", "do_lower_case": tokenizer.lowercase, **names}, ids


def _write_gpt2(tokenizer, directory):
    others = [token for token in tokenizer.special_tokens if token != END_OF_TEXT]
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **names}
    if others:
        config["extra_special_tokens"] = others
    end_id = tokenizer.end_of_text_id
    return config, {"pad_token_id": None, "bos_token_id": end_id, "eos_token_id": end_id}


def _write_gpt1(tokenizer, directory):
    if tokenizer.added_tokens:  # which are in none of the two vocabulary files
        _write_json(directory / HUGGING_FACE_FILE, _gpt1_json(tokenizer, directory))
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    return {"tokenizer_class": "OpenAIGPTTokenizer", "unk_token": UNKNOWN}, ids


# === tokenizer.json ===


def _albert_json(tokenizer, model) -> dict[str, Any]:
    """The file that `albert_files` made the model of."""
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": quotes}, "content": '"'} for quotes in ("``", "''")
    ]
    if not tokenizer.keep_accents:
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if tokenizer.lowercase:
        steps.append({"type": "Lowercase"})
    charsmap = model.normalizer_spec.precompiled_charsmap
    if charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    frame = {"[CLS]": tokenizer.cls_id, "[SEP]": tokenizer.sep_id}
    template = {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in frame.items()}

    def part(kind, id, segment):
        return {kind: {"id": id, "type_id": segment}}

    single = [part("SpecialToken", "[CLS]", 0), part("Sequence", "A", 0), part("SpecialToken", "[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token, tokenizer.token_to_id(token)) for token in tokenizer.special_tokens],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, part("Sequence", "B", 1), part("SpecialToken", "[SEP]", 1)],
            "special_tokens": template,
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer.unk_id,
            "vocab": [[piece.piece, piece.score] for piece in model.pieces],
            "byte_fallback": False,
        },
    }


def _gpt1_json(tokenizer, directory) -> dict[str, Any]:
    vocabulary = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    lines = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")
    added = dict.fromkeys([UNKNOWN, *tokenizer.added_tokens])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token, tokenizer.token_to_id(token)) for token in added],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [line for line in lines[1:] if line],  # the first line is the version
        },
    }


def _added_token(content: str, id: int) -> dict[str, Any]:
    switches = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": content, **switches, "special": True}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
