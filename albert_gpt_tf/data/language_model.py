"""Documents to batches for a causal language model, and to windows that measure it token by token."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

# Large enough to keep the tokenizer's ops busy, small enough that a chunk and its tokens stay a few megabytes.
_CHARACTERS_PER_CHUNK = 1_000_000
# Documents that are joined at a time. More are not faster, and all of them are in memory.
_DOCUMENTS_PER_CHUNK = 64


def token_stream(documents: Sequence[str], tokenizer, end_id: int | None = None) -> np.ndarray:
    """Tokenizes documents into one vector in which an end of text stands before the first and after every document.

    Args:
        documents: list of str. Empty ones are left out.
        tokenizer: a tokenizer with `tokenize` ([B] strings to a RaggedTensor of ids).
        end_id: int or None, the end of text. Defaults to None: the tokenizer's `end_of_text_id`.

    Returns:
        int32 array of shape (tokens,): end, first document, end, second document, end, and so on.

    Raises:
        ValueError: neither `end_id` nor the tokenizer knows an end of text.

    Example:

    >>> tokens = token_stream(["One document.", "Another."], tokenizer)
    """
    end = getattr(tokenizer, "end_of_text_id", None) if end_id is None else end_id
    if end is None:
        raise ValueError(
            f"Expected an end of text to put between documents. Received: a {type(tokenizer).__name__} without one. "
            "Give end_id, or a tokenizer whose vocabulary has such a token."
        )
    chunks = (tokenizer.tokenize(tf.constant(chunk, tf.string)) for chunk in _chunks(documents))
    return stream_of_ids(chunks, end)


def stream_of_ids(chunks: Iterable[tf.RaggedTensor], end_id: int) -> np.ndarray:
    """Joins tokenized documents into one vector in which an end of text stands before the first and after every one.

    Args:
        chunks: iterable of batches of documents, ragged ids `[documents, None]`: a dataset of `open_token_shards`.
        end_id: int, the end of text.

    Returns:
        int32 array of shape (tokens,).

    Example:

    >>> stream_of_ids([tf.ragged.constant([[5, 6], [7]])], end_id=0).tolist()
    [0, 5, 6, 0, 7, 0]
    """
    parts = [np.array([end_id], np.int32)]
    for ids in chunks:
        # Each row's end is where the next row starts, and there the end of text goes.
        parts.append(np.insert(ids.flat_values.numpy(), ids.row_splits.numpy()[1:], end_id).astype(np.int32))
    return np.concatenate(parts)


def causal_windows(
    documents: Sequence[str],
    tokenizer,
    sequence_length: int,
    batch_size: int,
    shuffle_seed: int | None = None,
    repeat: bool = False,
    first_batch: int = 0,
    end_id: int | None = None,
) -> tf.data.Dataset:
    """Cuts documents into batches of (token ids, next token ids) to train a causal language model on.

    The token stream is cut into windows of `sequence_length + 1` tokens, of which each begins with the last token of
    the one before: within an epoch every token is predicted once, and nothing is padding. What does not fill a window,
    or a batch, at the end of an epoch is left out.

    Args:
        documents: list of str.
        tokenizer: a tokenizer with `tokenize` (see `token_stream`).
        sequence_length: int, tokens in a row of a batch.
        batch_size: int, rows in a batch.
        shuffle_seed: int or None. With a seed the windows come in an order drawn from the seed and the number of the
            epoch, the same on every run. Defaults to None: the order of the documents.
        repeat: bool. If True, epochs follow one another without end, each in an order of its own. If False, the
            dataset is one epoch, in the same order however often it is iterated. Defaults to False.
        first_batch: int, batches at the beginning that are left out at no cost, to resume a run. Defaults to 0.
        end_id: int or None, see `token_stream`.

    Returns:
        A dataset of (token_ids, next_token_ids), both int32 of shape (batch_size, sequence_length). It is
        deterministic: what follows n batches is what `first_batch=n` begins with.

    Raises:
        ValueError: if the documents do not fill one batch.

    Example:

    >>> dataset = causal_windows(documents, tokenizer, sequence_length=256, batch_size=16, shuffle_seed=0, repeat=True)
    >>> model.fit(dataset, steps_per_epoch=100)
    """
    stream = token_stream(documents, tokenizer, end_id)
    window_count = (len(stream) - 1) // sequence_length
    steps = window_count // batch_size
    if steps == 0:
        raise ValueError(
            f"Expected at least batch_size * sequence_length + 1 = {batch_size * sequence_length + 1} tokens, received "
            f"{len(stream)}. Give more text, or a smaller batch_size or sequence_length."
        )
    with tf.device("/cpu:0"):  # the input pipeline runs there, so the stream need not cross over from a GPU
        tokens = tf.constant(stream)

    def batches_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(window_count)
        if shuffle_seed is not None:
            order = tf.random.experimental.stateless_shuffle(
                order, seed=tf.stack([tf.cast(shuffle_seed, tf.int64), epoch])
            )
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order[: steps * batch_size], (steps, batch_size)))

    def cut(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        places = windows[:, tf.newaxis] * sequence_length + tf.range(sequence_length + 1)
        batch = tf.gather(tokens, tf.ensure_shape(places, (batch_size, sequence_length + 1)))
        return batch[:, :-1], batch[:, 1:]

    first_epoch, first_step = divmod(first_batch, steps)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max if repeat else 1)
    dataset = epochs.flat_map(batches_of_epoch).skip(first_step).map(cut)
    cardinality = tf.data.INFINITE_CARDINALITY if repeat else max(0, steps - first_batch)
    return dataset.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(tf.data.AUTOTUNE)


def pack_documents(dataset: tf.data.Dataset, sequence_length: int, end_id: int) -> tf.data.Dataset:
    """Cuts a stream of tokenized documents of any size into windows without padding.

    The windows are those of `causal_windows`: an end of text stands before the first document and after every one, and
    each window begins with the last token of the one before, so that every token is predicted once. What a document
    leaves over goes into the next window. At the end of the dataset the last tokens, fewer than one window predicts,
    are left out; repeat the dataset before, and they go into the next epoch.

    Args:
        dataset: a dataset of documents, integer ids of shape (tokens,), or of batches of them, `RaggedTensor`s of shape
            (documents, None) as a tokenizer returns them, which is faster. Empty documents are left out. In memory are
            one batch, or 64 documents, and one window.
        sequence_length: int, tokens that a window predicts.
        end_id: int, the id of the end of text.

    Returns:
        A dataset of windows, int32 of shape (sequence_length + 1,), in the order of the documents. The state of its
        iterator can be saved (`tf.train.Checkpoint`), the tokens left over included.

    Raises:
        ValueError: if the dataset holds anything else, or `sequence_length` is not positive.

    Example:

    >>> texts = tf.data.TextLineDataset("corpus.txt").batch(64)
    >>> windows = pack_documents(texts.map(tokenizer.tokenize), 256, tokenizer.end_of_text_id)
    >>> batches = windows.batch(16, drop_remainder=True).map(lambda rows: (rows[:, :-1], rows[:, 1:]))
    """
    if sequence_length < 1:
        raise ValueError(f"Expected a positive sequence_length, received {sequence_length}. Raise it.")
    spec = dataset.element_spec
    if not isinstance(spec, tf.TensorSpec | tf.RaggedTensorSpec) or not spec.dtype.is_integer:
        raise ValueError(
            f"Expected a dataset of integer ids of documents, received one of {spec}. Tokenize texts first."
        )
    if spec.shape.rank == 1:
        dataset = dataset.ragged_batch(_DOCUMENTS_PER_CHUNK)
    elif spec.shape.rank != 2 or not isinstance(spec, tf.RaggedTensorSpec):
        raise ValueError(
            f"Expected documents of shape (tokens,) or ragged batches of them, received a dataset of {spec}. "
            "Unbatch it, or make its batches ragged."
        )

    def cut(rest: tf.Tensor, documents: tf.Tensor | tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not isinstance(documents, tf.RaggedTensor):  # all documents are known to be of one length
            documents = tf.RaggedTensor.from_tensor(documents)
        lengths = documents.row_lengths()
        documents = tf.RaggedTensor.from_row_lengths(
            tf.cast(documents.flat_values, tf.int32), tf.boolean_mask(lengths, lengths > 0), validate=False
        )
        ends = tf.fill([documents.nrows(), 1], end_id)
        stream = tf.concat([rest, tf.concat([documents, ends], axis=1).flat_values], axis=0)
        used = (tf.size(stream) - 1) // sequence_length * sequence_length
        windows = tf.reshape(stream[:used], (-1, sequence_length))
        last_tokens = tf.reshape(stream[1 : used + 1], (-1, sequence_length))[:, -1:]
        return stream[used:], tf.concat([windows, last_tokens], axis=1)  # [windows, sequence_length + 1]

    return dataset.scan(tf.constant([end_id], tf.int32), cut).unbatch()


def evaluation_windows(
    documents: Sequence[str], tokenizer, sequence_length: int, batch_size: int, end_id: int | None = None
) -> tf.data.Dataset:
    """Cuts documents into batches in which every token, and every end of a document, is predicted exactly once.

    The sum of the weighted negative log-likelihoods over the dataset, in bits, divided by `count_bytes(documents)` is
    the model's bits per byte. A prediction sees what stands before it in its window only.

    Args:
        documents: list of str.
        tokenizer: a tokenizer with `tokenize` (see `token_stream`).
        sequence_length: int, tokens in a row of a batch.
        batch_size: int, rows in a batch.
        end_id: int or None, see `token_stream`.

    Returns:
        A dataset of (token_ids, next_token_ids, weights): int32, int32 and float32 of shape (batch_size,
        sequence_length). Weights are 1, and 0 on the padding that fills the last batch with ends of text.

    Raises:
        ValueError: if there is no text.

    Example:

    >>> dataset = evaluation_windows(documents, tokenizer, sequence_length=256, batch_size=16)
    """
    stream = token_stream(documents, tokenizer, end_id)
    if len(stream) == 1:
        raise ValueError(f"Expected text to evaluate on, received {len(documents)} documents without any.")
    return windows_of_stream(stream, sequence_length, batch_size)


def windows_of_stream(stream: np.ndarray, sequence_length: int, batch_size: int) -> tf.data.Dataset:
    """Cuts a stream of tokens into batches in which every token but the first is predicted exactly once.

    Args:
        stream: int32 of shape (tokens,), see `token_stream`; at least 2.
        sequence_length, batch_size: see `evaluation_windows`.

    Returns:
        A dataset as that of `evaluation_windows`; the padding is the first token.

    Example:

    >>> dataset = windows_of_stream(np.array([0, 5, 6, 0], np.int32), sequence_length=2, batch_size=1)
    """
    predictions = len(stream) - 1
    shape = (-1, batch_size, sequence_length)
    padding = -predictions % (batch_size * sequence_length)
    token_ids, next_token_ids = (
        np.pad(part, (0, padding), constant_values=stream[0]).reshape(shape) for part in (stream[:-1], stream[1:])
    )
    weights = np.pad(np.ones(predictions, np.float32), (0, padding)).reshape(shape)
    return tf.data.Dataset.from_tensor_slices((token_ids, next_token_ids, weights))


def count_bytes(documents: Sequence[str]) -> int:
    """Counts the UTF-8 bytes of all documents, by which bits per byte divide.

    Args:
        documents: list of str.

    Returns:
        int, bytes.

    Example:

    >>> count_bytes(["naïve", "b"])
    7
    """
    return sum(len(document.encode()) for document in documents)


def _chunks(documents: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in filter(None, documents):
        chunk.append(document)
        characters += len(document)
        if characters >= _CHARACTERS_PER_CHUNK:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
