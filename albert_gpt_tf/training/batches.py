"""The examples of a run: splits from files or from the documentation of this machine, and batches in a seeded order."""

import hashlib
import math

import tensorflow as tf

from albert_gpt_tf.data.docstrings import language_model_documents, library_classification
from albert_gpt_tf.data.files import DataError, matching_files, read_labelled_file, read_text_file
from albert_gpt_tf.data.glue import glue_files, read_glue_file, read_table_without_header
from albert_gpt_tf.data.named_datasets import read_named_dataset
from albert_gpt_tf.data.wikitext import read_wikitext

SPLITS = ("train", "validation", "test")
POOL = 50  # batches whose rows are sorted by length together


def labelled_splits(data, regression: bool = False) -> dict[str, tuple[list, list]]:
    """The texts and labels of each split that the configuration names.

    Args:
        data: `config.data`. Its keys `task`, `columns` and `held_out` may be missing.
        regression: bool, whether the labels of files are numbers. Defaults to `False`.

    Returns:
        (texts, labels) by split: lists of str or of pairs of str, and of str or float.

    Raises:
        ValueError: settings that do not go together, or nothing is held out or left.
        DataError: a broken file, or a label that is no number.

    Example:
        >>> texts, labels = labelled_splits(get_config().data)["train"]
    """
    held_out = data.get("held_out", 0.0)
    if held_out and (data.source != "files" or data.validation or not 0 < held_out < 1):
        raise ValueError(
            "config.data.held_out is the share of the rows of a file, below 1, that become the validation split where "
            f"there is no other. Received: held_out={held_out}, source={data.source!r}, validation="
            f"{data.validation!r}. Set it to 0, or leave config.data.validation empty."
        )
    if data.source == "docstrings":
        return {
            split: (every_nth(texts, data.limit), every_nth(labels, data.limit))
            for split, (texts, labels) in library_classification().items()
        }
    paths, limit = named_files(data), data.limit or None
    if data.source == "glue":
        if len(paths) > 1:
            raise ValueError(
                "config.data.train names the folder of a GLUE task, where the other splits are too. Received: "
                f"{paths}. Leave config.data.validation and config.data.test empty."
            )
        name = data.get("task", "")  # config.data.task
        files = glue_files(paths["train"], name)
        return {split: _texts_and_labels(read_glue_file(path, name, limit)) for split, path in files.items()}
    splits = {}
    for split, path in paths.items():
        columns = [name.strip() for name in data.get("columns", "").split(",") if name.strip()]  # config.data.columns
        pair = data.text_pair or None
        if path.startswith(("tfds:", "hf:")):  # tfds:glue/sst2@validation
            name, _, split_name = path.partition("@")
            rows = read_named_dataset(name, split_name or split, data.text, data.label, pair, limit)
        elif columns:
            rows = read_table_without_header(path, columns, data.text, data.label, pair, limit)
        else:
            rows = read_labelled_file(path, data.text, data.label, pair, limit)
        texts, labels = _texts_and_labels(rows)
        splits[split] = (texts, _numbers(path, labels) if regression else labels)
    return {**splits, **_held_out(*splits["train"], held_out)} if held_out else splits


def _texts_and_labels(rows):
    return list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts, rows.labels


def _numbers(path, labels):
    numbers = []
    for row, label in enumerate(labels, start=1):
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(
                f"{path}: expected a number as the label of row {row}, blank lines and the header not counted, "
                f"received {label!r}; correct it, or set config.regression=False."
            )
        numbers.append(number)
    return numbers


def _held_out(texts, labels, share):
    """Splits rows in two by a hash of their text: equal texts stay together, whatever the order and the limit."""

    def is_held_out(text):
        content = "\t".join(text) if isinstance(text, tuple) else text
        return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") < share * 2**64

    parts = {"train": ([], []), "validation": ([], [])}
    for text, label in zip(texts, labels, strict=True):
        part = parts["validation" if is_held_out(text) else "train"]
        part[0].append(text)
        part[1].append(label)
    if not all(part_texts for part_texts, _ in parts.values()):
        sizes = {split: len(part_texts) for split, (part_texts, _) in parts.items()}
        raise ValueError(
            f"Expected rows to train on and rows to hold out. Received: {sizes}, for config.data.held_out={share}. "
            "Give more rows, or another share."
        )
    return parts


def document_splits(data) -> dict[str, list[str]]:
    """The documents of each split that the configuration names; a name may be a pattern of several files."""
    if data.source == "docstrings":
        return {split: every_nth(rows, data.limit) for split, rows in language_model_documents().items()}
    read = read_wikitext if data.source == "wikitext" else read_text_file
    splits = {}
    for split, pattern in named_files(data).items():
        documents = [document for path in matching_files(pattern) for document in read(path)]
        splits[split] = documents[: data.limit or None]
    return splits


def named_files(data) -> dict[str, str]:
    """The paths or patterns of the splits that are not empty; one of them is `train`."""
    if not data.train:
        raise ValueError("config.data.train must name a file when config.data.source is 'files'. Received: ''")
    return {split: data[split] for split in SPLITS if data[split]}


def every_nth(rows, limit):
    """At most `limit` rows (0: all), from the whole list: docstrings are sorted by library."""
    return rows[:: max(1, len(rows) // limit)][:limit] if limit else rows


def labelled_dataset(texts, labels) -> tf.data.Dataset:
    """(text, label) or ((text, text_pair), label) strings, one row an element.

    Args:
        texts: list of str, or of pairs of str.
        labels: list of str, as long.

    Example:
        >>> evaluate(task, labelled_dataset(["a film"], ["good"]).batch(8))
    """
    return tf.data.Dataset.from_tensor_slices((text_columns(texts), labels))


def text_columns(texts):
    """A string tensor [rows], or a pair of them."""
    if texts and isinstance(texts[0], tuple):
        return tuple(tf.constant(column, tf.string) for column in zip(*texts, strict=True))
    return tf.constant(texts, tf.string)


def training_batches(rows, to_batch, config, first_step=0, lengths=None) -> tf.data.Dataset:
    """Endless whole batches, in an order drawn from (seed, epoch).

    Args:
        rows: a tensor or ragged tensor [rows, ...], or a tuple or dict of such.
        to_batch: function (the rows of a batch, seed int64 [2]) -> what `fit` takes. The seed is the step's own.
        config: has `batch_size` and `seed`.
        first_step: int, batches to leave out, at no cost. Defaults to 0.
        lengths: int [rows], how long each row is, in any unit. With it, rows of about one length share a batch, and
            padding that no row of the batch needs is cut off. Defaults to `None`.

    Returns:
        A dataset of batches. That of a step depends on nothing but the seed and the step.

    Example:
        >>> batches = training_batches((texts, labels), lambda rows, seed: preprocessor(rows[0], y=rows[1]), config)
    """
    size = config.batch_size
    count = int(_first(rows).shape[0])
    first_epoch, first_row = divmod(first_step * size, count)

    def order_of_epoch(epoch):
        seed = tf.stack([tf.cast(config.seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed)
        if lengths is not None:
            # Rows that fill up the last batch of the epoch before stay in front.
            head = tf.cast(-epoch * count % size, tf.int32)
            order = tf.concat([order[:head], bucketed(order[head:], lengths, size, seed)], 0)
        return tf.data.Dataset.from_tensor_slices(order)

    def make_batch(step, chosen):
        batch = tf.nest.map_structure(lambda column: tf.gather(column, chosen), rows)
        batch = to_batch(batch, tf.stack([tf.cast(config.seed, tf.int64), step]))
        return batch if lengths is None else trim_padding(batch)

    order = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(order_of_epoch).skip(first_row)
    batches = order.batch(size, drop_remainder=True)
    return batches.enumerate(first_step).map(make_batch, tf.data.AUTOTUNE)


def evaluation_batches(rows, to_batch, batch_size, lengths=None) -> tf.data.Dataset:
    """All rows once, in their order, in batches; the last one may be smaller.

    Args:
        rows, lengths: see `training_batches`; with `lengths` padding is cut off, but no row moves.
        to_batch: function (the rows of a batch) -> what `evaluate` takes.
        batch_size: int.

    Example:
        >>> evaluate(task, evaluation_batches((texts, labels), lambda rows: preprocessor(rows[0], y=rows[1]), 32))
    """
    batches = tf.data.Dataset.range(int(_first(rows).shape[0])).batch(batch_size)

    def make_batch(chosen):
        batch = to_batch(tf.nest.map_structure(lambda column: tf.gather(column, chosen), rows))
        return batch if lengths is None else trim_padding(batch)

    return batches.map(make_batch, tf.data.AUTOTUNE)


def bucketed(order, lengths, batch_size, seed):
    """Reorders rows so that those of a batch are about equally long: int32 [n] -> int32 [n].

    Rows are sorted within pools of `POOL` batches, and the batches then come in random order, so that batches differ
    from epoch to epoch.
    """
    pool = tf.range(tf.size(order)) // (POOL * batch_size)
    longest = tf.cast(tf.reduce_max(lengths) + 1, tf.int64)
    by_pool_and_length = tf.cast(pool, tf.int64) * longest + tf.cast(tf.gather(lengths, order), tf.int64)
    order = tf.gather(order, tf.argsort(by_pool_and_length, stable=True))
    whole = tf.size(order) // batch_size * batch_size
    batches = tf.random.experimental.stateless_shuffle(tf.reshape(order[:whole], [-1, batch_size]), seed)
    return tf.concat([tf.reshape(batches, [-1]), order[whole:]], 0)


def trim_padding(batch):
    """Cuts off columns at the end that are padding in every row, to a multiple of 8 columns.

    Args:
        batch: a tuple of x and what else `fit` takes; x is a dict with `padding_mask`, bool [..., length]. Every tensor
            with as many axes, the last of that length, is cut.

    Returns:
        The same structure.
    """
    mask = batch[0]["padding_mask"]
    length = mask.shape[-1]
    used = tf.reduce_max(tf.where(mask, tf.range(1, length + 1), 0))
    # Multiples, so that there are few shapes; the last one may be shorter.
    used = tf.minimum((tf.maximum(used, 1) + 7) // 8 * 8, length)

    def trimmed(tensor):
        is_as_long = tensor.shape.rank == mask.shape.rank and tensor.shape[-1] == length
        return tensor[..., :used] if is_as_long else tensor

    return tf.nest.map_structure(trimmed, batch)


def bytes_of(columns):
    """How long rows are, for `training_batches`: strings [rows], or a tuple of such -> int32 [rows] of bytes."""
    return tf.add_n([tf.strings.length(column) for column in tf.nest.flatten(columns)])


def token_counts(columns, preprocessor) -> tf.Tensor:
    """How long rows are once they are tokenized and cut, for `training_batches`: one pass over all texts.

    Bytes take no pass, and leave half as much padding again: the longest of a batch counts.

    Args:
        columns: strings [rows], or a tuple of such.
        preprocessor: a function from such columns to a dict with `padding_mask`, bool [rows, length].

    Returns:
        int32 [rows].

    Example:
        >>> token_counts(tf.constant(["red", "red and blue"]), preprocessor).numpy()
        array([3, 5], dtype=int32)
    """
    counted = evaluation_batches(
        columns, lambda batch: tf.math.count_nonzero(preprocessor(batch)["padding_mask"], -1, dtype=tf.int32), 1024
    )
    return tf.concat(list(counted), 0)


def _first(rows):
    return tf.nest.flatten(rows)[0]


def with_mask(token_ids, *targets_and_weights):
    """Windows have no padding, or padding of weight 0 at the end: every position may be seen by later ones."""
    inputs = {"token_ids": token_ids, "padding_mask": tf.ones(tf.shape(token_ids), tf.bool)}
    return (inputs, *targets_and_weights)


def shard_by_data(dataset):
    """Batches are global: several workers each take their part of every batch."""
    if dataset is None:
        return None
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
