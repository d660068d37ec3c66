"""GPT-2 and GPT-1 in Hugging Face's form: configurations, and names and shapes of tensors, in both directions.

Their Conv1D stores kernels `[in, out]` as we do, the heads are Linear, `[out, in]`. Query, key and value are fused.
Reference: Transformers, `modeling_gpt2.py` and `modeling_openai.py`.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from albert_gpt_tf.checkpoints.hugging_face_config import read_config
from albert_gpt_tf.checkpoints.tensor_files import open_hugging_face
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, same, thirds, transposed

PREFIX = "transformer."
# Ours -> theirs, GPT-2 and GPT-1.
CLASSES = {
    "GPTBackbone": ("GPT2Model", "OpenAIGPTModel"),
    "GPTCausalLM": ("GPT2LMHeadModel", "OpenAIGPTLMHeadModel"),
    "GPTTextClassifier": ("GPT2ForSequenceClassification", "OpenAIGPTForSequenceClassification"),
}
# Heads, as regular expressions of whole names: a model that lacks one has no use for its tensors.
HEADS = (r"lm_head\..*", r"score\..*", r"classifier\..*", r"qa_outputs\..*", r"multiple_choice_head\..*")


# === Configuration ===


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `GPTBackbone` for a Hugging Face directory.

    Args:
        directory: str or Path, with the `config.json` of a GPT-2 or a GPT-1.

    Returns:
        A dict of arguments.

    Raises:
        ValueError: the model is neither, or a field is of the wrong kind or asks for what is not known.

    Example:
        >>> backbone = GPTBackbone(**backbone_arguments("gpt2"))  # doctest: +SKIP
    """
    config = read_config(directory)
    model_type = config.values["model_type"]
    if model_type not in ("gpt2", "openai-gpt"):
        raise ValueError(
            f"Expected model_type 'gpt2' or 'openai-gpt' in {config.path}. Received: {model_type!r}. Give the "
            "directory of a GPT-2 or GPT-1 model."
        )
    is_gpt2 = model_type == "gpt2"
    arguments = {
        "vocabulary_size": config.get("vocab_size", int, 50257 if is_gpt2 else 40478),
        "num_layers": config.get("n_layer", int, 12),
        "num_heads": config.get("n_head", int, 12),
        "hidden_dim": config.get("n_embd", int, 768),
        "dropout": config.get("resid_pdrop", float, 0.1),
        "embedding_dropout": config.get("embd_pdrop", float, 0.1),
        "attention_dropout": config.get("attn_pdrop", float, 0.1),
        "max_sequence_length": config.get("n_positions", int, 1024 if is_gpt2 else 512),
        "layer_norm_epsilon": config.get("layer_norm_epsilon", float, 1e-5),
        "initializer_range": config.get("initializer_range", float, 0.02),
        "norm_first": is_gpt2,
    }
    if not is_gpt2:  # its "gelu" is the tanh form
        return {**arguments, "activation": config.activation("afn", "gelu", {"gelu": "gelu_new"})}
    config.refuse("add_cross_attention", True, False, "A decoder that looks at an encoder is not known here.")
    config.refuse("scale_attn_weights", False, True, "Attention without a scale is not known here.")
    return {
        **arguments,
        "intermediate_dim": config.get("n_inner", int, None),
        "activation": config.activation("activation_function", "gelu_new"),
        "scale_attention_by_layer": config.get("scale_attn_by_inverse_layer_idx", bool, False),
    }


def to_config(backbone) -> dict[str, Any]:
    """The fields of `config.json` for a backbone: GPT-2's, or GPT-1's if it is post-norm.

    Args:
        backbone: a `GPTBackbone`.

    Returns:
        A dict, without what belongs to a head or a tokenizer.

    Raises:
        ValueError: Transformers' GPT-2 or GPT-1 has no such model.
    """
    is_gpt2 = backbone.norm_first
    refused = {
        "use_bias=False": not backbone.use_bias,
        f"attention_window={backbone.attention_window}": backbone.attention_window is not None,
        f"head_dim={backbone.head_dim}": backbone.head_dim * backbone.num_heads != backbone.hidden_dim,
    }
    if not is_gpt2:
        refused |= {
            f"intermediate_dim={backbone.intermediate_dim}": backbone.intermediate_dim != 4 * backbone.hidden_dim,
            "scale_attention_by_layer=True": backbone.scale_attention_by_layer,
            f"activation={backbone.activation!r}": backbone.activation not in ("gelu_new", "relu", "silu"),
        }
    for what, is_refused in refused.items():
        if is_refused:
            raise ValueError(
                f"Expected a model that Transformers' {'GPT-2' if is_gpt2 else 'GPT-1'} can express. Received: {what}. "
                "Save it with save_to_preset, or train one without."
            )
    config = {
        "model_type": "gpt2" if is_gpt2 else "openai-gpt",
        "vocab_size": backbone.vocabulary_size,
        "n_layer": backbone.num_layers,
        "n_head": backbone.num_heads,
        "n_embd": backbone.hidden_dim,
        "resid_pdrop": backbone.dropout,
        "embd_pdrop": backbone.dropout if backbone.embedding_dropout is None else backbone.embedding_dropout,
        "attn_pdrop": backbone.dropout if backbone.attention_dropout is None else backbone.attention_dropout,
        "n_positions": backbone.max_sequence_length,
        "layer_norm_epsilon": backbone.layer_norm_epsilon,
        "initializer_range": backbone.initializer_range,
    }
    if not is_gpt2:
        afn = "gelu" if backbone.activation == "gelu_new" else backbone.activation
        return {**config, "afn": afn}
    return {
        **config,
        "n_inner": backbone.intermediate_dim,
        "activation_function": backbone.activation,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": backbone.scale_attention_by_layer,
        "add_cross_attention": False,
    }


# === Tensors ===

open_tensors = open_hugging_face


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task with its head.

    Args:
        model: a `GPTBackbone` or a task with one.
        names: the names of the tensors in a file, which tell whether it has the prefix `transformer.`. Defaults to
            none: the names as Transformers writes them for the class.

    Returns:
        A list of rules, the backbone's first.

    Example:
        >>> [rule.name for rule in rules(backbone)][:2]
        ['wte.weight', 'wpe.weight']
    """
    backbone = getattr(model, "backbone", model)
    prefix = "" if backbone is model else PREFIX
    if names:
        prefix = next((name[: -len(tokens)] for tokens in _TOKENS for name in names if name.endswith(tokens)), prefix)
    return [rule._replace(name=prefix + rule.name) for rule in _backbone_rules(backbone)] + _head_rules(model)


_TOKENS = ("wte.weight", "tokens_embed.weight")


def _backbone_rules(backbone) -> list[TensorRule]:
    tokens, positions = _TOKENS[0], "wpe.weight"
    if not backbone.norm_first:
        tokens, positions = _TOKENS[1], "positions_embed.weight"
    found = [
        same(tokens, backbone.token_embedding.embeddings),
        same(positions, backbone.position_embedding.position_embeddings),
    ]
    for index, layer in enumerate(backbone.transformer_layers):
        name, attention = f"h.{index}.", layer.attention
        parts = (attention.query, attention.key, attention.value)
        found += [
            *_norm(f"{name}ln_1", layer.attention_norm),
            thirds(f"{name}attn.c_attn.weight", tuple(dense.kernel for dense in parts)),
            thirds(f"{name}attn.c_attn.bias", tuple(dense.bias for dense in parts)),
            *_conv1d(f"{name}attn.c_proj", attention.output_dense),
            *_norm(f"{name}ln_2", layer.feed_forward_norm),
            *_conv1d(f"{name}mlp.c_fc", layer.feed_forward.intermediate_dense),
            *_conv1d(f"{name}mlp.c_proj", layer.feed_forward.output_dense),
        ]
    return found if backbone.final_norm is None else [*found, *_norm("ln_f", backbone.final_norm)]


def _head_rules(model) -> list[TensorRule]:
    found = []
    if (head := getattr(model, "lm_head", None)) is not None:
        found += [] if head.kernel is None else [transposed("lm_head.weight", head.kernel)]
        found += [] if head.bias is None else [same("lm_head.bias", head.bias)]
    if (dense := getattr(model, "output_dense", None)) is not None:
        found.append(transposed("score.weight", dense.kernel))  # without a bias there
    return found


def tied(model, names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names in a file that must hold the same values, for the head of `model`."""
    lm_head = getattr(model, "lm_head", None)
    is_tied = hasattr(model, "lm_head") and (lm_head is None or lm_head.kernel is None)
    pair = ("lm_head.weight", token_table(names))
    return [pair] if is_tied and set(pair) <= set(names) else []


def token_table(names: Collection[str]) -> str | None:
    """The name of the token embedding among the names of a file."""
    return next((name for name in names if name.endswith(_TOKENS)), None)


def is_buffer(name: str) -> bool:
    """Whether a tensor is none of a model's weights: causal masks and counters of old files."""
    return re.search(r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$|(^|\.)position_ids$", name) is not None


def _conv1d(name, dense) -> list[TensorRule]:
    return [same(f"{name}.weight", dense.kernel), same(f"{name}.bias", dense.bias)]


def _norm(name, layer) -> list[TensorRule]:
    return [same(f"{name}.weight", layer.gamma), same(f"{name}.bias", layer.beta)]
