"""SQuAD's own scores: exact match and F1 of answers, and the threshold for no answer."""

import re
import string
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from albert_gpt_tf.data.squad import SquadRow

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """An answer as it is compared: lower case, without ASCII punctuation, `a`, `an`, `the` and surplus white space.

    These are rules for English. Other articles and other marks (，“”) stay, and words are what white space parts: in
    Chinese or Japanese a whole answer is one word, and F1 little more than exact match. The scores of MLQA and CMRC
    have rules for these; figures that are compared need the same ones.

    Args:
        text: str.

    Returns:
        str.

    Example:
        >>> normalize_answer("The  U.S. Army")
        'us army'

    Reference: Rajpurkar et al., 2016, arXiv:1606.05250, section 6.1; `evaluate-v1.1.py`, `evaluate-v2.0.py`.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answer_scores(prediction: str, answers: Sequence[str], version: str = "2.0") -> tuple[float, float]:
    """Exact match and F1 of one answer, each the best over the right answers.

    Args:
        prediction: str; empty for no answer.
        answers: the right answers; none if there is no answer.
        version: str, `"1.1"` or `"2.0"`. They differ where nothing is left of an answer when it is normalised: 1.1
            gives an F1 of 0, 2.0 leaves out such a right answer, and two empty ones are equal. Defaults to `"2.0"`.

    Returns:
        exact match (0 or 1) and F1 (0 to 1), of words.

    Raises:
        ValueError: an unknown version.

    Example:
        >>> answer_scores("the red fox", ["fox"])
        (0.0, 0.6666666666666666)

    Reference: `evaluate-v1.1.py`, `evaluate-v2.0.py`.
    """
    if version not in ("1.1", "2.0"):
        raise ValueError(f'Expected version "1.1" or "2.0". Received: version={version!r}. Take one of them.')
    if version == "2.0":
        answers = [answer for answer in answers if normalize_answer(answer)] or [""]
    pairs = [(normalize_answer(prediction), normalize_answer(answer)) for answer in answers]
    exact = max((float(ours == right) for ours, right in pairs), default=0.0)
    return exact, max((_f1(ours.split(), right.split(), version) for ours, right in pairs), default=0.0)


def _f1(ours: list[str], right: list[str], version: str) -> float:
    if version == "2.0" and not (ours and right):
        return float(ours == right)
    common = sum((Counter(ours) & Counter(right)).values())
    return 2 * common / (len(ours) + len(right)) if common else 0.0


def squad_scores(
    rows: Sequence[SquadRow], predictions: Mapping[str, str], version: str | None = None
) -> dict[str, float]:
    """Exact match and F1 of the answers to all questions, in percent.

    Args:
        rows: see `read_squad`.
        predictions: the answer to each question by its id, empty for no answer. A question without one counts as
            answered wrongly in 1.1, and may not be missing in 2.0.
        version: str, `"1.1"` or `"2.0"`. Defaults to `None`: 2.0 if a question is impossible.

    Returns:
        `exact_match` and `f1`; with impossible questions also `has_answer_exact_match`, `has_answer_f1` and
        `no_answer_accuracy`, each over those questions alone.

    Raises:
        ValueError: a prediction is missing in 2.0, or there are no questions.

    Example:
        >>> squad_scores(read_squad("dev.json"), {"1": "the fox"})
        {'exact_match': 100.0, 'f1': 100.0}

    Reference: `evaluate-v1.1.py`; `evaluate-v2.0.py` at a threshold that is already applied.
    """
    version = version or _version_of(rows)
    missing = [row.id for row in rows if row.id not in predictions]
    if not rows or (missing and version == "2.0"):
        received = f"none for {len(missing)}, {missing[0]!r} the first" if missing else "no questions"
        raise ValueError(f"Expected questions, and an answer for each. Received: {received}. Add them.")
    scores = {
        row.id: answer_scores(predictions[row.id], row.answers, version) if row.id in predictions else (0.0, 0.0)
        for row in rows
    }
    results = dict(zip(("exact_match", "f1"), _means(scores[row.id] for row in rows), strict=True))
    impossible = [scores[row.id] for row in rows if row.is_impossible]
    if impossible:
        results["no_answer_accuracy"] = _means(impossible)[0]
        possible = [scores[row.id] for row in rows if not row.is_impossible]
        if possible:
            names = ("has_answer_exact_match", "has_answer_f1")
            results |= dict(zip(names, _means(possible), strict=True))
    return results


def best_no_answer_threshold(
    rows: Sequence[SquadRow], predictions: Mapping[str, str], odds: Mapping[str, float], metric: str = "f1"
) -> tuple[float, float]:
    """The threshold for no answer with the best score.

    Args:
        rows: see `read_squad`.
        predictions: by id, the answer that is given if there is one.
        odds: by id, how much speaks for no answer, on any scale: above the threshold there is none.
        metric: str, `"f1"` or `"exact_match"`. Defaults to `"f1"`.

    Returns:
        threshold, score: one of the odds, or a number below all of them if no answer at all scores best; and the score
        with it, in percent. The lowest of several that are equally good.

    Raises:
        ValueError: an unknown metric, or there are no questions.

    Example:
        >>> best_no_answer_threshold(rows, {"1": "fox", "2": "a dog"}, {"1": -4.0, "2": 3.0})
        (-4.0, 100.0)

    Reference: `evaluate-v2.0.py`, `find_best_thresh`; but the score is always one that the threshold gives, also with
        equal odds, and with answers of which nothing is left when they are normalised.
    """
    if metric not in ("exact_match", "f1"):
        raise ValueError(f'Expected metric "f1" or "exact_match". Received: metric={metric!r}. Take one of them.')
    if not rows:
        raise ValueError("Expected at least one question. Received: none. Give rows, as `read_squad` returns them.")
    order = sorted(rows, key=lambda row: odds[row.id])
    column = metric == "f1"
    silent = {row.id: answer_scores("", row.answers)[column] for row in rows}
    # With a threshold below all odds there is no answer to anything.
    score = best = sum(silent.values())
    threshold = odds[order[0].id] - 1.0
    for row, following in zip(order, [*order[1:], None], strict=True):
        score += answer_scores(predictions[row.id], row.answers)[column] - silent[row.id]
        is_last = following is None or odds[following.id] > odds[row.id]
        if is_last and score > best:
            best, threshold = score, odds[row.id]
    return float(threshold), 100 * best / len(rows)


# === With a task ===


def predict_answers(task, rows: Sequence[SquadRow], batch_size: int = 32) -> tuple[dict[str, str], dict[str, float]]:
    """The best span for every question, whatever the task's threshold for no answer is.

    Args:
        task: an `AlbertQuestionAnswerer`.
        rows: see `read_squad`.
        batch_size: int, questions at a time. Defaults to 32.

    Returns:
        answers and the log odds of no answer, each by id.

    Example:
        >>> answers, odds = predict_answers(task, read_squad("dev.json"))
    """
    # One graph: eagerly, each of some hundred ops of a batch would be started by Python.
    signature = [tf.TensorSpec([None], tf.string)] * 2
    best_spans = tf.function(lambda question, context: task.best_spans(question, context), input_signature=signature)
    console = Console(stderr=True)
    answers, odds = {}, {}
    starts = range(0, len(rows), batch_size)
    for start in track(starts, "Answering", console=console, disable=not sys.stderr.isatty(), transient=True):
        part = rows[start : start + batch_size]
        spans = best_spans(tf.constant([row.question for row in part]), tf.constant([row.context for row in part]))
        for row, answer, log_odds in zip(
            part, spans["answer"].numpy(), spans["no_answer_log_odds"].numpy(), strict=True
        ):
            answers[row.id], odds[row.id] = answer.decode(), float(log_odds)
    return answers, odds


def evaluate_question_answerer(task, rows: Sequence[SquadRow], batch_size: int = 32) -> dict[str, float]:
    """Exact match and F1 of the answers that a task gives, with its threshold for no answer.

    Args:
        task: an `AlbertQuestionAnswerer`.
        rows: see `read_squad`.
        batch_size: int, questions at a time. Defaults to 32.

    Returns:
        What `squad_scores` returns.

    Example:
        >>> evaluate_question_answerer(task, read_squad("dev-v1.1.json"))["f1"]
        90.2
    """
    return scores_at_threshold(rows, *predict_answers(task, rows, batch_size), task.no_answer_threshold)


def tune_no_answer_threshold(task, rows: Sequence[SquadRow], batch_size: int = 32) -> float:
    """Gives a task the threshold for no answer with the best F1.

    Args:
        task: an `AlbertQuestionAnswerer`; its `no_answer_threshold`, which is saved with it, is set.
        rows: questions with and without answer, which it was not trained on.
        batch_size: int, questions at a time. Defaults to 32.

    Returns:
        The threshold.

    Example:
        >>> tune_no_answer_threshold(task, read_squad("dev-v2.0.json"))
        -1.9
    """
    task.no_answer_threshold, _ = best_no_answer_threshold(rows, *predict_answers(task, rows, batch_size))
    return task.no_answer_threshold


def scores_at_threshold(
    rows: Sequence[SquadRow], answers: Mapping[str, str], odds: Mapping[str, float], threshold: float | None
) -> dict[str, float]:
    """What `squad_scores` returns if answers with odds above a threshold become none; `None` leaves them all.

    Example:
        >>> scores_at_threshold(rows, *predict_answers(task, rows), threshold=0.0)["f1"]
        79.1
    """
    given = {id: "" if threshold is not None and odds[id] > threshold else answer for id, answer in answers.items()}
    return squad_scores(rows, given)


def _version_of(rows: Sequence[SquadRow]) -> str:
    return "2.0" if any(row.is_impossible for row in rows) else "1.1"


def _means(scores) -> list[float]:
    return [100 * float(mean) for mean in np.mean(list(scores), axis=0)]
