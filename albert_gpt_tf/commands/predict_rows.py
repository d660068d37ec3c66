"""Rows of the files that `predict` reads, one in memory at a time, with all their columns."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from albert_gpt_tf.data.files import DataError, read_lines

_LARGEST_FIELD = 2**31 - 1  # the csv module's own limit is 128 KiB


def read_rows(path: str, text: str = "text") -> Iterator[tuple[int, dict[str, Any]]]:
    r"""Streams the rows of a file.

    Args:
        path: str, a UTF-8 file, told by its name: .jsonl (one JSON object a line), .tsv (a header, quotation marks are
            plain characters), .csv (a header, fields in double quotes may hold commas and line breaks), .txt (one text
            a line, blank ones included). Blank lines of the others are skipped.
        text: str, the column of a .txt file. Defaults to "text".

    Returns:
        An iterator of (line number, dict of column to value): strings, from .jsonl whatever JSON has.

    Raises:
        DataError: the file is missing, not UTF-8 or of another kind, or a line is broken.

    Example:

    >>> _ = Path("in.jsonl").write_text('{"id": 7, "text": "a fox"}\n')
    >>> list(read_rows("in.jsonl"))
    [(1, {'id': 7, 'text': 'a fox'})]
    """
    kind = Path(path).suffix.lower()
    if kind == ".txt":
        return ((number, {text: line}) for number, line in enumerate(read_lines(path), start=1))
    if kind == ".jsonl":
        return _json_rows(path)
    if kind == ".tsv":
        return _table_rows(path, ((n, line.split("\t")) for n, line in enumerate(read_lines(path), start=1)))
    if kind == ".csv":
        return _table_rows(path, _csv_lines(path))
    raise DataError(f"{path}: expected a file whose name ends in .jsonl, .tsv, .csv or .txt; rename or convert it.")


def _json_rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: expected one JSON object, received {_shortened(line)} ({error}); write each row as "
                "an object on a line of its own."
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{number}: expected a JSON object, received {_shortened(line)}; give each value a name."
            )
        yield number, row


def _csv_lines(path: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for line in read_lines(path)), strict=True)
    while True:
        number = reader.line_num + 1  # where the row begins
        limit = csv.field_size_limit(_LARGEST_FIELD)  # a setting of the whole process, so it is put back at once
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{number}: expected comma-separated values, received a row with broken quotes ({error}); "
                'put fields that hold a comma, a quote or a line break into "...", and double the quotes inside.'
            ) from None
        finally:
            csv.field_size_limit(limit)
        yield number, fields


def _table_rows(path: str, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    _, header = next(lines, (1, []))
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: expected columns of different names, received {header}; rename one.")
    for number, fields in lines:
        if not any(fields):
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: expected {len(header)} fields as in the header, received {len(fields)}; look for a "
                "missing separator, or one inside a text."
            )
        yield number, dict(zip(header, fields, strict=True))


def inputs_of(path: str, number: int, row: dict[str, Any], columns: dict[str, str | list[str]]) -> list:
    """The model's inputs in a row.

    Args:
        path: str, the file, and
        number: int, the line, both for the error.
        row: dict of column to value.
        columns: dict of input to its column; of choices a list: one column that holds a list, or one a choice.

    Returns:
        A list of one value an input: str, or a list of str for choices.

    Raises:
        DataError: a column is missing or is not text.

    Example:
        >>> inputs_of("in.jsonl", 1, {"id": 7, "message": "a fox"}, {"text": "message"})
        ['a fox']
    """

    def text_of(column: str) -> str:
        if column not in row:
            raise DataError(
                f"{path}:{number}: expected a column {column!r}, received {', '.join(map(repr, row)) or 'nothing'}; "
                "name the column with a flag, or add it to the file."
            )
        return _checked(path, number, column, row[column])

    inputs = []
    for name, column in columns.items():
        if name != "choices":
            inputs.append(text_of(column))
        elif len(column) > 1:
            inputs.append([text_of(one) for one in column])
        else:
            choices = row.get(column[0])
            if not isinstance(choices, list) or len(choices) < 2:
                raise DataError(
                    f"{path}:{number}: expected a list of two or more texts in {column[0]!r}, received "
                    f"{_shortened(json.dumps(choices))}; write a JSON list, or name a column a choice: --choices=a,b,c."
                )
            inputs.append([_checked(path, number, column[0], choice) for choice in choices])
    return inputs


def _checked(path: str, number: int, column: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{path}:{number}: expected a string in {column!r}, received {_shortened(json.dumps(value))}; put it into "
            "quotation marks."
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}:{number}: expected text in {column!r}, received half of a surrogate pair, which is no character "
            "(\\ud800 to \\udfff alone); remove it, or write both halves."
        ) from None
    return value


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:57] + "..."
