"""The plots of `evaluate`: which labels are taken for which, and whether scores are chances."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import ConfusionMatrixDisplay

matplotlib.use("agg")  # files only: there may be no screen
from matplotlib import pyplot as plt


def draw_confusion(targets: Sequence[str], probabilities: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draws how many rows of each label were given each label.

    Args:
        targets: list of str [rows], the right labels.
        probabilities: float [rows, labels].
        labels: the names of the labels, in the order of the probabilities.
        path: the .png file.

    Example:
        >>> draw_confusion(["ham"], np.array([[0.9, 0.1]]), ["ham", "spam"], Path("confusion.png"))
    """
    predicted = [labels[index] for index in probabilities.argmax(-1)]
    side = 2.5 + 0.6 * len(labels)
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        targets, predicted, labels=labels, ax=axes, cmap="Blues", colorbar=False, xticks_rotation="vertical"
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("right")
    axes.set_title(f"{np.mean(np.array(targets) == np.array(predicted)):.1%} of {len(targets):,} rows right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_reliability(targets: Sequence[str], probabilities: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draws how often the chosen label is right, by the score that it got.

    Args:
        targets, probabilities, labels, path: see `draw_confusion`.

    Example:
        >>> draw_reliability(["ham"], np.array([[0.9, 0.1]]), ["ham", "spam"], Path("reliability.png"))

    Reference:
        Guo et al., 2017, arXiv:1706.04599, section 2.
    """
    score = probabilities.max(-1).clip(0, 1)
    is_right = np.array(targets) == np.array(labels)[probabilities.argmax(-1)]
    share, mean = calibration_curve(is_right, score, n_bins=10)
    figure, (curve, counts) = plt.subplots(
        2, 1, figsize=(4.5, 5.5), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    curve.plot([0, 1], [0, 1], color="grey", linestyle="--", label="a score that is the chance")
    curve.plot(mean, share, marker="o", color="tab:blue", label="this model")
    curve.set_ylabel("share that is right")
    curve.legend(loc="upper left")
    counts.hist(score, bins=np.linspace(0, 1, 11), color="tab:blue")
    counts.set_xlabel("score of the chosen label")
    counts.set_ylabel("rows")
    figure.savefig(path, dpi=150)
    plt.close(figure)
