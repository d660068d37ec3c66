"""Scores of classifiers and regressions against their formulas, and what they say where those are not defined."""

import functools
import warnings

import keras
import numpy as np
import pytest

from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.training.classification_scores import (
    classification_scores,
    evaluate_text_classifier,
    predict_texts,
    regression_scores,
    score_answers,
)

LABELS = ["contradiction", "entailment", "neutral", "unsaid"]


# === Formulas ===


def confusion(targets, predicted, labels):
    """Counts [targets, predictions]."""
    counts = np.zeros((len(labels), len(labels)))
    for target, prediction in zip(targets, predicted, strict=True):
        counts[labels.index(target), labels.index(prediction)] += 1
    return counts


def f1_of_each(counts):
    right, predicted, targets = np.diag(counts), counts.sum(0), counts.sum(1)
    return 2 * right / np.maximum(predicted + targets, 1)


def matthews(counts):
    """Of several classes (Gorodkin, 2004): the correlation of the two indicator matrices."""
    total, right = counts.sum(), np.trace(counts)
    predicted, targets = counts.sum(0), counts.sum(1)
    covariance = right * total - predicted @ targets
    return covariance / np.sqrt((total**2 - predicted @ predicted) * (total**2 - targets @ targets))


def pearson(x, y):
    x, y = x - x.mean(), y - y.mean()
    return (x @ y) / np.sqrt((x @ x) * (y @ y))


def ranks(values):
    """From 1; equal values share the mean of their ranks."""
    below = (values[:, None] > values[None]).sum(1)
    equal = (values[:, None] == values[None]).sum(1)
    return below + (equal + 1) / 2


def agreeing(rng, labels, share, count=1000):
    """Random targets, and predictions that are right for about a share of them."""
    targets = rng.choice(labels, count)
    predicted = np.where(rng.random(count) < share, targets, rng.choice(labels, count))
    return targets.tolist(), predicted.tolist()


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("share", [0.0, 0.6, 0.95])
def test_scores_of_labels_follow_the_formulas(classes, share):
    labels = LABELS[:classes]
    targets, predicted = agreeing(np.random.default_rng(classes), labels, share)
    scores = classification_scores(targets, predicted, labels)
    counts = confusion(targets, predicted, labels)
    assert scores["accuracy"] == pytest.approx(np.trace(counts) / 1000)
    assert scores["macro_f1"] == pytest.approx(f1_of_each(counts).mean())
    assert scores["matthews"] == pytest.approx(matthews(counts), abs=1e-9)
    assert ("f1" in scores) == (classes == 2)
    if classes == 2:
        assert scores["f1"] == pytest.approx(f1_of_each(counts)[1])
        # Of two labels it is the correlation of the indices.
        indices = [np.array([labels.index(name) for name in names], float) for names in (targets, predicted)]
        assert scores["matthews"] == pytest.approx(pearson(*indices), abs=1e-9)


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_scores_of_numbers_follow_the_formulas(noise):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 26, 1000) / 5  # as STS-B, with many that are equal
    predicted = (targets + noise * rng.normal(size=1000)).round(1)
    scores = regression_scores(targets, predicted)
    assert scores["pearson"] == pytest.approx(pearson(targets, predicted), abs=1e-9)
    assert scores["spearman"] == pytest.approx(pearson(ranks(targets), ranks(predicted)), abs=1e-9)


def test_the_second_label_is_the_positive_one():
    targets, predicted = ["ham", "spam", "spam", "ham"], ["ham", "ham", "spam", "ham"]
    assert classification_scores(targets, predicted, ["ham", "spam"])["f1"] == pytest.approx(2 / 3)
    assert classification_scores(targets, predicted, ["spam", "ham"])["f1"] == pytest.approx(4 / 5)


# === Where a formula is not defined ===


@pytest.mark.parametrize("predicted", [["0"] * 6, ["1"] * 6])
@pytest.mark.parametrize("targets", [["0", "1"] * 3, ["0"] * 6])
def test_constant_labels_give_numbers_and_no_warning(targets, predicted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores(targets, predicted, ["0", "1"])
    assert np.isfinite(list(scores.values())).all()
    assert scores["matthews"] == 0
    right = sum(target == prediction == "1" for target, prediction in zip(targets, predicted, strict=True))
    assert scores["f1"] == pytest.approx(2 * right / (targets.count("1") + predicted.count("1") or 1))


def test_labels_that_are_nowhere_do_not_count_in_macro_f1():
    assert classification_scores(["entailment"], ["entailment"], LABELS)["macro_f1"] == 1


@pytest.mark.parametrize("targets, predicted", [([1, 2, 3], [2, 2, 2]), ([2, 2, 2], [1, 2, 3]), ([1], [1])])
def test_constant_numbers_have_no_correlation(targets, predicted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regression_scores(targets, predicted) == {"pearson": 0, "spearman": 0}


def test_a_prediction_that_is_not_a_number_shows():
    assert all(np.isnan(score) for score in regression_scores([1, 2, 3], [1, float("nan"), 3]).values())


def test_rows_that_do_not_fit_are_refused():
    for scores in (lambda *rows: classification_scores(*rows, ["0", "1"]), regression_scores):
        with pytest.raises(ValueError, match="Received: 2 targets and 1 predictions"):
            scores(["0", "1"], ["0"])
        with pytest.raises(ValueError, match="Received: 0 targets and 0 predictions"):
            scores([], [])
    with pytest.raises(ValueError, match=r"Expected labels among \['0', '1'\]. Received: \['2'\] as well"):
        classification_scores(["0", "1"], ["0", "2"], ["0", "1"])


# === Tasks ===

TEXTS = ["red", "green and blue and red", "", "blue " * 30, "one two", "two one two three", "é", "one"] * 3
NAMES = ["cat", "dog", "cow"]


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "albert": AlbertTokenizer(train_sentencepiece(TEXTS * 9, 40)),
        "gpt": GPT2Tokenizer(*train_byte_level_bpe(TEXTS * 9, 260)),
    }


@pytest.fixture(scope="module")
def make_task(tokenizers):
    """The function (model, changes) -> a tiny task with random weights, which no test may train."""

    @functools.cache
    def make(model, **changes):
        keras.utils.set_random_seed(1)
        shape = dict(num_layers=1, num_heads=2, hidden_dim=16, max_sequence_length=32, initializer_range=0.5)
        cls, own = GPTTextClassifier, {"auxiliary_lm_weight": 0.5}
        if model == "albert":
            cls, own, shape = AlbertTextClassifier, {}, {**shape, "intermediate_dim": 32, "embedding_dim": 8}
        tokenizer = tokenizers[model]
        backbone = cls.backbone_cls(tokenizer.vocabulary_size(), **shape)
        labels = None if changes else NAMES
        return cls(backbone, tokenizer=tokenizer, labels=labels, **own, **changes)

    return make


@pytest.mark.parametrize("model", ["albert", "gpt"])
@pytest.mark.parametrize("pairs", [False, True])
def test_predictions_are_those_of_keras_in_the_order_of_the_texts(make_task, model, pairs):
    task = make_task(model)
    texts = list(zip(TEXTS, TEXTS[::-1], strict=True)) if pairs else TEXTS
    expected = task.predict((TEXTS, TEXTS[::-1]) if pairs else TEXTS, verbose=0)
    answers = predict_texts(task, texts, batch_size=5)
    assert answers.shape == (24, 3) and np.ptp(answers, 0).max() > 0.01
    np.testing.assert_allclose(answers, expected, atol=1e-5)


@pytest.mark.parametrize("model", ["albert", "gpt"])
def test_a_regression_predicts_one_number_a_text(make_task, model):
    task = make_task(model, regression=True)
    np.testing.assert_allclose(predict_texts(task, TEXTS, 7), task.predict(TEXTS, verbose=0), atol=1e-5)


def test_no_texts_are_refused(make_task):
    with pytest.raises(ValueError, match="Expected at least one text"):
        predict_texts(make_task("albert"), [])


@pytest.mark.parametrize("model", ["albert", "gpt"])
def test_the_evaluation_of_labels_has_the_loss_and_the_scores_of_the_predictions(make_task, model):
    task, targets = make_task(model), [NAMES[i % 3] for i in range(24)]
    results = evaluate_text_classifier(task, (TEXTS, targets), batch_size=10)
    answers = task.predict(TEXTS, verbose=0)
    losses = -np.log(answers[np.arange(24), [NAMES.index(name) for name in targets]])
    assert results["label_loss" if model == "gpt" else "loss"] == pytest.approx(losses.mean(), rel=1e-4)
    counts = confusion(targets, [NAMES[index] for index in answers.argmax(-1)], NAMES)
    assert results["accuracy"] == pytest.approx(np.trace(counts) / 24)
    assert results["macro_f1"] == pytest.approx(f1_of_each(counts)[counts.sum(0) + counts.sum(1) > 0].mean())
    assert score_answers(task, targets, answers).items() <= results.items()


def test_the_evaluation_of_numbers_has_the_loss_and_the_correlations(make_task):
    task, targets = make_task("albert", regression=True), np.linspace(0, 5, 24).tolist()
    results = evaluate_text_classifier(task, (TEXTS, targets), batch_size=10)
    values = task.predict(TEXTS, verbose=0)
    assert set(results) == {"loss", "mean_absolute_error", "pearson", "spearman"}
    assert results["loss"] == pytest.approx(((values - targets) ** 2).mean(), rel=1e-5)
    assert results["pearson"] == pytest.approx(pearson(values.astype(float), np.array(targets)), abs=1e-6)


def test_a_label_that_the_model_does_not_know_is_refused(make_task):
    with pytest.raises(ValueError, match=r"Expected the labels .*'cow'\] of the model. Received: \['owl'\]"):
        evaluate_text_classifier(make_task("albert"), (["a", "b"], ["cat", "owl"]))
