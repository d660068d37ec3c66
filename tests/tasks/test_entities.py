"""Tokens to words to spans: units, targets of words, windows, label schemes, offsets."""

import numpy as np
import pytest
import tensorflow as tf
from seqeval.metrics.sequence_labeling import get_entities

from albert_gpt_tf.tasks.entities import (
    IGNORED,
    find_spans,
    label_scheme,
    piece_kinds,
    piece_targets,
    piece_windows,
    pieces_of_words,
    unit_starts,
)
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

SCHEMES = {
    "IOB2": ["B-PER", "B-LOC", "I-PER", "I-LOC", "O"],
    "IOB1": ["I-PER", "I-LOC", "B-PER", "O"],
    "IOBES": ["O", *[f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "creative-work")]],
}


def tokens_of_words(words, spaces=None):
    """A row in which every word is one token: text, starts and ends."""
    text, starts, ends = "", [], []
    for word, space in zip(words, spaces or [True] * len(words), strict=True):
        starts.append(len(text.encode()))
        text += word
        ends.append(len(text.encode()))
        text += " " * space
    return text.rstrip(" "), starts, ends


def spans_of(rows, labels, scores=None):
    """The spans of rows of (words, tags, spaces), every word being one unit."""
    texts, starts, ends = zip(*[tokens_of_words(words, spaces) for words, _, spaces in rows], strict=True)
    tags = [labels.index(tag) for _, tags, _ in rows for tag in tags]
    scores = np.ones(len(tags), "float32") if scores is None else np.float32(scores)
    starts, ends = (tf.ragged.constant(offsets, tf.int32, ragged_rank=1) for offsets in (starts, ends))
    is_unit = tf.ones(len(tags), tf.bool)
    tags = tf.constant(tags, tf.int32)
    found = find_spans(tf.constant(texts), starts, ends, is_unit, tags, tf.constant(scores), label_scheme(labels))
    return {name: value.numpy() for name, value in found.items()}


def listed(found, row):
    """(label, entity, start, end) of the spans of one row."""
    count = (found["start"][row] >= 0).sum()
    return [
        (
            found["label"][row, n].decode(),
            found["entity"][row, n].decode(),
            found["start"][row, n],
            found["end"][row, n],
        )
        for n in range(count)
    ]


# === Label schemes ===


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_are_those_of_seqeval_on_random_tags(scheme):
    rng = np.random.default_rng(1)
    labels = SCHEMES[scheme]
    rows = []
    for _ in range(300):
        tags = [str(tag) for tag in rng.choice(labels, rng.integers(0, 9))]
        rows.append((["né" if rng.random() < 0.5 else "🙂" for _ in tags], tags, None))
    found = spans_of(rows, labels)
    total = 0
    for index, (words, tags, _) in enumerate(rows):
        expected = []
        for kind, first, last in get_entities(tags):
            start = len(" ".join([*words[:first], ""]))
            entity = " ".join(words[first : last + 1])
            expected.append((kind, entity, start, start + len(entity)))
        assert listed(found, index) == expected
        total += len(expected)
    assert total > 500


def test_labels_without_a_scheme_make_every_word_a_span():
    found = spans_of([(["a", "fox", "fox", "runs"], ["DET", "NOUN", "NOUN", "VERB"], None)], ["DET", "NOUN", "VERB"])
    assert [span[:2] for span in listed(found, 0)] == [("DET", "a"), ("NOUN", "fox"), ("NOUN", "fox"), ("VERB", "runs")]
    found = spans_of([(["a", "fox"], ["O", "ANIMAL"], None)], ["O", "ANIMAL"])
    assert [span[:2] for span in listed(found, 0)] == [("ANIMAL", "fox")]


@pytest.mark.parametrize(
    ("labels", "tags", "spans"),
    [
        (["B-X", "I-X", "O"], ["B-X", "I-X", "I-X"], ["U.S"]),
        (["B-X", "I-X", "O"], ["B-X", "B-X", "O"], ["U", "."]),
        (["S-X", "I-X", "O"], ["S-X", "I-X", "I-X"], ["U.S"]),
        (["A", "B"], ["A", "A", "B"], ["U.", "S"]),
    ],
)
def test_units_that_touch_are_one_span_unless_a_prefix_parts_them(labels, tags, spans):
    found = spans_of([(["U", ".", "S"], tags, [False, False, False])], labels)
    assert [span[1] for span in listed(found, 0)] == spans


def test_what_continues_a_label():
    def continuing(labels):
        return {label: labels[n] if n != IGNORED else None
                for label, n in zip(labels, label_scheme(labels).continuing, strict=True)}  # fmt: skip

    assert continuing(["B-X", "I-X", "O", "B-Y"]) == {"B-X": "I-X", "I-X": "I-X", "O": "O", "B-Y": None}
    assert continuing(["S-X", "E-X", "O"]) == {"S-X": "E-X", "E-X": "E-X", "O": "O"}
    assert continuing(["NOUN", "VERB"]) == {"NOUN": "NOUN", "VERB": "VERB"}


def test_the_score_is_the_mean_of_the_words():
    rows = [(["a", "b", "c"], ["B-X", "I-X", "O"], None), (["d"], ["B-X"], None)]
    found = spans_of(rows, ["B-X", "I-X", "O"], scores=[0.5, 1.0, 0.1, 0.25])
    np.testing.assert_allclose(found["score"], [[0.75], [0.25]])


def test_shorter_rows_end_in_empty_strings_and_minus_one():
    rows = [(["a", "b"], ["X", "Y"], None), ([], [], None), (["c"], ["X"], None)]
    found = spans_of(rows, ["X", "Y"])
    assert found["entity"].tolist() == [[b"a", b"b"], [b"", b""], [b"c", b""]]
    assert found["label"].tolist() == [[b"X", b"Y"], [b"", b""], [b"X", b""]]
    assert found["end"].tolist() == [[1, 3], [-1, -1], [1, -1]]
    assert found["score"].tolist() == [[1, 1], [-1, -1], [1, -1]]
    assert {values.dtype for name, values in found.items() if name in ("start", "end")} == {np.dtype("int32")}


# === Units and words ===


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("the U.S. won", ["the", "U", ".", "S", ".", "won"]),
        ("Don't  go!", ["Don", "'", "t", "go", "!"]),
        ("(twice) 日本 x", ["(", "twice", ")", "日本", "x"]),
        ("a [MASK] b", ["a", "[MASK]", "b"]),
        ("½ \u200b ", ["½"]),
        ("", []),
    ],
)
def test_a_unit_begins_after_white_space_and_around_punctuation(albert_tokenizer, text, units):
    ids, starts, ends = albert_tokenizer.tokenize_with_offsets([text])
    is_unit = unit_starts(ids, piece_kinds(albert_tokenizer)).numpy()
    begins = np.flatnonzero(is_unit)
    pasts = [*begins[1:], len(is_unit)]
    data = text.encode()
    pieces = [data[start:end].decode() for start, end in zip(starts[0], ends[0], strict=True)]
    found = ["".join(dict.fromkeys(pieces[a:b])) for a, b in zip(begins, pasts[: len(begins)], strict=True)]
    assert found == units


def test_wordpiece_units_begin_where_no_part_goes_on():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fox", "##es", ".", "日", "本"]
    tokenizer = WordPieceTokenizer(pieces)
    ids, _, _ = tokenizer.tokenize_with_offsets(["foxes. 日本"])
    assert [tokenizer.id_to_token(int(id)) for id in ids[0]] == ["fox", "##es", ".", "日", "本"]
    assert unit_starts(ids, piece_kinds(tokenizer)).numpy().tolist() == [True, False, True, True, True]


def test_words_find_their_tokens_and_tokens_their_words():
    # Row 0: tokens "do|n|'t| fo|x", words do, n't, fox; row 1: the token "can|not" covers a word's start; row 2: no
    # token for the second word.
    starts = tf.ragged.constant([[0, 2, 3, 6, 8], [0, 6], [0]])
    ends = tf.ragged.constant([[2, 3, 5, 8, 9], [5, 7], [1]])
    word_starts = tf.ragged.constant([[0, 2, 6], [0, 3], [0, 2]])
    word_ends = tf.ragged.constant([[2, 5, 9], [3, 7], [1, 4]])
    assert pieces_of_words(starts, ends, word_starts, word_ends).numpy().tolist() == [0, 1, 3, 5, 6, 7, -1]
    is_unit = tf.constant([True, False, True, True, False, True, True, True])
    labels = tf.constant([0, 1, 2, 0, 1, 0, 2])
    targets = piece_targets(starts, ends, is_unit, word_starts, word_ends, labels, np.int32([1, 1, 2]))
    assert targets.numpy().tolist() == [0, 1, 1, 2, IGNORED, 0, 1, 0]


def test_rows_without_words_or_tokens_are_no_special_case():
    empty = tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), [0, 0, 0])
    assert pieces_of_words(empty, empty, empty, empty).shape == (0,)
    some = tf.ragged.constant([[0], []], tf.int32)
    assert pieces_of_words(empty, empty, some, some + 1).numpy().tolist() == [-1]
    targets = piece_targets(some, some + 1, tf.constant([True]), empty, empty, tf.zeros([0], tf.int32), np.int32([0]))
    assert targets.numpy().tolist() == [IGNORED]


# === Windows ===


@pytest.mark.parametrize("length", [3, 4, 7, 16, 128])
def test_windows_show_every_token_once_and_with_its_neighbours(albert_tokenizer, length):
    rng = np.random.default_rng(length)
    counts = [0, 1, length - 2, length - 1, 5 * length, 3]
    rows = [rng.integers(10, 200, count).tolist() for count in counts]
    ids = tf.ragged.constant(rows, tf.int32, ragged_rank=1)
    windows = piece_windows(ids, length, albert_tokenizer)
    token_ids, mask = windows.token_ids.numpy(), windows.padding_mask.numpy()
    places = windows.window.numpy(), windows.position.numpy()
    assert token_ids[places].tolist() == ids.flat_values.numpy().tolist()
    assert len(set(zip(*places, strict=True))) == sum(counts)
    assert (token_ids[:, 0] == albert_tokenizer.cls_id).all()
    assert (token_ids[np.arange(len(mask)), mask.sum(1) - 1] == albert_tokenizer.sep_id).all()
    assert (token_ids[~mask] == albert_tokenizer.pad_id).all()
    short = [index for index, count in enumerate(counts) if count <= length - 2]
    assert len(token_ids) - len(short) >= 2 * (len(counts) - len(short))  # one window each, or several
    # Inside of a long row a token has an eighth of the room on both sides.
    room = length - 2
    held = mask.sum(1)[places[0]] - 2
    row, token = ids.value_rowids().numpy(), np.concatenate([np.arange(count) for count in counts])
    left, right = places[1] - 1, held - places[1]
    least = (room // 4) // 2
    assert (np.minimum(least, token) <= left).all()
    assert (np.minimum(least, np.array(counts)[row] - 1 - token) <= right).all()


def test_windows_without_room_are_refused(albert_tokenizer):
    with pytest.raises(ValueError, match="Received: sequence_length=2"):
        piece_windows(tf.ragged.constant([[5]]), 2, albert_tokenizer)
