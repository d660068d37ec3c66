"""AlbertTextClassifier: every way to give it text, bad text, labels, pairs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier, AlbertTextClassifierPreprocessor


@pytest.fixture(scope="module")
def rows(texts, labels):
    """Twelve texts, their labels as names and as indices."""
    indices = np.arange(12) % 3
    return texts[:12], [labels[i] for i in indices], indices


def fit(classifier, optimizer, *arguments, **keywords):
    classifier.compile(optimizer)
    return classifier.fit(*arguments, epochs=2, verbose=0, shuffle=False, **keywords).history


def forms(rows, preprocessor):
    """The same data in every form that `fit` takes: name -> arguments."""
    texts, names, indices = rows
    ids = {name: value.numpy() for name, value in preprocessor(texts).items()}
    return {
        "list and names": (texts, names),
        "ids": (ids, indices),
        "dataset of ids": (tf.data.Dataset.from_tensor_slices((ids, indices)).batch(4),),
        "dataset of strings": (tf.data.Dataset.from_tensor_slices((np.array(texts), indices)).batch(4),),
    }


def test_fit_gives_the_same_weights_from_every_form_of_the_data(make_classifier, rows, assert_same_weights, moved):
    trained, history = {}, {}
    for form, data in forms(rows, make_classifier().preprocessor).items():
        trained[form] = make_classifier()
        batch_size = {} if len(data) == 1 else {"batch_size": 4}
        history[form] = fit(trained[form], keras.optimizers.SGD(0.05), *data, **batch_size)
    first = next(iter(trained))
    assert moved(trained[first], make_classifier()) > 1e-3
    assert history[first]["loss"][1] < history[first]["loss"][0]
    for form in trained:
        assert_same_weights(trained[first], trained[form], atol=1e-6)
        np.testing.assert_allclose(history[form]["loss"], history[first]["loss"], atol=1e-6)


def test_evaluate_and_predict_give_the_same_from_every_form_of_the_data(classifier, rows):
    classifier.compile()
    results, predictions = [], []
    for data in forms(rows, classifier.preprocessor).values():
        results.append(classifier.evaluate(*data, verbose=0, return_dict=True))
        inputs = data[0].map(lambda x, y: x) if len(data) == 1 else data[0]
        predictions.append(classifier.predict(inputs, verbose=0))
    for result, prediction in zip(results, predictions, strict=True):
        assert result == pytest.approx(results[0], abs=1e-6)
        np.testing.assert_allclose(prediction, predictions[0], atol=1e-6)
    assert predictions[0].shape == (12, 3)
    np.testing.assert_allclose(predictions[0].sum(-1), 1, atol=1e-6)


def test_validation_data_gives_what_evaluate_gives(make_classifier, rows, sgd):
    texts, names, _ = rows
    classifier = make_classifier()
    history = fit(classifier, sgd, texts, names, validation_data=(texts[:5], names[:5]))
    result = classifier.evaluate(texts[:5], names[:5], verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(result["loss"], abs=1e-6)
    assert history["val_accuracy"][-1] == pytest.approx(result["accuracy"])


def test_training_learns_what_can_be_learned(make_classifier):
    classifier = make_classifier(dropout=0.1)
    texts, names = ["a class of objects", "returns a function", "this module"] * 8, ["class", "function", "module"] * 8
    classifier.compile(keras.optimizers.Adam(0.01))
    classifier.fit(texts, names, epochs=25, verbose=0)
    assert classifier.classify(texts[:3]) == names[:3]
    assert classifier.evaluate(texts, names, verbose=0, return_dict=True)["accuracy"] == 1


# === Labels ===


def test_an_unknown_label_is_refused_with_the_known_ones(make_classifier, rows):
    # In `tf.data` it is an InvalidArgumentError.
    texts, names, _ = rows
    classifier = make_classifier()
    classifier.compile()
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match=r"not one of the labels.*class.*function.*module"
    ):
        classifier.fit(texts, [*names[:-1], "method"], verbose=0)


def test_string_targets_without_labels_are_refused(albert_tokenizer):
    preprocessor = AlbertTextClassifierPreprocessor(albert_tokenizer)
    with pytest.raises(ValueError, match=r"give the task labels=\[...\]"):
        preprocessor(["a"], ["class"])


@pytest.mark.parametrize("labels", [["one"], ["a", "b", "a"], []])
def test_fewer_than_two_labels_or_equal_ones_are_refused(make_classifier, labels):
    with pytest.raises(ValueError, match=r"labels must be two or more different names. Received: labels="):
        make_classifier(labels=labels)


def test_a_preprocessor_and_a_tokenizer_together_are_refused(make_classifier, albert_tokenizer):
    with pytest.raises(ValueError, match="not both"):
        make_classifier(preprocessor=AlbertTextClassifierPreprocessor(albert_tokenizer))


def test_targets_are_needed_to_train(make_classifier, rows):
    classifier = make_classifier()
    classifier.compile()
    with pytest.raises(ValueError, match="needs targets"):
        classifier.fit(rows[0], verbose=0)


def test_text_without_a_preprocessor_is_refused(make_classifier, rows):
    with pytest.raises(ValueError, match=r"received text but has no preprocessor"):
        make_classifier(tokenizer=None).predict(rows[0], verbose=0)


# === Answers ===


def test_a_text_alone_gives_what_it_gives_among_others(classifier, texts):
    together = classifier.predict(texts[:9], verbose=0)
    for row in range(9):
        np.testing.assert_allclose(classifier.predict([texts[row]], verbose=0)[0], together[row], atol=1e-6)


def test_predict_classify_answer_and_a_graph_agree(classifier, rows, labels):
    texts = rows[0]
    scores = classifier.predict(texts, verbose=0)
    names = [labels[index] for index in scores.argmax(-1)]
    assert len(set(names)) > 1
    assert classifier.classify(texts) == names
    for answer in (classifier.answer, tf.function(classifier.answer)):
        result = answer(tf.constant(texts))
        assert [name.decode() for name in result["label"].numpy()] == names
        np.testing.assert_allclose(result["scores"], scores, atol=1e-6)
        np.testing.assert_allclose(result["score"], scores.max(-1), atol=1e-6)


def test_no_texts_give_no_answers(classifier):
    assert classifier.answer(tf.constant([], tf.string))["scores"].shape == (0, 3)


def test_bad_text_goes_through_and_changes_no_neighbour(classifier, bad_texts, texts):
    scores = classifier.predict([*bad_texts, texts[0].encode()], verbose=0)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(scores[-1], classifier.predict([texts[0]], verbose=0)[0], atol=1e-6)


def test_training_on_bad_text_goes_through(make_classifier, bad_texts, sgd):
    classifier = make_classifier()
    history = fit(classifier, sgd, bad_texts, np.arange(len(bad_texts)) % 3)
    assert np.isfinite(history["loss"]).all()


# === Pairs ===


@pytest.fixture(scope="module")
def pairs(texts):
    return texts[:6], texts[6:12]


def test_pairs_have_two_segments_and_differ_from_their_first_text(classifier, pairs):
    packed = classifier.preprocessor(pairs)
    assert set(np.unique(packed["segment_ids"])) == {0, 1}
    alone, paired = classifier.predict(pairs[0], verbose=0), classifier.predict(pairs, verbose=0)
    assert abs(alone - paired).max() > 1e-3


def test_pairs_give_the_same_from_every_form(classifier, pairs):
    text, text_pair = pairs
    dataset = tf.data.Dataset.from_tensor_slices({"text": text, "text_pair": text_pair}).batch(4)
    expected = classifier.predict(pairs, verbose=0)
    for form in ({"text": text, "text_pair": text_pair}, dataset, dict(classifier.preprocessor(pairs))):
        np.testing.assert_allclose(classifier.predict(form, verbose=0), expected, atol=1e-6)
    answer = classifier.answer(tf.constant(text), tf.constant(text_pair))
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)


def test_training_on_pairs_gives_the_same_from_text_and_from_ids(make_classifier, pairs, labels, assert_same_weights):
    names = [labels[i % 3] for i in range(6)]
    from_text, from_ids = make_classifier(), make_classifier()
    fit(from_text, keras.optimizers.SGD(0.05), pairs, names)
    ids, indices = from_ids.preprocessor(pairs, names)
    fit(from_ids, keras.optimizers.SGD(0.05), {k: v.numpy() for k, v in ids.items()}, indices.numpy())
    assert_same_weights(from_text, from_ids, atol=1e-6)


# === Regression ===


@pytest.fixture(scope="module")
def regressor(make_classifier):
    """One that no test may train."""
    return make_classifier(labels=None, regression=True)


def test_a_regression_gives_one_number_a_text(regressor, texts):
    ids = regressor.preprocessor(texts[:6])
    pooled = regressor.backbone(ids)["pooled_output"].numpy()
    expected = pooled @ regressor.output_dense.kernel.numpy() + regressor.output_dense.bias.numpy()
    np.testing.assert_allclose(regressor(ids), expected, atol=1e-5)  # [batch, 1]
    np.testing.assert_allclose(regressor.predict(texts[:6], verbose=0), expected[:, 0], atol=1e-5)
    answer = tf.function(regressor.answer)(tf.constant(texts[:6]))
    assert list(answer) == ["value"]
    np.testing.assert_allclose(answer["value"], expected[:, 0], atol=1e-5)


def test_the_loss_of_a_regression_is_the_squared_error_and_its_metric_the_absolute_one(regressor, pairs):
    targets, weights = np.array([0.5, -1, 2, 0, 3, 1.5]), np.array([1.0, 2, 0, 1, 0.5, 1])
    errors = regressor.predict(pairs, verbose=0) - targets
    result = regressor.evaluate(pairs, targets, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
    assert set(result) == {"loss", "mean_absolute_error"}
    assert result["loss"] == pytest.approx((errors**2 * weights).sum() / weights.sum(), rel=1e-5)
    assert result["mean_absolute_error"] == pytest.approx((abs(errors) * weights).sum() / weights.sum(), rel=1e-5)


def test_a_regression_has_no_labels(regressor):
    with pytest.raises(ValueError, match=r"Expected a classifier with labels. Received: regression=True"):
        regressor.classify(["a"])


@pytest.mark.parametrize("arguments", [dict(labels=None), dict(labels=["a", "b"], regression=True)])
def test_either_labels_or_regression_is_needed(make_classifier, arguments):
    with pytest.raises(ValueError, match=r"Expected labels=\[...\] to classify, or regression=True"):
        make_classifier(**arguments)


# === Preprocessor ===


def test_preprocessor_frames_pads_and_cuts(albert_tokenizer, texts):
    preprocessor = AlbertTextClassifierPreprocessor(albert_tokenizer, sequence_length=8)
    packed = preprocessor(["a class", texts[0] * 5])
    ids = albert_tokenizer.tokenize(["a class", texts[0] * 5]).to_list()
    short = [albert_tokenizer.cls_id, *ids[0], albert_tokenizer.sep_id]
    assert packed["token_ids"][0].numpy().tolist() == short + [albert_tokenizer.pad_id] * (8 - len(short))
    assert packed["padding_mask"][0].numpy().tolist() == [True] * len(short) + [False] * (8 - len(short))
    assert packed["token_ids"][1].numpy().tolist() == [albert_tokenizer.cls_id, *ids[1][:6], albert_tokenizer.sep_id]


def test_a_scalar_gives_the_row_of_a_batch(albert_tokenizer, texts):
    preprocessor = AlbertTextClassifierPreprocessor(albert_tokenizer, sequence_length=16)
    row, batch = preprocessor(texts[3]), preprocessor([texts[3]])
    for name in batch:
        np.testing.assert_array_equal(row[name], batch[name][0])


def test_rows_are_never_longer_than_the_context_of_the_backbone(classifier):
    assert classifier.preprocessor.sequence_length == classifier.backbone.max_sequence_length == 24


def test_another_callable_may_be_the_preprocessor(make_classifier, rows):
    inner = make_classifier().preprocessor
    ours = AlbertTextClassifierPreprocessor(inner.tokenizer, sequence_length=10, labels=inner.labels)
    classifier = make_classifier(tokenizer=None, preprocessor=ours)
    assert isinstance(classifier, AlbertTextClassifier)
    assert classifier.predict(rows[0], verbose=0).shape == (12, 3)
