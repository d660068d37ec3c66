"""ALBERT in Hugging Face's form: its configuration and the names and shapes of its tensors, in both directions.

PyTorch's Linear stores kernels `[out, in]`: each one is transposed. Reference: Transformers, `modeling_albert.py`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from albert_gpt_tf.checkpoints.hugging_face_config import read_config
from albert_gpt_tf.checkpoints.tensor_files import open_hugging_face
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, same, transposed

MODEL_TYPE = "albert"
PREFIX = "albert."
# Ours -> theirs. Their names are also what `architectures` of a config.json says.
CLASSES = {
    "AlbertBackbone": "AlbertModel",
    "AlbertPretrainer": "AlbertForPreTraining",
    "AlbertMaskedLM": "AlbertForMaskedLM",
    "AlbertTextClassifier": "AlbertForSequenceClassification",
    "AlbertTokenClassifier": "AlbertForTokenClassification",
    "AlbertQuestionAnswerer": "AlbertForQuestionAnswering",
    "AlbertMultipleChoice": "AlbertForMultipleChoice",
    "AlbertTextEmbedder": "AlbertModel",
}
# Heads, as regular expressions of whole names: a model that lacks one has no use for its tensors.
HEADS = (r"predictions\..*", r"sop_classifier\..*", r"classifier\..*", r"qa_outputs\..*")


# === Configuration ===


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `AlbertBackbone` for a Hugging Face directory.

    Args:
        directory: str or Path, with a `config.json`.

    Returns:
        A dict of arguments. A field that is left out means what Transformers takes for it: xxlarge's sizes.

    Raises:
        ValueError: the model is no ALBERT, or a field is of the wrong kind or asks for what is not known.

    Example:
        >>> backbone = AlbertBackbone(**backbone_arguments("albert-base-v2"))  # doctest: +SKIP
    """
    config = read_config(directory)
    if config.values["model_type"] != MODEL_TYPE:
        raise ValueError(
            f"Expected model_type 'albert' in {config.path}. Received: {config.values['model_type']!r}. Give the "
            "directory of an ALBERT model."
        )
    for refused in ("relative_key", "relative_key_query"):
        config.refuse("position_embedding_type", refused, "absolute", "Only absolute positions are known here.")
    return {
        "vocabulary_size": config.get("vocab_size", int, 30000),
        "num_layers": config.get("num_hidden_layers", int, 12),
        "num_heads": config.get("num_attention_heads", int, 64),
        "hidden_dim": config.get("hidden_size", int, 4096),
        "intermediate_dim": config.get("intermediate_size", int, 16384),
        "embedding_dim": config.get("embedding_size", int, 128),
        "num_groups": config.get("num_hidden_groups", int, 1),
        "num_inner_repetitions": config.get("inner_group_num", int, 1),
        "dropout": config.get("hidden_dropout_prob", float, 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", float, 0.0),
        "max_sequence_length": config.get("max_position_embeddings", int, 512),
        "num_segments": config.get("type_vocab_size", int, 2),
        "activation": config.activation("hidden_act", "gelu_new"),
        "layer_norm_epsilon": config.get("layer_norm_eps", float, 1e-12),
        "initializer_range": config.get("initializer_range", float, 0.02),
    }


def to_config(backbone) -> dict[str, Any]:
    """The fields of `config.json` for a backbone.

    Args:
        backbone: an `AlbertBackbone`.

    Returns:
        A dict, without what belongs to a head or a tokenizer.

    Raises:
        ValueError: Transformers' ALBERT has no such model.
    """
    refused = {
        f"cross_layer_sharing={backbone.cross_layer_sharing!r}": backbone.cross_layer_sharing in ("attention", "ffn"),
        "adapters": bool(backbone.adapters),
        "layer gates": bool(backbone.gates),
        "no embedding projection": backbone.embedding_projection is None,
    }
    for what, is_refused in refused.items():
        if is_refused:
            raise ValueError(
                f"Expected a model that Transformers' ALBERT can express. Received: {what}. Save it with "
                "save_to_preset, or train one without."
            )
    return {
        "model_type": MODEL_TYPE,
        "vocab_size": backbone.vocabulary_size,
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "hidden_size": backbone.hidden_dim,
        "intermediate_size": backbone.intermediate_dim,
        "embedding_size": backbone.embedding_dim,
        "num_hidden_groups": len(backbone.groups),
        "inner_group_num": backbone.num_inner_repetitions,
        "hidden_dropout_prob": backbone.dropout,
        "attention_probs_dropout_prob": backbone.attention_dropout,
        "classifier_dropout_prob": 0.1,
        "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": backbone.num_segments,
        "hidden_act": backbone.activation,
        "layer_norm_eps": backbone.layer_norm_epsilon,
        "initializer_range": backbone.initializer_range,
        "tie_word_embeddings": True,
    }


# === Tensors ===

open_tensors = open_hugging_face


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task with all its heads.

    Args:
        model: an `AlbertBackbone` or a task with one.
        names: the names of the tensors in a file, which tell whether it has the prefix `albert.`. Defaults to none:
            the names as Transformers writes them for the class.

    Returns:
        A list of rules, the backbone's first.

    Example:
        >>> [rule.name for rule in rules(backbone)][0]
        'embeddings.word_embeddings.weight'
    """
    backbone = getattr(model, "backbone", model)
    prefix = PREFIX if CLASSES[type(model).__name__] != "AlbertModel" else ""
    if names:
        prefix = next((name[: -len(_TOKENS)] for name in names if name.endswith(_TOKENS)), prefix)
    return [rule._replace(name=prefix + rule.name) for rule in _backbone_rules(backbone)] + _head_rules(model, names)


_TOKENS = "embeddings.word_embeddings.weight"


def _backbone_rules(backbone) -> list[TensorRule]:
    found = [
        same(_TOKENS, backbone.token_embedding.embeddings),
        same("embeddings.position_embeddings.weight", backbone.position_embedding.position_embeddings),
        same("embeddings.token_type_embeddings.weight", backbone.segment_embedding.embeddings),
        *_norm("embeddings.LayerNorm", backbone.embedding_norm),
        *_linear("encoder.embedding_hidden_mapping_in", backbone.embedding_projection),
    ]
    for group, layers in enumerate(backbone.groups):
        for inner, layer in enumerate(layers):
            name = f"encoder.albert_layer_groups.{group}.albert_layers.{inner}."
            found += [
                *_linear(f"{name}attention.query", layer.attention.query),
                *_linear(f"{name}attention.key", layer.attention.key),
                *_linear(f"{name}attention.value", layer.attention.value),
                *_linear(f"{name}attention.dense", layer.attention.output_dense),
                *_norm(f"{name}attention.LayerNorm", layer.attention_norm),
                *_linear(f"{name}ffn", layer.feed_forward.intermediate_dense),
                *_linear(f"{name}ffn_output", layer.feed_forward.output_dense),
                *_norm(f"{name}full_layer_layer_norm", layer.feed_forward_norm),
            ]
    return [*found, *_linear("pooler", backbone.pooler)]


def _head_rules(model, names) -> list[TensorRule]:
    found = []
    if (head := getattr(model, "masked_lm_head", None)) is not None:
        # The bias has two names, and a file has one of them or both.
        of_decoder = "predictions.decoder.bias" in names and "predictions.bias" not in names
        found += [
            *_linear("predictions.dense", head.dense),
            *_norm("predictions.LayerNorm", head.norm),
            same("predictions.decoder.bias" if of_decoder else "predictions.bias", head.bias),
        ]
    if (dense := getattr(model, "sentence_order_dense", None)) is not None:
        found += _linear("sop_classifier.classifier", dense)
    if (dense := getattr(model, "output_dense", None)) is not None:
        is_span = CLASSES[type(model).__name__] == "AlbertForQuestionAnswering"
        found += _linear("qa_outputs" if is_span else "classifier", dense)
    return found


def tied(model, names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names in a file that must hold the same values, for the heads of `model`."""
    if getattr(model, "masked_lm_head", None) is None:
        return []
    tokens = next((name for name in names if name.endswith(_TOKENS)), _TOKENS)
    pairs = [("predictions.decoder.weight", tokens), ("predictions.decoder.bias", "predictions.bias")]
    return [pair for pair in pairs if set(pair) <= set(names)]


def is_buffer(name: str) -> bool:
    """Whether a tensor is none of a model's weights."""
    return name.endswith("embeddings.position_ids")


def _linear(name, dense) -> list[TensorRule]:
    return [transposed(f"{name}.weight", dense.kernel), same(f"{name}.bias", dense.bias)]


def _norm(name, layer) -> list[TensorRule]:
    return [same(f"{name}.weight", layer.gamma), same(f"{name}.bias", layer.beta)]
