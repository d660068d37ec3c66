"""Sentences whose words have tags (entities, parts of speech): the file formats of CoNLL, CoNLL-U and JSON lines.

A file is read and checked whole. A broken row raises a `DataError` with its file and line.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from albert_gpt_tf.data.files import DataError, read_lines

DOCUMENT_START = "-DOCSTART-"
CONLLU_FIELDS = 10
FORM, UPOS, MISC = 1, 3, 9


class TaggedSentence(NamedTuple):
    """Words and their tags, of one length.

    `space_after` says whether white space follows each word where the sentence was written; None: nobody knows, and
    the words stand apart.
    """

    words: list[str]
    tags: list[str]
    space_after: list[bool] | None = None


class SentenceTexts(NamedTuple):
    """Sentences as running text, with the places of their words."""

    texts: list[str]
    word_starts: list[list[int]]  # bytes of UTF-8
    word_ends: list[list[int]]


def read_tagged_file(
    path: str | os.PathLike, words: str = "", tags: str = "", limit: int | None = None
) -> list[TaggedSentence]:
    r"""Reads sentences of tagged words.

    The format is told by the name of the file:

    * `.conllu`: CoNLL-U. Words are in FORM and tags in UPOS. Empty nodes (`8.1`) are skipped. Of a multiword token the
      words count, and they touch if they spell the token together, as `do` `n't`; otherwise they are set apart.
    * `.json`, `.jsonl`: an object a line, with a list of words (`words` or `tokens`) and one of tags (`tags`, `ner`,
      `ner_tags` or `pos`).
    * any other: columns, one word a line. Tabs separate them if the first row has a tab, else white space. The word is
      in the first column and the tag in the last. A blank line ends a sentence, and so does `-DOCSTART-`. A line that
      begins with `#` where a sentence could begin, and has another number of columns than the first row, is a comment.

    Args:
        path: str or path, a UTF-8 file, compressed if its name ends in .gz (`train.conll.gz`).
        words: str, another place of the words: a number of a column, counted from 0, or from the end if negative; a key
            in JSON lines. Defaults to "": the place above.
        tags: str, likewise of the tags: "2" reads GermEval's outer entities, "4" CoNLL-U's XPOS. Defaults to "".
        limit: int or None, at most so many sentences are read, and the rest is not checked. Defaults to None: all.

    Returns:
        The sentences that have words, at least one.

    Raises:
        DataError: the file is missing, empty or not UTF-8, or has a broken row.

    Example:

    >>> _ = Path("train.conll").write_text("Ada B-PER\nLovelace I-PER\nwrites O\n\nParis B-LOC\n")
    >>> read_tagged_file("train.conll")[0].tags
    ['B-PER', 'I-PER', 'O']

    Reference: Tjong Kim Sang and De Meulder, 2003, arXiv:cs/0306050; https://universaldependencies.org/format.html.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    path = Path(path)
    kind = Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()
    lines = enumerate(read_lines(path), 1)
    if kind in (".json", ".jsonl"):
        sentences = _json_sentences(path, lines, words, tags)
    else:
        word_column, tag_column = (_column(name, value) for name, value in (("words", words), ("tags", tags)))
        read = _conllu_sentences if kind == ".conllu" else _column_sentences
        sentences = read(path, lines, word_column, tag_column)
    rows = list(islice(sentences, limit))
    if not rows:
        raise DataError(f"{path}:1: expected at least one sentence, received none; check that it is the right file.")
    return rows


def hold_out(rows: Sequence, share: float) -> tuple[list, list]:
    """Splits rows in two, evenly over the file and always alike, where there is no file for a split.

    Args:
        rows: sequence.
        share: float from 0 up to below 1, of the rows that are held out.

    Returns:
        The rows that stay, and those that are held out: row i if i * share passes a whole number on the way to i + 1.

    Raises:
        ValueError: another share.

    Example:
        >>> hold_out(range(10), 0.2)
        ([0, 1, 2, 3, 5, 6, 7, 8], [4, 9])
    """
    if not 0 <= share < 1:
        raise ValueError(f"The share to hold out must be 0 or more and below 1. Received: {share}")
    is_held = [int((index + 1) * share + 1e-9) > int(index * share + 1e-9) for index in range(len(rows))]
    return tuple([row for row, held in zip(rows, is_held, strict=True) if held == which] for which in (False, True))


def sentence_texts(rows: Iterable[TaggedSentence]) -> SentenceTexts:
    """Joins the words of sentences to text: with single spaces, or as they were written where that is known.

    Args:
        rows: sentences.

    Returns:
        SentenceTexts.

    Example:
        >>> sentence_texts([TaggedSentence(["Why", "so", "?"], ["ADV", "ADV", "PUNCT"], [True, False, True])]).texts
        ['Why so?']
    """
    results = SentenceTexts([], [], [])
    for row in rows:
        spaces = [*(row.space_after or [True] * len(row.words))[:-1], False]
        lengths = np.array([len(word.encode()) for word in row.words])
        ends = np.cumsum(lengths + np.array([0, *spaces[:-1]]))
        results.texts.append("".join(word + " " * space for word, space in zip(row.words, spaces, strict=True)))
        results.word_starts.append((ends - lengths).tolist())
        results.word_ends.append(ends.tolist())
    return results


# === Formats ===


def _column_sentences(path, lines, word_column, tag_column) -> Iterator[TaggedSentence]:
    lines = list(lines)
    first = next((line for _, line in lines if not (line.startswith("#") or _ends_sentence(line))), "")
    separator = "\t" if "\t" in first.strip() else "[ \t]+"
    width = len(_fields(first, separator))
    words, tags = [], []
    for number, line in lines:
        if _ends_sentence(line):
            if words:
                yield TaggedSentence(words, tags)
                words, tags = [], []
            continue
        fields = _fields(line, separator)
        if line.startswith("#") and not words and len(fields) != width:
            continue
        if len(fields) < 2:
            raise DataError(
                f"{path}:{number}: expected a word and its tag, received {_shortened(line)}; separate them by a tab or "
                "a space."
            )
        if len(fields) != width:
            raise DataError(
                f"{path}:{number}: expected {width} columns as in the first row, received {len(fields)}; look for a "
                "missing separator, or one inside a word."
            )
        word, tag = _word_and_tag(path, number, fields, word_column or 0, -1 if tag_column is None else tag_column)
        words.append(word)
        tags.append(tag)
    if words:
        yield TaggedSentence(words, tags)


def _ends_sentence(line):
    return not line.strip() or line.split(maxsplit=1)[0] == DOCUMENT_START


def _fields(line, separator):
    return re.split(separator, line if separator == "\t" else line.strip(" \t"))


def _conllu_sentences(path, lines, word_column, tag_column) -> Iterator[TaggedSentence]:
    word_column, tag_column = FORM if word_column is None else word_column, UPOS if tag_column is None else tag_column
    words, tags, spaces, tokens = [], [], [], []
    for number, line in chain(lines, [(0, "")]):
        if not line.strip():
            if words:
                _mark_tokens(path, words, spaces, tokens)
                yield TaggedSentence(words, tags, spaces)
                words, tags, spaces, tokens = [], [], [], []
            continue
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != CONLLU_FIELDS:
            raise DataError(
                f"{path}:{number}: expected {CONLLU_FIELDS} columns of CoNLL-U, received {len(fields)}; separate them "
                "by tabs."
            )
        match = re.fullmatch(r"(\d+)(?:(\.\d+)|-(\d+))?", fields[0])
        if not match:
            raise DataError(
                f"{path}:{number}: expected an ID such as 8, 8-9 or 8.1, received {_shortened(fields[0])}; correct it."
            )
        has_space = "SpaceAfter=No" not in fields[MISC].split("|")
        if match[3]:
            tokens.append((number, int(match[1]) - 1, int(match[3]), fields[FORM], has_space))
        elif not match[2]:
            if int(match[1]) != len(words) + 1:
                raise DataError(
                    f"{path}:{number}: expected the word {len(words) + 1} of the sentence, received {match[1]}; number "
                    "words from 1, and end sentences with a blank line."
                )
            word, tag = _word_and_tag(path, number, fields, word_column, tag_column, missing="_")
            words.append(word)
            tags.append(tag)
            spaces.append(has_space)


def _mark_tokens(path, words, spaces, tokens):
    """Sets where white space stands in multiword tokens and after them."""
    for number, first, past, form, has_space in tokens:
        if not first < past <= len(words):
            raise DataError(
                f"{path}:{number}: expected a range of words of the sentence, received {first + 1}-{past} of "
                f"{len(words)}; correct it."
            )
        touch = "".join(words[first:past]) == form
        spaces[first:past] = [*[not touch] * (past - first - 1), has_space]


def _json_sentences(path, lines, word_key, tag_key) -> Iterator[TaggedSentence]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: expected one JSON object, received {_shortened(line)} ({error}); write each "
                "sentence as an object on a line of its own."
            ) from None
        words, tags = (_list_of_strings(path, number, row, keys) for keys in (
            [word_key] if word_key else ["words", "tokens"],
            [tag_key] if tag_key else ["tags", "ner", "ner_tags", "pos"],
        ))  # fmt: skip
        if len(words) != len(tags):
            raise DataError(
                f"{path}:{number}: expected a tag for every word, received {len(words)} words and {len(tags)} tags; "
                "correct the row."
            )
        if words:
            yield TaggedSentence(words, tags)


def _list_of_strings(path, number, row, keys):
    values = next((row[key] for key in keys if key in row), None) if isinstance(row, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        received = _shortened(json.dumps(row if values is None else values))
        raise DataError(
            f"{path}:{number}: expected a list of strings that are not empty in {' or '.join(map(repr, keys))}, "
            f"received {received}; tags that are numbers need their names."
        )
    return values


def _column(name, value) -> int | None:
    try:
        return int(value) if value else None
    except ValueError:
        raise ValueError(
            f"{name} must be a number of a column for this kind of file, counted from 0. Received: {name}={value!r}"
        ) from None


def _word_and_tag(path, number, fields, word_column, tag_column, missing="") -> tuple[str, str]:
    for name, column in (("word", word_column), ("tag", tag_column)):
        if not -len(fields) <= column < len(fields):
            raise DataError(
                f"{path}:{number}: expected a column {column} with the {name}, received {len(fields)} columns; columns "
                "count from 0."
            )
    word, tag = fields[word_column], fields[tag_column].strip()
    if not word:
        raise DataError(f"{path}:{number}: expected a word, received nothing in its column; fill it in.")
    if tag in ("", missing):
        raise DataError(f"{path}:{number}: expected a tag, received {_shortened(tag)}; fill it in.")
    return word, tag


def _shortened(text):
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
