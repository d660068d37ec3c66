"""KerasHub's presets: configuration, positions of tensors in its files, tokenizers.

Its `.h5` files know no names of variables: a key is the class of a layer and how many of the class came before it.
Kernels of the attention have an axis for the heads. What KerasHub fixes in its code and leaves out of its files stands
here: the tanh GELU and the epsilons. Reference: KerasHub 0.32, `AlbertBackbone`, `GPT2Backbone`, `AlbertMaskedLM`.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import kagglehub
import keras_nlp

from albert_gpt_tf.checkpoints.config_files import read_fields
from albert_gpt_tf.checkpoints.hugging_face_config import Config
from albert_gpt_tf.checkpoints.tensor_files import open_h5
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, same
from albert_gpt_tf.checkpoints.tensors import Tensors
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("model.weights.h5", "model.weights.json")  # the second names the parts of a large one
TASK_WEIGHTS_FILE = "task.weights.h5"
# The keys of the task's file get this in front.
_TASK = "task/"
# Heads, as regular expressions of whole keys: a model without the head has no use for its tensors.
HEADS = (f"{_TASK}layers/(masked_lm_head|dense)/.*",)


# === Presets by name ===


def presets() -> dict[str, str]:
    """Names of KerasHub's presets that can be loaded, and where Kaggle has them."""
    classes = (keras_nlp.models.AlbertBackbone, keras_nlp.models.GPT2Backbone)
    return {name: preset["kaggle_handle"] for cls in classes for name, preset in cls.presets.items()}


def download(name: str) -> Path:
    """Downloads one of KerasHub's presets, or finds it where it was downloaded before.

    Args:
        name: str, a name among `presets()`, such as `"albert_base_en_uncased"`.

    Returns:
        Path: the preset directory.

    Raises:
        ValueError: there is no such preset, or it cannot be downloaded.

    Example:
        >>> download("gpt2_base_en")  # doctest: +SKIP
    """
    known = presets()
    if name not in known:
        raise ValueError(f"Expected a preset among {sorted(known)}. Received: {name!r}. Give one of these names.")
    try:
        return Path(kagglehub.model_download(known[name].removeprefix("kaggle://")))
    except OSError as error:  # no connection, or an answer that is an error
        raise ValueError(
            f"Expected to download {known[name]}. Received: {error}. Copy the preset's directory from a machine that "
            "has it, and give its path."
        ) from error


# === Configuration ===


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `AlbertBackbone` or `GPTBackbone` for a preset directory.

    Args:
        directory: str or Path, with a `config.json`.

    Returns:
        A dict of arguments. KerasHub has one dropout rate, which is used everywhere.

    Raises:
        ValueError: the preset is of another model, or a field is missing or of the wrong kind.

    Example:
        >>> backbone = AlbertBackbone(**backbone_arguments("albert_base_en_uncased"))  # doctest: +SKIP
    """
    name, config = _backbone_config(directory)
    shared = {
        "vocabulary_size": config.get("vocabulary_size", int, None),
        "num_layers": config.get("num_layers", int, None),
        "num_heads": config.get("num_heads", int, None),
        "hidden_dim": config.get("hidden_dim", int, None),
        "intermediate_dim": config.get("intermediate_dim", int, None),
        "activation": "gelu_new",
    }
    if name == "GPT2Backbone":
        return {
            **shared,
            "dropout": config.get("dropout", float, 0.1),
            "max_sequence_length": config.get("max_sequence_length", int, 1024),
            "layer_norm_epsilon": 1e-5,
            "norm_first": True,
        }
    dropout = config.get("dropout", float, 0.0)
    return {
        **shared,
        "embedding_dim": config.get("embedding_dim", int, None),
        "num_groups": config.get("num_groups", int, 1),
        "num_inner_repetitions": config.get("num_inner_repetitions", int, 1),
        "dropout": dropout,
        "attention_dropout": dropout,
        "max_sequence_length": config.get("max_sequence_length", int, 512),
        "num_segments": config.get("num_segments", int, 2),
        "layer_norm_epsilon": 1e-12,
    }


def _backbone_config(directory) -> tuple[str, Config]:
    """The class of the backbone, without KerasHub's name in front, and its arguments."""
    config = read_fields(Path(directory) / CONFIG_FILE, required=["registered_name", "config"])
    package, _, name = str(config.values["registered_name"]).rpartition(">")
    required = ["vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim"]
    if package not in ("keras_hub", "keras_nlp") or name not in ("AlbertBackbone", "GPT2Backbone"):
        raise ValueError(
            f"Expected a preset of KerasHub's AlbertBackbone or GPT2Backbone in {directory}. Received: "
            f"{config.values['registered_name']!r}. Load it with KerasHub."
        )
    missing = [field for field in required if field not in config.values["config"]]
    if missing:
        raise ValueError(
            f"Expected the arguments {', '.join(required)} in {config.path}. Received: none of {', '.join(missing)}. "
            "Copy the file again."
        )
    return name, Config(config.values["config"], config.path)


# === Tensors ===


def open_tensors(directory: str | Path) -> Tensors:
    """The tensors of a preset: the backbone's by their keys, those of a task's head with `task/` in front.

    Args:
        directory: str or Path, with `model.weights.h5`, and with `task.weights.h5` if a task was saved.

    Returns:
        Tensors: nothing is read yet but keys and shapes.

    Raises:
        ValueError: there are no weights, or a file is broken.

    Example:
        >>> open_tensors("albert_base_en_uncased").shape("layers/reversible_embedding/vars/0")  # doctest: +SKIP
        (30000, 128)
    """
    directory = Path(directory)
    path = next((directory / name for name in WEIGHTS_FILES if (directory / name).is_file()), None)
    if path is None:
        raise ValueError(
            f"Expected {' or '.join(WEIGHTS_FILES)} in {directory}. Received: neither. Copy the whole preset directory."
        )
    entries = {_present_key(name): entry for name, entry in open_h5(path).entries.items()}
    if (directory / TASK_WEIGHTS_FILE).is_file():
        for name, entry in open_h5(directory / TASK_WEIGHTS_FILE).entries.items():
            if name.startswith("layers/"):  # the rest is the optimizer's
                entries[f"{_TASK}{name}"] = entry
    return Tensors(directory, entries)


def _present_key(key: str) -> str:
    """A key of a file that an older Keras wrote, as Keras writes it now. KerasHub reads both."""
    key = key.replace("_layer_checkpoint_dependencies/", "layers/")
    return re.sub(r"/_(query|key|value|output)_dense/", r"/\1_dense/", key)


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task with the heads that KerasHub has, too.

    Args:
        model: an `AlbertBackbone`, a `GPTBackbone`, or a task with one.
        names: the names of the tensors in a file. Not needed here.

    Returns:
        A list of rules, one a tensor.

    Example:
        >>> [rule.name for rule in rules(backbone)][0]
        'layers/reversible_embedding/vars/0'
    """
    backbone = getattr(model, "backbone", model)
    found = [
        same("layers/reversible_embedding/vars/0", backbone.token_embedding.embeddings),
        same("layers/position_embedding/vars/0", backbone.position_embedding.position_embeddings),
    ]
    if hasattr(backbone, "transformer_layers"):
        for index, layer in enumerate(backbone.transformer_layers):
            found += _layer(_numbered("layers/transformer_decoder", index), layer)
        return [*found, *_norm("layers/layer_normalization", backbone.final_norm)]
    found += [
        same("layers/embedding/vars/0", backbone.segment_embedding.embeddings),
        *_norm("layers/layer_normalization", backbone.embedding_norm),
        *_dense("layers/dense", backbone.embedding_projection),
    ]
    for index, layer in enumerate(layer for group in backbone.groups for layer in group):
        found += _layer(_numbered("layers/transformer_encoder", index), layer)
    return [*found, *_dense("layers/dense_1", backbone.pooler), *_head_rules(model)]


def _head_rules(model) -> list[TensorRule]:
    found = []
    if (head := getattr(model, "masked_lm_head", None)) is not None:
        name = f"{_TASK}layers/masked_lm_head"
        found += [
            *_dense(f"{name}/_intermediate_dense", head.dense),
            *_norm(f"{name}/_intermediate_layer_norm", head.norm),
            same(f"{name}/vars/0", head.bias),
        ]
    if type(model).__name__ == "AlbertTextClassifier":
        found += _dense(f"{_TASK}layers/dense", model.output_dense)
    return found


def _layer(name, layer) -> list[TensorRule]:
    attention = layer.attention
    heads = (attention.num_heads, attention.head_dim)
    found = []
    for part in ("query", "key", "value"):
        dense, key = getattr(attention, part), f"{name}/_self_attention_layer/{part}_dense/vars"
        found += [
            _reshaped(f"{key}/0", dense.kernel, (dense.kernel.shape[0], *heads)),
            _reshaped(f"{key}/1", dense.bias, heads),
        ]
    output, key = attention.output_dense, f"{name}/_self_attention_layer/output_dense/vars"
    return [
        *found,
        _reshaped(f"{key}/0", output.kernel, (*heads, output.kernel.shape[1])),
        same(f"{key}/1", output.bias),
        *_norm(f"{name}/_self_attention_layer_norm", layer.attention_norm),
        *_dense(f"{name}/_feedforward_intermediate_dense", layer.feed_forward.intermediate_dense),
        *_dense(f"{name}/_feedforward_output_dense", layer.feed_forward.output_dense),
        *_norm(f"{name}/_feedforward_layer_norm", layer.feed_forward_norm),
    ]


def _reshaped(name, variable, shape) -> TensorRule:
    ours = tuple(variable.shape)
    return TensorRule(name, (variable,), lambda x: (x.reshape(ours),), lambda xs: xs[0].reshape(shape), shape)


def _dense(name, layer) -> list[TensorRule]:
    return [same(f"{name}/vars/0", layer.kernel), same(f"{name}/vars/1", layer.bias)]


def _norm(name, layer) -> list[TensorRule]:
    return [same(f"{name}/vars/0", layer.gamma), same(f"{name}/vars/1", layer.beta)]


def _numbered(name, index) -> str:
    return f"{name}_{index}" if index else name


# === Tokenizers ===


def tokenizer(directory: str | Path) -> AlbertTokenizer | GPT2Tokenizer | None:
    """The tokenizer of a preset, from its vocabulary files.

    The tokens are those of the original tokenizers. KerasHub's differ from them for some texts.

    Args:
        directory: str or Path, with `assets/tokenizer/`.

    Returns:
        The tokenizer; `None` if the preset has none.

    Raises:
        ValueError: the vocabulary files are broken.

    Example:
        >>> tokenizer("gpt2_base_en").tokenize("Hello").numpy()  # doctest: +SKIP
        array([15496], dtype=int32)
    """
    assets = Path(directory) / "assets" / "tokenizer"
    if (assets / "vocabulary.spm").is_file():
        return AlbertTokenizer(str(assets / "vocabulary.spm"))
    if (assets / "vocabulary.json").is_file() and (assets / "merges.txt").is_file():
        return GPT2Tokenizer(str(assets / "vocabulary.json"), str(assets / "merges.txt"))
    return None
