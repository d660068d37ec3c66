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
"""

import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.byte_pair_vocabulary import BytePairVocabulary
from albert_gpt_tf.text.gpt2_split import GPT2Splitter


class ByteLevelBPE(tf.Module):
    """Encodes and decodes with a byte-level BPE vocabulary.

    Args:
        vocabulary: BytePairVocabulary.

    Example:
        >>> bpe = ByteLevelBPE(BytePairVocabulary.from_files("vocab.json", "merges.txt"))  # doctest: +SKIP
        >>> bpe.decode(bpe.encode(tf.constant(["Hello world"])))  # doctest: +SKIP

    Reference: openai/gpt-2, `encoder.py`; Neural Machine Translation of Rare Words with Subword Units
    (https://arxiv.org/abs/1508.07909).
    """

    def __init__(self, vocabulary: BytePairVocabulary) -> None:
        super().__init__()
        self._size = len(vocabulary.tokens)
        ordinary = [id for id, score in enumerate(vocabulary.scores) if score is not None]
        self._splitter = GPT2Splitter()
        with tf.init_scope(), tf.device("cpu"):
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([vocabulary.token_bytes[id] for id in ordinary]), tf.constant(ordinary, tf.int32)
                ),
                default_value=-1,
            )
            self._merger = tf_text.SentencepieceTokenizer(_sentencepiece_model(vocabulary))
            # The last entry, no bytes at all, is for ids outside the vocabulary.
            self._token_bytes = tf.constant([*vocabulary.token_bytes, b""])
            self._token_lengths = tf.strings.length(self._token_bytes)

    def encode(self, rows: tf.Tensor) -> tf.RaggedTensor:
        """Turns texts into ids.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            int32 ids of shape `[R, None]`.
        """
        pieces = self._splitter.split(rows)
        flat = pieces.flat_values  # [P]
        ids = self._table.lookup(flat)
        missed = tf.where(ids < 0)  # [M, 1], the pieces that are not one token
        unique, index = tf.unique(tf.gather_nd(flat, missed))
        # One character a byte, which is what Latin-1 says.
        merged = self._merger.tokenize(tf.strings.unicode_transcode(unique, "ISO-8859-1", "UTF-8"))  # [U, None]

        # Every piece is a range of the ids found so far: one of `ids`, or several of those merged, which come after.
        count = tf.size(ids, tf.int64)
        start = tf.range(count)
        limit = start + 1
        start = tf.tensor_scatter_nd_update(start, missed, count + tf.gather(merged.row_starts(), index))
        limit = tf.tensor_scatter_nd_update(limit, missed, count + tf.gather(merged.row_limits(), index))
        ranges = tf.ragged.range(start, limit)  # [P, None]
        token_ids = tf.gather(tf.concat([ids, merged.flat_values], 0), ranges.flat_values)
        row_splits = tf.gather(ranges.row_splits, pieces.row_splits)
        return tf.RaggedTensor.from_row_splits(token_ids, row_splits, validate=False)

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


def _sentencepiece_model(vocabulary: BytePairVocabulary) -> bytes:
    """A SentencePiece BPE model whose piece ids are the token ids, over text with one Latin-1 character a byte."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    for id, (text, score) in enumerate(zip(vocabulary.token_bytes, vocabulary.scores, strict=True)):
        if score is None:  # special: keeps its id, and a name that no Latin-1 text can spell
            model.pieces.add(piece=f"\u2581special{id}", score=0, type=kinds.CONTROL)
        else:
            model.pieces.add(piece=text.decode("latin-1"), score=score, type=kinds.NORMAL)
    model.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)  # demanded, never used: all bytes are known
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = False
    return model.SerializeToString()
