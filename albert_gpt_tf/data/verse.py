r"""Poems in the JSON form of the chinese-poetry collection, and the text that a language model learns from each.

A poem is a document: its title, its author and its lines, each on a line of its own. So a prompt of a title and an
author, `"靜夜思\n李白\n"`, asks for a poem, and one without asks for a title first. Text is taken as it stands, in
traditional characters, with □ for what is lost and [brackets] around what an editor put in.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from albert_gpt_tf.data.files import DataError, read_lines


class Poem(NamedTuple):
    """A poem; `lines` holds at least one, none of them blank, and `author` may be empty."""

    title: str
    author: str
    lines: tuple[str, ...]


def read_poems(path: str | os.PathLike, limit: int | None = None) -> list[Poem]:
    r"""Reads poems.

    Args:
        path: str or path, a UTF-8 file whose name ends in .json, a list of objects with `paragraphs`, a list of lines,
            and strings `title` (or `rhythmic`, the tune of a ci poem) and, if it is known, `author`. Other keys are not
            read.
        limit: int or None, at most so many poems are read, and the rest is not checked. Defaults to None: all.

    Returns:
        list of `Poem`, at least 1. Blank lines are left out, and with them poems of which only a title is known.

    Raises:
        DataError: the file is missing, not such a list, or has a broken poem.

    Example:

    >>> _ = Path("poems.json").write_text('[{"title": "靜夜思", "author": "李白", "paragraphs": ["床前看月光，"]}]')
    >>> read_poems("poems.json")
    [Poem(title='靜夜思', author='李白', lines=('床前看月光，',))]
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"{path}: expected a file whose name ends in .json; rename or convert it.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    poems = (_poem(path, line, row) for line, row in _rows(path))
    poems = list(islice((poem for poem in poems if poem.lines), limit))
    if not poems:
        raise DataError(f"{path}:1: expected at least one poem with lines, received none; add some to the file.")
    return poems


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """The items of the list, and the line on which each begins; one at a time, as `json.load` knows no lines."""
    text = "\n".join(read_lines(path))
    decoder = json.JSONDecoder()
    place = _skip_blanks(text, 0)
    if text[place : place + 1] != "[":
        raise DataError(f"{path}:{_line(text, place)}: expected a list of poems; write [ at the beginning.")
    separator, counted, line = "[", 0, 1
    while separator != "]":
        place = _skip_blanks(text, place + 1)
        if separator == "[" and text[place : place + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, place), place
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", line)
            raise DataError(f"{path}:{line}: expected a JSON object, received none ({error}); correct it.") from None
        yield line, row
        place = _skip_blanks(text, place)
        separator = text[place : place + 1]
        if separator not in (",", "]") or not separator:
            raise DataError(
                f"{path}:{_line(text, place)}: expected a comma or ] after a poem, received "
                f"{separator or 'the end of the file'!r}; correct it."
            )


def _skip_blanks(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in " \t\r\n":
        place += 1
    return place


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _poem(path: Path, line: int, row: object) -> Poem:
    keys = row if isinstance(row, dict) else {}
    title, author, lines = keys.get("title", keys.get("rhythmic")), keys.get("author") or "", keys.get("paragraphs")
    texts = [title, author, *lines] if isinstance(lines, list) else [None]
    if not all(isinstance(text, str) and not any("\ud800" <= c <= "\udfff" for c in text) for text in texts):
        received = json.dumps(row, ensure_ascii=True)
        raise DataError(
            f"{path}:{line}: expected an object with a string 'title' and a list of strings 'paragraphs', received "
            f"{received if len(received) <= 60 else received[:57] + '...'}; correct or remove it."
        )
    return Poem(
        *(_one_line(text) for text in (title, author)), tuple(_one_line(text) for text in lines if text.strip())
    )


def _one_line(text: str) -> str:
    return " ".join(text.strip().splitlines())


def poem_document(poem: Poem) -> str:
    r"""The text of a poem, to train on.

    Example:

    >>> poem_document(Poem("靜夜思", "李白", ("床前看月光，疑是地上霜。",)))
    '靜夜思\n李白\n床前看月光，疑是地上霜。'
    """
    return "\n".join([poem.title, poem.author, *poem.lines])


def hold_out_poems(poems: Sequence[Poem], share: float) -> tuple[list[Poem], list[Poem]]:
    """Divides poems in two so that those with the same first line stay together.

    Args:
        poems: list of `Poem`.
        share: float in [0, 1), of the first lines, about. The choice depends on the text alone.

    Returns:
        Two lists: what remains, and what is held out.

    Example:

    >>> train, validation = hold_out_poems(read_poems("poems.json"), 0.1)
    """
    # A checksum draws, so that a poem stays on its side when others are added.
    drawn = [zlib.crc32(poem.lines[0].encode()) / 2**32 < share for poem in poems]
    parts = [[poem for poem, is_out in zip(poems, drawn, strict=True) if is_out == part] for part in (False, True)]
    return parts[0], parts[1]
