"""A byte-level BPE vocabulary: 256 bytes, tokens that merges make, special tokens.

Files and dictionaries write bytes in GPT-2's printable alphabet: printable Latin-1 bytes as themselves, the other 68
as U+0100 to U+0143, so the blank is "Ġ".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable characters and the bytes they stand for, in the order of GPT-2's ids 0 to 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return alphabet


def apply_merges(token: str, ranks: Mapping[tuple[str, str], int], below: int) -> list[str]:
    """Merges the characters of a token as the original encoder does, with the merges of lower rank only.

    Args:
        token: str in the printable alphabet.
        ranks: the rank of each pair.
        below: int, the rank at which to stop.

    Returns:
        list of str: the parts that are left.

    Example:
        >>> apply_merges("abab", {("a", "b"): 0, ("ab", "ab"): 1}, below=1)
        ['ab', 'ab']
    """
    parts = list(token)
    while True:
        lowest, index = below, -1
        for i in range(len(parts) - 1):
            rank = ranks.get((parts[i], parts[i + 1]), below)
            if rank < lowest:
                lowest, index = rank, i
        if index < 0:
            return parts
        parts[index : index + 2] = [parts[index] + parts[index + 1]]


@dataclass(frozen=True)
class BytePairVocabulary:
    """The tokens of a byte-level BPE and how they are made. Build it with `from_tables` or `from_files`.

    Attributes:
        tokens: tuple of str, the tokens by id, in the printable alphabet.
        ids: dict, the id of each token.
        merges: tuple of str, "a b", by rank.
        token_bytes: tuple of bytes, the text of each token by id; special tokens as they are written.
        scores: tuple, by id: 0 for a byte, -1, -2, … for tokens in the order of their merges, None for special tokens.
    """

    tokens: tuple[str, ...]
    ids: dict[str, int]
    merges: tuple[str, ...]
    token_bytes: tuple[bytes, ...]
    scores: tuple[int | None, ...]

    @classmethod
    def from_tables(cls, vocabulary: Mapping[str, int], merges: Sequence[str]) -> "BytePairVocabulary":
        """Checks and completes a vocabulary.

        A token that is neither a byte nor the result of a merge is special, like `<|endoftext|>`: text never gives it.

        The checks are what `ByteLevelBPE` relies on (see there): every token is made by one merge, of parts that exist
        before it, and encodes to itself.

        Args:
            vocabulary: dict, token in the printable alphabet -> id; the ids are 0 to its size less one.
            merges: list of "a b", in the order of their ranks.

        Returns:
            The vocabulary.

        Raises:
            ValueError: a check fails; the message names the token.
        """
        alphabet = byte_alphabet()
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"Expected the ids 0 to {len(vocabulary) - 1}, each once, for {len(vocabulary)} tokens. Received: "
                "other ids. Number the tokens without gaps."
            )
        missing = [char for char in alphabet if char not in vocabulary]
        if missing:
            raise ValueError(
                f"Expected all 256 bytes in the vocabulary, in GPT-2's printable alphabet. Received: none for "
                f"{len(missing)} of them, such as {missing[0]!r}. Train with train_byte_level_bpe."
            )
        if END_OF_TEXT not in vocabulary:
            raise ValueError(f"Expected {END_OF_TEXT!r} in the vocabulary. Received: {len(vocabulary)} other tokens.")

        pairs = [tuple(merge.split(" ")) for merge in merges]
        ranks = {pair: rank for rank, pair in enumerate(pairs)}
        scores = dict.fromkeys(alphabet, 0)
        for rank, pair in enumerate(pairs):
            token = "".join(pair)
            if len(pair) != 2 or not all(part in scores for part in pair):
                raise ValueError(
                    f"Expected merges 'a b' of bytes or earlier merges. Received: {merges[rank]!r} at rank {rank}."
                )
            if token not in vocabulary:
                raise ValueError(
                    f"Expected the result of every merge in the vocabulary. Received: {merges[rank]!r} at rank {rank}, "
                    f"without {token!r}. Give the vocabulary and the merges of one model."
                )
            if token in scores or apply_merges(token, ranks, below=rank) != list(pair):
                raise ValueError(
                    f"Expected one way to make each token. Received: the merge {merges[rank]!r} at rank {rank}, whose "
                    "result the earlier merges make of other parts. Train with train_byte_level_bpe."
                )
            scores[token] = -1 - rank

        tokens = tuple(sorted(vocabulary, key=vocabulary.get))
        return cls(
            tokens=tokens,
            ids=dict(vocabulary),
            merges=tuple(merges),
            token_bytes=tuple(
                bytes(alphabet[char] for char in token) if token in scores else token.encode() for token in tokens
            ),
            scores=tuple(scores.get(token) for token in tokens),
        )

    @classmethod
    def from_files(cls, vocabulary: Any, merges: Any) -> "BytePairVocabulary":
        """Reads `vocab.json` (OpenAI: `encoder.json`) and `merges.txt` (`vocab.bpe`)."""
        paths = []
        for what, path in (("vocab.json", Path(vocabulary)), ("merges.txt", Path(merges))):
            if not path.is_file():
                raise ValueError(f"Expected the path of a {what}. Received: {str(path)!r}, which is not a file.")
            paths.append(path)
        try:
            tables = json.loads(paths[0].read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"Expected JSON, token -> id, in {paths[0]}. Received: {error}.") from error
        lines = paths[1].read_text(encoding="utf-8").split("\n")
        if lines[0].startswith("#version"):  # a merge may begin with "#", this line is none
            lines = lines[1:]
        return cls.from_tables(tables, [line for line in (line.rstrip("\r") for line in lines) if line])

    def save(self, directory: Any, vocabulary_file: str, merges_file: str) -> None:
        """Writes the two files that `from_files` reads."""
        text = json.dumps(self.ids, ensure_ascii=False)
        Path(directory, vocabulary_file).write_text(text, encoding="utf-8")
        text = "\n".join(["#version: 0.2", *self.merges, ""])
        Path(directory, merges_file).write_text(text, encoding="utf-8")
