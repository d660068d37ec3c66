"""Answers for the rows of a file, written as they are computed; a run that was stopped goes on where it was.

While a run is not finished, a small file beside its output (`answers.jsonl.unfinished`) says what it computes with. A
run that finds it goes on only with the same model and flags, and if the lines that are there belong to the input.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from albert_gpt_tf.commands.predict_answers import Answers
from albert_gpt_tf.commands.predict_rows import inputs_of, read_rows
from albert_gpt_tf.data.files import DataError


def predict_file(
    answers: Answers, preset: str, source: str, output: str, columns: dict[str, Any], batch_size: int = 32
) -> int:
    """Writes one line of JSON for each row of a file.

    Args:
        answers: the task's Answers.
        preset: str, the preset directory it is from.
        source: str, the file to read, see `read_rows`.
        output: str, the .jsonl file to write.
        columns: dict of input to column; inputs that the task does not have are ignored.
        batch_size: int, rows computed at a time. Defaults to 32.

    Returns:
        The number of rows of the file, all of which are in the output.

    Raises:
        DataError: a row is broken; all are checked before the first one is computed.
        ValueError: the output is there and is not of such a run.

    Example:
        >>> predict_file(Answers(classifier), "runs/spam/preset", "in.jsonl", "out.jsonl", {"text": "message"})
        5574
    """
    columns = {name: columns[name] for name in answers.inputs}
    target, state = Path(output), Path(f"{output}.unfinished")
    total = check_rows(answers, source, columns)
    settings = {"model": hash_of_folder(preset), "columns": columns, "generation": answers.generation}
    if target.exists():
        check_same_run(target, state, settings)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    rows = rows_with_inputs(source, columns)
    with target.open("r+b" if target.exists() else "w+b") as file, progress_bar() as bar:
        done = first = continue_after(file, target, source, (answers.kept(row) for row, _ in rows))
        rows = islice(rows_with_inputs(source, columns), first, None)
        task, start = bar.add_task("", total=total, completed=done, rate=""), time.monotonic()
        for batch in batches(rows, batch_size):
            results = answers.of([inputs for _, inputs in batch], done)
            lines = [json.dumps(answers.with_input(row, x)) for (row, _), x in zip(batch, results, strict=True)]
            file.write("".join(line + "\n" for line in lines).encode())
            file.flush()
            done += len(batch)
            rate = (done - first) / (time.monotonic() - start)
            bar.update(task, completed=done, rate=f"{rate:,.1f} rows/s")
        os.fsync(file.fileno())
    state.unlink()
    return total


def check_rows(answers: Answers, source: str, columns: dict[str, Any]) -> int:
    """Reads a file once, and counts its rows; DataError for a row that cannot be answered, or none."""
    count = 0
    for number, row in read_rows(source, text=next(iter(columns.values()))):
        inputs_of(source, number, row, columns)
        if len(answers.kept(row)) < len(row):
            taken = sorted({f"input_{name}" for name in answers.fields} & set(row))
            raise DataError(
                f"{source}:{number}: expected no column {taken[0]!r}, under which {taken[0][6:]!r} is kept beside the "
                "model's own; rename one of the two."
            )
        count += 1
    if count == 0:
        raise DataError(f"{source}:1: expected at least one row, received none; add rows to the file.")
    return count


def rows_with_inputs(source: str, columns: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list]]:
    """Streams (all columns of a row, the model's inputs)."""
    for number, row in read_rows(source, text=next(iter(columns.values()))):
        yield row, inputs_of(source, number, row, columns)


def batches(rows: Iterator[tuple[dict[str, Any], list]], size: int) -> Iterator[list]:
    """Up to `size` rows in order; those of a batch have the same number of choices."""

    def shape(row):
        return [len(value) for value in row[1] if isinstance(value, list)]

    for _, group in groupby(rows, shape):
        while batch := list(islice(group, size)):
            yield batch


def check_same_run(target: Path, state: Path, settings: dict[str, Any]) -> None:
    """ValueError if an output is not that of an unfinished run with these settings."""
    if not state.exists():
        raise ValueError(
            f"Expected an --output that is not there, or one of a run that was stopped. Received: {target}, which is "
            "whole. Delete it, or give another name."
        )
    before = json.loads(state.read_text(encoding="utf-8"))
    changed = sorted(name for name in settings if settings[name] != before.get(name))
    if changed:
        raise ValueError(
            f"Expected the model and flags that {target} was begun with. Received: other {' and '.join(changed)}. Give "
            f"the same ones, or delete {target} and begin anew."
        )


def continue_after(file: BinaryIO, target: Path, source: str, kept: Iterator[dict[str, Any]]) -> int:
    """Cuts off a broken last line and stands behind the last whole one; ValueError if a line is not of its row."""
    count = end = 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        expected = json.dumps(next(kept, None))[:-1] + ", "  # the row's columns; the answer follows
        if not line.startswith(expected.encode()):
            raise ValueError(
                f"Expected line {count + 1} of {target} to belong to row {count + 1} of {source}. Received: another "
                f"row, or none. Give the file that the run was begun with, or delete {target} and begin anew."
            )
        count, end = count + 1, end + len(line)
    file.seek(end)
    file.truncate()
    return count


def hash_of_folder(folder: str) -> str:
    """SHA-256 of the names and contents of all files of a preset."""
    total = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def progress_bar() -> Progress:
    """A bar on standard error: rows done, rows/s and the time left."""
    return Progress(
        TextColumn("Predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
