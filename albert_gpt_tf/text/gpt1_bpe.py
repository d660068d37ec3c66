"""BPE with `</w>` as stateless graph ops, exact.

A word that is a token as a whole is looked up in a table; the others go, once each, through SentencePiece's BPE, built
from the same vocabulary. There every base symbol is one character: "e" and "e</w>" are two different ones.

Why this equals the original loop: as in `byte_level_bpe.py`, with base symbols in the place of bytes.
`GPT1Vocabulary` has checked what the proof needs: a token is made by one merge, and the merges of lower rank turn its
symbols into the two parts of that merge. A character that is no base symbol takes part in no merge, here and there; it
gets a symbol that is known, since SentencePiece would make one token of several unknown ones.
"""

import numpy as np
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.bert_classes import CODE_POINTS, PAGE, to_pages
from albert_gpt_tf.text.bert_split import Words
from albert_gpt_tf.text.gpt1_vocabulary import END_OF_WORD, UNKNOWN, GPT1Vocabulary, symbol
from albert_gpt_tf.text.sentencepiece_op import SentencepieceTokenizer


class GPT1BPE(tf.Module):
    """Encodes words with GPT-1's vocabulary.

    Args:
        vocabulary: GPT1Vocabulary.
        special_ids: list of int, the ids of the special tokens that `BertSplitter` finds, in its order.

    Example:
        >>> bpe = GPT1BPE(GPT1Vocabulary.from_tables(vocabulary, merges), [0])  # doctest: +SKIP
        >>> bpe.encode(BertSplitter(True, ["<unk>"]).split(tf.constant(["Hello <unk>"])))  # doctest: +SKIP

    Reference: openai/finetune-transformer-lm, `text_utils.py`; Neural Machine Translation of Rare Words with Subword
    Units (https://arxiv.org/abs/1508.07909).
    """

    def __init__(self, vocabulary: GPT1Vocabulary, special_ids: list[int]) -> None:
        super().__init__()
        self._size = len(vocabulary.tokens)
        self._unknown_id = vocabulary.ids[UNKNOWN]
        unknown = len(vocabulary.symbols)
        inside = np.full(CODE_POINTS, ord(symbol(unknown)), np.int32)
        at_end = inside.copy()
        for token, number in vocabulary.symbols.items():
            # The token "<" has no suffix to remove, and "</w>" as such is no base symbol.
            table, char = (at_end, token[0]) if token.endswith(END_OF_WORD) else (inside, token)
            table[ord(char)] = ord(symbol(number))
        words = {text: id for id, text in enumerate(vocabulary.spellings) if text is not None}
        specials = [symbol(unknown + 1 + number) for number in range(len(special_ids))]
        words |= dict(zip(specials, special_ids, strict=True))
        with tf.init_scope(), tf.device("cpu"):
            self._inside, self._at_end = (tuple(map(tf.constant, to_pages(table))) for table in (inside, at_end))
            self._specials = tf.constant([ord(special) for special in specials] or [0])
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(list(words)), tf.constant(list(words.values()), tf.int32)
                ),
                default_value=-1,
            )
            self._merger = SentencepieceTokenizer(_sentencepiece_model(vocabulary, symbol(unknown)))

    def encode(self, words: Words) -> tf.RaggedTensor:
        """Turns words into ids.

        Args:
            words: Words of any batch.

        Returns:
            int32 ids of shape `[W, None]`.
        """
        strings = words.encode_utf8(self._symbols(words))  # [W]
        ids = self._table.lookup(strings)
        missed = tf.where(ids < 0)  # [M, 1], the words that are not one token
        unique, index = tf.unique(tf.gather_nd(strings, missed))
        merged = self._merger.tokenize(unique).with_row_splits_dtype(tf.int64)  # [U, None]
        pieces = merged.flat_values
        found = tf.concat([ids, tf.where(pieces < self._size, pieces, self._unknown_id)], 0)

        # Every word is a range of the ids found so far: one of `ids`, or several of those merged, which come after.
        count = tf.size(ids, tf.int64)
        start = tf.range(count)
        limit = start + 1
        start = tf.tensor_scatter_nd_update(start, missed, count + tf.gather(merged.row_starts(), index))
        limit = tf.tensor_scatter_nd_update(limit, missed, count + tf.gather(merged.row_limits(), index))
        ranges = tf.ragged.range(start, limit)  # [W, None]
        return ranges.with_flat_values(tf.gather(found, ranges.flat_values))

    def _symbols(self, words: Words) -> tf.Tensor:
        """The characters that stand for the base symbols: int32 `[C]`."""
        special = words.characters - CODE_POINTS
        codes = tf.minimum(words.characters, CODE_POINTS - 1)
        page, place = tf.bitwise.right_shift(codes, PAGE.bit_length() - 1), tf.bitwise.bitwise_and(codes, PAGE - 1)
        inside, at_end = (
            tf.gather(entries, tf.gather(starts, page) + place) for starts, entries in (self._inside, self._at_end)
        )
        is_end = tf.concat([words.is_start[1:], tf.ones_like(words.is_start[:1])], 0)
        symbols = tf.where(is_end, at_end, inside)
        return tf.where(special >= 0, tf.gather(self._specials, tf.maximum(special, 0)), symbols)


def _sentencepiece_model(vocabulary: GPT1Vocabulary, unknown: str) -> bytes:
    """A SentencePiece BPE model over symbols, whose piece ids are the token ids; higher ones are unknown."""
    model = sentencepiece_model_pb2.ModelProto()
    kinds = model.SentencePiece
    for id, (text, score) in enumerate(zip(vocabulary.spellings, vocabulary.scores, strict=True)):
        if text is None:  # special: keeps its id, and a name that no symbols can spell
            model.pieces.add(piece=f"special{id}", score=0, type=kinds.CONTROL)
        else:
            model.pieces.add(piece=text, score=score, type=kinds.NORMAL)
    model.pieces.add(piece=unknown, score=0, type=kinds.NORMAL)
    model.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)  # demanded, never used: all symbols are known
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = False
    return model.SerializeToString()
