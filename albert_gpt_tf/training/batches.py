"""The examples of a run: splits from files or from the documentation of this machine, and batches in a seeded order."""

import tensorflow as tf

from albert_gpt_tf.data.docstrings import language_model_documents, library_classification
from albert_gpt_tf.data.files import matching_files, read_labelled_file, read_text_file
from albert_gpt_tf.data.token_dropout import drop_tokens

SPLITS = ("train", "validation", "test")


def labelled_splits(data) -> dict[str, tuple[list, list[str]]]:
    """The texts and labels of each split that the configuration names."""
    if data.source == "docstrings":
        return {
            split: (every_nth(texts, data.limit), every_nth(labels, data.limit))
            for split, (texts, labels) in library_classification().items()
        }
    splits = {}
    for split, path in named_files(data).items():
        rows = read_labelled_file(path, data.text, data.label, data.text_pair or None, data.limit or None)
        texts = list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts
        splits[split] = (texts, rows.labels)
    return splits


def document_splits(data) -> dict[str, list[str]]:
    """The documents of each split that the configuration names; a name may be a pattern of several files."""
    if data.source == "docstrings":
        return {split: every_nth(rows, data.limit) for split, rows in language_model_documents().items()}
    splits = {}
    for split, pattern in named_files(data).items():
        documents = [document for path in matching_files(pattern) for document in read_text_file(path)]
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


def training_batches(texts, labels, preprocessor, config, first_step=0) -> tf.data.Dataset:
    """Endless whole batches of ids in an order drawn from (seed, epoch), with token dropout if the recipe asks for it.

    Args:
        texts, labels: see `labelled_dataset`.
        preprocessor: turns texts and labels into ids.
        config: has `batch_size`, `seed` and `token_dropout`.
        first_step: int, batches to leave out, at no cost. Defaults to 0.

    Returns:
        A dataset of (ids, labels). The batch of a step depends on nothing but the seed and the step.
    """
    with tf.device("/cpu:0"):  # where the input pipeline runs
        columns = (text_columns(texts), tf.constant(labels, tf.string))
    count = len(labels)
    first_epoch, first_row = divmod(first_step * config.batch_size, count)

    def order_of_epoch(epoch):
        seed = tf.stack([tf.cast(config.seed, tf.int64), epoch])
        return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(tf.range(count), seed))

    def to_ids(step, rows):
        text, label = tf.nest.map_structure(lambda column: tf.gather(column, rows), columns)
        ids, label = preprocessor(text, y=label)
        if config.token_dropout:
            seed = tf.stack([tf.cast(config.seed, tf.int64), step])
            ids["token_ids"] = drop_tokens(ids["token_ids"], config.token_dropout, preprocessor.tokenizer, seed)
        return ids, label

    rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(order_of_epoch).skip(first_row)
    batches = rows.batch(config.batch_size, drop_remainder=True)
    return batches.enumerate(first_step).map(to_ids, tf.data.AUTOTUNE)


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
