r"""The nine tasks of GLUE, from their files as published, and other tables whose columns have no names.

A folder of a task holds `train.tsv`, `dev.tsv` (MNLI: `dev_matched.tsv` and `dev_mismatched.tsv`) and `test.tsv`, which
has no labels. STS-B may also be the original STS benchmark: `sts-train.csv`, `sts-dev.csv` and `sts-test.csv`, all with
labels. In all of them fields are parted by tabs, and quotation marks are plain characters.

A broken row is a `DataError` with its file and line. Two kinds of rows are left out, as everybody who reports results
does: those of MNLI whose `gold_label` is "-", as the annotators did not agree, and those of QQP with another number of
fields than the header, which are questions with a line break in them; the log counts them.
"""

import difflib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from albert_gpt_tf.data.files import DataError, LabelledTexts, read_lines

logger = logging.getLogger(__name__)


class GlueTask(NamedTuple):
    """What the files of a task hold, and how it is measured.

    `columns` are those of the texts, one or two. `labels` are the values in the column `label`, in the published order,
    which is that of the logits; they are None for a number from 0 to 5. `metrics` are names of `classification_scores`
    and `regression_scores`.
    """

    columns: tuple[str, ...]
    label: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]


_PAIR = ("sentence1", "sentence2")
_INFERENCE = ("entailment", "not_entailment")

# Columns are named as in the headers of the files, the order of labels is that of google-research/albert
# `classifier_utils.py`, and the metrics are those of Wang et al., 2018, arXiv:1804.07461, table 1.
GLUE_TASKS = {
    "cola": GlueTask(("sentence",), "label", ("0", "1"), ("matthews",)),
    "sst2": GlueTask(("sentence",), "label", ("0", "1"), ("accuracy",)),
    "mrpc": GlueTask(("#1 String", "#2 String"), "Quality", ("0", "1"), ("accuracy", "f1")),
    "stsb": GlueTask(_PAIR, "score", None, ("pearson", "spearman")),
    "qqp": GlueTask(("question1", "question2"), "is_duplicate", ("0", "1"), ("accuracy", "f1")),
    "mnli": GlueTask(_PAIR, "gold_label", ("contradiction", "entailment", "neutral"), ("accuracy",)),
    "qnli": GlueTask(("question", "sentence"), "label", _INFERENCE, ("accuracy",)),
    "rte": GlueTask(_PAIR, "label", _INFERENCE, ("accuracy",)),
    "wnli": GlueTask(_PAIR, "label", ("0", "1"), ("accuracy",)),
}

# Split -> the names that its file may have. "mismatched" is MNLI's second validation split, of other genres.
_FILES = {
    "train": ("train.tsv", "sts-train.csv"),
    "validation": ("dev.tsv", "dev_matched.tsv", "sts-dev.csv"),
    "mismatched": ("dev_mismatched.tsv",),
    "test": ("test.tsv", "sts-test.csv"),
}
_COLA_COLUMNS = ("source", "label", "author_label", "sentence")
_STS_COLUMNS = ("genre", "filename", "year", "number", "score", "sentence1", "sentence2")
_LARGEST_SCORE = 5  # of STS-B


def glue_task(name: str) -> GlueTask:
    """The table's line of a task.

    Args:
        name: str, one of `GLUE_TASKS`.

    Returns:
        A GlueTask.

    Raises:
        ValueError: there is no such task.

    Example:

    >>> glue_task("rte").labels
    ('entailment', 'not_entailment')
    """
    if name not in GLUE_TASKS:
        nearest = difflib.get_close_matches(str(name).lower().replace("-", ""), GLUE_TASKS, n=1)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else "Name one of them."
        raise ValueError(f"Expected a GLUE task among {', '.join(GLUE_TASKS)}. Received: {name!r}. {hint}")
    return GLUE_TASKS[name]


def glue_files(directory: str | os.PathLike, name: str) -> dict[str, Path]:
    """The labelled files in the folder of a task.

    Args:
        directory: str or path.
        name: str, one of `GLUE_TASKS`.

    Returns:
        Paths by split: train, validation, mismatched (MNLI) and test, as far as they are there and have labels.

    Raises:
        DataError: there is no file to train on, or a file cannot be read.

    Example:

    >>> glue_files("glue_data/MRPC", "mrpc")["validation"]  # doctest: +SKIP
    PosixPath('glue_data/MRPC/dev.tsv')
    """
    directory, found = Path(directory), {}
    for split, names in _FILES.items():
        paths = [directory / file for file in names if (directory / file).is_file()]
        paths = [path for path in paths if split != "test" or read_glue_file(path, name, limit=1).labels is not None]
        if paths:
            found[split] = paths[0]
    if "train" not in found:
        raise DataError(
            f"{directory}: expected a folder with {' or '.join(_FILES['train'])}, received one without; give the "
            f"folder of the task {name}."
        )
    return found


def read_glue_file(path: str | os.PathLike, name: str, limit: int | None = None) -> LabelledTexts:
    r"""Reads one file of a task.

    Args:
        path: str or path: a .tsv as GLUE publishes it, with labels or (`test.tsv`) without; CoLA's has no header where
            it has labels. For STS-B also a .csv of the STS benchmark.
        name: str, one of `GLUE_TASKS`.
        limit: int or None, at most so many rows are read, and the rest is not checked. Defaults to None: all.

    Returns:
        A LabelledTexts. `labels` are a list of str, for STS-B of float, or None if the file has none; `pairs` are None
        for CoLA and SST-2.

    Raises:
        DataError: a missing or empty file, a missing column, or a broken row.
        ValueError: there is no such task, or the limit is below 1.

    Example:

    >>> _ = Path("dev.tsv").write_text("sentence\tlabel\na fine film \t1\n")
    >>> read_glue_file("dev.tsv", "sst2").labels
    ['1']

    Reference: Wang et al., 2018, arXiv:1804.07461; https://gluebenchmark.com/tasks.
    """
    task, path = glue_task(name), Path(path)
    header = _header(path, name)
    names = header or _first_line(path)
    missing = [column for column in task.columns if column not in names]
    if missing:
        raise DataError(
            f"{path}:1: expected the columns {', '.join(task.columns)} of {name}, received {', '.join(names)}; check "
            "that it is the file of this task."
        )
    has_labels = task.label in names
    wanted = [*task.columns, *([task.label] if has_labels else [])]
    rows = []
    for line, row in _rows(path, names, wanted, is_header=header is None, skips_broken=name == "qqp"):
        if has_labels:
            if name == "mnli" and row[task.label] == "-":
                continue
            row[task.label] = _checked_label(path, line, row[task.label], task)
        rows.append(row)
        if limit is not None and len(rows) == limit:
            break
    return _as_columns(path, rows, task.columns, task.label if has_labels else None, limit)


def read_table_without_header(
    path: str | os.PathLike,
    columns: Sequence[str],
    text: str = "text",
    label: str = "label",
    text_pair: str | None = None,
    limit: int | None = None,
) -> LabelledTexts:
    r"""Reads a file of tab-separated fields whose first line is a row like the others.

    Args:
        path: str or path, UTF-8, of any name.
        columns: the names of the columns, in their order.
        text, label, text_pair: str, which of them to read; see `read_labelled_file`.
        limit: int or None, at most so many rows are read. Defaults to None: all.

    Returns:
        A LabelledTexts of lists of str.

    Raises:
        DataError: a missing or empty file, or a row with another number of fields, or without a label.
        ValueError: a column to read is not among `columns`.

    Example:

    >>> _ = Path("sms.tsv").write_text("ham\tOk lar...\nspam\tWin a prize\n")
    >>> read_table_without_header("sms.tsv", ["label", "text"]).labels
    ['ham', 'spam']
    """
    wanted = [column for column in (text, text_pair, label) if column]
    if missing := [column for column in wanted if column not in columns]:
        raise ValueError(
            f"Expected the columns {', '.join(missing)} among those that are named. Received: {', '.join(columns)}. "
            "Name every column of the file, in its order."
        )
    rows = []
    for line, row in _rows(Path(path), columns, wanted, is_header=False):
        if not row[label].strip():
            raise DataError(f"{path}:{line}: expected a label in {label!r}, received {row[label]!r}; fill it in.")
        rows.append(row)
        if limit is not None and len(rows) == limit:
            break
    return _as_columns(path, rows, wanted[:-1], label, limit)


def _header(path: Path, name: str) -> tuple[str, ...] | None:
    """The names of the columns of a file without a header; None if its first line is one."""
    if name == "cola" and "sentence" not in _first_line(path):
        return _COLA_COLUMNS
    if name == "stsb" and path.suffix.lower() == ".csv":
        return _STS_COLUMNS
    return None


def _first_line(path: Path) -> list[str]:
    return next(iter(read_lines(path)), "").split("\t")


def _rows(
    path: Path, names: Sequence[str], wanted: Sequence[str], is_header: bool, skips_broken: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """The number and the wanted fields of each line that is not blank."""
    places = {column: list(names).index(column) for column in wanted}
    # Some lines of the STS benchmark go on with the sources of their texts.
    may_be_longer = names is _STS_COLUMNS
    broken = []
    for line, content in enumerate(read_lines(path), start=1):
        if not content.strip() or (is_header and line == 1):
            continue
        fields = content.split("\t")
        if len(fields) != len(names) and not (may_be_longer and len(fields) > len(names)):
            if not skips_broken:
                raise DataError(
                    f"{path}:{line}: expected {len(names)} fields, received {len(fields)}; look for a missing tab, or "
                    "one inside a text."
                )
            broken.append(line)
            continue
        yield line, {column: fields[place] for column, place in places.items()}
    if broken:
        logger.warning(
            "%s: left out %d lines with another number of fields than the header; the first is line %d.",
            path, len(broken), broken[0],
        )  # fmt: skip


def _checked_label(path: Path, line: int, value: str, task: GlueTask) -> str | float:
    if task.labels is not None:
        if value not in task.labels:
            raise DataError(
                f"{path}:{line}: expected one of {', '.join(task.labels)} in {task.label!r}, received {value!r}; "
                "correct it, or remove the row."
            )
        return value
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not 0 <= score <= _LARGEST_SCORE:
        raise DataError(
            f"{path}:{line}: expected a number from 0 to {_LARGEST_SCORE} in {task.label!r}, received {value!r}; "
            "correct it, or remove the row."
        )
    return score


def _as_columns(path, rows, texts: Sequence[str], label: str | None, limit: int | None) -> LabelledTexts:
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    if not rows:
        raise DataError(f"{path}:1: expected at least one row, received none; add rows to the file.")
    columns = [[row[column] for row in rows] for column in texts]
    labels = None if label is None else [row[label] for row in rows]
    return LabelledTexts(columns[0], labels, columns[1] if len(columns) > 1 else None)
