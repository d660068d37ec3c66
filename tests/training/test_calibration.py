"""Temperature scaling and calibration measures, against scikit-learn, SciPy's optimizers and rows counted by hand."""

import itertools

import numpy as np
import pytest

from albert_gpt_tf.training.calibration import (
    brier_score,
    calibration_figures,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
)

optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def draw_rows(classes, temperature, rows=4000, seed=0):
    """Logits, and targets drawn by the probabilities at a temperature: what the fit has to find."""
    random = np.random.RandomState(seed)
    logits = 3 * random.standard_normal((rows, classes))
    probabilities = softmax(logits / temperature)
    targets = (probabilities.cumsum(-1) > random.uniform(size=(rows, 1))).argmax(-1)
    return logits, targets


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def loss_of(temperature, logits, targets):
    return metrics.log_loss(targets, softmax(logits / temperature), labels=range(logits.shape[1]))


# === The fit ===


@pytest.mark.parametrize(("classes", "temperature"), [(2, 0.5), (3, 1.7), (10, 4.0)])
def test_the_temperature_is_what_a_general_optimizer_finds(classes, temperature):
    logits, targets = draw_rows(classes, temperature)
    fitted = fit_temperature(logits, targets)
    found = optimize.minimize_scalar(loss_of, (0.3, 8.0), args=(logits, targets), options={"xtol": 1e-10})
    assert fitted == pytest.approx(found.x, rel=1e-6)
    assert loss_of(fitted, logits, targets) <= found.fun + 1e-12
    assert fitted == pytest.approx(temperature, rel=0.1)  # and nearly the one that the targets were drawn with


def test_of_two_classes_it_is_a_logistic_regression_without_intercept():
    linear_model = pytest.importorskip("sklearn.linear_model")
    logits, targets = draw_rows(2, 2.5)
    regression = linear_model.LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10, max_iter=1000)
    regression.fit((logits[:, 1] - logits[:, 0])[:, None], targets)
    assert fit_temperature(logits, targets) == pytest.approx(1 / regression.coef_[0, 0], rel=1e-5)


def test_logits_that_are_scaled_give_the_temperature_scaled():
    logits, targets = draw_rows(4, 1.5)
    assert fit_temperature(1000 * logits, targets) == pytest.approx(1000 * fit_temperature(logits, targets), rel=1e-9)
    assert fit_temperature(logits.astype("float32"), targets) == pytest.approx(fit_temperature(logits, targets), 1e-5)


def test_rows_without_a_best_temperature_are_refused():
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="Received: 2 rows, all right"):
        fit_temperature(logits, np.array([0, 1]))
    with pytest.raises(ValueError, match="better than chance"):
        fit_temperature(logits, np.array([1, 0]))
    with pytest.raises(ValueError, match=r"shapes \[2, 2\] and \[3\]"):
        fit_temperature(logits, np.array([1, 0, 1]))
    with pytest.raises(ValueError, match="nan or infinity"):
        fit_temperature(logits * np.nan, np.array([1, 0]))


# === Measures ===


def test_the_figures_are_those_of_scikit_learn():
    logits, targets = draw_rows(3, 2.0, rows=500)
    figures = calibration_figures(logits, targets, temperature=1.3)
    probabilities = softmax(logits / 1.3)
    assert figures["negative_log_likelihood"] == pytest.approx(metrics.log_loss(targets, probabilities), rel=1e-12)
    assert figures["accuracy"] == metrics.accuracy_score(targets, probabilities.argmax(-1))
    one_hot = np.eye(3)[targets]
    assert figures["brier_score"] == pytest.approx(3 * metrics.mean_squared_error(one_hot, probabilities), rel=1e-12)


def test_the_brier_score_of_two_classes_is_twice_that_of_scikit_learn():
    logits, targets = draw_rows(2, 2.0, rows=500)
    probabilities = softmax(logits)
    assert brier_score(probabilities, targets) == pytest.approx(
        2 * metrics.brier_score_loss(targets, probabilities[:, 1])
    )


def test_the_fit_lowers_loss_and_calibration_error_and_leaves_accuracy():
    logits, targets = draw_rows(3, 3.0)
    before = calibration_figures(logits, targets)
    after = calibration_figures(logits, targets, fit_temperature(logits, targets))
    for name in ("negative_log_likelihood", "expected_calibration_error", "brier_score"):
        assert after[name] < before[name]
    assert after["accuracy"] == before["accuracy"]
    assert before["expected_calibration_error"] > 0.1 > 0.04 > after["expected_calibration_error"]


def test_the_calibration_error_is_that_of_the_papers_loop():
    logits, targets = draw_rows(4, 2.0, rows=700)
    probabilities = softmax(logits)
    confidence, is_right = probabilities.max(-1), probabilities.argmax(-1) == targets
    edges, error = np.linspace(0, 1, 16), 0.0
    for lower, upper in itertools.pairwise(edges):
        inside = (confidence > lower) & (confidence <= upper)
        if inside.any():
            error += abs(confidence[inside].mean() - is_right[inside].mean()) * inside.mean()
    assert expected_calibration_error(probabilities, targets) == pytest.approx(error, rel=1e-12)


def test_the_curve_counts_every_row_once_and_an_edge_below():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0.2, 0.8], [1.0, 0.0]])
    curve = reliability_curve(probabilities, np.array([0, 0, 0, 0]), bins=4)
    assert [b.count for b in curve] == [0, 1, 1, 2]
    assert (curve[1].confidence, curve[1].accuracy) == (0.5, 1.0)
    assert (curve[2].lower, curve[2].upper) == (0.5, 0.75)
    assert (curve[3].confidence, curve[3].accuracy) == (pytest.approx(0.9), 0.5)
    assert np.isnan(curve[0].confidence)
