"""Documents of text files to records of token ids, the content of token shards.

A record is a serialized `tf.train.Example` of one document: `ids`, the ids of all its tokens, and, where sentences are
kept apart, `lengths`, the tokens of each sentence. A line of `lengths` 0 is a sentence that the tokenizer reads as
nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from albert_gpt_tf.data.files import read_lines

FORMATS = ("documents", "sentences")
# Large enough to keep the tokenizer's ops busy, small enough that the text and its tokens stay a few megabytes.
_BYTES_PER_CHUNK = 1_000_000

Document = list[bytes]  # its lines, none of them blank


class Record(NamedTuple):
    """A document as it is stored.

    Attributes:
        content: bytes, the serialized Example.
        sentences: int, its lines.
        tokens: int.
        text_bytes: int, the UTF-8 bytes of the text, without line breaks between sentences that are kept apart.
    """

    content: bytes
    sentences: int
    tokens: int
    text_bytes: int


def documents_of(lines: Iterable[str]) -> Iterator[Document]:
    r"""Groups the lines of a file into documents, between which blank lines stand.

    Args:
        lines: iterable of str, without line breaks.

    Returns:
        An iterator of documents, each the list of its lines in UTF-8, one document in memory at a time.

    Example:

    >>> list(documents_of(["It rained.", "It rains.", "", "The end."]))
    [[b'It rained.', b'It rains.'], [b'The end.']]
    """
    document: Document = []
    for line in lines:
        if line.strip():
            document.append(line.encode())
        elif document:
            yield document
            document = []
    if document:
        yield document


def read_documents(files: Iterable) -> Iterator[Document]:
    """Streams the documents of text files; a document ends with its file.

    Args:
        files: iterable of str or path, see `read_lines`.

    Returns:
        An iterator of documents, each the list of its lines in UTF-8.

    Raises:
        DataError: while reading, if a file is missing, broken or not UTF-8.

    Example:

    >>> documents = read_documents(["one.txt", "two.txt.gz"])  # doctest: +SKIP
    """
    for file in files:
        yield from documents_of(read_lines(file))


def tokenize_documents(documents: Sequence[Document], tokenizer, format: str) -> Iterator[Record]:
    """Tokenizes documents, a megabyte of text at a time, and makes a record of each.

    Args:
        documents: list of documents, each the list of its lines.
        tokenizer: a tokenizer with `tokenize`, `[B]` strings to a RaggedTensor of ids.
        format: str, "documents" (the lines of a document are one text with line breaks in it) or "sentences" (each line
            is a text of its own).

    Returns:
        An iterator of `Record`, one a document, in the order of the documents.

    Example:

    >>> records = list(tokenize_documents([[b"It rained."]], tokenizer, "documents"))  # doctest: +SKIP
    """
    for chunk in _chunks(documents):
        texts = [[b"\n".join(lines)] for lines in chunk] if format == "documents" else chunk
        ids = tokenizer.tokenize(tf.constant([text for lines in texts for text in lines], tf.string))
        values, splits = ids.flat_values.numpy(), ids.row_splits.numpy()
        begin = 0
        for lines, document in zip(texts, chunk, strict=True):
            end = begin + len(lines)
            of_document = splits[begin : end + 1]
            features = {"ids": values[of_document[0] : of_document[-1]]}
            if format == "sentences":
                features["lengths"] = np.diff(of_document)
            tokens = int(of_document[-1] - of_document[0])
            yield Record(_serialized(features), len(document), tokens, sum(map(len, lines)))
            begin = end


def parse_records(records: tf.Tensor, format: str) -> tf.RaggedTensor:
    """Turns records back into ids.

    Args:
        records: string tensor `[D]`.
        format: str, "documents" or "sentences".

    Returns:
        Ragged int32: ids `[D, None]` of documents, or `[D, None, None]` of the sentences of documents.

    Example:

    >>> ids = parse_records(records, "documents")  # doctest: +SKIP
    """
    names = ["ids"] if format == "documents" else ["ids", "lengths"]
    spec = {name: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64) for name in names}
    features = tf.io.parse_example(records, spec)
    ids = features["ids"].with_values(tf.cast(features["ids"].values, tf.int32))
    if format == "documents":
        return ids
    sentences = tf.RaggedTensor.from_row_lengths(ids.values, features["lengths"].values, validate=False)
    return features["lengths"].with_values(sentences)


def _chunks(documents: Sequence[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += sum(map(len, document))
        if size >= _BYTES_PER_CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _serialized(features: dict[str, np.ndarray]) -> bytes:
    feature = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))
        for name, values in features.items()
    }
    # Deterministic: else the order of the features may differ from one process to the next.
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
