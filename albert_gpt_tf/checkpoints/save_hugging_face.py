"""Writes a model as a Hugging Face directory: `config.json`, safetensors and the files of its tokenizer."""

import json
import logging
import math
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from albert_gpt_tf.checkpoints import hugging_face_albert, hugging_face_gpt
from albert_gpt_tf.checkpoints.hugging_face_config import CONFIG_FILE
from albert_gpt_tf.checkpoints.safetensors_files import INDEX
from albert_gpt_tf.checkpoints.save_tokenizer import save_tokenizer
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.gpt_text_classifier import frame_ids

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
# What a directory may hold from before. It would be read in place of, or together with, the new files.
_REPLACED = (
    CONFIG_FILE, "model*.safetensors", INDEX, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "spiece.model", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
_FLOAT32_BYTES = 4


def save_to_hugging_face(
    model: Any, directory: str | os.PathLike, max_shard_size: int = 5 * 10**9, tokenizer: Any | None = None
) -> None:
    """Writes a backbone or a task so that Transformers loads it, with its tokenizer.

    All files are written beside the directory first: a directory that was there stays whole until they are.

    Args:
        model: an `AlbertBackbone`, a `GPTBackbone`, or a task with one.
        directory: str or path; it is made, or its model files are replaced.
        max_shard_size: int, bytes of tensors in a file at most; what is larger goes into several, with an index.
            Defaults to 5 GB, as in Transformers.
        tokenizer: the tokenizer of a backbone; a task brings its own. Defaults to `None`.

    Raises:
        ValueError: Transformers has no such model, or `directory` is a file.

    Example:
        >>> save_to_hugging_face(classifier, "my-albert")  # doctest: +SKIP
        >>> transformers.AutoModelForSequenceClassification.from_pretrained("my-albert")  # doctest: +SKIP
    """
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise ValueError(f"Expected a directory. Received: {str(directory)!r}, which is a file. Give another path.")
    config = _config(model)
    rules = _form(model).rules(model)

    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}"
    staging.mkdir()
    try:
        tokenizer = tokenizer or getattr(getattr(model, "preprocessor", None), "tokenizer", None)
        if tokenizer is not None:
            length = getattr(model, "backbone", model).max_sequence_length
            config |= _ids(model, tokenizer, save_tokenizer(tokenizer, staging, length))
        (staging / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _write_tensors(rules, staging, max_shard_size)
        _move(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# === Configuration ===


def _form(model):
    backbone = getattr(model, "backbone", model)
    return hugging_face_albert if isinstance(backbone, AlbertBackbone) else hugging_face_gpt


def _config(model) -> dict[str, Any]:
    form, backbone, name = _form(model), getattr(model, "backbone", model), type(model).__name__
    theirs = form.CLASSES.get(name)
    if theirs is None:
        raise ValueError(
            f"Expected a model among {sorted(form.CLASSES)}. Received: {name}. Save its backbone, or one of these."
        )
    config = form.to_config(backbone)
    if isinstance(theirs, tuple):
        theirs = theirs[0 if backbone.norm_first else 1]
        # Transformers would take GPT-2's own id where the field is left out.
        config |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    config |= {"architectures": [theirs], "dtype": "float32"}
    if name == "GPTCausalLM":
        config["tie_word_embeddings"] = model.lm_head is None or model.lm_head.kernel is None
        if model.lm_head is not None and model.lm_head.bias is not None:
            raise ValueError(
                "Expected an output layer without a bias, as Transformers' GPT has. Received: head_bias=True. Save it "
                "with save_to_preset."
            )
    if name == "GPTTextClassifier" and model.output_dense.use_bias and np.any(model.output_dense.bias.numpy()):
        raise ValueError(
            "Expected an output layer without a bias, as Transformers' GPT classifiers have. Received: one that is not "
            "zero. Save it with save_to_preset, or train one with head_bias=False."
        )
    if form is hugging_face_albert and model is not backbone and hasattr(model, "dropout"):
        config["classifier_dropout_prob"] = model.dropout
    return config | _label_fields(model)


def _label_fields(model) -> dict[str, Any]:
    if getattr(model, "regression", False):
        return {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "problem_type": "regression"}
    if (labels := getattr(model, "labels", None)) is None:
        return {}
    fields = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    if type(model).__name__ in ("AlbertTextClassifier", "GPTTextClassifier"):
        fields["problem_type"] = "single_label_classification"
    return fields


def _ids(model, tokenizer, ids) -> dict[str, int | None]:
    if type(model).__name__ != "GPTTextClassifier":
        return ids
    if getattr(model.preprocessor, "add_special_tokens", False) and frame_ids(tokenizer) is not None:
        logger.warning(
            "Transformers' tokenizer adds no tokens to a text, while this classifier reads the label from one that its "
            "preprocessor adds. Add it there by hand, or train with add_special_tokens=False."
        )
    # Transformers takes the last token that is no padding for a text's last: an id that a text may end with cannot
    # stand for padding. Without any, it refuses batches.
    is_free = tokenizer.pad_id != getattr(tokenizer, "unk_id", None)
    return {**ids, "pad_token_id": tokenizer.pad_id if is_free else None}


# === Files ===


def _write_tensors(rules: list[TensorRule], directory: Path, max_shard_size: int) -> None:
    """One file, or several with an index. Only the tensors of one file are in memory at a time."""
    shards: list[list[TensorRule]] = [[]]
    for rule in rules:
        if shards[-1] and sum(map(_size, shards[-1])) + _size(rule) > max_shard_size:
            shards.append([])
        shards[-1].append(rule)
    count = len(shards)
    names = [WEIGHTS] if count == 1 else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    for name, shard in zip(names, shards, strict=True):
        tensors = {rule.name: _theirs(rule) for rule in shard}
        save_file(tensors, directory / name, metadata={"format": "pt"})
    if count > 1:
        index = {
            "metadata": {"total_size": sum(map(_size, rules))},
            "weight_map": {rule.name: name for name, shard in zip(names, shards, strict=True) for rule in shard},
        }
        (directory / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _size(rule: TensorRule) -> int:
    return math.prod(rule.shape) * _FLOAT32_BYTES


def _theirs(rule: TensorRule) -> np.ndarray:
    values = tuple(np.asarray(variable.numpy(), "float32") for variable in rule.variables)
    return np.ascontiguousarray(rule.to_theirs(values))


def _move(staging: Path, target: Path) -> None:
    """Puts the new files in place, the configuration last, and takes away what they replace."""
    if not target.exists():
        staging.rename(target)
        return
    new = sorted((path.name for path in staging.iterdir()), key=lambda name: name == CONFIG_FILE)
    for path in [path for pattern in _REPLACED for path in target.glob(pattern)]:
        if path.name not in new:
            path.unlink()
    for name in new:
        (staging / name).replace(target / name)
