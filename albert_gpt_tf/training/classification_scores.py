"""How good the answers of a text classifier or of a regression are: accuracy, F1, Matthews, Pearson, Spearman."""

import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from scipy import stats
from sklearn import metrics

from albert_gpt_tf.training.batches import bytes_of, evaluation_batches, text_columns, trim_padding
from albert_gpt_tf.training.evaluation import evaluate


def classification_scores(targets: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, macro F1 and Matthews correlation, and with two labels the F1 of the second.

    Nothing is NaN: F1 is 0 for a label that is never right, and the Matthews correlation is 0 if all targets or all
    predictions are the same. Macro F1 is the mean over the labels that are among the targets or the predictions.

    Args:
        targets: list of str [rows], the right labels.
        predicted: list of str [rows].
        labels: list of str, all labels in the order of the logits. Of two the second is the positive one.

    Returns:
        Floats by name: `accuracy`, `macro_f1`, `matthews`, and `f1` if there are two labels.

    Raises:
        ValueError: no rows, lists that differ in length, or a label that is not known.

    Example:
        >>> classification_scores(["ham", "spam", "spam"], ["ham", "ham", "spam"], ["ham", "spam"])["f1"]
        0.6666666666666666

    Reference: scikit-learn, `f1_score`, `matthews_corrcoef`; Wang et al., 2018, arXiv:1804.07461 (GLUE), table 1.
    """
    _check_rows(targets, predicted)
    if unknown := sorted({*targets, *predicted} - set(labels)):
        raise ValueError(f"Expected labels among {list(labels)}. Received: {unknown} as well. Give all labels.")
    is_constant = len(set(targets)) == 1 or len(set(predicted)) == 1
    scores = {
        "accuracy": metrics.accuracy_score(targets, predicted),
        "macro_f1": metrics.f1_score(targets, predicted, average="macro", zero_division=0),
        "matthews": 0 if is_constant else metrics.matthews_corrcoef(targets, predicted),
    }
    if len(labels) == 2:
        # Of one label alone: with `pos_label`, scikit-learn refuses rows among which it is missing.
        scores["f1"] = metrics.f1_score(targets, predicted, labels=[labels[1]], average="macro", zero_division=0)
    return {name: float(score) for name, score in scores.items()}


def regression_scores(targets: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation.

    Where they are not defined, as all targets or all predictions are equal or there is one row, they are 0: nothing is
    known of the targets. They are NaN only if a number is.

    Args:
        targets: float [rows].
        predicted: float [rows].

    Returns:
        Floats by name: `pearson` and `spearman`.

    Raises:
        ValueError: no rows, or lists that differ in length.

    Example:
        >>> regression_scores([0, 1, 2], [1, 2, 9])["spearman"]
        1.0

    Reference: SciPy, `pearsonr` and `spearmanr`; Wang et al., 2018, arXiv:1804.07461 (GLUE), table 1.
    """
    _check_rows(targets, predicted)
    targets, predicted = (np.asarray(values, np.float64) for values in (targets, predicted))
    if np.isnan(targets).any() or np.isnan(predicted).any():
        return {"pearson": float("nan"), "spearman": float("nan")}
    if np.ptp(targets) == 0 or np.ptp(predicted) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(stats.pearsonr(targets, predicted).statistic),
        "spearman": float(stats.spearmanr(targets, predicted).statistic),
    }


def _check_rows(targets, predicted):
    if not len(targets) or len(targets) != len(predicted):
        raise ValueError(
            f"Expected as many predictions as targets, at least one. Received: {len(targets)} targets and "
            f"{len(predicted)} predictions. Give one prediction for each row."
        )


def predict_texts(task, texts: Sequence, batch_size: int = 32) -> np.ndarray:
    """Probabilities of the labels, or the numbers of a regression: what a confusion matrix or a calibration plot needs.

    Rows of about one length are computed together, so there is little padding. Every worker of a cluster computes all
    rows. A bar on standard error shows the progress.

    Args:
        task: an `AlbertTextClassifier` or a `GPTTextClassifier` with a preprocessor.
        texts: list of str, or of pairs of str.
        batch_size: int, rows computed at a time. Defaults to 32.

    Returns:
        float32 [rows, classes], or [rows] for a regression, in the order of the texts.

    Raises:
        ValueError: no texts.

    Example:
        >>> predict_texts(classifier, ["win a prize", "see you at six"]).argmax(-1)
        array([1, 0])
    """
    if not len(texts):
        raise ValueError("Expected at least one text. Received: none. Give texts to predict.")
    columns = text_columns(list(texts))
    order = np.argsort(np.sum([[len(text) for text in column.numpy()] for column in tf.nest.flatten(columns)], axis=0))
    in_order = tf.nest.map_structure(lambda column: tf.gather(column, order), columns)
    batches = evaluation_batches(in_order, lambda rows: trim_padding((task.preprocessor(rows),))[0], batch_size)
    batches = batches.prefetch(tf.data.AUTOTUNE)
    compute = tf.function(task.values if task.regression else task.probabilities, reduce_retracing=True)
    bar = {"console": Console(stderr=True), "transient": True, "disable": not sys.stderr.isatty()}
    answers = [compute(ids).numpy() for ids in track(batches, "Predicting", total=len(batches), **bar)]
    answers = np.concatenate(answers)
    return answers[np.argsort(order)]


def score_answers(task, targets: Sequence, answers: np.ndarray) -> dict[str, float]:
    """The scores of what `predict_texts` gave.

    Args:
        task: the task that gave the answers.
        targets: list of str [rows], label names; of float for a regression.
        answers: float [rows, classes], or [rows] for a regression.

    Returns:
        What `classification_scores` or `regression_scores` gives.

    Example:
        >>> score_answers(task, labels, predict_texts(task, texts))["accuracy"]
        0.98
    """
    if task.regression:
        return regression_scores(targets, answers)
    return classification_scores(targets, [task.labels[index] for index in answers.argmax(-1)], task.labels)


def evaluate_text_classifier(task, rows: tuple[Sequence, Sequence], batch_size: int = 32) -> dict[str, float]:
    """Loss and scores of a text classifier or of a regression.

    Args:
        task: an `AlbertTextClassifier` or a `GPTTextClassifier` with a preprocessor, compiled or loaded.
        rows: (texts, targets): a list of str or of pairs of str; label names, or floats for a regression.
        batch_size: int, rows computed at a time. Defaults to 32.

    Returns:
        Floats by name: what the task measures itself (`loss` and others), and the scores.

    Raises:
        ValueError: no rows, or a label that the task does not know.

    Example:
        >>> evaluate_text_classifier(task, (texts, labels))["accuracy"]
        0.98
    """
    texts, targets = rows
    if not task.regression and (unknown := sorted(set(targets) - set(task.labels))):
        raise ValueError(
            f"Expected the labels {task.labels} of the model. Received: {unknown} as well. Correct these rows, or take "
            "a model that knows them."
        )
    columns = text_columns(list(texts))
    batches = evaluation_batches(
        (columns, tf.constant(targets, tf.float32 if task.regression else tf.string)),
        lambda batch: task.preprocessor(batch[0], y=batch[1]),
        batch_size,
        bytes_of(columns),
    )
    scores = score_answers(task, targets, predict_texts(task, texts, batch_size))
    return {**evaluate(task, batches), **scores}
