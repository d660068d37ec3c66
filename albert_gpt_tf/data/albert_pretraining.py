"""ALBERT's pretraining data: text to batches for masked language modelling and sentence order, made as they are needed.

Nothing is stored: every epoch draws its pairs, their order and their masks anew. Every draw follows from the seed, the
number of the epoch and a place in the data, and all steps are TensorFlow ops without state. So the batches are the same
however many are made at a time, a run that resumes with `skip(n)` or from a checkpoint of the iterator sees those that
it would have seen, and the rows do not depend on the size of the batches.

The released script does four things that `as_released=True` keeps and the default mends:

| what | as released | default |
|---|---|---|
| a single sentence | its second segment is of a random document, label 1 (see below) | it is parted before a word |
| an n-gram, or a word, at `[SEP]` | may go on behind it | ends |
| pieces hidden in a row | at most 20, which is 4 % of 512 | 15 % at every length |
| special pieces | may be drawn as random pieces; the unknown piece may be hidden | neither |

As text is a stream, the random document is one of those that are read together, of about a thousand lines. In both
cases n-gram sizes follow from the seed, whether an n-gram overlaps another is checked once, a hidden piece becomes
`[MASK]`, a random one or itself on its own, not with its n-gram, and the targets are named `sentence_order`.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from albert_gpt_tf.data.files import matching_files
from albert_gpt_tf.data.ngram_masking import MASKED_SHARE, mask_ngrams
from albert_gpt_tf.data.sentence_pairs import SHORTEST, SentencePairs, sentence_pairs
from albert_gpt_tf.data.shard_manifest import MANIFEST, read_manifest
from albert_gpt_tf.data.token_shards import lines_in_order
from albert_gpt_tf.data.whole_words import PieceTables, piece_tables

_RELEASED_PREDICTIONS = 20
# Lines that are tokenized, and paired, at a time.
_LINES = 1024
# Rows that are masked at a time: enough to keep the ops busy, few enough to stay in the processor's cache.
_ROWS = 256
_PARALLEL = tf.data.AUTOTUNE
_BLANK = r"[\s\x0b\x1c-\x1f\x{85}\p{Z}]*"

Documents = Sequence[Sequence[str]]
Epoch = Callable[[tf.Tensor], tf.data.Dataset]
Files = str | os.PathLike | Sequence[str | os.PathLike]


def albert_pretraining_batches(
    documents_or_files: Documents | Files,
    tokenizer,
    sequence_length: int,
    batch_size: int,
    seed: int,
    max_predictions: int | None = None,
    short_sequence_probability: float = 0.1,
    shuffle_buffer: int = 8192,
    as_released: bool = False,
) -> tf.data.Dataset:
    """Makes batches to pretrain an `AlbertPretrainer` on, without end: an epoch follows the other.

    Args:
        documents_or_files: the text. Either documents, a list of which each is a list of sentences, or files: a path, a
            pattern (`corpus/*.txt`, `corpus/**/*.gz`), or a list of them. A file holds a sentence a line and a blank
            line between documents; one whose name ends in .gz is compressed. Files are read as a stream, in an order
            drawn for each epoch, and so are documents. Malformed UTF-8 is text for the tokenizer, which has a rule for
            it. `data/sentences.py` splits raw text into sentences. Or the directory of token shards that `albert-gpt-tf
            prepare --format=sentences` wrote with this tokenizer, whose text need not be tokenized again.
        tokenizer: an `AlbertTokenizer` or a `WordPieceTokenizer`.
        sequence_length: int, L, tokens of a row, at least 5.
        batch_size: int, B, rows of a batch.
        seed: int. The same seed gives the same batches.
        max_predictions: int or None, M, the most pieces that are hidden in a row. Defaults to None:
            `round(0.15 * sequence_length)`, or 20 as released.
        short_sequence_probability: float, the share of documents whose rows are shorter, see `sentence_pairs`. Defaults
            to 0.1.
        shuffle_buffer: int, so many rows are shuffled at a time, and are in memory. 1 leaves them in the order of the
            text. Defaults to 8192.
        as_released: bool, whether to do what the released script does, see above. Defaults to False.

    Returns:
        A dataset of (x, y, sample_weight) of static shapes. x: `token_ids` and `segment_ids` int32 `[B, L]`,
        `padding_mask` bool `[B, L]`, `mask_positions` int32 `[B, M]`. y: `masked_lm` int32 `[B, M]`, the hidden ids,
        and `sentence_order` int32 `[B]`, 0 for two segments in order, 1 for two swapped. sample_weight, by the same
        names: float32, 0 for masks that are not used, else 1.

    Raises:
        ValueError: an argument that cannot work, or text that gives no pair.
        DataError: no such file.

    Example:

    >>> batches = albert_pretraining_batches("corpus/*.txt", tokenizer, 512, 16, seed=0)  # doctest: +SKIP
    >>> pretrainer.fit(batches, steps_per_epoch=1000)  # doctest: +SKIP

    Reference: ALBERT (https://arxiv.org/abs/1909.11942), sections 3.1 and 4.1; google-research/albert
    `create_pretraining_data.py`.
    """
    pairs_of_epoch, rows_of_epoch = _epochs(
        documents_or_files, tokenizer, sequence_length, batch_size, seed,
        max_predictions, short_sequence_probability, shuffle_buffer, as_released,
    )  # fmt: skip
    # An epoch without a row would be followed by another one for ever.
    _require_text(any(len(pairs.length) for pairs in pairs_of_epoch(tf.constant(0, tf.int64))))
    # What an epoch leaves over fills the first batch of the next.
    rows = tf.data.Dataset.range(tf.int64.max).flat_map(rows_of_epoch)
    batches = rows.rebatch(batch_size, drop_remainder=True)
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(_PARALLEL)


def albert_evaluation_batches(
    documents_or_files: Documents | Files,
    tokenizer,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    max_predictions: int | None = None,
    short_sequence_probability: float = 0.1,
    as_released: bool = False,
) -> tf.data.Dataset:
    """Makes the same batches each time, to evaluate masked language modelling and sentence order on held-out text.

    Args:
        documents_or_files, tokenizer, sequence_length, batch_size, max_predictions, short_sequence_probability,
            as_released: see `albert_pretraining_batches`.
        seed: int. Pairs and masks follow from it. Defaults to 0.

    Returns:
        A dataset as that of `albert_pretraining_batches`, of one epoch in the order of the text. Rows that fill the
        last batch have the weight 0. The text is read once before, so that the number of batches is known.

    Raises:
        ValueError: an argument that cannot work, or text that gives no pair.
        DataError: no such file.

    Example:

    >>> batches = albert_evaluation_batches("held-out.txt", tokenizer, 512, 16)  # doctest: +SKIP
    >>> pretrainer.evaluate(batches)  # doctest: +SKIP
    """
    pairs_of_epoch, rows_of_epoch = _epochs(
        documents_or_files, tokenizer, sequence_length, batch_size, seed,
        max_predictions, short_sequence_probability, 1, as_released, is_shuffled=False,
    )  # fmt: skip
    epoch = tf.constant(0, tf.int64)
    row_count = sum(len(pairs.length) for pairs in pairs_of_epoch(epoch))
    _require_text(row_count > 0)

    def fill(x: dict, y: dict, sample_weight: dict) -> tuple[dict, dict, dict]:
        count = tf.shape(y["sentence_order"])[0]
        place = tf.range(batch_size)
        # Rows of text, so that no row is all padding.
        x, y, sample_weight = tf.nest.map_structure(
            lambda values: tf.gather(values, tf.minimum(place, count - 1)), (x, y, sample_weight)
        )
        is_row = tf.cast(place < count, tf.float32)  # [B]
        weights = {
            "masked_lm": sample_weight["masked_lm"] * is_row[:, tf.newaxis],
            "sentence_order": sample_weight["sentence_order"] * is_row,
        }
        return x, y, weights

    batches = rows_of_epoch(epoch).rebatch(batch_size).map(fill)
    batch_count = -(-row_count // batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(batch_count)).prefetch(_PARALLEL)


def _epochs(
    documents_or_files: Documents | Files,
    tokenizer,
    sequence_length: int,
    batch_size: int,
    seed: int,
    max_predictions: int | None,
    short_sequence_probability: float,
    shuffle_buffer: int,
    as_released: bool,
    is_shuffled: bool = True,
) -> tuple[Epoch, Epoch]:
    """Checks the arguments; gives functions from the number of an epoch to its pairs, and to blocks of its rows."""
    if max_predictions is None:
        max_predictions = _RELEASED_PREDICTIONS if as_released else max(1, round(MASKED_SHARE * sequence_length))
    for name, value, least in (
        ("sequence_length", sequence_length, SHORTEST),
        ("batch_size", batch_size, 1),
        ("max_predictions", max_predictions, 1),
        ("shuffle_buffer", shuffle_buffer, 1),
    ):
        if value < least:
            raise ValueError(f"Expected {name} of at least {least}. Received: {name}={value}. Raise it.")
    if not 0 <= short_sequence_probability <= 1:
        raise ValueError(
            "Expected a short_sequence_probability from 0 to 1. Received: "
            f"short_sequence_probability={short_sequence_probability}. Give a share of the documents."
        )
    if _are_token_shards(documents_or_files):
        tokenized_lines = _lines_of_token_shards(documents_or_files, tokenizer)
    else:
        tokenized_lines = _tokenized(_line_blocks(documents_or_files), tokenizer)
    tables = piece_tables(tokenizer)

    def seeds_of_epoch(epoch: tf.Tensor) -> list[tf.Tensor]:
        return tf.unstack(tf.random.split(tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch), 4))

    def pairs_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order_seed, pair_seed, _, _ = seeds_of_epoch(epoch)
        lines = tokenized_lines(order_seed if is_shuffled else None)
        return sentence_pairs(lines, tables, sequence_length, pair_seed, short_sequence_probability, as_released)

    def rows_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        _, _, shuffle_seed, mask_seed = seeds_of_epoch(epoch)

        def shuffle(number: tf.Tensor, pairs: SentencePairs) -> SentencePairs:
            places = tf.range(tf.shape(pairs.length)[0])
            places = tf.random.experimental.stateless_shuffle(places, tf.random.fold_in(shuffle_seed, number))
            return SentencePairs(*(tf.gather(values, places) for values in pairs))

        def mask(number: tf.Tensor, pairs: SentencePairs) -> tuple[dict, dict, dict]:
            return _masked(pairs, tables, max_predictions, tf.random.fold_in(mask_seed, number), as_released)

        pairs = pairs_of_epoch(epoch)
        if shuffle_buffer > 1:
            # The next rows to shuffle are made while these are used.
            pairs = pairs.rebatch(shuffle_buffer).enumerate().map(shuffle).prefetch(1)
        return pairs.rebatch(_ROWS).enumerate().map(mask, num_parallel_calls=_PARALLEL)

    return pairs_of_epoch, rows_of_epoch


def _require_text(has_pairs: bool) -> None:
    if not has_pairs:
        raise ValueError(
            "Expected documents of two sentences, or of a sentence of two words, at least one of them. Received: text "
            "that gives no pair of segments. Check that it is the right text, one sentence a line."
        )


def _masked(
    pairs: SentencePairs, tables: PieceTables, max_predictions: int, seed: tf.Tensor, as_released: bool
) -> tuple[dict, dict, dict]:
    """x, y and sample_weight, as `AlbertPretrainer` takes them."""
    place = tf.range(pairs.token_ids.shape[1])[tf.newaxis]  # [1, L]
    padding_mask = place < pairs.length[:, tf.newaxis]
    segment_ids = tf.cast(padding_mask & (place >= pairs.second_begins[:, tf.newaxis]), tf.int32)
    rows = mask_ngrams(pairs.token_ids, padding_mask, tables, max_predictions, seed, as_released)
    x = {
        "token_ids": rows.token_ids,
        "segment_ids": segment_ids,
        "padding_mask": padding_mask,
        "mask_positions": rows.mask_positions,
    }
    y = {"masked_lm": rows.targets, "sentence_order": pairs.sentence_order}
    return x, y, {"masked_lm": rows.weights, "sentence_order": tf.ones_like(pairs.length, tf.float32)}


def _tokenized(line_blocks, tokenizer):
    """A function from a seed, or None, to a dataset of lines as `sentence_pairs` takes them."""

    def tokenize(lines: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        lines = tf.strings.regex_replace(lines, r"^\x{feff}", "")  # the byte order mark of a file
        is_blank = tf.strings.regex_full_match(lines, _BLANK)
        ids = tokenizer.tokenize(tf.where(is_blank, "", lines))
        return ids.with_values(tf.cast(ids.values, tf.int32)), is_blank

    return lambda seed: line_blocks(seed).map(tokenize, num_parallel_calls=_PARALLEL)


def _are_token_shards(documents_or_files: Documents | Files) -> bool:
    is_path = isinstance(documents_or_files, str | os.PathLike)
    return is_path and tf.io.gfile.exists(os.path.join(os.fspath(documents_or_files), MANIFEST))


def _lines_of_token_shards(directory: str | os.PathLike, tokenizer):
    """As `_tokenized`, of documents that are tokenized already."""
    manifest = read_manifest(directory, tokenizer)
    if manifest["format"] != "sentences":
        raise ValueError(
            f"Expected token shards of sentences in {os.fspath(directory)}. Received: shards of {manifest['format']}. "
            "Prepare them with --format=sentences."
        )

    # In blocks of the size that text is read in, so that the rows are those of the same text.
    return lambda seed: lines_in_order(directory, manifest, seed, _LINES)


def _line_blocks(documents_or_files: Documents | Files):
    """A function from a seed, or None, to a dataset of strings `[lines]`, with a blank line after every document."""
    if isinstance(documents_or_files, str | os.PathLike):
        documents_or_files = [documents_or_files]
    are_files = [isinstance(item, str | os.PathLike) for item in documents_or_files]
    if not are_files:
        raise ValueError("Expected documents or files. Received: an empty list. Give at least one.")
    if any(are_files) != all(are_files):
        raise ValueError(
            "Expected documents, each a list of sentences, or paths of files. Received: a list of both. Make a list of "
            "a document of one sentence, too."
        )
    return _lines_of_files(documents_or_files) if are_files[0] else _lines_of_documents(documents_or_files)


def _lines_of_files(patterns: Sequence[str | os.PathLike]):
    names = list(dict.fromkeys(str(file) for pattern in patterns for file in matching_files(pattern)))

    def open_file(name: tf.Tensor) -> tf.data.Dataset:
        is_compressed = tf.strings.regex_full_match(name, r"(?i).*\.gz")
        lines = tf.data.TextLineDataset(name, tf.where(is_compressed, "GZIP", ""))
        return lines.concatenate(tf.data.Dataset.from_tensors(""))  # a document ends with its file

    def line_blocks(seed: tf.Tensor | None) -> tf.data.Dataset:
        return _in_order(tf.constant(names), seed).flat_map(open_file).batch(_LINES)

    return line_blocks


def _lines_of_documents(documents: Documents):
    lines = [[line.encode(errors="replace") for line in document if line.strip()] + [b""] for document in documents]
    ends = np.cumsum([len(document) for document in lines])
    with tf.device("/cpu:0"):
        flat = tf.constant([line for document in lines for line in document])
        rows = tf.RaggedTensor.from_row_splits(flat, np.concatenate([[0], ends]), validate=False)

    def line_blocks(seed: tf.Tensor | None) -> tf.data.Dataset:
        numbers = _in_order(tf.range(len(lines)), seed)
        return numbers.batch(64).map(lambda some: tf.gather(rows, some).flat_values).rebatch(_LINES)

    return line_blocks


def _in_order(items: tf.Tensor, seed: tf.Tensor | None) -> tf.data.Dataset:
    if seed is not None:
        items = tf.gather(items, tf.random.experimental.stateless_shuffle(tf.range(tf.size(items)), seed))
    return tf.data.Dataset.from_tensor_slices(items)
