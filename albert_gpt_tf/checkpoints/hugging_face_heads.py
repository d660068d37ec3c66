"""What a Hugging Face directory says of a task's head: labels, dropout, whether the output layer is tied."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from albert_gpt_tf.checkpoints import hugging_face_albert, hugging_face_gpt
from albert_gpt_tf.checkpoints.hugging_face_config import Config, read_config
from albert_gpt_tf.checkpoints.tensors import Tensors

# Heads of several of their classes have this name, and only the class tells what it is for.
_AMBIGUOUS = "classifier."


def without_foreign_tensors(cls: type, directory: str | Path, tensors: Tensors) -> Tensors:
    """Leaves out what is no weight, and the output layer of another task than `cls`."""
    own = hugging_face_albert.CLASSES.get(cls.__name__, "")
    architecture = read_config(directory).architecture()
    is_foreign = architecture not in (None, own)

    def is_wanted(name):
        is_buffer = hugging_face_albert.is_buffer(name) or hugging_face_gpt.is_buffer(name)
        return not is_buffer and not (is_foreign and name.startswith(_AMBIGUOUS))

    return Tensors(tensors.source, {name: entry for name, entry in tensors.entries.items() if is_wanted(name)})


def task_arguments(cls: type, directory: str | Path, tensors: Tensors | None, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a task that its configuration and its tensors give.

    Args:
        cls: the class of the task.
        directory: str or Path, of Hugging Face.
        tensors: what `without_foreign_tensors` left, or `None` if no weights are wanted.
        given: dict, the user's own arguments.

    Returns:
        A dict of arguments, without those that are given.

    Raises:
        ValueError: the class needs labels, and neither the user nor the file gives them; or their number is not that of
            the file's output layer.
    """
    config = read_config(directory)
    parameters = inspect.signature(cls.__init__).parameters
    found = {}
    if "tie_word_embeddings" in parameters:
        found |= _output_layer(config, tensors)
    elif "head_bias" in parameters:
        found["head_bias"] = False  # as all of Transformers' GPT heads
    if "dropout" in parameters and config.values["model_type"] == hugging_face_albert.MODEL_TYPE:
        # Null there stands for the rate of the hidden states.
        rate = config.get("classifier_dropout_prob", float, 0.1) if _has_rate(config) else None
        found["dropout"] = config.get("hidden_dropout_prob", float, 0.0) if rate is None else rate
    if "labels" in parameters:
        found |= _labels(cls, config, tensors, given, "regression" in parameters)
    return {name: value for name, value in found.items() if name not in given}


def _has_rate(config: Config) -> bool:
    return config.values.get("classifier_dropout_prob", 0.1) is not None


def _output_layer(config: Config, tensors: Tensors | None) -> dict[str, Any]:
    """Whether a language model's output layer is the token embedding, and whether it has a bias."""
    is_tied = config.get("tie_word_embeddings", bool, True)
    if tensors is None:
        return {"tie_word_embeddings": is_tied}
    names = tensors.names()
    if "lm_head.weight" in names and (table := hugging_face_gpt.token_table(names)) is not None:
        # Values that differ cannot be tied, whatever the configuration says; equal ones are often stored twice.
        is_equal = np.array_equal(tensors.read("lm_head.weight"), tensors.read(table))
        is_tied = is_tied and is_equal
    return {"tie_word_embeddings": is_tied, "head_bias": "lm_head.bias" in names}


def _labels(cls, config: Config, tensors: Tensors | None, given, knows_regression) -> dict[str, Any]:
    own = (hugging_face_albert.CLASSES.get(cls.__name__), *hugging_face_gpt.CLASSES.get(cls.__name__, ()))
    names = ("classifier.weight", "score.weight")
    head = None if tensors is None else next((name for name in names if name in tensors.names()), None)
    if head is None and not (tensors is None and config.architecture() in own):
        if given.get("labels") is None and not given.get("regression"):
            raise ValueError(
                f"Expected an output layer with labels in {config.path.parent}. Received: none that {cls.__name__} "
                "could use. Give labels=[...]; the output layer is new then."
            )
        return {}
    if "labels" in given or "regression" in given:
        if head is not None:
            _check_number(config, given, int(tensors.shape(head)[0]))
        return {}
    labels = config.labels()
    count = int(tensors.shape(head)[0]) if head else len(labels or ["LABEL_0", "LABEL_1"])
    if knows_regression and (count == 1 or config.values.get("problem_type") == "regression"):
        if count != 1:
            raise ValueError(
                f"Expected one output for problem_type 'regression' in {config.path}. Received: {count}. "
                "A regression of several values is not known here."
            )
        return {"regression": True}
    if labels is None:
        labels = [f"LABEL_{index}" for index in range(count)]
    if len(labels) != count:
        raise ValueError(
            f"Expected as many labels in {config.path} as its output layer has rows, {count}. Received: {len(labels)} "
            f"in id2label. Give labels=[...] with {count} names."
        )
    return {"labels": labels}


def _check_number(config: Config, given, count: int) -> None:
    received = 1 if given.get("regression") else len(given.get("labels") or ())
    if received != count:
        raise ValueError(
            f"Expected {count} labels, as the output layer in {config.path.parent} has. Received: {received}. Give "
            f"{count}, or load the backbone alone with from_preset and make the task from it, for a new output layer."
        )
