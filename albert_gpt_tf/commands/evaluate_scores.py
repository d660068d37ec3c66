"""What `evaluate` computes: reads the file that belongs to a task, and gives the task's scores."""

from typing import NamedTuple

import numpy as np

from albert_gpt_tf.data.dialogue import answer_rows, read_conversations
from albert_gpt_tf.data.files import read_labelled_file, read_text_file
from albert_gpt_tf.data.glue import read_glue_file
from albert_gpt_tf.data.lambada import read_lambada
from albert_gpt_tf.data.multiple_choice import read_choices
from albert_gpt_tf.data.squad import read_squad
from albert_gpt_tf.data.tagging import read_tagged_file
from albert_gpt_tf.data.wikitext import read_wikitext
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.training.classification_scores import evaluate_text_classifier, predict_texts
from albert_gpt_tf.training.entity_scores import evaluate_token_classifier
from albert_gpt_tf.training.language_model_scores import evaluate_lambada, evaluate_language_model
from albert_gpt_tf.training.plan_dialogue import evaluate_dialogue
from albert_gpt_tf.training.plan_multiple_choice import evaluate_multiple_choice
from albert_gpt_tf.training.squad_scores import evaluate_question_answerer

# Formats that --format may name, beside glue:TASK.
LANGUAGE_MODEL_FORMATS = ("text", "wikitext", "lambada", "dialogue")


class Evaluation(NamedTuple):
    """Scores by name; of a classifier with labels also the right ones, list of str, and its float [rows, labels]."""

    scores: dict[str, float]
    targets: list[str] | None = None
    probabilities: np.ndarray | None = None


def evaluate_file(
    task: Task,
    path: str,
    format: str = "",
    columns: tuple[str, str, str | None] = ("text", "label", None),
    limit: int | None = None,
    batch_size: int = 32,
    windows: tuple[int | None, int | None] = (None, None),
) -> Evaluation:
    """Evaluates a task on a file.

    Args:
        task: a task with its preprocessor.
        path: str, the file, in a form that the task takes.
        format: str, `"glue:TASK"` for a text classifier; `"text"`, `"wikitext"`, `"lambada"` or `"dialogue"` for a
            language model. Defaults to `""`: a table with named columns, or text.
        columns: names of the columns of text, label and second text, of a table. The last one may be None.
        limit: int or None, rows or documents that are read at most.
        batch_size: int, rows computed at a time.
        windows: (window, stride) of a language model, in tokens, or None for its positions.

    Returns:
        An Evaluation.

    Raises:
        ValueError: a format that the task does not take, or a task without a preprocessor.
        DataError: a broken file.

    Example:
        >>> evaluate_file(load_task("runs/spam/preset"), "test.tsv").scores["accuracy"]
        0.98
    """
    if isinstance(task, AlbertTextClassifier | GPTTextClassifier):
        return _text_classifier(task, path, format, columns, limit, batch_size)
    if isinstance(task, GPTCausalLM):
        return Evaluation(_language_model(task, path, format or "text", limit, batch_size, windows))
    if format:
        raise ValueError(f"Expected no --format for {type(task).__name__}. Received: {format!r}. Leave it out.")
    if isinstance(task, AlbertTokenClassifier):
        return Evaluation(evaluate_token_classifier(task, read_tagged_file(path, limit=limit), batch_size))
    if isinstance(task, AlbertQuestionAnswerer):
        return Evaluation(evaluate_question_answerer(task, read_squad(path, limit), batch_size))
    if isinstance(task, AlbertMultipleChoice):
        return Evaluation(evaluate_multiple_choice(task, read_choices(path, limit=limit, progress=True), batch_size))
    raise ValueError(
        f"Expected a classifier, a question answerer, multiple choice or a language model. Received: a preset of "
        f"{type(task).__name__}, which no labelled file belongs to. Its run wrote results.json."
    )


def _text_classifier(task, path, format, columns, limit, batch_size):
    text, label, text_pair = columns
    if format.startswith("glue:"):
        rows = read_glue_file(path, format.removeprefix("glue:"), limit)
    elif format:
        raise ValueError(f"Expected --format=glue:TASK, or none, for a text classifier. Received: {format!r}.")
    else:
        rows = read_labelled_file(path, text, label, text_pair, limit)
    if rows.labels is None:
        raise ValueError(f"Expected labels in {path}. Received: a test file without any. Use `albert-gpt-tf predict`.")
    texts = list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts
    targets = [float(target) for target in rows.labels] if task.regression else rows.labels
    scores = evaluate_text_classifier(task, (texts, targets), batch_size)
    if task.regression:
        return Evaluation(scores)
    return Evaluation(scores, targets, predict_texts(task, texts, batch_size))


def _language_model(task, path, format, limit, batch_size, windows):
    if format == "lambada":
        return evaluate_lambada(task, read_lambada(path, limit), batch_size)
    if format == "dialogue":
        return evaluate_dialogue(task, answer_rows(read_conversations(path, limit)), batch_size)
    if format == "wikitext":
        # One text, as in the published figures; words and bytes are those of the file.
        texts, originals = ("\n\n".join(read_wikitext(path, detokenize)[:limit]) for detokenize in (True, False))
        return evaluate_language_model(task, texts, *windows, batch_size, begin=False, originals=originals)
    if format != "text":
        raise ValueError(f"Expected --format among {LANGUAGE_MODEL_FORMATS}. Received: {format!r}.")
    return evaluate_language_model(task, read_text_file(path, limit), *windows, batch_size)
