"""Labelled tables (.tsv, .csv, .jsonl) and plain text from a user's own files.

A file is read and checked whole before training starts, except by `read_lines`, which reads as it goes. A broken row,
or a line that is not UTF-8, raises a `DataError` with its file and line, and is never left out silently. Text is taken
as it stands: an empty text or one of a megabyte is an example like any other.
"""

import csv
import difflib
import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_BLOCK = 2**20  # bytes that are read at a time, and the step of a progress bar
_LARGEST_FIELD = 2**31 - 1  # the csv module's own limit is 128 KiB, and a C long bounds what it can be set to


class DataError(ValueError):
    """A file does not hold what was expected; the message gives the file, the line and what to do."""


class LabelledTexts(NamedTuple):
    """The columns of a labelled file; `labels` and `pairs` are None where no such column was asked for."""

    texts: list[str]
    labels: list[str] | None
    pairs: list[str] | None


def read_labelled_file(
    path: str | os.PathLike,
    text: str = "text",
    label: str | None = "label",
    text_pair: str | None = None,
    limit: int | None = None,
) -> LabelledTexts:
    r"""Reads texts and their labels from a table with named columns.

    Args:
        path: str or path, a UTF-8 file, with or without a byte order mark, in one of three formats told by its name:
            .tsv (a header line, then one row a line; quotation marks are plain characters, so no field can hold a tab
            or a line break), .csv (a header line; fields in double quotes may hold commas and line breaks), or .jsonl
            (one JSON object a line). Blank lines are skipped.
        text: str, the column of the texts. Defaults to "text".
        label: str or None, the column of the labels, which may not be empty; None reads no labels. Defaults to
            "label".
        text_pair: str or None, the column of the second texts. Defaults to None.
        limit: int or None, at most so many rows are read, and the rest is not checked. Defaults to None: all.

    Returns:
        A LabelledTexts of lists of str of one length, at least 1.

    Raises:
        DataError: if the file is missing, empty or not UTF-8, lacks a column, or has a broken row.

    Example:

    >>> _ = Path("reviews.tsv").write_text("text\tlabel\nA fine film.\tpositive\n")
    >>> read_labelled_file("reviews.tsv").labels
    ['positive']
    """
    path = Path(path)
    readers = {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: expected a file whose name ends in {', '.join(readers)}; rename or convert it.")
    columns = [column for column in (text, label, text_pair) if column is not None]
    rows = []
    for line, row in islice(readers[path.suffix.lower()](path, columns), _checked_limit(limit)):
        if label is not None and not row[label].strip():
            raise DataError(f"{path}:{line}: expected a label in {label!r}, received {row[label]!r}; fill it in.")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}:1: expected at least one row, received none; add rows to the file.")
    return LabelledTexts(
        texts=[row[text] for row in rows],
        labels=None if label is None else [row[label] for row in rows],
        pairs=None if text_pair is None else [row[text_pair] for row in rows],
    )


def read_text_file(path: str | os.PathLike, limit: int | None = None) -> list[str]:
    r"""Reads documents from a plain text file, where one or more blank lines separate two documents.

    Args:
        path: str or path, a UTF-8 file, with or without a byte order mark, compressed if its name ends in .gz.
        limit: int or None, at most so many documents are read. Defaults to None: all.

    Returns:
        The documents, list of str, at least 1; line breaks inside a document are kept, as "\n".

    Raises:
        DataError: if the file is missing, not UTF-8, or blank.

    Example:

    >>> _ = Path("book.txt").write_text("Chapter one.\nIt rained.\n\nChapter two.\n")
    >>> read_text_file("book.txt")
    ['Chapter one.\nIt rained.', 'Chapter two.']
    """
    path = Path(path)
    documents = list(islice(_documents(_lines(path)), _checked_limit(limit)))
    if not documents:
        raise DataError(f"{path}:1: expected text, received a file without any; check that it is the right file.")
    return documents


def read_lines(paths: str | os.PathLike | Iterable[str | os.PathLike], progress: bool = False) -> Iterator[str]:
    r"""Streams the lines of any number of text files, one line in memory at a time.

    Args:
        paths: str or path, or several: files, or patterns as in a shell (`corpus/*.txt`, `corpus/**/*.gz`), whose
            matches are read in alphabetical order. A file that is matched twice is read once. Files are UTF-8, with or
            without a byte order mark, and compressed if the name ends in .gz.
        progress: bool, whether a bar on standard error shows how much of the bytes of all files is read. Defaults to
            False.

    Returns:
        An iterator of str: every line without its line break, blank ones included.

    Raises:
        DataError: at once if there is no such file or a pattern matches none; while reading if a line is not UTF-8 or a
            compressed file is broken.

    Example:

    >>> _ = Path("one.txt").write_text("It rained.\n\nIt rains.\n")
    >>> list(read_lines("*.txt"))
    ['It rained.', '', 'It rains.']
    >>> model = train_sentencepiece(read_lines("corpus/*.txt", progress=True), 30_000)  # doctest: +SKIP
    """
    patterns = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = list(dict.fromkeys(file for pattern in patterns for file in matching_files(pattern)))
    if not files:
        raise DataError("Expected files to read, received an empty list of paths; give at least one.")
    return _lines_of_files(files, progress)


def matching_files(pattern: str | os.PathLike) -> list[Path]:
    r"""The files that a path or a pattern names, sorted by name.

    Args:
        pattern: str or path, of one file, or with `*`, `?`, `[...]` and `**`.

    Returns:
        list of Path, at least one.

    Raises:
        DataError: there is no such file, or it is a folder.

    Example:

    >>> _ = Path("one.txt").write_text("It rained.\n")
    >>> matching_files("*.txt")
    [PosixPath('one.txt')]
    """
    if os.path.isfile(pattern):  # also one with a bracket in its name
        return [Path(pattern)]
    if os.path.isdir(pattern):
        raise DataError(f"{pattern}: expected a file, received a folder; give a pattern, such as {pattern}/*.txt.")
    files = [Path(match) for match in sorted(glob.glob(os.fspath(pattern), recursive=True)) if os.path.isfile(match)]
    if not files:
        raise DataError(
            f"{pattern}: expected a file or a pattern that matches files, received one where there is none; check the "
            "spelling, and the folder that it starts from."
        )
    return files


def _lines_of_files(files: Sequence[Path], progress: bool) -> Iterator[str]:
    columns = [TextColumn("Reading"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=sum(file.stat().st_size for file in files))

        def counted(file: BinaryIO) -> BinaryIO:
            return io.BufferedReader(bar.wrap_file(file, task_id=task), _BLOCK)

        for path in files:
            for line in _lines(path, counted):
                yield line.rstrip("\r\n")


def _documents(lines: Iterable[str]) -> Iterator[str]:
    document: list[str] = []
    for line in lines:
        if line.strip():
            document.append(line.rstrip("\r\n"))
        elif document:
            yield "\n".join(document)
            document = []
    if document:
        yield "\n".join(document)


def _checked_limit(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    return limit


def _lines(path: Path, wrap: Callable[[BinaryIO], BinaryIO] = lambda file: file) -> Iterator[str]:
    """Lines with their line breaks; `wrap` sees the file as it is on disk, before it is decompressed."""
    try:
        with path.open("rb") as on_disk:
            file = wrap(on_disk)
            if path.suffix.lower() == ".gz":
                file = gzip.GzipFile(fileobj=file, mode="rb")
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: expected UTF-8, received the byte 0x{error.object[error.start]:02x} at byte "
                        f"{error.start + 1} of the line; convert the file to UTF-8, for example with iconv."
                    ) from None
    except FileNotFoundError:
        raise DataError(f"{path}: expected a file, received a path where there is none; check the spelling.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, received a broken one ({error}); compress or copy it again."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: expected a file to read, received: {error.strerror}; check the path.") from None


def _tsv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    # Splitting at tabs is what the csv module does with QUOTE_NONE, without its limit of 128 KiB a field.
    lines = enumerate((line.rstrip("\r\n").split("\t") for line in _lines(path)), start=1)
    return _table_rows(path, columns, lines)


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    return _table_rows(path, columns, _csv_lines(path))


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_lines(path), strict=True)
    while True:
        line = reader.line_num + 1  # where the row begins: quoted fields may hold line breaks
        limit = csv.field_size_limit(_LARGEST_FIELD)  # a setting of the whole process, so it is put back at once
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}:{line}: expected a row of comma-separated values, received one with broken quotes or line "
                f'breaks ({error}); put fields that hold a comma, a quote or a line break into "...", and double the '
                "quotes inside."
            ) from None
        finally:
            csv.field_size_limit(limit)
        yield line, fields


def _table_rows(
    path: Path, columns: Sequence[str], lines: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    _, header = next(lines, (1, []))
    places = {column: _place_of_column(path, 1, header, column) for column in columns}
    for line, fields in lines:
        if not any(fields):
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{line}: expected {len(header)} fields as in the header, received {len(fields)}; look for a "
                "missing separator, or one inside a text."
            )
        yield line, {column: fields[place] for column, place in places.items()}


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for line, content in enumerate(_lines(path), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{line}: expected one JSON object, received {_shortened(content)} ({error}); write each "
                "example as an object on a line of its own."
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{line}: expected a JSON object, received {_shortened(content)}; write each example as "
                f'{{"{columns[0]}": "..."}}.'
            )
        for column in columns:
            _place_of_column(path, line, list(row), column)
            _check_string(path, line, column, row[column])
        yield line, {column: row[column] for column in columns}


def _place_of_column(path: Path, line: int, found: list[str], column: str) -> int:
    if found.count(column) == 1:
        return found.index(column)
    if column in found:
        raise DataError(
            f"{path}:{line}: expected one column {column!r}, received several; rename or remove the others."
        )
    lowered = {name.lower(): name for name in found}
    nearest = difflib.get_close_matches(column.lower(), lowered, n=1)
    hint = f"did you mean {lowered[nearest[0]]!r}? " if nearest else ""
    names = ", ".join(repr(_shortened(name)) for name in found) or "nothing"
    raise DataError(
        f"{path}:{line}: expected a column {column!r}, received {names}; {hint}"
        "Name the column to read, or add it to the file."
    )


def _check_string(path: Path, line: int, column: str, value: object) -> None:
    if not isinstance(value, str):
        received = _shortened(json.dumps(value))
        raise DataError(
            f"{path}:{line}: expected a string in {column!r}, received {received}; put it into quotation marks."
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path}:{line}: expected text in {column!r}, received half of a surrogate pair, which is no "
            "character (\\ud800 to \\udfff alone); remove it, or write both halves."
        ) from None


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:57] + "..."
