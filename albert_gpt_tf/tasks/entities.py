"""From tokens to words to spans, as TensorFlow graph operations: what token classification does around its model.

A *unit* is the smallest thing that gets a label in text whose words nobody has marked. It begins after white space, and
before and after a token of punctuation alone: "U.S. won" has the units `U` `.` `S` `.` `won`. A word of a data set is
one unit or several. Its label is that of its first token, in training and in evaluation; the later units of the word
are trained to continue it (`I-X` after `B-X`), so that spans found in raw text have the borders of the words.

Shapes: B rows, P tokens of all rows, W words of all rows, L labels. Offsets are in bytes, unless it says characters.
"""

import re
import unicodedata
from typing import NamedTuple

import numpy as np
import tensorflow as tf

IGNORED = -100  # the target of a position that has none, as in Transformers
OUTSIDE = "O"
_PREFIXED = re.compile(r"([BIES])-(.+)", re.DOTALL)
_ROW = 2**32  # more than any offset in a row


class PieceKinds(NamedTuple):
    """What follows from a token's id alone: bool [vocabulary] each."""

    begins: np.ndarray  # stands after white space
    is_punctuation: np.ndarray  # punctuation and symbols only
    is_blank: np.ndarray  # a lone space symbol, which belongs to what follows


class LabelScheme(NamedTuple):
    """What labels say about spans: arrays [L] each, and the names of the types of spans."""

    is_outside: np.ndarray  # bool: no span
    begins: np.ndarray  # bool: always a new span
    stands_alone: np.ndarray  # bool: every word is a span
    ends: np.ndarray  # bool: what follows is a new span
    types: np.ndarray  # int32: index into `names`
    continuing: np.ndarray  # int32: the label of the later units of a word with this label, or IGNORED
    names: list[str]


def piece_kinds(tokenizer) -> PieceKinds:
    """Looks at every piece of a vocabulary, of SentencePiece (`▁word`) or WordPiece (`##part`).

    Args:
        tokenizer: an `AlbertTokenizer`, or another one with `get_vocabulary()`.

    Returns:
        PieceKinds.

    Example:
        >>> piece_kinds(tokenizer).is_punctuation[tokenizer.token_to_id(".")]
        True
    """
    pieces = tokenizer.get_vocabulary()
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id}  # recognised as whole words
    is_wordpiece = any(piece.startswith("##") for piece in pieces) and "▁" not in pieces
    begins = [not piece.startswith("##") if is_wordpiece else piece[:1] == "▁" for piece in pieces]
    return PieceKinds(
        np.array([begin or id in special for id, begin in enumerate(begins)]),
        np.array([_is_punctuation(piece.removeprefix("▁").removeprefix("##")) for piece in pieces]),
        np.array([piece == "▁" for piece in pieces]),
    )


def _is_punctuation(piece):
    return bool(piece) and all(unicodedata.category(character)[0] in "PS" for character in piece)


def label_scheme(labels) -> LabelScheme:
    """Reads the scheme of labels from their names.

    If all labels but `O` have a prefix `B-`, `I-`, `E-` or `S-`, they are read as IOB1, IOB2 or IOBES: a span begins
    with `B-` or `S-`, after `O`, `E-` or `S-`, and where the type changes. Otherwise every word is a span of its own
    (parts of speech, say), but for words with the label `O`.

    Args:
        labels: list of str, length L.

    Returns:
        LabelScheme.

    Example:
        >>> label_scheme(["B-PER", "I-PER", "O"]).names
        ['O', 'PER']

    Reference:
        Ramshaw and Marcus, 1995, arXiv:cmp-lg/9505040; seqeval's default mode and conlleval read spans alike.
    """
    matches = [_PREFIXED.fullmatch(label) for label in labels]
    has_scheme = all(match or label == OUTSIDE for match, label in zip(matches, labels, strict=True))
    prefixes = [match[1] if match and has_scheme else "" for match in matches]
    types = [match[2] if match and has_scheme else label for match, label in zip(matches, labels, strict=True)]
    names = sorted(set(types))
    continuing = [
        _first_place([f"I-{type}", f"E-{type}"] if prefix else [label], labels)
        for label, prefix, type in zip(labels, prefixes, types, strict=True)
    ]
    is_outside = np.array([label == OUTSIDE for label in labels])
    return LabelScheme(
        is_outside=is_outside,
        begins=np.array([prefix in ("B", "S") for prefix in prefixes]),
        stands_alone=~is_outside & (not has_scheme),
        ends=np.array([prefix in ("E", "S") for prefix in prefixes]),
        types=np.array([names.index(type) for type in types], np.int32),
        continuing=np.array(continuing, np.int32),
        names=names,
    )


def _first_place(candidates, labels):
    """The index of the first of some labels that exists."""
    return next((labels.index(label) for label in candidates if label in labels), IGNORED)


# === Tokens and words ===


def unit_starts(ids: tf.RaggedTensor, kinds: PieceKinds) -> tf.Tensor:
    """Which tokens begin a unit.

    Args:
        ids: int32 [B, None].
        kinds: of the tokenizer that made them.

    Returns:
        bool [P].
    """
    flat, rows = ids.flat_values, ids.value_rowids()
    begins, is_punctuation, is_blank = (tf.gather(tf.constant(kind), flat) for kind in kinds)
    is_first = tf.not_equal(rows, _before(rows, -1))
    is_border = is_punctuation | _before(is_punctuation, False) | _before(is_blank, False)
    return ~is_blank & (is_first | begins | is_border)


def pieces_of_words(starts, ends, word_starts, word_ends) -> tf.Tensor:
    """The token whose label is that of a word: the first that starts in it, else the one that covers its first byte.

    A lone space symbol, which SentencePiece sets before a word that it has no piece for, does not count.

    Args:
        starts, ends: int32 ragged [B, None], offsets of the tokens.
        word_starts, word_ends: int ragged [B, None], offsets of the words, which are not empty and do not overlap.

    Returns:
        int32 [W], places in the flat values of `starts`; -1 for a word of which cleaning left nothing, such as a
        control character.

    Example:
        >>> starts, ends = tf.ragged.constant([[0, 2, 6]]), tf.ragged.constant([[2, 5, 9]])  # "th|ere| fox"
        >>> pieces_of_words(starts, ends, tf.ragged.constant([[0, 6]]), tf.ragged.constant([[5, 9]])).numpy()
        array([0, 2], dtype=int32)
    """
    piece_starts, word_begin, word_end = _keys(starts), _keys(word_starts), _keys(word_ends)
    past = _search(piece_starts, word_begin, "left")  # [W], one more than the last that starts before
    # A lone space symbol before the word says nothing about it.
    is_blank = tf.concat([tf.equal(starts.flat_values, ends.flat_values), [False]], 0)
    first = tf.minimum(past + tf.cast(tf.gather(is_blank, past), tf.int32), tf.size(piece_starts))
    is_own = tf.gather(tf.concat([piece_starts, [tf.int64.max]], 0), first) < word_end
    is_covered = tf.gather(tf.concat([[tf.constant(-1, tf.int64)], _keys(ends)], 0), past) > word_begin
    return tf.where(is_own, first, tf.where(is_covered, past - 1, -1))


def piece_targets(starts, ends, is_unit, word_starts, word_ends, word_labels, continuing) -> tf.Tensor:
    """What each token is trained to be: the first of a word its label, first ones of its other units that go on.

    Args:
        starts, ends: int32 ragged [B, None], offsets of the tokens.
        is_unit: bool [P], see `unit_starts`.
        word_starts, word_ends: int ragged [B, None], offsets of the words, which are not empty and do not overlap.
        word_labels: int32 [W].
        continuing: int32 [L], see `LabelScheme`.

    Returns:
        int32 [P], IGNORED for all other tokens.

    Example:
        >>> tokens = tf.ragged.constant([[0, 2, 6]]), tf.ragged.constant([[2, 5, 9]])  # "th|ere| fox"
        >>> words = tf.ragged.constant([[0, 6]]), tf.ragged.constant([[5, 9]])
        >>> piece_targets(*tokens, tf.constant([True, False, True]), *words, tf.constant([1, 0]), [0, 1]).numpy()
        array([   1, -100,    0], dtype=int32)
    """
    keys = _keys(starts)
    word = _search(_keys(word_starts), keys, "right")  # [P], one more than the last word that starts there or before
    is_inside = keys < tf.gather(tf.concat([[tf.constant(-1, tf.int64)], _keys(word_ends)], 0), word)
    is_inside &= ends.flat_values > starts.flat_values  # no lone space symbols
    is_first = is_inside & ~(tf.equal(word, _before(word, -1)) & _before(is_inside, False))
    label = tf.gather(tf.concat([[0], word_labels], 0), word)
    return tf.where(is_first, label, tf.where(is_inside & is_unit, tf.gather(tf.constant(continuing), label), IGNORED))


# === Windows ===


class Windows(NamedTuple):
    """Overlapping windows over rows of tokens, each token with the window that it is read from."""

    token_ids: tf.Tensor  # int32 [windows, length]: [CLS] tokens [SEP] padding
    padding_mask: tf.Tensor  # bool [windows, length]
    window: tf.Tensor  # int32 [P], which window a token is read from
    position: tf.Tensor  # int32 [P], and where in it


def piece_windows(ids: tf.RaggedTensor, length: int, tokenizer) -> Windows:
    """Packs `[CLS] tokens [SEP]`, in several windows where a row is too long for one.

    Two neighbours share a quarter of their tokens. Each of these is read from the window that shows more around it.

    Args:
        ids: int32 [B, None].
        length: int, of a window, special tokens included; at least 3.
        tokenizer: has `cls_id`, `sep_id` and `pad_id`.

    Returns:
        Windows, those of the first row, then those of the second, and so on; an empty row has one.

    Raises:
        ValueError: there is no room for a token.
    """
    if length < 3:
        raise ValueError(f"A window needs room for [CLS], a token and [SEP]. Received: sequence_length={length}")
    room = length - 2
    shared = room // 4
    step = room - shared
    lengths = tf.cast(ids.row_lengths(), tf.int32)  # [B]
    row_starts = tf.cast(ids.row_starts(), tf.int32)
    counts = 1 + tf.maximum(lengths - room + step - 1, 0) // step
    first_window = tf.cumsum(counts, exclusive=True)

    row = tf.repeat(tf.range(tf.size(counts)), counts)  # [windows]
    start = (tf.range(tf.size(row)) - tf.gather(first_window, row)) * step
    held = tf.minimum(room, tf.gather(lengths, row) - start)[:, None]
    position = tf.range(length)[None]
    flat = tf.pad(ids.flat_values, [[0, 1]])  # one more, so that there is something to gather
    place = (tf.gather(row_starts, row) + start)[:, None] + position - 1
    token_ids = tf.gather(flat, tf.clip_by_value(place, 0, tf.size(flat) - 1))
    token_ids = tf.where(position == held + 1, tokenizer.sep_id, token_ids)
    token_ids = tf.where(position == 0, tokenizer.cls_id, token_ids)
    padding_mask = position < held + 2

    row = tf.cast(ids.value_rowids(), tf.int32)  # [P]
    token = tf.range(tf.size(row)) - tf.gather(row_starts, row)
    number = tf.clip_by_value((token - shared // 2) // step, 0, tf.gather(counts, row) - 1)
    window = tf.gather(first_window, row) + number
    return Windows(tf.where(padding_mask, token_ids, tokenizer.pad_id), padding_mask, window, token - number * step + 1)


# === Spans ===


def find_spans(text, starts, ends, is_unit, labels, scores, scheme: LabelScheme) -> dict[str, tf.Tensor]:
    """Joins units to spans, by the rules of `label_scheme`.

    Units that touch are one span if the later one does not begin another by its prefix, and the types are equal: parts
    of one word, as far as raw text tells.

    Args:
        text: strings [B].
        starts, ends: int32 ragged [B, None], offsets of the tokens.
        is_unit: bool [P], see `unit_starts`.
        labels: int32 [P], of which those of first tokens of units count.
        scores: float32 [P], likewise.
        scheme: LabelScheme.

    Returns:
        A dict of tensors [B, N], N being the most spans in a row: `entity` string, the text as it stands, valid UTF-8;
        `label` string; `start` and `end` int32, in characters (all bytes but the continuation bytes of UTF-8 count);
        `score` float32, the mean over the units. The end of shorter rows is "" and -1.
    """
    unit = tf.where(is_unit)[:, 0]  # [units]
    row = tf.gather(starts.value_rowids(), unit)
    start = tf.gather(starts.flat_values, unit)
    last = tf.concat([unit[1:], [tf.size(is_unit, tf.int64)]], 0)[: tf.size(unit)] - 1
    # A lone space symbol belongs to what follows.
    last -= tf.cast(tf.equal(tf.gather(starts.flat_values, last), tf.gather(ends.flat_values, last)), tf.int64)
    end = tf.gather(ends.flat_values, tf.maximum(last, unit))
    label, score = tf.gather(labels, unit), tf.gather(scores, unit)
    outside, begins, stands_alone, ends_span, type = (tf.gather(tf.constant(table), label) for table in scheme[:5])

    # What nothing in its row comes before is as after O.
    follows_span = tf.equal(row, _before(row, -1)) & ~_before(outside, True)
    is_same_type = follows_span & tf.equal(type, _before(type, -1))
    touches = tf.equal(start, _before(end, -1))
    is_apart = (stands_alone | _before(ends_span, False)) & ~touches
    is_start = ~outside & (begins | ~is_same_type | is_apart)

    number = tf.cumsum(tf.cast(is_start, tf.int32)) - 1  # [units]
    count = tf.reduce_sum(tf.cast(is_start, tf.int32))
    is_in = ~outside
    number = tf.boolean_mask(number, is_in)
    ones = tf.ones_like(number, tf.float32)
    score = tf.math.unsorted_segment_sum(tf.boolean_mask(score, is_in), number, count)
    score /= tf.math.unsorted_segment_sum(ones, number, count)
    end = tf.math.unsorted_segment_max(tf.boolean_mask(end, is_in), number, count)
    row, start, type = (tf.boolean_mask(values, is_start) for values in (row, start, type))
    # A blank whose word was cleaned away is nothing to report.
    row, start, end, type, score = (tf.boolean_mask(values, end > start) for values in (row, start, end, type, score))

    entity, first, past = _cut(text, row, start, end)

    def dense(values, default):
        rows = tf.RaggedTensor.from_value_rowids(values, row, tf.size(text, tf.int64), validate=False)
        return rows.to_tensor(default)

    return {
        "entity": dense(entity, ""),
        "label": dense(tf.gather(tf.constant(scheme.names), type), ""),
        "start": dense(first, -1),
        "end": dense(past, -1),
        "score": dense(score, -1.0),
    }


def _cut(text, row, start, end):
    """Texts of spans that are sorted and do not overlap, and their offsets in characters.

    Each byte is touched once: `substr` would copy a whole text for each of its spans.
    """
    row_starts = tf.cumsum(tf.strings.length(text), exclusive=True)
    joined = tf.strings.reduce_join(tf.concat([text, [" "]], 0))  # one more, so that it is not empty
    start, end = (tf.gather(row_starts, row) + offset for offset in (start, end))  # in the joined text
    data = tf.io.decode_raw(joined, tf.uint8)  # [bytes]
    is_character = tf.not_equal(tf.bitwise.bitwise_and(data, 0xC0), 0x80)
    before = tf.concat([[0], tf.cumsum(tf.cast(is_character, tf.int32))], 0)
    characters = [tf.gather(before, place) - tf.gather(before, tf.gather(row_starts, row)) for place in (start, end)]

    size, one = tf.shape(data), tf.ones_like(start)
    starts_before = tf.cumsum(tf.scatter_nd(start[:, None], one, size))
    is_in = starts_before > tf.cumsum(tf.scatter_nd(end[:, None], one, size))
    letters = tf.boolean_mask(tf.strings.bytes_split(joined), is_in)
    spans = tf.strings.unsorted_segment_join(letters, tf.boolean_mask(starts_before - 1, is_in), tf.size(start))
    return tf.strings.unicode_transcode(spans, "UTF-8", "UTF-8"), *characters  # malformed bytes are replaced


# === Helpers ===


def _before(values, default):
    """The value before each one of a vector."""
    return tf.concat([tf.constant([default], values.dtype), values[:-1]], 0)


def _keys(offsets):
    """One number for row and offset, which grows along all rows: int ragged [B, None] -> int64 [n]."""
    return tf.cast(offsets.value_rowids(), tf.int64) * _ROW + tf.cast(offsets.flat_values, tf.int64)


def _search(sequence, values, side):
    """`tf.searchsorted`, which fails on empty vectors."""
    sequence, values = (tf.concat([vector, [tf.int64.max]], 0) for vector in (sequence, values))
    return tf.searchsorted(sequence, values, side)[:-1]
