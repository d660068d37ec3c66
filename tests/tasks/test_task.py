"""The train step and what `compile` refuses, on both tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf


def cross_entropy(logits, targets):
    """In float64: [..., classes], int [...] -> [...]."""
    logits = np.asarray(logits, "float64")
    logits -= logits.max(-1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -np.take_along_axis(log_probabilities, targets[..., None], -1)[..., 0]


# === compile ===


@pytest.mark.parametrize("arguments", [dict(loss="mse"), dict(metrics=["accuracy"]), dict(loss="mse", metrics=["f1"])])
def test_compile_refuses_a_loss_and_metrics(make_classifier, arguments):
    with pytest.raises(ValueError, match=r"AlbertTextClassifier brings its own loss and metrics.*Leave both out"):
        make_classifier().compile("sgd", **arguments)


def test_compile_refuses_accumulation_of_keras_and_names_micro_batches(make_causal_lm):
    with pytest.raises(ValueError, match=r"compile\(micro_batches=4\)"):
        make_causal_lm().compile(keras.optimizers.Adam(gradient_accumulation_steps=4))


# === Loss ===


def test_classifier_loss_and_accuracy_are_weighted_means(make_classifier, texts):
    classifier = make_classifier()
    classifier.compile()
    targets, weights = np.arange(10) % 3, np.array([0, 1, 2, 0, 0.5, 3, 1, 0, 1, 0.25])
    logits = classifier({k: v for k, v in classifier.preprocessor(texts[:10]).items()}).numpy()
    losses, hits = cross_entropy(logits, targets), logits.argmax(-1) == targets
    # Batches of four, of unequal weight: the epoch's mean is over all examples, not over batches.
    result = classifier.evaluate(texts[:10], targets, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx((losses * weights).sum() / weights.sum(), abs=1e-5)
    assert result["accuracy"] == pytest.approx((hits * weights).sum() / weights.sum(), abs=1e-5)
    unweighted = classifier.evaluate(texts[:10], targets, batch_size=4, verbose=0, return_dict=True)
    assert unweighted["loss"] == pytest.approx(losses.mean(), abs=1e-5)
    assert unweighted["accuracy"] == pytest.approx(hits.mean(), abs=1e-5)


def test_classifier_loss_equals_the_one_of_keras(make_classifier, texts):
    classifier = make_classifier()
    classifier.compile()
    targets, weights = np.arange(8) % 3, np.array([0.0, 1, 2, 0, 0.5, 3, 1, 1])
    logits = classifier(classifier.preprocessor(texts[:8]))
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")(targets, logits, weights)
    ours = classifier.evaluate(texts[:8], targets, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    assert ours == pytest.approx(float(theirs) / weights.sum(), abs=1e-5)


def test_causal_loss_is_a_mean_over_tokens_of_all_texts(make_causal_lm, texts):
    causal_lm = make_causal_lm()
    causal_lm.compile()
    lines = [*texts[:4], "a", "", texts[5][:10]]
    inputs, targets, weights = causal_lm.preprocessor(lines)
    logits, targets, weights = causal_lm(inputs).numpy(), targets.numpy(), weights.numpy()
    assert 0 < weights.mean() < 1
    result = causal_lm.evaluate(lines, batch_size=3, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx((cross_entropy(logits, targets) * weights).sum() / weights.sum(), abs=1e-5)
    hits = logits.argmax(-1) == targets
    assert result["accuracy"] == pytest.approx((hits * weights).sum() / weights.sum(), abs=1e-5)


def test_one_step_of_gradient_descent_equals_a_plain_one(make_classifier, texts, assert_same_weights, sgd):
    trained, plain = make_classifier(), make_classifier()
    targets, weights = np.arange(6) % 3, np.array([0, 1, 2, 0, 0.5, 3], "float32")
    trained.compile(sgd)
    trained.fit(texts[:6], targets, sample_weight=weights, verbose=0)
    with tf.GradientTape() as tape:
        logits = plain(plain.preprocessor(texts[:6]), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        loss = tf.reduce_sum(weights * losses) / weights.sum()
    variables = [variable.value for variable in plain.trainable_variables]
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.5 * tf.convert_to_tensor(gradient))
    assert_same_weights(trained, plain)


def test_a_batch_without_weight_trains_nothing_and_gives_no_nan(make_classifier, texts, assert_same_weights, sgd):
    classifier = make_classifier()
    classifier.compile(sgd)
    history = classifier.fit(texts[:6], np.arange(6) % 3, sample_weight=np.zeros(6), verbose=0).history
    assert history["loss"] == [0]
    assert_same_weights(classifier, make_classifier(), atol=0)


def test_sample_weights_of_texts_reach_the_language_model(make_causal_lm, texts, assert_same_weights):
    weighted, without = make_causal_lm(), make_causal_lm()
    for causal_lm in (weighted, without):
        causal_lm.compile(keras.optimizers.SGD(0.5))
    weighted.fit(texts[:6], sample_weight=np.array([1, 0, 1, 1, 0, 0]), shuffle=False, verbose=0)
    without.fit([texts[0], texts[2], texts[3]], shuffle=False, verbose=0)
    assert_same_weights(weighted, without)


# === Micro-batches ===


@pytest.fixture(scope="module")
def fit_in_parts():
    """The function (make a task, arguments of fit) -> {micro-batches: (trained task, losses of the epochs)}."""

    def fit(make, *arguments, **keywords):
        trained = {}
        for parts in (1, 2, 4):
            task = make()
            task.compile(keras.optimizers.SGD(0.1), micro_batches=parts)
            history = task.fit(*arguments, epochs=2, shuffle=False, verbose=0, **keywords).history
            trained[parts] = task, history["loss"]
        return trained

    return fit


def test_micro_batches_change_neither_weights_nor_loss_of_a_classifier(
    make_classifier, texts, fit_in_parts, assert_same_weights, moved
):
    # Sixteen rows in batches of seven: 7, 7 and 2, so that parts are filled up, and some of the last batch are empty.
    weights = np.array([0, 0.1, 0.2, 0.1, 1, 0, 3, 2] * 2)
    trained = fit_in_parts(make_classifier, texts[:16], np.arange(16) % 3, sample_weight=weights, batch_size=7)
    whole, losses = trained[1]
    assert moved(whole, make_classifier()) > 0.01
    for parts in (2, 4):
        assert_same_weights(whole, trained[parts][0])
        np.testing.assert_allclose(trained[parts][1], losses, atol=1e-5)


def test_micro_batches_change_neither_weights_nor_loss_of_a_language_model(
    make_causal_lm, texts, fit_in_parts, assert_same_weights, moved
):
    lines = ["", "a", texts[0], texts[1], "the", texts[2][:20], texts[3], "x"]  # few tokens and many
    trained = fit_in_parts(make_causal_lm, lines, batch_size=8)
    whole, losses = trained[1]
    assert moved(whole, make_causal_lm()) > 0.01
    for parts in (2, 4):
        assert_same_weights(whole, trained[parts][0])
        np.testing.assert_allclose(trained[parts][1], losses, atol=1e-5)


# === Data ===


def test_fit_shuffles_unless_told_not_to(make_classifier, texts):
    seen = {}
    for shuffle in (True, False):
        classifier = make_classifier()
        classifier.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        order = seen[shuffle] = []
        step = classifier.train_step
        classifier.train_step = lambda data, step=step, order=order: order.extend(data[1].numpy()) or step(data)
        keras.utils.set_random_seed(1)
        classifier.fit(texts[:20], np.array([0, 1] * 10), batch_size=5, shuffle=shuffle, verbose=0)
    assert [int(target) for target in seen[False]] == [0, 1] * 10
    assert [int(target) for target in seen[True]] != [0, 1] * 10 and sum(map(int, seen[True])) == 10
