"""Where ALBERT's tokens stand in the original text, although cleaning changed its characters and its length.

A second SentencePiece model splits the same cleaned text into characters and tells the bytes each was made of
(`albert_model.character_model`). A token is so many characters: their first start and their last end are its offsets.

Shapes: B rows, C characters of all rows, T tokens of all rows.
"""

from collections.abc import Sequence

import sentencepiece
import tensorflow as tf

from albert_gpt_tf.text import albert_model
from albert_gpt_tf.text.sentencepiece_op import SentencepieceTokenizer


class AlbertOffsets(tf.Module):
    """Finds the offsets of tokens.

    Args:
        folded: bytes, the folded model.
        replacements: the ids of the vocabulary that each piece of the folded model stands for.
        pieces: the vocabulary.
        special_tokens: the special tokens that the folded model recognises.
    """

    def __init__(
        self,
        folded: bytes,
        replacements: list[list[int]],
        pieces: sentencepiece.SentencePieceProcessor,
        special_tokens: Sequence[str],
    ) -> None:
        super().__init__()
        size = pieces.get_piece_size()
        special_names = [pieces.id_to_piece(id) for id in range(size) if pieces.is_control(id) or pieces.is_unknown(id)]
        model = albert_model.character_model(folded, special_names)
        self._is_possible = model is not None
        if not self._is_possible:
            return
        lengths, has_space, fixed = [], [], []
        for id, ids in enumerate(replacements):
            if size <= id < size + len(special_tokens):  # the space symbol and the token's private character
                lengths.append([2])
                has_space.append([1])
                fixed.append([len(special_tokens[id - size].encode())])
                continue
            parts = [pieces.id_to_piece(part) for part in ids]
            is_unknown = id < size and pieces.is_unknown(id)
            lengths.append([1 if is_unknown else len(part) for part in parts])
            has_space.append([int(len(part) > 1 and part[0] == albert_model.SPACE_SYMBOL) for part in parts])
            fixed.append([0] * len(parts))
        with tf.init_scope(), tf.device("cpu"):
            self._op = SentencepieceTokenizer(model)
            self._space_id = sentencepiece.SentencePieceProcessor(model_proto=model).piece_to_id("▁")
            # By piece of the folded model and part: characters; 1 if the first is a space symbol; bytes, if known.
            self._lengths = tf.ragged.constant(lengths, tf.int32)
            self._has_space = tf.ragged.constant(has_space, tf.int32)
            self._fixed = tf.ragged.constant(fixed, tf.int32)
            self._utf8_sizes = tf.constant([1] * 0xC0 + [2] * 0x20 + [3] * 0x10 + [4] * 0x10)  # by first byte

    def find(self, rows: tf.Tensor, folded_ids: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Finds the offsets of all tokens.

        Args:
            rows: strings of shape `[B]`.
            folded_ids: int32 `[B, None]`, their pieces of the folded model.

        Returns:
            starts, ends: int32 `[B, None]` each, byte offsets by token of the vocabulary.

        Raises:
            ValueError: the vocabulary has a piece with a character that is no piece itself.
        """
        if not self._is_possible:
            raise ValueError(
                "Expected a vocabulary in which every character of a piece is a piece, too. Received: another, for "
                "which offsets are not defined. Train one with train_sentencepiece."
            )
        characters, starts, ends = self._op.tokenize_with_offsets(rows)
        starts, ends = tf.cast(starts.flat_values, tf.int32), tf.cast(ends.flat_values, tf.int32)  # [C]

        # First and last character of each token.
        parts = tf.gather(self._lengths, folded_ids)  # [B, None, None]
        tokens = parts.merge_dims(1, 2)  # [B, None]
        has_space = tf.gather(self._has_space, folded_ids).merge_dims(1, 2).flat_values
        fixed = tf.gather(self._fixed, folded_ids).merge_dims(1, 2).flat_values
        lengths = tf.cast(tokens.flat_values, tf.int64)
        # Both models see the same characters of a row, so its tokens begin and end with them.
        row_of_token = tokens.value_rowids()
        before = tf.concat([[0], tf.cumsum(lengths)], 0)
        first = before[:-1] + tf.gather(characters.row_starts() - tf.gather(before, tokens.row_starts()), row_of_token)
        final = tf.gather(characters.row_limits(), row_of_token) - 1
        first, last = tf.minimum(first, final), tf.minimum(first + lengths - 1, final)
        start = tf.gather(starts, tf.minimum(first + tf.cast(has_space, tf.int64), final))
        last_start, end = tf.gather(starts, last), tf.gather(ends, last)
        # A lone space symbol is empty and stands before what follows.
        is_blank = (lengths == 1) & (tf.gather(characters.flat_values, first) == self._space_id)
        start = tf.where(is_blank, end, start)
        # Of the characters that one character was expanded to, only the last has its bytes: the others take them, too.
        is_expanded = (end == last_start) & ~is_blank
        row_starts = tf.cumsum(tf.strings.length(rows), exclusive=True)
        place = tf.where(is_expanded, tf.gather(row_starts, row_of_token) + last_start, 0)
        data = tf.io.decode_raw(tf.strings.reduce_join(tf.concat([rows, ["\n"]], 0)), tf.uint8)
        size = tf.gather(self._utf8_sizes, tf.cast(tf.gather(data, place), tf.int32))
        end = tf.where(is_expanded, last_start + size, end)
        # What follows a special token is not in the alignment if that ends the row.
        end = tf.where(fixed > 0, start + fixed, end)
        return tokens.with_flat_values(start), tokens.with_flat_values(end)
