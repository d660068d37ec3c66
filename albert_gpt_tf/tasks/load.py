"""Finds out which task a preset directory holds, and makes another task of it."""

import inspect
import json
import logging
from pathlib import Path
from typing import Any

from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
from albert_gpt_tf.tasks.task import Task

TASKS = (
    AlbertPretrainer,
    AlbertMaskedLM,
    AlbertTextClassifier,
    AlbertTokenClassifier,
    AlbertQuestionAnswerer,
    AlbertMultipleChoice,
    AlbertTextEmbedder,
    GPTCausalLM,
    GPTTextClassifier,
)

logger = logging.getLogger(__name__)


def load_task(preset: str) -> Task:
    """Loads whatever task `save_to_preset` wrote.

    Args:
        preset: str or Path, a preset directory.

    Returns:
        The task, with its weights and its preprocessor.

    Raises:
        ValueError: the directory does not hold a task of this library.

    Example:
        >>> load_task("runs/docstrings_gpt/preset").generate("Returns the", max_new_tokens=5)
        ' number of elements in the'
    """
    file = Path(preset) / "task.json"
    if not file.is_file():
        raise ValueError(
            f"Expected a preset directory with task.json, as `save_to_preset` writes. Received: {str(preset)!r}. "
            "Give the `preset` folder of a run's working directory."
        )
    name, _ = saved_task(preset)
    for task in TASKS:
        if name == f"albert_gpt_tf>{task.__name__}":
            return task.from_preset(str(preset))
    raise ValueError(f"Expected a task among {[task.__name__ for task in TASKS]} in {file}. Received: {name!r}")


def load_other_task(cls: type[Task], preset: str, load_weights: bool = True, **arguments: Any) -> Task | None:
    """Makes a task of the backbone and the tokenizer in the preset of another one, or of one with other labels.

    The masked LM head comes along, and where only the adapters or gates of the layers are new, so does every head;
    another head is new, and one line of the log says so.

    Args:
        cls: class of the task to make.
        preset: str or Path, a preset directory.
        load_weights: bool; `False` gives a new model of the same shape. Defaults to `True`.
        **arguments: arguments of `cls`, and of the backbone `dtype`, `adapter_dim` and `layer_gates`.

    Returns:
        The task; `None` if the preset holds no other task with the same class of backbone.

    Example:
        >>> load_other_task(AlbertTextClassifier, "runs/pretraining/preset", labels=["ham", "spam"]).labels
        ['ham', 'spam']
    """
    name, config = saved_task(preset)
    saved = {f"albert_gpt_tf>{task.__name__}": task for task in TASKS}.get(name)
    if saved is None or saved.backbone_cls is not cls.backbone_cls:
        return None
    labels, saved_labels = arguments.get("labels"), config.get("labels")
    is_same = saved is cls and (labels is None or list(labels) == saved_labels)
    per_layer = {name: arguments.pop(name) for name in ("adapter_dim", "layer_gates") if name in arguments}
    if is_same and not per_layer:
        return None
    of_backbone = {"dtype": arguments.pop("dtype")} if "dtype" in arguments else {}
    source = saved.from_preset(str(preset), load_weights, **of_backbone)
    backbone = source.backbone.with_per_layer_parameters(**per_layer) if per_layer else source.backbone
    if is_same:
        own = inspect.signature(cls.__init__).parameters
        of_source = {name: value for name, value in source.get_config().items() if name in own}
        arguments = {**of_source, "preprocessor": source.preprocessor, **arguments, "backbone": backbone}
        task = cls(**arguments)
    else:
        if not {"preprocessor", "tokenizer"} & set(arguments) and source.preprocessor is not None:
            arguments["tokenizer"] = source.preprocessor.tokenizer
        task = cls(backbone, **arguments)
    heads = {
        "output_dense": "the output layer",
        "sentence_order_dense": "the sentence-order head",
        "masked_lm_head": "the masked LM head",
    }
    new = []
    for attribute, description in heads.items():
        if not hasattr(task, attribute):
            continue
        if hasattr(source, attribute) and (is_same or attribute == "masked_lm_head"):
            getattr(task, attribute).set_weights(getattr(source, attribute).get_weights())
        else:
            new.append(description)
    if new:
        logger.warning("%s: new, to be trained: %s. %s holds %s.", cls.__name__, " and ".join(new), preset, name)
    return task


def saved_task(preset: str) -> tuple[str, dict]:
    """The registered name and the configuration in a preset's task.json; empty ones without it."""
    file = Path(preset) / "task.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content.get("registered_name", ""), content.get("config", {})
