"""LAMBADA: passages whose last word a reader guesses only from the whole passage."""

import os
from pathlib import Path
from typing import NamedTuple

from albert_gpt_tf.data.files import DataError, read_labelled_file, read_lines


class Passage(NamedTuple):
    """A passage without its last word, and that word; a space stands between them."""

    context: str
    target: str


def read_lambada(path: str | os.PathLike, limit: int | None = None) -> list[Passage]:
    r"""Reads the passages of LAMBADA in the form that OpenAI released with GPT-2.

    The last word is what follows the last space. Line breaks do not end a word: 7 of the 5,153 targets hold one, and
    are kept so, as in lm-evaluation-harness.

    Args:
        path: str or path, a .jsonl file with a passage in `text` on each line.
        limit: int or None, at most so many passages are read. Defaults to None: all.

    Returns:
        list of `Passage`, at least 1.

    Raises:
        DataError: the file is missing, or a line is not such a row, or has less than two words.

    Example:

    >>> _ = Path("lambada.jsonl").write_text('{"text": "It rained when we left, and it still"}\n')
    >>> read_lambada("lambada.jsonl")
    [Passage(context='It rained when we left, and it', target='still')]

    Reference:
        Paperno et al., 2016, arXiv:1606.06031.
    """
    if Path(path).suffix.lower() != ".jsonl":
        raise DataError(f"{os.fspath(path)}: expected a file whose name ends in .jsonl; convert it, or rename it.")
    texts = read_labelled_file(path, label=None, limit=limit).texts
    lines = (number for number, line in enumerate(read_lines(path), start=1) if line.strip())
    return [_split(text, path, line) for text, line in zip(texts, lines, strict=False)]


def _split(text: str, path: str | os.PathLike, line: int) -> Passage:
    context, _, target = text.rpartition(" ")
    if not context.strip() or not target:
        raise DataError(
            f"{os.fspath(path)}:{line}: expected a passage of at least two words that ends with one, received "
            f"{text[-60:]!r}; remove the line, or the space at its end."
        )
    return Passage(context, target)
