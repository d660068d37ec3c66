"""Multiple choice from files: the folders of RACE, SWAG, CosmosQA, and tables of a user's own.

A file is read and checked whole before training starts; a broken row raises a `DataError` with its file and line, in
RACE, which has one article a file, with its file and the number of the question.
"""

import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from albert_gpt_tf.data import files
from albert_gpt_tf.data.files import DataError


class ChoiceRow(NamedTuple):
    """A context, a question about it (may be empty), two or more choices, and the index of the right one or None."""

    context: str
    question: str
    choices: tuple[str, ...]
    answer: int | None


class _Form(NamedTuple):
    """Names of columns. With "#" the choices are numbered columns (ending0, ending1, ...), without one list."""

    context: str
    question: str
    choices: str
    answer: str


_FORMS = (  # the first one that fits
    _Form("context", "question", "choices", "answer"),  # a user's own
    _Form("context", "question", "choice#", "answer"),
    _Form("article", "question", "options", "answer"),  # RACE, as one row a question
    _Form("sent1", "sent2", "ending#", "label"),  # SWAG
    _Form("context", "question", "answer#", "label"),  # CosmosQA
)


def read_choices(
    path: str | os.PathLike, has_answers: bool = True, limit: int | None = None, progress: bool = False
) -> list[ChoiceRow]:
    r"""Reads multiple choice.

    Args:
        path: str or path of one of these:
            A folder of RACE (`RACE/train`, or `RACE/test/high` for one level): every .txt file in it and in the folders
            below holds an article with its questions, as one JSON object.
            A table: .csv or .tsv with a header line, .jsonl or .json with one object a line, in UTF-8. Its columns are
            `context`, `question` (may be left out), `choices` and `answer`, where `choices` is a list (.jsonl) or
            numbered columns `choice0`, `choice1`, ... (.csv, .tsv); or those of SWAG (`sent1`, `sent2`, `ending0`, ...,
            `label`), of CosmosQA (`context`, `question`, `answer0`, ..., `label`), or of RACE as a table (`article`,
            `question`, `options`, `answer`). Other columns are left out.
            The answer is an index that counts from 0, or a letter from A.
        has_answers: bool, whether every row must say which choice is right. With False answers are not read, as in test
            files that have none. Defaults to True.
        limit: int or None, at most so many rows are read, and the rest is not checked. Defaults to None: all.
        progress: bool, whether a bar on standard error shows how many files of a folder are read. Defaults to False.

    Returns:
        list of ChoiceRow, at least one, all with the same number of choices.

    Raises:
        DataError: if there is no such file or folder, it has no rows or no such columns, a row is broken, or a row has
            another number of choices than the first one.

    Example:

    >>> row = {"context": "It rained.", "question": "It was", "choices": ["dry", "wet"], "answer": 1}
    >>> _ = Path("weather.jsonl").write_text(json.dumps(row))
    >>> read_choices("weather.jsonl")
    [ChoiceRow(context='It rained.', question='It was', choices=('dry', 'wet'), answer=1)]

    Reference: Lai et al., 2017, arXiv:1704.04683 (RACE); Zellers et al., 2018, arXiv:1808.05326 (SWAG); Huang et al.,
        2019, arXiv:1909.00277 (CosmosQA).
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    found = _race_rows(path, has_answers, progress) if path.is_dir() else _table_rows(path, has_answers)
    rows, first_place = [], ""
    for place, row in islice(found, limit):
        if rows and len(row.choices) != len(rows[0].choices):
            raise DataError(
                f"{place}: expected {len(rows[0].choices)} choices, as at {first_place}, received "
                f"{len(row.choices)}; give every row the same number, or sort them into files by it."
            )
        first_place = first_place or place
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: expected at least one row, received none; check that it is the right file.")
    return rows


def choice_texts(row: ChoiceRow) -> list[str]:
    """What stands beside the context, one text a choice: the question with the choice in its gap, or behind it.

    Args:
        row: a ChoiceRow. A gap is "_" in the question; a run of them is one gap. White space is made single spaces.

    Returns:
        list of str, as many as there are choices.

    Example:

    >>> choice_texts(ChoiceRow("Rain fell.", "It was _ today.", ("dry", "wet"), 1))
    ['It was dry today.', 'It was wet today.']
    >>> choice_texts(ChoiceRow("Rain fell.", "How was it?", ("dry", "wet"), 1))
    ['How was it? dry', 'How was it? wet']

    Reference: google-research/albert, `race_utils.py`.
    """
    question, *choices = (" ".join(text.split()) for text in (row.question, *row.choices))
    if "_" in question:
        parts = re.split("_+", question)
        return [choice.join(parts) for choice in choices]
    return [f"{question} {choice}".strip() for choice in choices]


# === RACE ===


def _race_rows(folder: Path, has_answers: bool, progress: bool) -> Iterator[tuple[str, ChoiceRow]]:
    paths = sorted(folder.rglob("*.txt"))
    if not paths:
        raise DataError(
            f"{folder}: expected .txt files of RACE in it or below, received a folder without any; give a folder such "
            "as RACE/train, or the name of a table."
        )
    console = Console(stderr=True)
    for path in track(paths, f"Reading {folder}", console=console, disable=not progress, transient=True):
        article = _json_object(str(path), "".join(files._lines(path)))
        names = ("article", "questions", "options", *(["answers"] if has_answers else []))
        missing = [name for name in names if name not in article]
        if missing:
            raise DataError(
                f"{path}: expected article, questions, options and answers, as RACE has them, received an object "
                f"without {' and '.join(missing)}; add it, or remove the file."
            )
        lists = [article[name] for name in names[1:]]
        if not all(isinstance(values, list) for values in lists) or len({len(values) for values in lists}) != 1:
            raise DataError(
                f"{path}: expected {', '.join(names[1:])} to be lists of one length, received "
                f"{_shown({name: article[name] for name in names[1:]})}; give every question its entry in each."
            )
        for number, (question, options, *answers) in enumerate(zip(*lists, strict=True), start=1):
            place = f"{path}: question {number}"
            yield place, _row(place, article["article"], question, options, answers[0] if answers else None)


# === Tables ===


def _table_rows(path: Path, has_answers: bool) -> Iterator[tuple[str, ChoiceRow]]:
    kind = path.suffix.lower()
    readers = {".csv": _csv_rows, ".tsv": _tsv_rows, ".jsonl": _json_rows, ".json": _json_rows}
    if kind not in readers:
        raise DataError(
            f"{path}: expected a folder of RACE, or a file whose name ends in {', '.join(readers)}; check the path, "
            "rename or convert it."
        )
    form = None
    for line, row in readers[kind](path):
        place = f"{path}:{line}"
        form = form or _form_of(place, list(row))
        choices = _choice_columns(place, list(row), form)
        needed = [form.context, *(choices or [form.choices.replace("#", "0")]), *([form.answer] if has_answers else [])]
        if missing := [name for name in needed if name not in row]:
            raise DataError(
                f"{place}: expected a column {missing[0]!r}, received {_names(row)}; add it, or rename the one it is."
            )
        values = [row[name] for name in choices] if "#" in form.choices else row[form.choices]
        answer = row[form.answer] if has_answers else None
        yield place, _row(place, row[form.context], row.get(form.question, ""), values, answer)


def _form_of(place: str, found: list[str]) -> _Form:
    for form in _FORMS:
        if form.context in found and _choice_columns(place, found, form):
            return form
    raise DataError(
        f"{place}: expected columns context, question, choices (or choice0, choice1, ...) and answer, or those of "
        f"SWAG, CosmosQA or RACE, received {_names(found)}; rename them."
    )


def _choice_columns(place: str, found: list[str], form: _Form) -> list[str]:
    """The column with a list of choices, or those with a number, in its order; empty if there is none."""
    if "#" not in form.choices:
        return [form.choices] if form.choices in found else []
    prefix = form.choices.removesuffix("#")
    numbered = {name for name in found if name.startswith(prefix) and name[len(prefix) :].isdecimal()}
    names = [f"{prefix}{number}" for number in range(len(numbered))]
    if numbered != set(names):
        raise DataError(
            f"{place}: expected the columns {_names(names)}, received {_names(sorted(numbered))}; number them from 0 "
            "without a gap, as answers count."
        )
    return names


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return _rows_with_header(path, files._csv_lines(path))


def _tsv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return _rows_with_header(path, enumerate((line.rstrip("\r\n").split("\t") for line in files._lines(path)), start=1))


def _rows_with_header(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    _, header = next(lines, (1, []))
    if twice := [name for name in header if header.count(name) > 1]:
        raise DataError(f"{path}:1: expected one column {twice[0]!r}, received several; rename or remove the others.")
    for line, fields in lines:
        if not any(fields):
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{line}: expected {len(header)} fields as in the header, received {len(fields)}; look for a "
                "missing separator, or one inside a text."
            )
        yield line, dict(zip(header, fields, strict=True))


def _json_rows(path: Path) -> Iterator[tuple[int, dict]]:
    for line, content in enumerate(files._lines(path), start=1):
        if content.strip():
            yield line, _json_object(f"{path}:{line}", content)


# === What all forms share ===


def _row(place: str, context: object, question: object, choices: object, answer: object) -> ChoiceRow:
    """Checks the values of a row."""
    if not isinstance(choices, list) or len(choices) < 2:
        raise DataError(f"{place}: expected two or more choices, received {_shown(choices)}; add some.")
    for name, text in (("context", context), ("question", question), *(("choice", choice) for choice in choices)):
        if not isinstance(text, str):
            raise DataError(f"{place}: expected a string as {name}, received {_shown(text)}; put it into quotes.")
        if not text.isprintable() and re.search("[\ud800-\udfff]", text):
            raise DataError(
                f"{place}: expected text as {name}, received half of a surrogate pair, which is no character (\\ud800 "
                "to \\udfff alone); remove it, or write both halves."
            )
    for index, choice in enumerate(choices):
        if not choice.strip():
            raise DataError(f"{place}: expected a text as choice {index}, received {choice!r}; fill it in.")
    return ChoiceRow(context, question, tuple(choices), None if answer is None else _index(place, answer, len(choices)))


def _index(place: str, answer: object, count: int) -> int:
    """The index of the right choice, from a number or a letter."""
    text = str(answer).strip()
    index = None
    if re.fullmatch("[0-9]+", text) and not isinstance(answer, bool):
        index = int(text)
    elif re.fullmatch("[A-Z]", text):
        index = ord(text) - ord("A")
    if index is None or index >= count:
        last = chr(ord("A") + count - 1)
        raise DataError(
            f"{place}: expected the index of the right choice, 0 to {count - 1}, or its letter, A to {last}, received "
            f"{_shown(answer)}; correct it."
        )
    return index


def _json_object(place: str, content: str) -> dict:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place}: expected a JSON object, received {files._shortened(content)!r} ({error}); correct it."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object, received {_shown(value)}; write {{...}}.")
    return value


def _names(found) -> str:
    return ", ".join(repr(files._shortened(name)) for name in found) or "nothing"


def _shown(value: object) -> str:
    return files._shortened(json.dumps(value, ensure_ascii=False))
