"""GPT-1's vocabulary: characters, those that end a word (`e</w>`), what merges make of them, and special tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_gpt_tf.text.byte_pair_vocabulary import apply_merges

END_OF_WORD = "</w>"
UNKNOWN = "<unk>"

_FIRST_SYMBOL = 0x100
_SURROGATES = range(0xD800, 0xE000)


def symbol(number: int) -> str:
    """The character that stands for a base symbol. It has no meaning, but is one character also where a word ends."""
    code = _FIRST_SYMBOL + number
    return chr(code if code < _SURROGATES.start else code + len(_SURROGATES))


@dataclass(frozen=True)
class GPT1Vocabulary:
    """The tokens of a BPE with `</w>` and how they are made. Build it with `from_tables`.

    Attributes:
        tokens: tuple of str, the tokens by id.
        ids: dict, the id of each token.
        merges: tuple of str, "a b", by rank.
        symbols: dict, base symbol ("e" or "e</w>") -> its number.
        spellings: tuple, by id: the token as `symbol`s, None for special tokens.
        scores: tuple of int, by id: 0 for a base symbol, -1, -2, … for tokens in the order of their merges.
    """

    tokens: tuple[str, ...]
    ids: dict[str, int]
    merges: tuple[str, ...]
    symbols: dict[str, int]
    spellings: tuple[str | None, ...]
    scores: tuple[int, ...]

    @classmethod
    def from_tables(cls, vocabulary: Mapping[str, int], merges: Sequence[str]) -> "GPT1Vocabulary":
        """Checks and completes a vocabulary.

        A token of one character, or of one and `</w>`, is a base symbol. Any other that no merge makes is special.

        The checks are what `GPT1BPE` relies on (see there): every merge makes a token of its own, of parts that exist
        before it, and what it makes encodes to itself.

        Args:
            vocabulary: dict, token -> id; the ids are 0 to its size less one.
            merges: list of "a b", in the order of their ranks.

        Returns:
            The vocabulary.

        Raises:
            ValueError: a check fails; the message names the token.
        """
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"Expected the ids 0 to {len(vocabulary) - 1}, each once, for {len(vocabulary)} tokens. Received: "
                "other ids. Number the tokens without gaps."
            )
        tokens = sorted(vocabulary, key=vocabulary.get)
        base = [token for token in tokens if len(token.removesuffix(END_OF_WORD) or token) == 1]
        if UNKNOWN not in vocabulary or not any(token.endswith(END_OF_WORD) for token in base):
            raise ValueError(
                f"Expected GPT-1's vocabulary, with {UNKNOWN!r} and characters that end in {END_OF_WORD!r}. Received: "
                f"{len(tokens)} tokens without them. Give encoder_bpe_40000.json, or use GPT2Tokenizer for GPT-2's."
            )
        symbols = {token: number for number, token in enumerate(base)}
        spelled = {token: symbol(number) for token, number in symbols.items()}
        scores = dict.fromkeys(base, 0)
        ranks = {}
        for rank, merge in enumerate(merges):
            pair = merge.split(" ")
            if len(pair) != 2 or not all(part in spelled for part in pair) or pair[0].endswith(END_OF_WORD):
                raise ValueError(
                    f"Expected merges 'a b' of characters or earlier merges. Received: {merge!r} at rank {rank}."
                )
            token = "".join(pair)
            if token not in vocabulary:
                raise ValueError(
                    f"Expected the result of every merge in the vocabulary. Received: {merge!r} at rank {rank}, "
                    f"without {token!r}. Give the vocabulary and the merges of one model."
                )
            parts = (spelled[pair[0]], spelled[pair[1]])
            if token in spelled or tuple(apply_merges("".join(parts), ranks, below=rank)) != parts:
                raise ValueError(
                    f"Expected one way to make each token. Received: the merge {merge!r} at rank {rank}, whose "
                    "result the earlier merges make of other parts. Train without such merges."
                )
            ranks[parts] = rank
            spelled[token] = "".join(parts)
            scores[token] = -1 - rank
        return cls(
            tokens=tuple(tokens),
            ids=dict(vocabulary),
            merges=tuple(merges),
            symbols=symbols,
            spellings=tuple(spelled.get(token) for token in tokens),
            scores=tuple(scores.get(token, 0) for token in tokens),
        )


def read_tokenizer_json(content: dict[str, Any], path: Path) -> tuple[dict[str, int], list[str], list[str]]:
    """Takes GPT-1's vocabulary from a `tokenizer.json`.

    Args:
        content: dict, the content of the file (see `presets.read_hugging_face_json`).
        path: Path, for errors.

    Returns:
        dict, token -> id; list of "a b"; list of str, the special tokens with ids after these.

    Raises:
        ValueError: the file asks for other rules than GPT-1's.

    Example:
        >>> content = presets.read_hugging_face_json(folder, "BPE")  # doctest: +SKIP
        >>> vocabulary, merges, special_tokens = read_tokenizer_json(content, folder)  # doctest: +SKIP
    """
    model, normalizer = content["model"], content.get("normalizer") or {}
    strip_accents = normalizer.get("strip_accents")
    rules = {
        "end_of_word_suffix": (model.get("end_of_word_suffix"), END_OF_WORD),
        "unk_token": (model.get("unk_token"), UNKNOWN),
        "continuing_subword_prefix": (model.get("continuing_subword_prefix") or "", ""),
        "fuse_unk": (model.get("fuse_unk", False), False),
        "byte_fallback": (model.get("byte_fallback", False), False),
        "normalizer": (normalizer.get("type"), "BertNormalizer"),
        "clean_text": (normalizer.get("clean_text"), True),
        "handle_chinese_chars": (normalizer.get("handle_chinese_chars"), True),
        "lowercase": (normalizer.get("lowercase"), True),
        "strip_accents": (True if strip_accents is None else strip_accents, True),
        "pre_tokenizer": ((content.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer"),
    }
    for name, (received, expected) in rules.items():
        if received != expected:
            raise ValueError(
                f"Expected GPT-1's rules in {path}: {name}={expected!r}. Received: {name}={received!r}. Use the "
                "tokenizer class of the model that the file belongs to."
            )
    vocabulary = dict(model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    special_tokens, next_id = [], len(vocabulary)
    for token in sorted(content["added_tokens"], key=lambda token: token["id"]):
        name = token["content"]
        if name == UNKNOWN:
            continue
        is_plain = token.get("special") and not any(token.get(key) for key in ("lstrip", "rstrip", "single_word"))
        if not is_plain or token["id"] != vocabulary.get(name, next_id):
            raise ValueError(
                f"Expected added tokens that are special, strip nothing and have ids after the vocabulary in {path}. "
                f"Received: {token}. Leave the tokenizer.json out, and pass special_tokens."
            )
        next_id += name not in vocabulary
        special_tokens.append(name)
    return vocabulary, merges, special_tokens
