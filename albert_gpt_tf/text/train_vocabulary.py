"""Train vocabularies: SentencePiece unigram as ALBERT's, byte-level BPE as GPT-2's.

Both use the SentencePiece trainer, and give the same bytes for the same texts on every run and machine.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text import charsmap
from albert_gpt_tf.text.byte_pair_vocabulary import END_OF_TEXT, apply_merges, byte_alphabet
from albert_gpt_tf.text.gpt2_split import GPT2Splitter

# The unigram trainer is given at most so much text, in evenly spaced lines. More costs time and changes little: the
# released vocabulary was made from a sample as well (10 million sentences of 16 GB).
UNIGRAM_SAMPLE_CHARACTERS = 5_000_000
# Longer lines are dropped by the trainer, so they are cut before (bytes; SentencePiece's own default).
MAX_LINE_BYTES = 4192
# Longest BPE token in bytes, as in the released vocabulary (a run of blanks).
MAX_TOKEN_BYTES = 128
# A fixed number of threads, because the sums of the unigram trainer depend on it in the last bits.
NUM_THREADS = 4
# Characters that are split at a time, to bound memory.
_BATCH_CHARACTERS = 2_000_000
_SILENT = 2  # minloglevel: errors only


def train_sentencepiece(texts: Iterable[str], vocabulary_size: int, lowercase: bool = True) -> bytes:
    """Trains a SentencePiece unigram vocabulary with ALBERT's options.

    Args:
        texts: iterable of str. A text of several lines counts as several sentences.
        vocabulary_size: int, the number of pieces, special ones included: `<pad>` 0, `<unk>` 1, `[CLS]` 2, `[SEP]` 3,
            `[MASK]` 4. Little text may not yield as many; then the vocabulary is smaller.
        lowercase: bool, whether text is cleaned as for the uncased models. The cleaning is part of the model that is
            returned. Defaults to True.

    Returns:
        bytes: the serialized model, for `AlbertTokenizer(model, lowercase=lowercase)`.

    Raises:
        ValueError: there is no text, or `vocabulary_size` is too small for the characters in it.

    Example:
        >>> model = train_sentencepiece(["to be or not to be"] * 50, vocabulary_size=40)

    Reference: google-research/albert, README, "Training the vocabulary"; ALBERT
    (https://arxiv.org/abs/1909.11942), section 4.1.
    """
    lines = _sample([part for text in texts for line in text.splitlines() for part in _cut(line) if part.strip()])
    if not lines:
        raise ValueError("Expected texts to train a vocabulary on. Received: no text but white space. Check the files.")
    trained = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        if lowercase:
            rules = Path(folder, "rules.tsv")
            rules.write_text(charsmap.folded_rules(), encoding="utf-8")
            normalization = {"normalization_rule_tsv": str(rules)}
        else:
            normalization = {"normalization_rule_name": charsmap.DEFAULT_RULES}
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=trained,
                model_type="unigram",
                vocab_size=vocabulary_size,
                hard_vocab_limit=False,
                pad_id=0,
                unk_id=1,
                bos_id=-1,
                eos_id=-1,
                control_symbols=["[CLS]", "[SEP]", "[MASK]"],
                user_defined_symbols=["(", ")", '"', "-", ".", "–", "£", "€"],
                character_coverage=0.99995,
                max_sentence_length=MAX_LINE_BYTES,
                num_threads=NUM_THREADS,
                minloglevel=_SILENT,
                **normalization,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"Expected a vocabulary_size that suits the text. Received: vocabulary_size={vocabulary_size}, "
                f"{len(lines)} lines, and SentencePiece says: {error}. Raise vocabulary_size or give more text."
            ) from error
    model = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    if lowercase:
        model.normalizer_spec.name = charsmap.FOLDED_NAME
        model.normalizer_spec.normalization_rule_tsv = ""
    return model.SerializeToString()


def train_byte_level_bpe(texts: Iterable[str], vocabulary_size: int) -> tuple[dict[str, int], list[str]]:
    """Trains a byte-level BPE vocabulary, as GPT-2's.

    Args:
        texts: iterable of str.
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


def _count_pieces(texts: Iterable[str]) -> dict[bytes, int]:
    """How often each piece of GPT-2's pattern occurs."""
    splitter = GPT2Splitter()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def count(rows):
        unique, _, counts = tf.unique_with_counts(splitter.split(rows).flat_values)
        return unique, counts

    total: Counter[bytes] = Counter()
    for batch in _batches(texts):
        unique, counts = count(tf.constant(batch, tf.string))
        for piece, number in zip(unique.numpy().tolist(), counts.numpy().tolist(), strict=True):
            total[piece] += number
    return total


def _learn_pieces(counts: dict[bytes, int], num_merges: int) -> list[str]:
    """The merged tokens in the order in which SentencePiece's BPE trainer learns them, in the printable alphabet."""
    alphabet = byte_alphabet()
    to_printable = {byte: char for char, byte in alphabet.items()}
    # Sorted, so that the result does not depend on the order of the texts. A single byte has nothing to merge.
    rows = [
        f"{''.join(to_printable[byte] for byte in piece[:MAX_LINE_BYTES])}\t{number}"
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


def _cut(line: str) -> Iterator[str]:
    """Cuts a line that the trainer would drop. Four bytes is the longest character."""
    length = MAX_LINE_BYTES // 4
    if len(line) <= length:
        yield line
    else:
        for start in range(0, len(line), length):
            yield line[start : start + length]


def _sample(lines: list[str]) -> list[str]:
    """At most about UNIGRAM_SAMPLE_CHARACTERS, in evenly spaced lines."""
    step = -(-sum(map(len, lines)) // UNIGRAM_SAMPLE_CHARACTERS)
    return lines[:: max(1, step)]
