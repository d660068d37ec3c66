"""AlbertTokenClassifier: logits, targets without a label, training on text."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier


@pytest.fixture(scope="module")
def make(make_albert):
    return lambda **changes: make_albert(
        AlbertTokenClassifier, **{"labels": ["O", "B", "I"], "dropout": 0.0, **changes}
    )


@pytest.fixture(scope="module")
def targets(make, texts):
    """Labels of six texts: the id modulo 3, and -100 at the first position, the last one and padding."""
    ids = {name: value.numpy() for name, value in make().preprocessor(texts[:6]).items()}
    inside = ids["padding_mask"].copy()
    inside[:, 0] = False
    inside[np.arange(6), ids["padding_mask"].sum(1) - 1] = False
    return np.where(inside, ids["token_ids"] % 3, -100)


def test_logits_are_a_dense_layer_on_each_position(make, texts):
    task = make()
    ids = task.preprocessor(texts[:3])
    hidden = task.backbone(ids)["sequence_output"].numpy()
    expected = hidden @ task.output_dense.kernel.numpy() + task.output_dense.bias.numpy()
    np.testing.assert_allclose(task(ids), expected, atol=1e-5)


def test_positions_without_a_label_have_no_weight(make, texts, targets, softmax):
    task = make()
    probabilities = softmax(task(task.preprocessor(texts[:6])).numpy())
    has_label = targets != -100
    losses = -np.log(np.take_along_axis(probabilities, np.where(has_label, targets, 0)[..., None], -1)[..., 0])
    row_weights = np.array([1.0, 0, 2, 1, 1, 3])
    for weights in (None, row_weights, np.repeat(row_weights[:, None], 24, 1)):  # of no one, of texts, of tokens
        counted = has_label * (1 if weights is None else row_weights[:, None])
        result = task.evaluate(texts[:6], targets, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
        assert result["loss"] == pytest.approx((losses * counted).sum() / counted.sum(), abs=1e-5)
        hits = (probabilities.argmax(-1) == targets) * counted
        assert result["accuracy"] == pytest.approx(hits.sum() / counted.sum(), abs=1e-6)


def test_text_and_ids_train_the_same(make, texts, targets, assert_same_weights, moved):
    tasks = make(), make()
    ids = {name: value.numpy() for name, value in tasks[0].preprocessor(texts[:6]).items()}
    for task, x in zip(tasks, (texts[:6], ids), strict=True):
        task.compile(keras.optimizers.SGD(0.05))
        task.fit(x, targets, shuffle=False, verbose=0)
    assert moved(tasks[0], make()) > 1e-3
    assert_same_weights(*tasks, atol=1e-6)


def test_predict_gives_probabilities_of_each_position(make, texts, softmax):
    task = make()
    probabilities = task.predict(texts[:5], verbose=0)
    np.testing.assert_allclose(probabilities, softmax(task(task.preprocessor(texts[:5])).numpy()), atol=1e-5)


def test_fewer_than_two_labels_are_refused(make):
    with pytest.raises(ValueError, match="labels must be two or more different names"):
        make(labels=["O"])


# === Answers ===


@pytest.fixture(scope="module")
def answer(make):
    """`AlbertTokenClassifier.answer` as one graph."""
    task = make()
    return tf.function(task.answer, input_signature=[tf.TensorSpec([None], tf.string)])


@pytest.fixture(scope="module")
def make_entities(make):
    return make(labels=["B-X", "I-X", "O"])


def test_spans_are_cut_from_the_text_by_their_characters(make_entities, texts):
    rows = ["Naïve 日本語 🙂 text.", *texts[:4], texts[5] * 3]
    found = make_entities.answer(rows)
    assert {name: value.dtype for name, value in found.items()} == {
        "entity": tf.string, "label": tf.string, "start": tf.int32, "end": tf.int32, "score": tf.float32,
    }  # fmt: skip
    found = {name: value.numpy() for name, value in found.items()}
    count = 0
    for row, text in enumerate(rows):
        for entity, label, start, end in zip(
            *(found[name][row] for name in ("entity", "label", "start", "end")), strict=True
        ):
            assert (start == -1) == (entity == b"") == (label == b"")
            if start >= 0:
                assert text[start:end] == entity.decode() and label == b"X"
                count += 1
    assert count > 10


def test_a_row_alone_has_the_spans_that_it_has_among_others(answer, texts, bad_texts):
    rows = [*texts[:3], *bad_texts[:-1], texts[3] * 20]
    together = {name: value.numpy() for name, value in answer(tf.constant(rows)).items()}
    for row, text in enumerate(rows):
        for name, value in answer(tf.constant([text])).items():
            count = value.shape[1]
            if name == "score":
                np.testing.assert_allclose(together[name][row, :count], value[0], atol=1e-5)
            else:
                assert together[name][row, :count].tolist() == value[0].numpy().tolist()
            assert set(together[name][row, count:].tolist()) <= {b"", -1}


def test_no_rows_and_empty_texts_have_no_spans(answer):
    for rows in ([], [""], ["", "  "]):
        for value in answer(tf.constant(rows, tf.string)).values():
            assert value.shape == (len(rows), 0)
