"""Windows for a causal language model: nothing twice, nothing lost, the same order on every run."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data import language_model
from albert_gpt_tf.data.language_model import (
    causal_windows,
    count_bytes,
    evaluation_windows,
    pack_documents,
    token_stream,
)

DOCUMENTS = [f"document {i} " + "x" * (i % 7) for i in range(60)]


class ByteTokenizer:
    """Bytes as tokens, with the end of text at 256."""

    end_of_text_id = 256

    def vocabulary_size(self):
        return 257

    def tokenize(self, text):
        return tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int32)


@pytest.fixture
def tokenizer():
    return ByteTokenizer()


def batches(dataset, count=None):
    return [tuple(part.numpy() for part in batch) for batch in dataset.take(-1 if count is None else count)]


def test_stream_has_an_end_of_text_before_the_first_and_after_every_document(tokenizer, monkeypatch):
    expected = [256, 97, 98, 256, 99, 256]
    assert token_stream(["ab", "", "c"], tokenizer).tolist() == expected
    assert token_stream(["ab", "", "c"], tokenizer).dtype == np.int32
    monkeypatch.setattr(language_model, "_CHARACTERS_PER_CHUNK", 1)
    assert token_stream(["ab", "", "c"], tokenizer).tolist() == expected
    assert token_stream([], tokenizer).tolist() == [256]


def test_windows_in_order_are_the_stream_and_targets_are_shifted_by_one(tokenizer):
    stream = token_stream(DOCUMENTS, tokenizer)
    dataset = causal_windows(DOCUMENTS, tokenizer, sequence_length=8, batch_size=4)
    rows = batches(dataset)
    length = (len(stream) - 1) // 32 * 32
    assert np.concatenate([x.ravel() for x, _ in rows]).tolist() == stream[:length].tolist()
    assert np.concatenate([y.ravel() for _, y in rows]).tolist() == stream[1 : length + 1].tolist()


@pytest.mark.parametrize("first_batch", [0, 1, 21, 22, 23, 50])
def test_first_batch_leaves_out_what_skip_would(tokenizer, first_batch):
    """22 batches are an epoch here."""
    arguments = {"shuffle_seed": 1, "repeat": True}
    whole = causal_windows(["abcdefgh" * 33], tokenizer, 4, 3, **arguments)
    rest = causal_windows(["abcdefgh" * 33], tokenizer, 4, 3, first_batch=first_batch, **arguments)
    for one, other in zip(batches(whole.skip(first_batch), 30), batches(rest, 30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_end_of_text_of_ones_own(tokenizer):
    assert token_stream(["ab"], tokenizer, end_id=7).tolist() == [7, 97, 98, 7]
    [(ids, _, weights)] = batches(evaluation_windows(["ab"], tokenizer, 4, 1, end_id=7))
    assert ids.tolist() == [[7, 97, 98, 7]] and weights.tolist() == [[1, 1, 1, 0]]
    assert batches(causal_windows(["abcd"], tokenizer, 4, 1, end_id=7))[0][0].tolist() == [[7, 97, 98, 99]]


def test_a_vocabulary_without_an_end_of_text_is_told(tokenizer, monkeypatch):
    monkeypatch.setattr(ByteTokenizer, "end_of_text_id", None)
    with pytest.raises(ValueError, match=r"Expected an end of text .* a ByteTokenizer without one. Give end_id"):
        token_stream(["ab"], tokenizer)


def test_batches_have_static_shape_type_and_a_known_number(tokenizer):
    dataset = causal_windows(DOCUMENTS, tokenizer, sequence_length=8, batch_size=4)
    assert dataset.element_spec == (tf.TensorSpec((4, 8), tf.int32), tf.TensorSpec((4, 8), tf.int32))
    assert int(dataset.cardinality()) == len(batches(dataset))
    repeated = causal_windows(DOCUMENTS, tokenizer, sequence_length=8, batch_size=4, repeat=True)
    assert int(repeated.cardinality()) == tf.data.INFINITE_CARDINALITY


def test_shuffled_epochs_hold_each_window_once_in_an_order_of_seed_and_epoch(tokenizer):
    def epochs(seed):
        dataset = causal_windows(["abcdefgh" * 33], tokenizer, 4, 3, shuffle_seed=seed, repeat=True)
        rows = np.concatenate([x for x, _ in batches(dataset, 2 * 22)])
        return rows[:66].tolist(), rows[66:].tolist()

    first, second = epochs(seed=1)
    in_order = np.concatenate([x for x, _ in batches(causal_windows(["abcdefgh" * 33], tokenizer, 4, 3))]).tolist()
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert first != second and first != in_order
    assert epochs(seed=1) == (first, second)
    assert epochs(seed=2)[0] != first


def test_skipped_batches_resume_the_order(tokenizer):
    dataset = causal_windows(DOCUMENTS, tokenizer, 8, 4, shuffle_seed=0, repeat=True)
    for (x, _), (resumed, _) in zip(batches(dataset, 60)[37:], batches(dataset.skip(37), 23), strict=True):
        assert np.array_equal(x, resumed)


def test_too_little_text_is_an_error_before_training(tokenizer):
    with pytest.raises(ValueError, match=r"at least batch_size \* sequence_length \+ 1 = 33 tokens, received 4"):
        causal_windows(["ab"], tokenizer, sequence_length=8, batch_size=4)
    with pytest.raises(ValueError, match="Expected text"):
        evaluation_windows([""], tokenizer, sequence_length=8, batch_size=4)


@pytest.mark.parametrize("documents", [["a"], ["abc" * 5, "d"], ["x" * 31], DOCUMENTS])
def test_evaluation_predicts_every_token_once_from_the_one_before_it(tokenizer, documents):
    dataset = evaluation_windows(documents, tokenizer, sequence_length=8, batch_size=4)
    x, y, weights = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*batches(dataset), strict=True))
    stream = token_stream(documents, tokenizer)
    assert x[weights == 1].tolist() == stream[:-1].tolist()
    assert y[weights == 1].tolist() == stream[1:].tolist()
    assert set(weights) <= {0.0, 1.0}
    assert dataset.element_spec[0].shape == (4, 8) and dataset.element_spec[2] == tf.TensorSpec((4, 8), tf.float32)


def test_bytes_are_counted_in_utf8():
    assert count_bytes(["naïve", "", "😀"]) == 6 + 0 + 4


def id_vectors(documents):
    rows = [list(document.encode()) for document in documents]
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=tf.TensorSpec([None], tf.int64))


def random_documents(count, longest):
    sizes = np.random.default_rng(0).integers(0, longest, count)
    return ["".join(chr(97 + (size + place) % 26) for place in range(size)) for size in sizes.tolist()]


@pytest.mark.parametrize(("count", "longest"), [(300, 5), (150, 90), (3, 1000)])
@pytest.mark.parametrize("sequence_length", [1, 7, 64])
def test_packed_documents_are_the_stream_in_order_less_a_tail_under_one_window(
    tokenizer, count, longest, sequence_length
):
    documents = random_documents(count, longest)
    stream = token_stream(documents, tokenizer)
    ragged_batches = tf.data.Dataset.from_tensor_slices(documents).batch(9).map(tokenizer.tokenize)
    for dataset in (id_vectors(documents), ragged_batches):
        packed = pack_documents(dataset, sequence_length, end_id=256)
        assert packed.element_spec == tf.TensorSpec((sequence_length + 1,), tf.int32)
        windows = np.stack(list(packed.as_numpy_iterator()))
        assert len(windows) == (len(stream) - 1) // sequence_length
        assert windows[:, :-1].ravel().tolist() == stream[: windows[:, 1:].size].tolist()
        assert windows[:, 1:].ravel().tolist() == stream[1 : windows[:, 1:].size + 1].tolist()


def test_packed_documents_in_batches_are_the_causal_windows(tokenizer):
    packed = pack_documents(id_vectors(DOCUMENTS), 8, 256).batch(4, drop_remainder=True)
    packed = packed.map(lambda rows: (rows[:, :-1], rows[:, 1:]))
    expected = causal_windows(DOCUMENTS, tokenizer, sequence_length=8, batch_size=4)
    assert packed.element_spec == expected.element_spec
    for (x, y), (expected_x, expected_y) in zip(batches(packed), batches(expected), strict=True):
        assert np.array_equal(x, expected_x) and np.array_equal(y, expected_y)


def test_packing_carries_the_rest_of_an_epoch_into_the_next(tokenizer):
    packed = pack_documents(id_vectors(DOCUMENTS).repeat(3), 8, 256)
    stream = token_stream(DOCUMENTS * 3, tokenizer)
    assert len(list(packed)) == (len(stream) - 1) // 8
    assert np.concatenate([window[:-1] for window in packed.as_numpy_iterator()]).tolist() == (
        stream[: (len(stream) - 1) // 8 * 8].tolist()
    )


def test_packing_holds_a_chunk_of_documents_and_goes_on_from_a_checkpoint(tmp_path):
    read = []

    def documents():
        for number in range(2000):
            read.append(number)
            yield [number] * 5

    dataset = tf.data.Dataset.from_generator(documents, output_signature=tf.TensorSpec([None], tf.int32))
    iterator = iter(pack_documents(dataset, 12, end_id=-1))
    next(iterator)
    assert len(read) <= 2 * language_model._DOCUMENTS_PER_CHUNK

    packed = pack_documents(tf.data.Dataset.range(400).map(lambda number: tf.fill([5], number)), 12, end_id=-1)
    iterator = iter(packed)
    for _ in range(50):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    resumed = iter(packed)
    tf.train.Checkpoint(iterator=resumed).restore(path)
    assert [window.numpy().tolist() for window in resumed] == [window.numpy().tolist() for window in iterator]


def test_what_is_not_tokenized_documents_is_refused():
    texts = tf.data.Dataset.from_tensor_slices(["a"])
    with pytest.raises(ValueError, match="integer ids of documents"):
        pack_documents(texts, 8, 256)
    with pytest.raises(ValueError, match="ragged batches of them"):
        pack_documents(tf.data.Dataset.from_tensor_slices([[[1, 2]]]), 8, 256)
    with pytest.raises(ValueError, match="ragged batches of them"):
        pack_documents(tf.data.Dataset.from_tensor_slices([1, 2]), 8, 256)
    with pytest.raises(ValueError, match="positive sequence_length"):
        pack_documents(id_vectors(["a"]), 0, 256)
