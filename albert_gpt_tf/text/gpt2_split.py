"""Split text into the pieces of GPT-2's pattern, without a regular expression.

The pattern of the original (openai/gpt-2, `encoder.py`):

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

RE2, the engine behind TensorFlow's regular expressions, has neither look-ahead nor a Unicode `\\s`, and is slow. Here
the batch becomes one buffer of bytes and the borders follow from comparing the classes of neighbouring bytes. Malformed
UTF-8 is legal: such bytes end up in some piece and never affect another row.

Special tokens, if any are looked for, become row ends to the pattern: what stands on either side is split as a text of
its own. Each is a piece.

Shapes: R rows, N bytes of the whole batch (each row ends with one 0xFF), P pieces, K non-ASCII characters.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# The op itself: `ByteSplitter.split_by_offsets` adds checks that take a tenth of the time of a small batch.
from tensorflow_text.python.ops.byte_splitter import gen_byte_splitter

from albert_gpt_tf.text.special_tokens import SpecialTokenFinder
from albert_gpt_tf.text.unicode_classes import FIRST_UNCLASSED, LETTER, SPACE, code_point_classes

# Classes of bytes, beside the four of characters. What makes up words is less than SPACE, the rest is greater.
ROW_END = 4
SPECIAL = 5  # any byte of a special token
WIDE = 6  # any byte of a non-ASCII character, until its class is known

_APOSTROPHE = ord("'")
_NO_TEXT = 0xFF  # stands for row ends and special tokens; no valid UTF-8 has it


class GPT2Splitter(tf.Module):
    """Splits a batch of texts into pre-tokens, exactly as GPT-2's pattern does.

    Args:
        special_tokens: list of str, tokens that are pieces of their own wherever they stand. Defaults to none.
        neighbours: bool array `[65536]`, at first byte * 256 + second byte: which pairs of bytes must stay in one
            piece. At other pairs, pieces are also cut before a character of several bytes: a text without blanks, like
            Chinese, becomes many short pieces that recur instead of a few long ones. Defaults to None: no such cuts.

    Example:
        >>> GPT2Splitter().split(tf.constant(["It's  42!"])).to_list()
        [[b'It', b"'s", b' ', b' 42', b'!']]

    Reference: Language Models are Unsupervised Multitask Learners (GPT-2), section 2.2.
    """

    def __init__(self, special_tokens: Sequence[str] = (), neighbours: np.ndarray | None = None) -> None:
        super().__init__()
        self._finder = SpecialTokenFinder(special_tokens) if special_tokens else None
        classes = code_point_classes()
        byte_classes = np.full(256, WIDE, np.uint8)
        byte_classes[:128] = classes[:128]
        with tf.init_scope(), tf.device("cpu"):
            self._byte_classes = tf.constant(byte_classes)
            self._code_point_classes = tf.constant(classes)
            self._contraction_lengths = tf.constant(_contraction_lengths())
            self._neighbours = None if neighbours is None else tf.constant(neighbours)
            self._lead_payload, self._lead_mask, self._lead_shift, self._lead_offsets = map(tf.constant, _lead_bytes())

    def split(self, rows: tf.Tensor) -> tf.RaggedTensor:
        """Splits every row into its pieces.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            Strings of shape `[R, None]`: the pieces, which joined give the row again. An empty row has none.
        """
        return self.split_and_classify(rows)[0]

    def split_and_classify(self, rows: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Splits every row and tells what its bytes are.

        Args:
            rows: strings of shape `[R]`, any bytes.

        Returns:
            pieces: strings of shape `[R, None]`, see `split`.
            data: uint8 `[N]`, the bytes of all rows, 0xFF after each row and in place of special tokens.
            classes: uint8 `[N]`, the class of each byte.
        """
        joined = tf.strings.reduce_join(tf.concat([rows, [""]], 0), separator=b"\xff")
        data = tf.io.decode_raw(joined, tf.uint8)  # [N]
        row_ends = tf.cumsum(tf.strings.length(rows) + 1) - 1  # [R], the places of the 0xFF
        classes = tf.gather(self._byte_classes, tf.cast(data, tf.int32))
        classes = tf.tensor_scatter_nd_update(
            classes, row_ends[:, tf.newaxis], tf.fill(tf.shape(row_ends), tf.constant(ROW_END, tf.uint8))
        )
        borders = [row_ends]  # where a piece (or a row end) starts whatever stands before it
        if self._finder is not None:
            special_starts, special_ends = self._finder.find(data)
            borders.append(special_starts)
            data, classes = tf.cond(
                tf.size(special_starts) > 0,
                lambda: _cover(data, classes, special_starts, special_ends),
                lambda: (data, classes),
            )
        none = tf.zeros([0], tf.int32)
        classes, space_first, space_last, cuts = tf.cond(
            tf.reduce_max(classes) == WIDE,
            lambda: self._classify_wide(data, classes),
            lambda: (classes, none, none, none),
        )
        is_start = self._starts(data, classes, tf.concat(borders, 0), space_first, space_last)
        if self._neighbours is not None:
            is_start = tf.tensor_scatter_nd_update(is_start, cuts[:, tf.newaxis], tf.ones_like(cuts, tf.bool))

        starts = tf.cast(tf.where(is_start)[:, 0], tf.int32)  # of the pieces and of the row ends, [P + R]
        ends = tf.concat([starts[1:], tf.size(data)[tf.newaxis]], 0)
        is_piece = tf.where(tf.gather(classes, starts) != ROW_END)[:, 0]
        starts, ends = tf.gather(starts, is_piece), tf.gather(ends, is_piece)  # [P]
        one_row = tf.cast(tf.stack([0, tf.size(starts)]), tf.int64)
        pieces, _ = gen_byte_splitter.tf_text_byte_split_by_offsets(joined[tf.newaxis], starts, ends, one_row)
        row_limits = tf.searchsorted(starts, row_ends, out_type=tf.int64)
        return tf.RaggedTensor.from_row_limits(pieces, row_limits, validate=False), data, classes

    def _classify_wide(self, data: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Replaces WIDE by the classes of the characters.

        Returns:
            classes: uint8 `[N]`, all bytes of a character of the same class. A malformed character is OTHER at its lead
            byte; stray bytes are letters. No original defines them: text comes decoded there.
            space_first, space_last: int32, the places of the first and last bytes of white space characters.
            cuts: int32, the places of characters whose first byte need not be in one piece with the byte before it.
        """
        # Most non-ASCII characters are letters: let all be, and write the others only.
        classes = tf.where(classes == WIDE, tf.constant(LETTER, tf.uint8), classes)
        lead = tf.cast(tf.where((data >= 0xC0) & (data < 0xF8))[:, 0], tf.int32)  # [K]
        padded = tf.pad(data, [[0, 3]])
        lead_byte, *after = (tf.cast(tf.gather(padded, lead + i), tf.int32) for i in range(4))  # [K] each
        # The three bytes after the lead byte as one number. Those that the character has not are masked or shifted out.
        after = after[0] * 65536 + after[1] * 256 + after[2]
        mask = tf.gather(self._lead_mask, lead_byte)
        is_valid = tf.equal(tf.bitwise.bitwise_and(after, mask), tf.bitwise.bitwise_and(mask, 0x808080))
        code_point = tf.gather(self._lead_payload, lead_byte)
        for byte in range(3):  # six bits each, over the two that say "continuation"
            bits = tf.bitwise.bitwise_and(after, 0x3F0000 >> 8 * byte)
            code_point += tf.bitwise.right_shift(bits, 4 - 2 * byte)
        code_point = tf.bitwise.right_shift(code_point, tf.gather(self._lead_shift, lead_byte))
        code_point = tf.where(is_valid, tf.minimum(code_point, FIRST_UNCLASSED), FIRST_UNCLASSED)
        character_class = tf.gather(self._code_point_classes, code_point)

        exceptions = tf.where(character_class != LETTER)[:, 0]
        character_class = tf.gather(character_class, exceptions)
        # Places of the four bytes a character may have; a shorter one repeats its last place. A malformed one is its
        # lead byte only, lest a row end or a character after it be overwritten. [exceptions, 4]
        offsets = tf.gather(self._lead_offsets, tf.gather(lead_byte, exceptions))
        offsets = tf.where(tf.gather(is_valid, exceptions)[:, tf.newaxis], offsets, 0)
        places = tf.gather(lead, exceptions)[:, tf.newaxis] + offsets
        classes = tf.tensor_scatter_nd_update(
            classes, places[:, :, tf.newaxis], tf.tile(character_class[:, tf.newaxis], [1, 4])
        )
        spaces = tf.boolean_mask(places, character_class == SPACE)
        cuts = tf.zeros([0], tf.int32)
        if self._neighbours is not None:
            before = tf.cast(tf.gather(data, tf.maximum(lead - 1, 0)), tf.int32)
            cuts = tf.gather(lead, tf.where(~tf.gather(self._neighbours, before * 256 + lead_byte))[:, 0])
        return classes, spaces[:, 0], spaces[:, 3], cuts

    def _starts(
        self,
        data: tf.Tensor,
        classes: tf.Tensor,
        borders: tf.Tensor,
        space_first: tf.Tensor,
        space_last: tf.Tensor,
    ) -> tf.Tensor:
        """Whether a piece (or a row end) starts at each byte: bool `[N]`."""
        size = tf.size(data)
        padded = tf.pad(classes, [[1, 1]], constant_values=ROW_END)
        previous, following = padded[:-2], padded[2:]
        after_blank = tf.pad(data == ord(" "), [[1, 0]])[:size]
        is_start = tf.where(
            classes == SPACE,
            # `\s+(?!\S)` leaves the last space of a run to the word that follows.
            (previous != SPACE) | (following < SPACE),
            # ` ?\p{L}+`: a word takes the blank before it, but no other white space.
            (classes != previous) & ~after_blank,
        )

        # An apostrophe that starts a piece may begin a contraction: no start after it, but one at its end.
        quote = tf.cast(tf.where(is_start & (data == _APOSTROPHE))[:, 0], tf.int32)
        first = tf.cast(tf.gather(data, tf.minimum(quote + 1, size - 1)), tf.int32)
        second = tf.cast(tf.gather(data, tf.minimum(quote + 2, size - 1)), tf.int32)
        length = tf.gather(self._contraction_lengths, first * 256 + second)
        is_contraction = tf.where(length > 0)[:, 0]
        quote, length = tf.gather(quote, is_contraction), tf.gather(length, is_contraction)

        # White space of several bytes decides at its last byte (what follows it), and starts at its first.
        space_starts = tf.gather(is_start, space_first) | tf.gather(is_start, space_last)
        always = tf.concat([quote + length, borders], 0)
        never = tf.concat([quote + 1, space_last], 0)
        return tf.tensor_scatter_nd_update(
            is_start,
            tf.concat([always, never, space_first], 0)[:, tf.newaxis],
            tf.concat([tf.ones_like(always, tf.bool), tf.zeros_like(never, tf.bool), space_starts], 0),
        )


def _cover(data: tf.Tensor, classes: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Hides the bytes of special tokens, so that no neighbour sees them: data and classes, uint8 `[N]`."""
    places = tf.ragged.range(starts, ends).flat_values[:, tf.newaxis]
    length = tf.shape(places)[:1]
    return (
        tf.tensor_scatter_nd_update(data, places, tf.fill(length, tf.constant(_NO_TEXT, tf.uint8))),
        tf.tensor_scatter_nd_update(classes, places, tf.fill(length, tf.constant(SPECIAL, tf.uint8))),
    )


def _contraction_lengths() -> np.ndarray:
    """(byte after the apostrophe) * 256 + (next byte) -> bytes of the contraction with its apostrophe, or 0."""
    lengths = np.zeros((256, 256), np.int32)
    for letter in b"stmd":
        lengths[letter] = 2
    for first, second in (b"re", b"ve", b"ll"):
        lengths[first, second] = 3
    return lengths.reshape(-1)


def _lead_bytes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How to decode UTF-8 by its lead byte.

    Returns:
        payload: int32 `[256]`, the lead byte's bits of the code point of a character of four bytes.
        mask: int32 `[256]`, the two bits of each of the next three bytes that must say "continuation".
        shift: int32 `[256]`, how many bits of a code point of four bytes a shorter character has too many.
        offsets: int32 `[256, 4]`: where the four bytes are; the last one repeats in shorter characters.
    """
    payload, mask, shift = (np.zeros(256, np.int32) for _ in range(3))
    offsets = np.zeros((256, 4), np.int32)
    for first, last, length, bits in ((0xC0, 0xE0, 2, 0x1F), (0xE0, 0xF0, 3, 0x0F), (0xF0, 0xF8, 4, 0x07)):
        for lead in range(first, last):  # 110xxxxx, 1110xxxx, 11110xxx
            payload[lead] = (lead & bits) << 18
            mask[lead] = 0xC0C0C0 >> 8 * (4 - length) << 8 * (4 - length)
            shift[lead] = 6 * (4 - length)
            offsets[lead] = np.minimum(range(4), length - 1)
    return payload, mask, shift, offsets
