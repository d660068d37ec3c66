"""Train vocabularies: SentencePiece as ALBERT's, byte-level BPE as GPT-2's.

Texts are read once, as they come, and memory is bounded, so they may be of any size. Both use the SentencePiece
trainer, and give the same bytes for the same texts on every run and machine.
"""

import heapq
import io
import random
import zlib
from collections.abc import Iterable, Iterator

import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.byte_pair_vocabulary import END_OF_TEXT, apply_merges, byte_alphabet
from albert_gpt_tf.text.charsmap import clean
from albert_gpt_tf.text.gpt2_split import GPT2Splitter

# SentencePiece's trainer drops longer lines, so they are cut before (bytes; its own default).
MAX_LINE_BYTES = 4192
# Longest BPE token in bytes, as in the released vocabulary (a run of blanks).
MAX_TOKEN_BYTES = 128
# A fixed number of threads, because the sums of the unigram trainer depend on it in the last bits.
NUM_THREADS = 4
# A shorter line counts as so many characters in the sample: it takes as much memory.
_LEAST_CHARACTERS = 20
# What counting BPE's pieces may take, about, and what a piece takes besides its own bytes.
_MAX_COUNT_BYTES = 500_000_000
_BYTES_A_PIECE = 150
# Characters that are split at a time, to bound memory.
_BATCH_CHARACTERS = 2_000_000
_SILENT = 2  # minloglevel: errors only


def train_sentencepiece(
    texts: Iterable[str],
    vocabulary_size: int,
    lowercase: bool = True,
    keep_accents: bool = False,
    model_type: str = "unigram",
    sample_characters: int = 5_000_000,
) -> bytes:
    """Trains a SentencePiece vocabulary with ALBERT's options.

    Texts are cleaned in Python as google-research does (white space, NFKD, no combining marks, lower case), and the
    model is of the kind that it published: its own rules are `nmt_nfkc`, the cleaning is not in it. `AlbertTokenizer`
    does both; with SentencePiece itself, clean the text before (`charsmap.clean`).

    Args:
        texts: iterable of str, read once. A text of several lines counts as several sentences.
        vocabulary_size: int, the number of pieces, special ones included: `<pad>` 0, `<unk>` 1, `[CLS]` 2, `[SEP]` 3,
            `[MASK]` 4. Little text may not yield as many; then the vocabulary is smaller.
        lowercase: bool, whether the cleaning puts text into lower case. Defaults to True.
        keep_accents: bool, whether accents are kept, which many languages need; released models have none. Then the
            tokenizer needs `keep_accents=True`, too. Defaults to False.
        model_type: str, "unigram" as ALBERT's, or "bpe", which does not convert to TFLite. Defaults to "unigram".
        sample_characters: int, of more text than this the trainer is given a sample: lines drawn evenly from all of
            it, by random numbers that are the same on every run. More costs time and memory and changes little: the
            released vocabulary was made from a sample as well (10 million sentences of 16 GB). Defaults to 5 million.

    Returns:
        bytes: the serialized model, what a `spiece.model` holds, for `AlbertTokenizer(model, lowercase=lowercase)`.

    Raises:
        ValueError: there is no text, `vocabulary_size` is too small for the characters in it, another `model_type`, or
            `sample_characters` is not positive.

    Example:
        >>> model = train_sentencepiece(["to be or not to be"] * 50, vocabulary_size=40)

    Reference: google-research/albert, README, "Training the vocabulary"; ALBERT
    (https://arxiv.org/abs/1909.11942), section 4.1.
    """
    if model_type not in ("unigram", "bpe"):
        raise ValueError(f"Expected 'unigram' or 'bpe'. Received: model_type={model_type!r}. Pass one of them.")
    if sample_characters < 1:
        raise ValueError(f"Expected some text to train on. Received: sample_characters={sample_characters}. Raise it.")
    # Cleaning may make a line longer, or leave nothing of it.
    cleaned = (clean(line, lowercase, keep_accents) for line in _sample(_lines(texts), sample_characters))
    lines = [part for line in cleaned for part in _cut(line) if part.strip()]
    if not lines:
        raise ValueError("Expected texts to train a vocabulary on. Received: no text but white space. Check the files.")
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            model_type=model_type,
            vocab_size=vocabulary_size,
            hard_vocab_limit=False,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            user_defined_symbols=["(", ")", '"', "-", ".", "–", "£", "€"],
            character_coverage=0.99995,
            normalization_rule_name="nmt_nfkc",
            max_sentence_length=MAX_LINE_BYTES,
            num_threads=NUM_THREADS,
            minloglevel=_SILENT,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"Expected a vocabulary_size that suits the text. Received: vocabulary_size={vocabulary_size}, "
            f"{len(lines)} lines, and SentencePiece says: {error}. Raise vocabulary_size or give more text."
        ) from error
    return trained.getvalue()


def train_byte_level_bpe(texts: Iterable[str], vocabulary_size: int) -> tuple[dict[str, int], list[str]]:
    """Trains a byte-level BPE vocabulary, as GPT-2's.

    What counts is how often each piece of GPT-2's pattern occurs. When the pieces take more than half a gigabyte (some
    three million of them), the rarest are forgotten until they take half of it. As long as that does not happen, the
    order of the texts does not matter.

    Args:
        texts: iterable of str, read once.
        vocabulary_size: int, at least 257: the 256 bytes, the merges, and `<|endoftext|>`. Little text may not yield
            as many merges; then the vocabulary is smaller.

    Returns:
        vocabulary: dict, token in GPT-2's printable alphabet -> id: bytes 0 to 255, merges in order, `<|endoftext|>`.
        merges: list of "a b" strings by rank.

    Raises:
        ValueError: `vocabulary_size` is below 257.

    Example:
        >>> vocabulary, merges = train_byte_level_bpe(["to be or not to be"] * 9, vocabulary_size=260)
        >>> len(vocabulary), len(merges)
        (260, 3)

    Reference: Language Models are Unsupervised Multitask Learners (GPT-2), section 2.2.
    """
    alphabet = byte_alphabet()
    num_merges = vocabulary_size - len(alphabet) - 1
    if num_merges < 0:
        raise ValueError(
            f"Expected vocabulary_size of at least {len(alphabet) + 1}: 256 bytes and {END_OF_TEXT!r}. "
            f"Received: vocabulary_size={vocabulary_size}."
        )
    vocabulary = {char: id for id, char in enumerate(alphabet)}
    merges = []
    ranks: dict[tuple[str, str], int] = {}
    # A token is always the result of one merge of earlier tokens: what those make of it tells which.
    for token in _learn_pieces(_count_pieces(texts), num_merges):
        parts = apply_merges(token, ranks, below=len(ranks))
        if len(parts) == 2 and len(merges) < num_merges:
            ranks[tuple(parts)] = len(merges)
            merges.append(" ".join(parts))
            vocabulary[token] = len(vocabulary)
    vocabulary[END_OF_TEXT] = len(vocabulary)
    return vocabulary, merges


def _count_pieces(texts: Iterable[str], max_bytes: int = _MAX_COUNT_BYTES) -> dict[bytes, int]:
    """How often each piece of GPT-2's pattern occurs; of too many the rarest are forgotten on the way."""
    splitter = GPT2Splitter()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def count(rows):
        unique, _, numbers = tf.unique_with_counts(splitter.split(rows).flat_values)
        return unique, numbers

    counts: dict[bytes, int] = {}
    size = 0
    for batch in _batches(texts):
        unique, numbers = count(tf.constant(batch, tf.string))
        for piece, number in zip(unique.numpy().tolist(), numbers.numpy().tolist(), strict=True):
            piece = piece[:MAX_LINE_BYTES]
            if piece not in counts:
                counts[piece] = 0
                size += len(piece) + _BYTES_A_PIECE
            counts[piece] += number
            if size > max_bytes:
                counts, size = _commonest(counts, max_bytes // 2)
    return counts


def _commonest(counts: dict[bytes, int], max_bytes: int) -> tuple[dict[bytes, int], int]:
    """The pieces that occur most often, as many as take at most `max_bytes`, and what they take."""
    kept, size = {}, 0
    # Among equals a checksum decides, which favours neither an alphabet nor the first texts.
    for piece, number in sorted(counts.items(), key=lambda item: (-item[1], zlib.crc32(item[0]), item[0])):
        if size + len(piece) + _BYTES_A_PIECE > max_bytes:
            break
        kept[piece] = number
        size += len(piece) + _BYTES_A_PIECE
    return kept, size


def _learn_pieces(counts: dict[bytes, int], num_merges: int) -> list[str]:
    """The merged tokens in the order in which SentencePiece's BPE trainer learns them, in the printable alphabet."""
    alphabet = byte_alphabet()
    to_printable = {byte: char for char, byte in alphabet.items()}
    # Sorted, so that the result does not depend on the order of the texts. A single byte has nothing to merge.
    rows = [
        f"{''.join(to_printable[byte] for byte in piece)}\t{number}"
        for piece, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if len(piece) > 1
    ]
    if not rows or not num_merges:
        return []
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(rows),
        input_format="tsv",
        model_writer=trained,
        model_type="bpe",
        vocab_size=1
        + len(alphabet)
        + num_merges,  # 1: <unk>; bytes that do not occur are not counted, hence a few more
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        character_coverage=1.0,
        required_chars="".join(alphabet),
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_whitespace=False,
        split_by_unicode_script=False,
        split_by_number=False,
        max_sentencepiece_length=MAX_TOKEN_BYTES,
        max_sentence_length=3 * MAX_LINE_BYTES,  # in UTF-8 bytes: two a character at most, and the count
        num_threads=NUM_THREADS,
        minloglevel=_SILENT,
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    return [piece.piece for piece in model.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            if line.strip():
                yield from _cut(line)


def _cut(line: str) -> Iterator[str]:
    """Cuts a line that the trainer would drop, at a blank if there is one."""
    length = MAX_LINE_BYTES // 4  # a character has four bytes at most
    start = 0
    while len(line) - start > length:
        blank = line.rfind(" ", start + 1, start + length)
        end = blank if blank > 0 else start + length
        yield line[start:end]
        start = end
    yield line[start:]


def _sample(lines: Iterable[str], max_characters: int) -> list[str]:
    """All lines, or as many drawn at random as have at most `max_characters` together, in their order.

    Each line draws a number; those with the smallest are kept. More are never held.
    """
    draws = random.Random(0)
    kept: list[tuple[float, int, str]] = []  # a heap: what has drawn the largest number comes first
    size, limit = 0, 1.0
    for number, line in enumerate(lines):
        draw = draws.random()
        if draw >= limit:
            continue
        heapq.heappush(kept, (-draw, number, line))
        size += max(len(line), _LEAST_CHARACTERS)
        while size > max_characters and len(kept) > 1:
            negative_draw, _, dropped = heapq.heappop(kept)
            size -= max(len(dropped), _LEAST_CHARACTERS)
            limit = -negative_draw
    return [line for _, _, line in sorted(kept, key=lambda entry: entry[1])]
