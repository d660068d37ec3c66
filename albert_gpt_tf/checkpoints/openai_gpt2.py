"""OpenAI's GPT-2 checkpoints (TensorFlow 1): configuration and names of tensors.

Kernels are convolutions of width 1, `[1, in, out]`; query, key and value are fused. Reference: openai/gpt-2
`src/model.py`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from albert_gpt_tf.checkpoints.config_files import read_fields
from albert_gpt_tf.checkpoints.tensor_files import open_tf_checkpoint
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, leading_one, same, thirds
from albert_gpt_tf.checkpoints.tensors import Tensors

CONFIG_FILE = "hparams.json"
HEADS = ()  # the token embedding is the output layer


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `GPTBackbone` for one of OpenAI's directories, such as `124M`.

    Args:
        directory: str or Path, with an `hparams.json`.

    Returns:
        A dict of arguments; no dropout, which the released code does not have.

    Raises:
        ValueError: there is no such file, or a field is missing or of the wrong kind.

    Example:
        >>> backbone = GPTBackbone(**backbone_arguments("models/124M"))  # doctest: +SKIP
    """
    names = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
    config = read_fields(Path(directory) / CONFIG_FILE, required=names)
    vocabulary_size, max_sequence_length, hidden_dim, num_heads, num_layers = (
        config.get(name, int, None) for name in names
    )
    return {
        "vocabulary_size": vocabulary_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
        "max_sequence_length": max_sequence_length,
        "activation": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "norm_first": True,
    }


def open_tensors(directory: str | Path) -> Tensors:
    """The tensors of a checkpoint.

    Args:
        directory: str or Path, with `model.ckpt.index` and `model.ckpt.data-*`.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: there is no checkpoint.

    Example:
        >>> open_tensors("models/124M").shape("model/h0/attn/c_attn/w")  # doctest: +SKIP
        (1, 768, 2304)
    """
    return open_tf_checkpoint(directory)


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task; a language model's own head begins as a copy of the token embedding.

    Args:
        model: a `GPTBackbone` with `norm_first=True`, or a task with one.
        names: the names of the tensors in a file. Not needed here.

    Returns:
        A list of rules, one a tensor.

    Example:
        >>> [rule.name for rule in rules(backbone)][:2]
        ['model/wte', 'model/wpe']
    """
    backbone = getattr(model, "backbone", model)
    found = [
        token_table("model/wte", model),
        same("model/wpe", backbone.position_embedding.position_embeddings),
    ]
    for index, layer in enumerate(backbone.transformer_layers):
        found += layer_rules(f"model/h{index}/", layer)
    return [*found, *_norm("model/ln_f/", backbone.final_norm)]


def token_table(name: str, model) -> TensorRule:
    """The rule of the token embedding, which an untied head of the model begins with, too."""
    rule = same(name, getattr(model, "backbone", model).token_embedding.embeddings)
    kernel = getattr(getattr(model, "lm_head", None), "kernel", None)
    if kernel is None:
        return rule
    return rule._replace(variables=(*rule.variables, kernel), to_ours=lambda x: (x, x.T.copy()))


def layer_rules(prefix: str, layer) -> list[TensorRule]:
    """The rules of one layer, as GPT-1 and GPT-2 name its tensors."""
    parts = (layer.attention.query, layer.attention.key, layer.attention.value)
    return [
        *_norm(f"{prefix}ln_1/", layer.attention_norm),
        leading_one(thirds(f"{prefix}attn/c_attn/w", tuple(dense.kernel for dense in parts))),
        thirds(f"{prefix}attn/c_attn/b", tuple(dense.bias for dense in parts)),
        *_conv1d(f"{prefix}attn/c_proj/", layer.attention.output_dense),
        *_norm(f"{prefix}ln_2/", layer.feed_forward_norm),
        *_conv1d(f"{prefix}mlp/c_fc/", layer.feed_forward.intermediate_dense),
        *_conv1d(f"{prefix}mlp/c_proj/", layer.feed_forward.output_dense),
    ]


def _conv1d(prefix, dense) -> list[TensorRule]:
    return [leading_one(same(f"{prefix}w", dense.kernel)), same(f"{prefix}b", dense.bias)]


def _norm(prefix, layer) -> list[TensorRule]:
    return [same(f"{prefix}g", layer.gamma), same(f"{prefix}b", layer.beta)]
