"""Reads token shards: documents of ids, for a language model or for ALBERT's pretraining.

`albert-gpt-tf prepare` writes them (`write_token_shards`, or `beam_pipeline.py`): TFRecords of one document a record,
and `manifest.json`.
"""

import os

import tensorflow as tf

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.shard_manifest import read_manifest
from albert_gpt_tf.data.token_records import parse_records

# Documents that are parsed at a time, and are one element of a dataset.
_DOCUMENTS = 64
_PARALLEL = tf.data.AUTOTUNE


def open_token_shards(
    directory: str | os.PathLike,
    tokenizer=None,
    seed: int | None = None,
    repeat: bool = False,
    num_workers: int = 1,
    worker: int = 0,
    shuffle_buffer: int = 1024,
) -> tf.data.Dataset:
    """Opens token shards as a dataset of documents.

    Args:
        directory: str or path, of `albert-gpt-tf prepare`.
        tokenizer: the tokenizer of the model, or None. With one, it is checked that the ids come from it. Defaults to
            None.
        seed: int or None. With a seed, each epoch has an order of its own, drawn from the seed and the number of the
            epoch, of the shards and, `shuffle_buffer` at a time, of the documents. Defaults to None: the order of the
            text.
        repeat: bool, whether epochs follow one another without end. Defaults to False: one epoch.
        num_workers: int. Each worker reads shards of its own; together, in each epoch, they read every shard once.
            Defaults to 1.
        worker: int, the number of this worker, from 0 on. Defaults to 0.
        shuffle_buffer: int, so many documents are shuffled at a time, and are in memory. Defaults to 1024.

    Returns:
        A dataset of batches of up to 64 documents: ragged int32 `[documents, None]`, as `pack_documents` takes them,
        or `[documents, None, None]` of documents, sentences and ids where sentences are kept apart. It is
        deterministic: `skip(n)` and a checkpoint of its iterator (`tf.train.Checkpoint`) resume it exactly.

    Raises:
        DataError: a shard is missing or not whole, see `read_manifest`, or there are too few for the workers.
        ValueError: another tokenizer, or an argument that cannot work.

    Example:

    >>> documents = open_token_shards("shards", tokenizer, seed=0, repeat=True)  # doctest: +SKIP
    >>> windows = pack_documents(documents, 1024, tokenizer.end_of_text_id)  # doctest: +SKIP
    >>> batches = windows.batch(16, drop_remainder=True)  # doctest: +SKIP
    """
    for name, value, least in (("num_workers", num_workers, 1), ("shuffle_buffer", shuffle_buffer, 1)):
        if value < least:
            raise ValueError(f"Expected {name} of at least {least}. Received: {name}={value}. Raise it.")
    if not 0 <= worker < num_workers:
        raise ValueError(
            f"Expected a worker from 0 to num_workers - 1 = {num_workers - 1}. Received: worker={worker}. Count from 0."
        )
    manifest = read_manifest(directory, tokenizer)
    if len(manifest["shards"]) < num_workers:
        raise DataError(
            f"{os.fspath(directory)}: expected at least {num_workers} shards, one a worker, received "
            f"{len(manifest['shards'])}; prepare the text with a smaller shard_size_mb."
        )

    def epoch_of(number: tf.Tensor) -> tf.data.Dataset:
        of_epoch = None if seed is None else tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
        return documents_in_order(directory, manifest, of_epoch, num_workers, worker, shuffle_buffer)

    return tf.data.Dataset.range(tf.int64.max if repeat else 1).flat_map(epoch_of).prefetch(_PARALLEL)


def documents_in_order(
    directory: str | os.PathLike,
    manifest: dict,
    seed: tf.Tensor | None,
    num_workers: int = 1,
    worker: int = 0,
    shuffle_buffer: int = 1024,
) -> tf.data.Dataset:
    """One epoch of `open_token_shards`, of a manifest that was read before.

    Args:
        directory, num_workers, worker, shuffle_buffer: see `open_token_shards`.
        manifest: dict, of `read_manifest`.
        seed: int64 `[2]`, from which the order follows, or None for that of the text.

    Returns:
        A dataset as that of `open_token_shards`.

    Example:

    >>> manifest = read_manifest("shards")  # doctest: +SKIP
    >>> documents = documents_in_order("shards", manifest, tf.constant([0, 1], tf.int64))  # doctest: +SKIP
    """
    names = tf.constant([os.path.join(os.fspath(directory), shard["name"]) for shard in manifest["shards"]])
    if seed is None:
        records = _records(names[worker::num_workers]).batch(_DOCUMENTS)
    else:
        # One order of all shards, of which each worker takes its part.
        shards_seed, documents_seed = tf.unstack(tf.random.split(seed))
        names = tf.random.experimental.stateless_shuffle(names, shards_seed)

        def shuffle(number: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
            return tf.random.experimental.stateless_shuffle(block, tf.random.fold_in(documents_seed, number))

        blocks = _records(names[worker::num_workers]).batch(shuffle_buffer)
        records = blocks.enumerate().map(shuffle).rebatch(_DOCUMENTS)
    return records.map(lambda block: parse_records(block, manifest["format"]), num_parallel_calls=_PARALLEL)


def lines_in_order(
    directory: str | os.PathLike, manifest: dict, seed: tf.Tensor | None, block_size: int
) -> tf.data.Dataset:
    """One epoch of token shards of sentences as lines: a line is a sentence, or is blank and ends a document.

    Args:
        directory, manifest, seed: see `documents_in_order`.
        block_size: int, lines of an element; the last one may have fewer.

    Returns:
        A dataset of (ids, is_blank): ragged int32 `[lines, None]` and bool `[lines]`, as `sentence_pairs` takes them.

    Example:

    >>> lines = lines_in_order("shards", read_manifest("shards"), None, 1024)  # doctest: +SKIP
    """

    def add(rest: tuple, documents: tf.RaggedTensor, is_last: tf.Tensor) -> tuple[tuple, tuple]:
        lengths = documents.with_values(documents.values.row_lengths())  # [documents, None]
        blank = tf.ones([documents.nrows(), 1], tf.int64)
        new_lengths = tf.concat([lengths, 0 * blank], axis=1).values
        new_is_blank = tf.concat([tf.zeros_like(lengths), blank], axis=1).values > 0
        ids = tf.concat([rest[0], documents.flat_values], 0)
        lengths, is_blank = tf.concat([rest[1], new_lengths], 0), tf.concat([rest[2], new_is_blank], 0)

        count = tf.size(lengths, tf.int64)
        used = tf.where(is_last, count, count // block_size * block_size)
        borders = tf.minimum(tf.range(0, used + block_size, block_size), used)
        used_ids = tf.reduce_sum(lengths[:used])
        lines = tf.RaggedTensor.from_row_lengths(ids[:used_ids], lengths[:used], validate=False)
        blocks = [
            tf.RaggedTensor.from_row_splits(values, borders, validate=False) for values in (lines, is_blank[:used])
        ]
        return (ids[used_ids:], lengths[used:], is_blank[used:]), tuple(blocks)  # [blocks, lines, ...]

    nothing = (tf.zeros([0], tf.int32), tf.zeros([0], tf.int64), tf.zeros([0], tf.bool))
    documents = documents_in_order(directory, manifest, seed)
    # After the last document the lines that are left are a block, too.
    end = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)).map(lambda none: parse_records(none, "sentences"))
    elements = documents.map(lambda some: (some, False)).concatenate(end.map(lambda none: (none, True)))
    return elements.scan(nothing, lambda rest, element: add(rest, *element)).unbatch()


def _records(names: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(names).flat_map(tf.data.TFRecordDataset)
