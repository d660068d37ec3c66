"""The files that byte-level BPE vocabularies come in.

* `vocab.json` and `merges.txt` (OpenAI: `encoder.json` and `vocab.bpe`), which are also what is written;
* `tokenizer.json` of the `tokenizers` library;
* `*.tiktoken`, the tokens by rank.

A reader returns the vocabulary (token in the printable alphabet -> id), the merges ("a b" by rank) and the special
tokens that the file names, which are in the vocabulary.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from albert_gpt_tf.text.byte_pair_vocabulary import (
    END_OF_TEXT,
    BytePairVocabulary,
    apply_merges,
    byte_alphabet,
    has_one_way,
)

Tables = tuple[dict[str, int], list[str], list[str]]

# GPT-2's pattern as it is written in openai/gpt-2, in tiktoken, and in `tokenizers`' own ByteLevel.
_PATTERNS = {
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
}


# === vocab.json and merges.txt ===


def read_vocabulary_and_merges(vocabulary: Any, merges: Any) -> Tables:
    """Reads `vocab.json` and `merges.txt`.

    Args:
        vocabulary: path of a `vocab.json` (`encoder.json`).
        merges: path of a `merges.txt` (`vocab.bpe`).

    Returns:
        vocabulary, merges, and no special tokens, see the module.

    Raises:
        ValueError: there is no such file, or the first is not a JSON object.

    Example:
        >>> read_vocabulary_and_merges("gpt2/vocab.json", "gpt2/merges.txt")  # doctest: +SKIP
    """
    paths = []
    for what, path in (("vocab.json", Path(vocabulary)), ("merges.txt", Path(merges))):
        if not path.is_file():
            raise ValueError(f"Expected the path of a {what}. Received: {str(path)!r}, which is not a file.")
        paths.append(path)
    try:
        tables = json.loads(paths[0].read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"Expected JSON, token -> id, in {paths[0]}. Received: {error}. Copy the file again."
        ) from error
    if not isinstance(tables, dict) or not all(isinstance(id, int) for id in tables.values()):
        raise ValueError(f"Expected JSON, token -> id, in {paths[0]}. Received: other JSON. Give a vocab.json.")
    lines = paths[1].read_text(encoding="utf-8").split("\n")
    if lines[0].startswith("#version"):  # a merge may begin with "#", this line is none
        lines = lines[1:]
    return tables, [line for line in (line.rstrip("\r") for line in lines) if line], []


def write_vocabulary_and_merges(vocabulary: BytePairVocabulary, vocabulary_path: Any, merges_path: Any) -> None:
    """Writes the two files that `read_vocabulary_and_merges` reads."""
    Path(vocabulary_path).write_text(json.dumps(vocabulary.ids, ensure_ascii=False), encoding="utf-8")
    Path(merges_path).write_text("\n".join(["#version: 0.2", *vocabulary.merges, ""]), encoding="utf-8")


# === tokenizer.json ===


def read_tokenizer_json(content: Mapping[str, Any], path: Any, parse_special_tokens: bool) -> Tables:
    """Reads a `tokenizer.json` that does what GPT-2's does.

    What follows the model is left to others: truncation, padding, and tokens added around the text.

    Args:
        content: dict, the JSON, as `presets.read_hugging_face_json` returns it.
        path: where it comes from, for messages.
        parse_special_tokens: bool, whether its added tokens will be recognised in text.

    Returns:
        vocabulary, merges, and its added tokens, see the module.

    Raises:
        ValueError: it splits or merges in another way than GPT-2's; the message says what differs.

    Example:
        >>> content = presets.read_hugging_face_json(Path("gpt2"), "BPE")  # doctest: +SKIP
        >>> read_tokenizer_json(content, "gpt2/tokenizer.json", parse_special_tokens=False)  # doctest: +SKIP
    """
    added = content["added_tokens"]
    vocabulary = dict(content["model"]["vocab"])
    merges = content["model"].get("merges") or []
    pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]  # "a b" or [a, b]
    difference = (
        _difference(content, has_all_bytes=set(byte_alphabet()) <= vocabulary.keys())
        or (parse_special_tokens and _difference_in_added_tokens(added))
        or _difference_in_unused_tokens(content, pairs, parse_special_tokens)
    )
    if difference:
        raise ValueError(
            f"Expected a tokenizer.json that does what GPT-2's does. Received: {path} with {difference}. Use a model "
            "with GPT-2's tokenizer, or the `tokenizers` library."
        )
    for token in added:
        id = vocabulary.setdefault(token["content"], token["id"])
        if id != token["id"]:
            raise ValueError(
                f"Expected one id for each token in {path}. Received: {token['content']!r} with {id} in the vocabulary "
                f"and {token['id']} as an added token. Correct the file."
            )
    return vocabulary, [" ".join(pair) for pair in pairs], list(dict.fromkeys(token["content"] for token in added))


def _difference(content: Mapping[str, Any], has_all_bytes: bool) -> str | None:
    """The first thing that makes this another tokenizer than GPT-2's, in words."""
    normalizers = _steps(content.get("normalizer"), "normalizers")
    if normalizers:
        return f"the normalizer {normalizers[0].get('type')}"
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers")
    if not steps or steps[-1].get("type") != "ByteLevel":
        return f"the pre-tokenizer {', '.join(str(step.get('type')) for step in steps) or None} instead of ByteLevel"
    if steps[-1].get("add_prefix_space") is not False:
        return f"add_prefix_space={steps[-1].get('add_prefix_space')}"
    splits, own_pattern = steps[:-1], steps[-1].get("use_regex", True)
    is_gpt2_split = (
        len(splits) == 1
        and splits[0].get("type") == "Split"
        and (splits[0].get("pattern") or {}).get("Regex") in _PATTERNS
        and splits[0].get("behavior") == "Isolated"
        and not splits[0].get("invert")
    )
    if splits and not is_gpt2_split:
        return f"the pre-tokenizer {splits[0].get('type')} with the pattern {splits[0].get('pattern')} before ByteLevel"
    if not splits and not own_pattern:
        return "use_regex=False, without a split"
    model = content["model"]
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            return f"{option}={model[option]!r}"
    if model.get("unk_token") is not None and not has_all_bytes:  # with all bytes nothing is unknown
        return f"unk_token={model['unk_token']!r} and without some of the 256 bytes"
    return None


def _steps(step: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer as a list of steps, without the Sequences around them."""
    if step is None:
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [inner for item in step.get(key, []) for inner in _steps(item, key)]


def _difference_in_added_tokens(added: Sequence[Mapping[str, Any]]) -> str | None:
    """What makes added tokens match in another way than leftmost, longest, as they are written."""
    for token in added:
        for option in ("single_word", "lstrip", "rstrip"):
            if token.get(option):
                return f"{option}=True for the added token {token['content']!r}, with parse_special_tokens=True"
    # Those that are not normalized are found before the others, wherever these begin.
    first = [token["content"] for token in added if not token.get("normalized")]
    second = [token["content"] for token in added if token.get("normalized")]
    for other in second:
        for token in first:
            if token in other or any(token.startswith(other[index:]) for index in range(1, len(other))):
                return f"normalized=False for {token!r} and True for {other!r}, which may overlap"
    return None


def _difference_in_unused_tokens(
    content: Mapping[str, Any], pairs: Sequence[tuple[str, str]], parse_special_tokens: bool
) -> str | None:
    """What comes of tokens that no merge gives: here they are special, there `ignore_merges` may give them."""
    ignore_merges = content["model"].get("ignore_merges")
    if not ignore_merges and not parse_special_tokens:
        return None
    vocabulary = content["model"]["vocab"]
    known = {*byte_alphabet(), *(token["content"] for token in content["added_tokens"])}
    known.update("".join(pair) for pair in pairs)
    unused = [token for token in vocabulary if token not in known]
    if unused:
        option = "ignore_merges=True" if ignore_merges else "parse_special_tokens=True"
        return f"the token {unused[0]!r}, which is neither the result of a merge nor an added token, and {option}"
    if ignore_merges and not has_one_way(pairs, vocabulary):
        return "ignore_merges=True and merges that do not make every token in one way"
    return None


# === *.tiktoken ===


def read_tiktoken(path: Any, special_tokens: Sequence[str] | None) -> Tables:
    """Reads the tokens of a tiktoken file and finds the merges that make them.

    The file does not say by which pattern text is split: GPT-2's is taken, whoever made the file.

    Args:
        path: path of a file of lines "token in base64, blank, rank".
        special_tokens: list of str, the special tokens that the user gives, or None: then `<|endoftext|>` gets the id
            after the last rank.

    Returns:
        vocabulary, merges, and `[]` or `["<|endoftext|>"]`, see the module.

    Raises:
        ValueError: a line is malformed, or a token is not made of two tokens of lower rank.

    Example:
        >>> read_tiktoken("r50k_base.tiktoken", None)  # doctest: +SKIP

    Reference: openai/tiktoken, `load.py` and `_educational.py`.
    """
    printable = {byte: char for char, byte in byte_alphabet().items()}
    vocabulary = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            token, rank = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"Expected a token in base64 and its rank in {path}, line {number}. Received: {line[:80]!r}. Copy the "
                "file again."
            ) from error
        vocabulary["".join(printable[byte] for byte in token)] = rank
    ranks: dict[tuple[str, str], int] = {}
    merges = []
    for token in sorted(vocabulary, key=vocabulary.get):
        if len(token) > 1:
            # tiktoken joins neighbours if their bytes are a token. What the lower ranks leave of the bytes tells which.
            parts = apply_merges(token, ranks, below=len(ranks))
            if len(parts) != 2:
                raise ValueError(
                    f"Expected tokens made of two tokens of lower rank in {path}. Received: {token!r} at rank "
                    f"{vocabulary[token]}, made of {len(parts)}. Use tiktoken itself."
                )
            ranks[tuple(parts)] = len(merges)
            merges.append(" ".join(parts))
    if special_tokens is None:
        vocabulary.setdefault(END_OF_TEXT, len(vocabulary))
        return vocabulary, merges, [END_OF_TEXT]
    return vocabulary, merges, []
