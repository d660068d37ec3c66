"""Pairs of segments, held against a loop over one document at a time, and against their probabilities."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.sentence_pairs import sentence_pairs
from albert_gpt_tf.data.whole_words import PieceTables

PAD, CLS, SEP, MASK, UNK = 0, 2, 3, 4, 1
# Every token of a test is another id, so that a row says where it is from. A third of them go on with a word.
SIZE = 2**20
TABLES = PieceTables(
    begins_word=tf.range(SIZE) % 3 > 0,
    is_special=tf.range(SIZE) < 5,
    ordinary_ids=tf.range(5, SIZE),
    pad_id=PAD,
    cls_id=CLS,
    sep_id=SEP,
    mask_id=MASK,
)


def random_documents(count, seed=0, most_sentences=12, longest=30):
    """Documents of sentences of ids that increase from one to the next."""
    rng = np.random.default_rng(seed)
    next_id = 5
    documents = []
    for _ in range(count):
        document = []
        for length in rng.integers(1, longest + 1, rng.integers(1, most_sentences + 1)).tolist():
            document.append(list(range(next_id, next_id + length)))
            next_id += length
        documents.append(document)
    assert next_id < SIZE
    return documents


def pairs_of(documents, length, lines=1000, seed=0, short=0.0, as_released=False):
    """All pairs as arrays: rows, place of the second segment, length, label."""
    rows = [sentence for document in documents for sentence in [*document, []]]
    ids = tf.ragged.constant(rows, tf.int32, row_splits_dtype=tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices((ids, ids.row_lengths() == 0)).batch(lines)
    pairs = sentence_pairs(dataset, TABLES, length, tf.constant([seed, 0], tf.int64), short, as_released)
    assert pairs.element_spec.token_ids.shape.as_list() == [None, length]
    return [np.concatenate(parts) for parts in zip(*pairs.as_numpy_iterator(), strict=True)]


def segments_of(rows, second_begins, lengths):
    for row, begin, length in zip(rows.tolist(), second_begins.tolist(), lengths.tolist(), strict=True):
        assert row[0] == CLS and row[begin - 1] == row[length - 1] == SEP and set(row[length:]) <= {PAD}
        assert (np.array(row[:length]) >= 5).sum() == length - 3
        yield row[1 : begin - 1], row[begin : length - 1]


def in_order(pairs):
    """(first, second) as in the text, and the label, of each pair."""
    rows, second_begins, lengths, order = pairs
    segments = segments_of(rows, second_begins, lengths)
    return [(b, a) if label else (a, b) for (a, b), label in zip(segments, order, strict=True)]


def chunks_of(document, target):
    chunk, size = [], 0
    for number, sentence in enumerate(document):
        chunk.append(sentence)
        size += len(sentence)
        if size >= target or number == len(document) - 1:
            yield chunk
            chunk, size = [], 0


def begins_word(id):
    return id % 3 > 0


@pytest.mark.parametrize("lines", [1, 7, 100, 10_000])
def test_pairs_are_the_chunks_of_each_document_parted_between_sentences(lines):
    documents = random_documents(120)
    length = 100  # rows have room for what is too long by one sentence, so that nothing is cut
    chunks = [chunk for document in documents for chunk in chunks_of(document, length - 3)]
    fits = [sum(map(len, chunk)) <= length - 3 for chunk in chunks]
    found = in_order(pairs_of(documents, length, lines))
    singles = 0
    found = iter(found)
    for chunk, fit in zip(chunks, fits, strict=True):
        if len(chunk) == 1 and not any(map(begins_word, chunk[0][1:])):
            continue
        first, second = next(found)
        if not fit:
            continue
        assert first + second == [id for sentence in chunk for id in sentence]
        if len(chunk) > 1:
            assert second[0] in [sentence[0] for sentence in chunk[1:]]
        else:
            singles += 1
            assert begins_word(second[0])
    assert next(found, None) is None
    assert singles > 3 and sum(fits) > 50


@pytest.mark.parametrize("length", [5, 16, 41])
def test_the_longer_segment_loses_tokens_at_both_ends_until_the_pair_fits(length):
    rng = np.random.default_rng(1)
    ids = iter(range(5, SIZE))
    documents = [[[next(ids) for _ in range(size)] for size in rng.integers(1, 60, 2).tolist()] for _ in range(3000)]
    # The first sentence is shorter than the target, so that every document is one pair.
    documents = [document for document in documents if len(document[0]) < length - 3]
    rows, second_begins, lengths, order = pairs_of(documents, length)
    assert len(rows) == len(documents)
    from_front = surplus = 0
    segments = segments_of(rows, second_begins, lengths)
    for document, (first, second), label in zip(documents, segments, order, strict=True):
        sources = document[::-1] if label else document
        sizes = [len(source) for source in sources]
        while sum(sizes) > length - 3:
            sizes[0 if sizes[0] > sizes[1] else 1] -= 1
        assert [len(first), len(second)] == sizes
        for source, segment in zip(sources, (first, second), strict=True):
            begin = source.index(segment[0])
            assert source[begin : begin + len(segment)] == segment
            from_front += begin
            surplus += len(source) - len(segment)
    assert abs(from_front - surplus / 2) < 5 * np.sqrt(surplus / 4)


def test_half_of_the_pairs_are_swapped_and_every_border_is_as_likely():
    documents = [[[5 + 4 * number + place] for place in range(4)] for number in range(10_000)]
    pairs = pairs_of(documents, 16)
    assert len(pairs[3]) == 10_000
    assert abs(pairs[3].sum() - 5000) < 5 * 50
    sizes = np.bincount([len(first) for first, _ in in_order(pairs)], minlength=4)
    assert sizes[0] == 0 and np.abs(sizes[1:] - 10_000 / 3).max() < 5 * np.sqrt(10_000 * 2 / 9)


def test_a_single_sentence_is_parted_before_any_of_its_words_and_one_of_one_word_gives_nothing():
    # Ids 7, 8 | 10, 11 | ...: three words, two of them not the first.
    documents = [[[7, 9, 10, 12, 13]] for _ in range(5000)] + [[[7, 9]], [[7]]]
    firsts = [len(first) for first, _ in in_order(pairs_of(documents, 16))]
    assert len(firsts) == 5000 and set(firsts) == {2, 4}
    assert abs(firsts.count(2) - 2500) < 5 * np.sqrt(1250)


def test_one_document_in_ten_has_a_shorter_target():
    documents = [[[5 + 50 * number + place] for place in range(50)] for number in range(10_000)]
    rows, _, lengths, _ = pairs_of(documents, 53, short=0.1)
    whole = (lengths == 53).sum()
    # The longest target can be drawn for the others, too.
    share = 0.9 + 0.1 / 49
    assert abs(whole - 10_000 * share) < 5 * np.sqrt(10_000 * share * (1 - share))
    owner = (rows[:, 1] - 5) // 50
    targets = [lengths[owner == number].max() - 3 for number in np.unique(owner[lengths < 53])]
    assert set(targets) <= set(range(2, 51)) and len(set(targets)) > 45
    # Within a document all pairs but the last have the same length.
    for number in np.unique(owner)[:500]:
        assert len(set(lengths[owner == number][:-1])) <= 1


def test_as_released_a_single_sentence_gets_text_of_another_document():
    documents = random_documents(300, most_sentences=3)
    owner = {id: number for number, document in enumerate(documents) for sentence in document for id in sentence}
    starts = {sentence[0] for document in documents for sentence in document}
    pairs = pairs_of(documents, 40, as_released=True)
    chunks = [(number, chunk) for number, document in enumerate(documents) for chunk in chunks_of(document, 37)]
    assert len(pairs[0]) == len(chunks)
    singles = []
    segments = segments_of(*pairs[:3])
    for (number, chunk), (first, second), label in zip(chunks, segments, pairs[3], strict=True):
        if len(chunk) > 1:
            assert {owner[id] for id in first + second} == {number}
            continue
        others = {owner[id] for id in second}
        assert label == 1 and others != {number} and len(others) == 1
        assert {owner[id] for id in first} == {number}
        if len(first) + len(second) < 37:  # nothing was cut: a whole number of sentences, up to the document's end
            assert second[0] in starts
            assert second[-1] == documents[others.pop()][-1][-1]
        singles.append(number)
    assert len(singles) > 50


def test_as_released_a_single_document_has_to_do_for_itself():
    rows, *_, order = pairs_of([[[7, 8, 9]]], 16, as_released=True)
    assert rows[0, :9].tolist() == [CLS, 7, 8, 9, SEP, 7, 8, 9, SEP] and order.tolist() == [1]


@pytest.mark.parametrize("as_released", [False, True])
def test_blank_lines_alone_and_lines_without_tokens_are_legal(as_released):
    assert len(pairs_of([[], [], []], 16, as_released=as_released)[0]) == 0
    rows = pairs_of([[], [[7], [8]], [], [], [[10], [11]], []], 16, lines=1, as_released=as_released)[0]
    assert len(rows) == 2
    ids = tf.ragged.constant([[], [7], [], [8], []], tf.int32, row_splits_dtype=tf.int64)
    lines = tf.data.Dataset.from_tensors((ids, tf.constant([False, False, False, False, True])))
    pairs = next(iter(sentence_pairs(lines, TABLES, 8, tf.constant([0, 0], tf.int64), 0.0, as_released)))
    assert sorted(pairs.token_ids.numpy()[0].tolist()) == [PAD, PAD, PAD, CLS, SEP, SEP, 7, 8]


def test_the_seed_decides():
    documents = random_documents(50)
    first, again, other = (pairs_of(documents, 64, seed=seed, short=0.1) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len(first[0]) != len(other[0]) or (first[0] != other[0]).any()
