"""What `from_preset` does with a source that is none of our own presets: finds its format, builds and fills."""

import inspect
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from albert_gpt_tf.checkpoints import (
    google_albert,
    hugging_face_albert,
    hugging_face_gpt,
    hugging_face_heads,
    keras_hub,
    openai_gpt1,
    openai_gpt2,
)
from albert_gpt_tf.checkpoints.fast_build import without_initial_values
from albert_gpt_tf.checkpoints.fill import fill
from albert_gpt_tf.checkpoints.hugging_face_config import read_config
from albert_gpt_tf.checkpoints.load_tokenizer import load_tokenizer
from albert_gpt_tf.checkpoints.sources import kind_of, local_directory
from albert_gpt_tf.checkpoints.tensors import Tensors
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.load import load_task as load_saved_task
from albert_gpt_tf.tasks.trained_part import BASE

logger = logging.getLogger(__name__)

# Attribute of a model -> what messages call it. A checkpoint of another task lacks these; then they are new.
_MAY_BE_NEW = {
    "masked_lm_head": "the masked LM head",
    "sentence_order_dense": "the sentence-order head",
    "output_dense": "the output layer",
    "pooler": "the pooler",
}


def load_backbone(cls: type, source: str | os.PathLike, load_weights: bool = True, **arguments: Any) -> Any | None:
    """Loads a backbone from a checkpoint of another library.

    Args:
        cls: `AlbertBackbone` or `GPTBackbone`.
        source: str or path, see `local_directory`, or the name of one of KerasHub's presets.
        load_weights: bool; `False` gives a new model of the same shape. Defaults to `True`.
        **arguments: arguments of the backbone, which replace those of the checkpoint.

    Returns:
        The backbone; `None` if the source is one of our own presets, which KerasHub's loader reads.

    Raises:
        ValueError: the source is nothing that is known, of another architecture, or incomplete.

    Example:
        >>> load_backbone(AlbertBackbone, "albert-base-v2", dropout=0.1)  # doctest: +SKIP
    """
    directory = find_directory(source)
    if (kind := kind_of(directory)) == "preset":
        if (directory / BASE).is_file():  # only what was trained, so that KerasHub's loader would miss the rest
            return load_saved_task(directory).backbone
        return None
    form = _form_for(cls, kind, directory)
    with without_initial_values():
        backbone = cls(**{**form.backbone_arguments(directory), **arguments})
        if load_weights:
            _fill(backbone, form, _tensors(cls, form, directory), directory)
    return backbone


def load_task(cls: type, source: str | os.PathLike, load_weights: bool = True, **arguments: Any) -> Any | None:
    """Loads a task from a checkpoint of another library.

    A head that the checkpoint lacks is new, and one line of the log says so.

    Args:
        cls: the class of the task.
        source: str or path, see `local_directory`, or the name of one of KerasHub's presets.
        load_weights: bool; `False` gives a new model of the same shape. Defaults to `True`.
        **arguments: arguments of the task or, under names that it does not have, of its backbone; they replace what the
            checkpoint says. Without `preprocessor` and `tokenizer` the tokenizer of the directory is used.

    Returns:
        The task; `None` if the source is one of our own presets, which KerasHub's loader reads.

    Raises:
        ValueError: the source is nothing that is known, of another architecture, or incomplete; or labels are needed.

    Example:
        >>> load_task(AlbertTextClassifier, "albert-base-v2", labels=["ham", "spam"])  # doctest: +SKIP
    """
    directory = find_directory(source)
    if (kind := kind_of(directory)) == "preset":
        return None
    form = _form_for(cls.backbone_cls, kind, directory)
    tensors = _tensors(cls, form, directory) if load_weights else None

    own = inspect.signature(cls.__init__).parameters
    for_backbone = set(inspect.signature(cls.backbone_cls.__init__).parameters) - set(own)
    of_backbone = {name: value for name, value in arguments.items() if name in for_backbone}
    of_task = {name: value for name, value in arguments.items() if name not in for_backbone}
    of_backbone = {**form.backbone_arguments(directory), **of_backbone}
    if kind == "hugging_face":
        of_task |= hugging_face_heads.task_arguments(cls, directory, tensors, of_task)
    elif "labels" in own and of_task.get("labels") is None and not of_task.get("regression"):
        raise ValueError(
            f"Expected labels=[...] for {cls.__name__}. Received: none, and {directory} does not name any. Give the "
            "names of the classes in the order of the logits."
        )
    finds_tokenizer = "preprocessor" in own and not {"preprocessor", "tokenizer"} & set(of_task)
    if finds_tokenizer:
        of_task["tokenizer"] = load_tokenizer(directory, kind, is_gpt1=not of_backbone.get("norm_first", True))

    with without_initial_values():
        task = cls(cls.backbone_cls(**of_backbone), **of_task)
        if load_weights:
            _fill(task, form, tensors, directory)
    if finds_tokenizer and kind == "hugging_face" and task.preprocessor is not None:
        _as_transformers_packs(task.preprocessor, tensors)
    return task


# === Formats ===


def find_directory(source: str | os.PathLike) -> Path:
    """The directory of a source, downloaded first if the source is a name of KerasHub's or `hf://owner/name`.

    Args:
        source: str or path.

    Returns:
        Path.

    Raises:
        ValueError: there is no such thing, or it cannot be downloaded.

    Example:
        >>> find_directory("gpt2_base_en")  # doctest: +SKIP
    """
    return keras_hub.download(source) if source in keras_hub.presets() else local_directory(source)


def _form_for(backbone_cls: type, kind: str, directory: Path) -> ModuleType:
    """The module that knows the format; ValueError if the directory holds the other architecture."""
    if kind == "hugging_face":
        config = read_config(directory)
        model_type = config.values["model_type"]
        if model_type not in ("albert", "gpt2", "openai-gpt"):
            raise ValueError(
                f"Expected model_type 'albert', 'gpt2' or 'openai-gpt' in {config.path}. Received: {model_type!r}. "
                "Other architectures cannot be loaded here."
            )
        form = hugging_face_albert if model_type == "albert" else hugging_face_gpt
    else:
        forms = (google_albert, keras_hub, openai_gpt1, openai_gpt2)
        form = {form.__name__.rsplit(".", 1)[-1]: form for form in forms}[kind]
    received = _architecture(form, directory)
    if not issubclass(backbone_cls, received):
        raise ValueError(
            f"Expected a checkpoint of {backbone_cls.__name__} in {directory}. Received: one of {received.__name__}. "
            f"Call from_preset of {received.__name__} or of a task with it."
        )
    return form


def _architecture(form: ModuleType, directory: Path) -> type:
    if form is keras_hub:
        return GPTBackbone if "num_segments" not in form.backbone_arguments(directory) else AlbertBackbone
    return AlbertBackbone if form in (google_albert, hugging_face_albert) else GPTBackbone


def _tensors(cls: type, form: ModuleType, directory: Path) -> Tensors:
    """The tensors of a directory, without an output layer that belongs to another task."""
    tensors = form.open_tensors(directory)
    if form in (hugging_face_albert, hugging_face_gpt):
        return hugging_face_heads.without_foreign_tensors(cls, directory, tensors)
    return tensors


def _as_transformers_packs(preprocessor: Any, tensors: Tensors | None) -> None:
    """Transformers adds no tokens to the texts of a GPT: nor do we, where the weights are used to that."""
    if hasattr(preprocessor, "add_start_token"):
        preprocessor.add_start_token = False
    if hasattr(preprocessor, "add_special_tokens") and tensors is not None and "score.weight" in tensors.names():
        preprocessor.add_special_tokens = False


# === Weights ===


def _fill(model: Any, form: ModuleType, tensors: Tensors, directory: Path) -> None:
    """Fills a model that was built in this scope, and says which of its parts are new."""
    backbone = getattr(model, "backbone", model)
    names = tensors.names()
    rules = form.rules(model, names)
    for first, second in form.tied(model, names) if hasattr(form, "tied") else ():
        if not np.array_equal(tensors.read(first), tensors.read(second)):
            raise ValueError(
                f"Expected {first} to be the same as {second} in {tensors.source}, since {type(model).__name__} has "
                "one table for both. Received: other values. This model cannot be loaded into this class."
            )

    new, may_lack = [], []
    for attribute, description in _MAY_BE_NEW.items():
        part = getattr(model, attribute, None) or getattr(backbone, attribute, None)
        if part is None:
            continue
        own = {id(variable) for variable in part.weights}
        wanted = [rule.name for rule in rules if all(id(variable) in own for variable in rule.variables)]
        if not set(wanted) & set(names):
            may_lack += wanted
            new.append((attribute, description))
    if (bias := getattr(getattr(model, "lm_head", None), "bias", None)) is not None:
        may_lack += [rule.name for rule in rules if rule.variables[0] is bias]  # begins at zero: nothing is random
    _require_a_rule_for_each_weight(backbone, rules, new, tensors)
    fill(rules, tensors, may_lack=may_lack, ignored=form.HEADS)

    counting = [description for attribute, description in new if attribute != "pooler" or _reads_pooler(model)]
    if counting:
        parts = " and ".join(counting)
        logger.warning("%s: new, to be trained: %s (not in %s).", type(model).__name__, parts, tensors.source)
    elif new:
        logger.info("%s does not use the pooler, which %s lacks.", type(model).__name__, tensors.source)
    if getattr(backbone, "adapters", None) or getattr(backbone, "gates", None):
        logger.info("%s: the adapters and gates of its layers are new.", type(model).__name__)


def _reads_pooler(model: Any) -> bool:
    """Whether what the model computes depends on the pooler."""
    readers = ("AlbertBackbone", "AlbertPretrainer", "AlbertTextClassifier", "AlbertMultipleChoice")
    return type(model).__name__ in readers


def _require_a_rule_for_each_weight(backbone: Any, rules: list, new: list, tensors: Tensors) -> None:
    """Raises if a weight of the backbone would stay as it was drawn, but for what may be new."""
    filled = {id(variable) for rule in rules for variable in rule.variables}
    layers = [*getattr(backbone, "adapters", ()), *getattr(backbone, "gates", ())]
    layers += [backbone.pooler] if "pooler" in dict(new) else []
    filled |= {id(variable) for layer in layers for variable in layer.weights}
    left = [variable.path for variable in backbone.weights if id(variable) not in filled]
    if left:
        raise ValueError(
            f"Expected a tensor for each weight of {type(backbone).__name__} in {tensors.source}. Received: none for "
            f"{', '.join(left[:8])}. Leave the arguments that ask for these weights out."
        )
