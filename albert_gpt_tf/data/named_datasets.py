"""Texts and labels of data sets by name: TensorFlow Datasets (`tfds:...`) and Hugging Face datasets (`hf:...`).

The two packages are extras. They download a data set once, into their own caches, whose environment variables hold here
(`TFDS_DATA_DIR`; `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from albert_gpt_tf.data.files import DataError, LabelledTexts

_FORMS = "tfds:NAME, tfds:NAME/CONFIGURATION, hf:OWNER/NAME, hf:OWNER/NAME/CONFIGURATION or hf:FOLDER"


def read_named_dataset(
    name: str,
    split: str = "train",
    text: str = "text",
    label: str | None = "label",
    text_pair: str | None = None,
    limit: int | None = None,
) -> LabelledTexts:
    """Reads texts and their labels from a data set with a name, as `read_labelled_file` does from a file.

    Args:
        name: str: `tfds:glue/sst2` or `tfds:imdb_reviews:1.0.0`, as TensorFlow Datasets writes it; or
            `hf:dair-ai/emotion`, with a configuration `hf:nyu-mll/glue/sst2`, or a folder with files that `datasets`
            reads, `hf:data/reviews`.
        split: str, the name of a split, or a part of one, `train[:10%]`. Defaults to "train".
        text: str, the column of the texts. Defaults to "text".
        label: str or None, the column of the labels; None reads no labels. Numbers that stand for classes become the
            names of the classes; other numbers are written as text. Defaults to "label".
        text_pair: str or None, the column of the second texts. Defaults to None.
        limit: int or None, at most so many rows are read, the first ones. Defaults to None: all.

    Returns:
        A LabelledTexts of lists of str of one length, at least 1.

    Raises:
        ImportError: the package is not installed.
        ValueError: a name of neither form, or a limit below 1.
        DataError: there is no such data set, configuration, split or column, it cannot be downloaded, or a row has no
            text or no label.

    Example:

    >>> rows = read_named_dataset("tfds:glue/sst2", "validation", text="sentence", limit=3)  # doctest: +SKIP
    >>> rows.labels  # doctest: +SKIP
    ['positive', 'negative', 'positive']

    Reference: https://www.tensorflow.org/datasets and https://huggingface.co/docs/datasets
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    library, _, dataset = name.partition(":")
    openers = {"tfds": _open_tfds, "hf": _open_hugging_face}
    if library not in openers or not dataset:
        raise ValueError(f"Expected the name of a data set as {_FORMS}. Received: {name!r}. Write it so.")
    rows, features = openers[library](dataset, split)
    place = f"{name}, split {split}"
    columns = [column for column in (text, label, text_pair) if column is not None]
    for column in columns:
        _check_column(place, column, list(features))
    class_names = getattr(features[label], "names", None) if label is not None else None
    texts, labels, pairs = [], [], []
    for number, row in enumerate(islice(rows(columns), limit)):
        row_place = f"{place}, row {number}"
        texts.append(_text(row_place, text, row[text]))
        if label is not None:
            labels.append(_label(row_place, label, row[label], class_names))
        if text_pair is not None:
            pairs.append(_text(row_place, text_pair, row[text_pair]))
    if not texts:
        raise DataError(f"{place}: expected at least one row, received none; name another split.")
    return LabelledTexts(texts, None if label is None else labels, None if text_pair is None else pairs)


# === The two libraries: (name, split) -> a function from columns to rows, and the features by column ===


def _open_tfds(name: str, split: str) -> tuple[Any, dict]:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"Expected the package tensorflow-datasets, which reads tfds:{name}. Received: {error}. "
            "Run pip install 'albert-gpt-tf[tfds]'."
        ) from error
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split, shuffle_files=False)
    except (ValueError, OSError, AssertionError) as error:
        nearest = difflib.get_close_matches(re.split("[/:]", name)[0], tfds.list_builders(), n=1)
        raise _not_found(f"tfds:{name}", split, error, nearest) from error

    def rows(columns: Iterable[str]) -> Iterator[dict]:
        # Only these columns leave the graph: others may hold sequences or images.
        return iter(tfds.as_numpy(dataset.map(lambda row: {column: row[column] for column in columns})))

    return rows, dict(builder.info.features.items())


def _open_hugging_face(name: str, split: str) -> tuple[Any, dict]:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"Expected the package datasets, which reads hf:{name}. Received: {error}. "
            "Run pip install 'albert-gpt-tf[hub]'."
        ) from error
    if os.path.isdir(name):
        arguments = (name,)
    elif match := re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/([^/]+))?", name):
        arguments = tuple(filter(None, match.groups()))
    else:
        raise ValueError(f"Expected the name of a data set as {_FORMS}. Received: 'hf:{name}'. Write it so.")
    try:
        dataset = datasets.load_dataset(*arguments, split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise _not_found(f"hf:{name}", split, error, []) from error
    return lambda columns: iter(dataset.select_columns(list(dict.fromkeys(columns)))), dict(dataset.features)


def _not_found(name: str, split: str, error: Exception, nearest: list[str]) -> DataError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 300 else reason[:297] + "..."
    hint = f"did you mean {nearest[0]!r}? " if nearest and nearest[0] != re.split("[:/]", name)[1] else ""
    return DataError(
        f"{name}: expected a data set that can be read, with the split {split!r}, received: {reason}; {hint}"
        "Check the name, the configuration behind the slash, the split and the connection."
    )


# === Columns and values ===


def _check_column(place: str, column: str, found: list[str]) -> None:
    if column in found:
        return
    nearest = difflib.get_close_matches(column, found, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise DataError(
        f"{place}: expected a column {column!r}, received {', '.join(map(repr, found))}; {hint}Name the column to read."
    )


def _text(place: str, column: str, value: Any) -> str:
    if isinstance(value, bytes):  # TensorFlow's strings
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise DataError(f"{place}: expected UTF-8 in {column!r}, received {value[:30]!r}; leave it out.") from None
    if not isinstance(value, str):
        raise DataError(
            f"{place}: expected a text in {column!r}, received {type(value).__name__}; name a column of texts."
        )
    return value


def _label(place: str, column: str, value: Any, class_names: list[str] | None) -> str:
    """The name of a class; for other numbers and texts what they look like."""
    if class_names is not None and isinstance(value, int | np.integer):
        # Checked here: TensorFlow Datasets would take -1, which hidden labels are, for the last class.
        if 0 <= value < len(class_names):
            return class_names[value]
        raise DataError(
            f"{place}: expected a label in {column!r}, received {value}, which stands for a hidden label; name another "
            "split, or read it without labels."
        )
    if isinstance(value, bytes | str):
        label = _text(place, column, value)
        if label.strip():
            return label
    elif isinstance(value, bool | int | float | np.generic):
        return str(value)
    raise DataError(f"{place}: expected a label in {column!r}, received {value!r}; name a column of labels.")
