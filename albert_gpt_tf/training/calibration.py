"""Whether a classifier's scores are the chances that it is right: how to measure it, and one number that mends it."""

from typing import NamedTuple

import numpy as np


class ReliabilityBin(NamedTuple):
    """The rows whose largest probability is in (`lower`, `upper`]: their mean, the share that is right, and how many.

    Confidence and accuracy are nan in an empty bin.
    """

    lower: float
    upper: float
    confidence: float
    accuracy: float
    count: int


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood of held-out rows.

    The likelihood is convex in 1 / temperature, so it is found where the derivative is 0.

    Args:
        logits: float [rows, classes], not divided by a temperature.
        targets: int [rows], the right classes.

    Returns:
        The temperature: above 1 where scores were too sure, below 1 where they were not sure enough.

    Raises:
        ValueError: the best temperature is 0, as every row is right, or infinite, as the logits tell nothing.
        ImportError: scipy is not installed.

    Example:
        >>> fit_temperature(np.array([[2.0, 0.0]] * 3), np.array([0, 0, 1])).__round__(4)
        2.8854

    Reference:
        Guo et al., 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2.
    """
    try:
        from scipy.optimize import brentq
    except ImportError as error:
        raise ImportError(
            "Expected the package scipy to fit a temperature. Received: none. Install it with `pip install scipy`."
        ) from error
    logits, targets = _checked(logits, targets)
    of_targets = logits[np.arange(len(targets)), targets]
    if (of_targets == logits.max(-1)).all():
        raise ValueError(
            f"Expected rows of which at least one is wrong. Received: {len(targets)} rows, all right, for which the "
            "best scores are all 1. Give more rows, or harder ones."
        )

    def slope(inverse: float) -> float:
        """The derivative of the mean negative log-likelihood by 1 / temperature, which grows with it."""
        return float((_softmax(logits * inverse) * logits).sum(-1).mean() - of_targets.mean())

    if slope(0.0) >= 0:
        raise ValueError(
            f"Expected a classifier that is better than chance. Received: logits of {len(targets)} rows that are no "
            "larger for the right label than for others. Train it further, or check that labels and texts match."
        )
    high = 1.0
    while slope(high) < 0:
        high *= 2
    return 1 / brentq(slope, 0.0, high, xtol=1e-14, rtol=1e-12)


def calibration_figures(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> dict[str, float]:
    """How good a classifier's probabilities are.

    Args:
        logits: float [rows, classes].
        targets: int [rows], the right classes.
        temperature: float, divides the logits. Defaults to 1.

    Returns:
        `negative_log_likelihood`, a row's mean in nats; `expected_calibration_error`; `brier_score`; `accuracy`.

    Example:
        >>> calibration_figures(np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1]))["accuracy"]
        0.75
    """
    logits, targets = _checked(logits, targets)
    probabilities = _softmax(logits / temperature)
    rows = np.arange(len(targets))
    scaled = logits / temperature
    largest = scaled.max(-1)
    log_sums = largest + np.log(np.exp(scaled - largest[:, None]).sum(-1))
    return {
        "negative_log_likelihood": float((log_sums - scaled[rows, targets]).mean()),
        "expected_calibration_error": expected_calibration_error(probabilities, targets),
        "brier_score": brier_score(probabilities, targets),
        "accuracy": float((logits.argmax(-1) == targets).mean()),
    }


def reliability_curve(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> list[ReliabilityBin]:
    """Confidence against accuracy, in bins of equal width.

    Args:
        probabilities: float [rows, classes].
        targets: int [rows], the right classes.
        bins: int. Defaults to 15, as in the paper.

    Returns:
        One ReliabilityBin a bin, from 0 to 1.

    Example:
        >>> reliability_curve(np.array([[0.7, 0.3]]), np.array([0]), bins=2)[1].accuracy
        1.0

    Reference:
        Guo et al., 2017, section 2.
    """
    confidence, is_right = probabilities.max(-1).astype("float64"), probabilities.argmax(-1) == targets
    edges = np.linspace(0, 1, bins + 1)
    # Bin m is (edge m, edge m + 1]; a sum of probabilities that rounds above 1 is in the last one.
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):  # empty bins: 0 / 0
        means = np.bincount(places, confidence, bins) / counts
        shares = np.bincount(places, is_right, bins) / counts
    return [
        ReliabilityBin(float(edges[i]), float(edges[i + 1]), float(means[i]), float(shares[i]), int(counts[i]))
        for i in range(bins)
    ]


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """The mean distance of confidence and accuracy over the rows, by bins of confidence.

    Args:
        probabilities: float [rows, classes].
        targets: int [rows], the right classes.
        bins: int, bins of equal width. Defaults to 15.

    Returns:
        A float in 0 ... 1; 0 where scores are the chances of being right.

    Example:
        >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
        0.0

    Reference:
        Naeini et al., 2015; Guo et al., 2017, equation 3.
    """
    filled = [b for b in reliability_curve(probabilities, targets, bins) if b.count]
    return sum(b.count * abs(b.confidence - b.accuracy) for b in filled) / len(targets)


def brier_score(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The mean over rows of the squared distance of the probabilities from 1 for the right class and 0 for others.

    Args:
        probabilities: float [rows, classes].
        targets: int [rows], the right classes.

    Returns:
        A float in 0 ... 2, over all classes as Brier has it; half of it is usual where there are two.

    Example:
        >>> brier_score(np.array([[0.5, 0.5]]), np.array([0]))
        0.5

    Reference:
        Brier, 1950, "Verification of Forecasts Expressed in Terms of Probability", equation 2.
    """
    hits = np.arange(probabilities.shape[-1]) == np.asarray(targets)[:, None]
    return float(np.square(probabilities - hits).sum(-1).mean())


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _checked(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, targets = np.asarray(logits, "float64"), np.asarray(targets)
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not len(targets):
        raise ValueError(
            "Expected logits [rows, classes] and targets [rows] with at least one row. Received: shapes "
            f"{list(logits.shape)} and {list(targets.shape)}. Give one target a row."
        )
    if not np.isfinite(logits).all():
        raise ValueError("Expected finite logits. Received: nan or infinity among them. Check the model's weights.")
    return logits, targets
