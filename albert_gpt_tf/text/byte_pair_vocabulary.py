"""A byte-level BPE vocabulary: bytes, tokens that merges make, special tokens.

Files and dictionaries write bytes in GPT-2's printable alphabet: printable Latin-1 bytes as themselves, the other 68
as U+0100 to U+0143, so the blank is "Ġ".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

END_OF_TEXT = "<|endoftext|>"


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable characters and the bytes they stand for, in the order of GPT-2's ids 0 to 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return alphabet


def apply_merges(token: str, ranks: Mapping[tuple[str, str], int], below: int) -> list[str]:
    """Merges the characters of a token with the merges of lower rank only: the lowest rank first, then the leftmost.

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


def has_one_way(pairs: Sequence[tuple[str, str]], ids: Mapping[str, int]) -> bool:
    """Whether each token comes from one merge, of parts made before, which the merges before it leave of its bytes.

    Args:
        pairs: list of the two parts of each merge, by rank.
        ids: dict, the tokens of the vocabulary and their ids.

    Returns:
        bool. If True, every byte and every result of a merge encodes to itself.

    Example:
        >>> has_one_way([("a", "b"), ("ab", "c")], {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4})
        True
    """
    ranks = {pair: rank for rank, pair in enumerate(pairs)}
    made = {char for char in byte_alphabet() if char in ids}
    for rank, pair in enumerate(pairs):
        token = "".join(pair)
        if token in made or not made.issuperset(pair) or apply_merges(token, ranks, below=rank) != list(pair):
            return False
        made.add(token)
    return True


@dataclass(frozen=True)
class BytePairVocabulary:
    """The tokens of a byte-level BPE and how they are made. Build it with `from_tables`.

    Attributes:
        tokens: tuple of str, the tokens by id, in the printable alphabet; special tokens as they are written.
        ids: dict, the id of each token.
        merges: tuple of str, "a b", by rank.
        ranks: dict, the rank of each pair; of a pair that is listed twice the last one, as in the original.
        token_bytes: tuple of bytes, the text of each token by id.
        special_tokens: tuple of str, those that no bytes and no merges give, and those that were added.
        byte_ids: tuple of int, the id of each byte, -1 for a byte that the vocabulary lacks.
        whole_ids: tuple of int, the ids of the tokens that encode to themselves.
        has_one_way: bool, whether the merges make each token in one way. Then any two neighbours whose concatenation
            is a token may be merged, see `ByteLevelBPE`.
    """

    tokens: tuple[str, ...]
    ids: dict[str, int]
    merges: tuple[str, ...]
    ranks: dict[tuple[str, str], int]
    token_bytes: tuple[bytes, ...]
    special_tokens: tuple[str, ...]
    byte_ids: tuple[int, ...]
    whole_ids: tuple[int, ...]
    has_one_way: bool

    @classmethod
    def from_tables(
        cls, vocabulary: Mapping[str, int], merges: Sequence[str], special_tokens: Sequence[str] = ()
    ) -> "BytePairVocabulary":
        """Checks and completes a vocabulary.

        A token that is neither a byte nor in a merge is special, like `<|endoftext|>`: text does not give it.

        Args:
            vocabulary: dict, token in the printable alphabet -> id; the ids are 0 to its size less one.
            merges: list of "a b", in the order of their ranks.
            special_tokens: list of str, further special tokens. One that the vocabulary has keeps its id, the others
                come after the vocabulary, in order. Defaults to none.

        Returns:
            The vocabulary.

        Raises:
            ValueError: the ids have gaps, there is no byte or no `<|endoftext|>`, a merge has parts or a result that
                the vocabulary lacks, or a special token is the name of other bytes. The message names the token.
        """
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"Expected the ids 0 to {len(vocabulary) - 1}, each once, for {len(vocabulary)} tokens. Received: "
                "other ids. Number the tokens without gaps."
            )
        ids = dict(vocabulary)
        for token in special_tokens:
            ids.setdefault(token, len(ids))
        if END_OF_TEXT not in ids:
            raise ValueError(
                f"Expected {END_OF_TEXT!r} in the vocabulary. Received: {len(ids)} other tokens. Add it with "
                f"special_tokens=[{END_OF_TEXT!r}]."
            )
        alphabet = byte_alphabet()
        if not any(char in ids for char in alphabet):
            raise ValueError(
                f"Expected single bytes in the vocabulary, in GPT-2's printable alphabet. Received: {len(ids)} tokens, "
                f"such as {next(iter(ids))!r}. Give the vocabulary of a byte-level BPE model."
            )
        pairs = [_checked_pair(merge, rank, ids, alphabet) for rank, merge in enumerate(merges)]
        ranks = {pair: rank for rank, pair in enumerate(pairs)}
        ordinary = {char for char in alphabet if char in ids}
        ordinary.update(token for pair in pairs for token in (*pair, "".join(pair)))

        tokens = tuple(sorted(ids, key=ids.get))
        token_bytes = tuple(
            bytes(alphabet[char] for char in token) if token in ordinary else token.encode() for token in tokens
        )
        for token in special_tokens:
            if token_bytes[ids[token]] != token.encode():
                raise ValueError(
                    f"Expected special tokens that no bytes are named after. Received: {token!r}, the name of the "
                    f"bytes {token_bytes[ids[token]]!r}. Give it another name."
                )
        one_way = has_one_way(pairs, ids)
        whole = ordinary if one_way else {token for token in ordinary if _encodes_to_itself(token, ranks, ids)}
        return cls(
            tokens=tokens,
            ids=ids,
            merges=tuple(merges),
            ranks=ranks,
            token_bytes=token_bytes,
            special_tokens=tuple(token for token in tokens if token not in ordinary or token in special_tokens),
            byte_ids=tuple(ids.get(char, -1) for char in sorted(alphabet, key=alphabet.get)),
            whole_ids=tuple(sorted(ids[token] for token in whole)),
            has_one_way=one_way,
        )


def _checked_pair(merge: str, rank: int, ids: Mapping[str, int], alphabet: Mapping[str, int]) -> tuple[str, str]:
    """The two parts of a merge, which the vocabulary has, as it has their concatenation."""
    pair = tuple(merge.split(" "))
    if len(pair) != 2 or not all(part and part in ids and all(char in alphabet for char in part) for part in pair):
        raise ValueError(
            "Expected merges 'a b' of tokens of the vocabulary, in GPT-2's printable alphabet. Received: "
            f"{merge!r} at rank {rank}. Give the vocabulary and the merges of one model."
        )
    if "".join(pair) not in ids:
        raise ValueError(
            f"Expected the result of every merge in the vocabulary. Received: {merge!r} at rank {rank}, without "
            f"{''.join(pair)!r}. Give the vocabulary and the merges of one model."
        )
    return pair


def _encodes_to_itself(token: str, ranks: Mapping[tuple[str, str], int], ids: Mapping[str, int]) -> bool:
    return all(char in ids for char in token) and apply_merges(token, ranks, below=len(ranks)) == [token]
