"""Byte-level BPE as stateless graph ops, exact and fast.

A piece of text that is a token as a whole is looked up in a table; that is 19 of 20 pieces of English. The others go,
once each, through SentencePiece's BPE, built from the same vocabulary over one character a byte.

Why this equals the original loop, which merges the listed pair of lowest rank until none is left. `BytePairVocabulary`
has checked that every token T is made by one merge (a, b), of parts that exist before it, and that the merges of lower
rank turn T's bytes into exactly [a, b].

* Lookup: hence T's bytes, encoded alone, give T.
* SentencePiece merges any two neighbours whose concatenation is a token, the best score (lowest rank) first, the
  leftmost first. Suppose it meets neighbours (c, d) that form T. The borders of that stretch are borders still, so no
  merge has crossed them, and all merges of lower rank are done: inside the stretch they have done what they do to T
  alone, and left [a, b]. So (c, d) is (a, b), the listed pair; and no token of lower rank can appear later.

Where the check fails (`has_one_way`), `BPEMergeLoop` takes the place of SentencePiece, and the table holds only tokens
that were seen to encode to themselves.

Between two bytes that no merge makes neighbours a piece may be cut at will, for nothing is ever merged across. This is
done before characters of several bytes: Chinese, which has no blanks, then becomes characters, and those are in the
table, too.

Bytes that the vocabulary lacks are dropped before anything is merged, as `tokenizers` does.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.bpe_merge_loop import BPEMergeLoop
from albert_gpt_tf.text.byte_pair_vocabulary import BytePairVocabulary, byte_alphabet
from albert_gpt_tf.text.gpt2_split import ROW_END, SPECIAL, GPT2Splitter
from albert_gpt_tf.text.sentencepiece_op import SentencepieceTokenizer

# Characters of two and three bytes, each of which may be a piece.
_CHARACTERS = [chr(code_point).encode() for code_point in range(0x80, 0x10000) if not 0xD800 <= code_point < 0xE000]


class ByteLevelBPE(tf.Module):
    """Encodes and decodes with a byte-level BPE vocabulary.

    Args:
        vocabulary: BytePairVocabulary.
        special_tokens: list of str, the tokens of the vocabulary that are recognised in text. Defaults to none.

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
        >>> vocabulary = BytePairVocabulary.from_tables(*train_byte_level_bpe(["to be or not to be"] * 9, 270))
        >>> bpe = ByteLevelBPE(vocabulary)
        >>> bpe.decode(bpe.encode(tf.constant(["To be!"]))).numpy().tolist()
        [b'To be!']

    Reference: openai/gpt-2, `encoder.py`; Neural Machine Translation of Rare Words with Subword Units
    (https://arxiv.org/abs/1508.07909).
    """

    def __init__(self, vocabulary: BytePairVocabulary, special_tokens: Sequence[str] = ()) -> None:
        super().__init__()
        self._size = len(vocabulary.tokens)
        self._has_all_bytes = min(vocabulary.byte_ids) >= 0
        # Bytes that were dropped make neighbours of others.
        neighbours = _neighbours(vocabulary) if self._has_all_bytes else None
        self._splitter = GPT2Splitter(special_tokens, neighbours)
        # By their bytes: the tokens that pieces may be. A special token may be an ordinary one, too.
        pieces = {vocabulary.token_bytes[id]: id for id in vocabulary.whole_ids}
        pieces |= {token.encode(): vocabulary.ids[token] for token in special_tokens}
        with tf.init_scope(), tf.device("cpu"):
            if vocabulary.has_one_way:
                self._loop = None
                self._merger = SentencepieceTokenizer(_sentencepiece_model(vocabulary))
            else:
                self._loop = BPEMergeLoop(vocabulary)
            self._is_known_byte = tf.constant([id >= 0 for id in vocabulary.byte_ids])
            # The last entry, no bytes at all, is for ids outside the vocabulary.
            self._token_bytes = tf.constant([*vocabulary.token_bytes, b""])
            self._token_lengths = tf.strings.length(self._token_bytes)
            # Entries of the table: the tokens by id, then the characters that are several tokens.
            characters = [char for char in _CHARACTERS if char not in pieces] if self._has_all_bytes else []
            merged = self._merge(tf.constant(characters, tf.string))
            self._entry_ids = tf.concat([tf.range(self._size), merged.flat_values], 0)
            self._entry_starts = tf.concat([tf.range(self._size, dtype=tf.int64), self._size + merged.row_starts()], 0)
            self._entry_lengths = tf.concat([tf.ones([self._size], tf.int64), merged.row_lengths()], 0)
            entries = [*pieces.values(), *range(self._size, self._size + len(characters))]
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([*pieces, *characters]), tf.constant(entries, tf.int32)
                ),
                default_value=-1,
            )

    def encode(self, rows: tf.Tensor) -> tf.RaggedTensor:
        """Turns texts into ids.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            int32 ids of shape `[R, None]`.
        """
        return self._encode_pieces(self._splitter.split(rows))

    def encode_with_offsets(self, rows: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Turns texts into ids and tells which bytes of the text each stands for.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            ids, starts, ends: int32 of shape `[R, None]`: token t of a row is `row[start:end]`. Bytes that were dropped
            are in no token, or inside one whose other bytes are merged across them.
        """
        pieces, data, classes = self._splitter.split_and_classify(rows)
        ids = self._encode_pieces(pieces)
        lengths = tf.strings.length(rows)
        # The tokens of the batch cover, one after the other, all bytes but row ends (and what was dropped).
        ends = tf.cumsum(tf.gather(self._token_lengths, ids.flat_values))  # [T]
        starts = ends - tf.gather(self._token_lengths, ids.flat_values)
        if self._has_all_bytes:
            row_starts = tf.cumsum(lengths, exclusive=True)
        else:
            is_kept = tf.gather(self._is_known_byte, tf.cast(data, tf.int32)) & (classes != ROW_END)
            places = tf.cast(tf.where(is_kept | (classes == SPECIAL))[:, 0], tf.int32)
            starts, ends = tf.gather(places, starts), tf.gather(places, ends - 1) + 1
            row_starts = tf.cumsum(lengths + 1, exclusive=True)  # with the row ends
        row_starts = tf.repeat(row_starts, ids.row_lengths())
        return ids, ids.with_flat_values(starts - row_starts), ids.with_flat_values(ends - row_starts)

    def _encode_pieces(self, pieces: tf.RaggedTensor) -> tf.RaggedTensor:
        """Turns pieces, strings `[R, None]`, into ids, int32 `[R, None]`."""
        flat = pieces.flat_values  # [P]
        entry = self._table.lookup(flat)
        missed = tf.where(entry < 0)  # [M, 1], the pieces that are not in the table
        unique, index = tf.unique(tf.gather_nd(flat, missed))
        merged = self._merge(unique)  # [U, None]

        # Every piece is a range of ids, either of those in the table or of those merged, which come after.
        entry = tf.maximum(entry, 0)
        start, length = tf.gather(self._entry_starts, entry), tf.gather(self._entry_lengths, entry)
        first = tf.size(self._entry_ids, tf.int64)
        start = tf.tensor_scatter_nd_update(start, missed, first + tf.gather(merged.row_starts(), index))
        length = tf.tensor_scatter_nd_update(length, missed, tf.gather(merged.row_lengths(), index))
        ranges = tf.ragged.range(start, start + length)  # [P, None]
        place = ranges.flat_values
        in_table = tf.gather(self._entry_ids, tf.minimum(place, first - 1))
        in_merged = tf.gather(tf.pad(merged.flat_values, [[1, 0]]), tf.maximum(place - first + 1, 0))
        token_ids = tf.where(place < first, in_table, in_merged)
        row_splits = tf.gather(ranges.row_splits, pieces.row_splits)
        return tf.RaggedTensor.from_row_splits(token_ids, row_splits, validate=False)

    def _merge(self, pieces: tf.Tensor) -> tf.RaggedTensor:
        """Turns pieces, strings `[U]`, into ids by merging, int32 `[U, None]`."""
        if self._loop is not None:
            return self._loop(pieces)
        # One character a byte, which is what Latin-1 says.
        if self._has_all_bytes:
            return self._merger.tokenize(tf.strings.unicode_transcode(pieces, "ISO-8859-1", "UTF-8"))
        data = tf.cast(tf.io.decode_raw(tf.strings.reduce_join(pieces), tf.uint8), tf.int32)
        data = tf.RaggedTensor.from_row_lengths(data, tf.strings.length(pieces), validate=False)
        data = tf.ragged.boolean_mask(data, data.with_flat_values(tf.gather(self._is_known_byte, data.flat_values)))
        return self._merger.tokenize(tf.strings.unicode_encode(data, "UTF-8"))

    def decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Turns ids into the bytes they stand for.

        Args:
            ids: integers of shape `[R, None]` with int64 row splits. Ids outside the vocabulary stand for no bytes.

        Returns:
            Strings of shape `[R]`, which need not be valid UTF-8.
        """
        flat = ids.flat_values
        known = (flat >= 0) & (flat < self._size)
        flat = tf.where(known, flat, tf.cast(self._size, flat.dtype))
        joined = tf.strings.reduce_join(tf.gather(self._token_bytes, flat))
        # Where each token starts in the joined text, and the end of it all.
        offsets = tf.concat([[0], tf.cumsum(tf.gather(self._token_lengths, flat))], 0)
        borders = tf.gather(offsets, ids.row_splits)  # [R + 1]
        return (
            tf_text.ByteSplitter()
            .split_by_offsets(joined[tf.newaxis], borders[tf.newaxis, :-1], borders[tf.newaxis, 1:])
            .flat_values
        )


def _neighbours(vocabulary: BytePairVocabulary) -> np.ndarray:
    """Which pairs of bytes, at first * 256 + second, some merge makes neighbours in a token: bool `[65536]`."""
    alphabet = byte_alphabet()
    pairs = np.zeros(65536, bool)
    for left, right in vocabulary.ranks:
        pairs[alphabet[left[-1]] * 256 + alphabet[right[0]]] = True
    return pairs


def _sentencepiece_model(vocabulary: BytePairVocabulary) -> bytes:
    """A SentencePiece BPE model whose piece ids are the token ids, over text with one Latin-1 character a byte."""
    scores = {vocabulary.ids[left + right]: -1 - rank for (left, right), rank in vocabulary.ranks.items()}
    scores |= {id: 0 for id in vocabulary.byte_ids if id >= 0}
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    for id, text in enumerate(vocabulary.token_bytes):
        if id in scores:
            model.pieces.add(piece=text.decode("latin-1"), score=scores[id], type=kinds.NORMAL)
        else:  # special: keeps its id, and a name that no Latin-1 text can spell
            model.pieces.add(piece=f"\u2581special{id}", score=0, type=kinds.CONTROL)
    model.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)  # demanded, never used: all bytes are known
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = False
    return model.SerializeToString()
