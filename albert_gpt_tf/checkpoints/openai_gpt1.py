"""OpenAI's GPT-1: the arguments that its shapes give, and names of tensors.

Kernels are convolutions of width 1, `[1, in, out]`; query, key and value are fused. The original has one matrix of
tokens, special tokens and positions, in this order. Its files hold the first and the last part, as we do; special
tokens are drawn when it is fine-tuned. There its language model's softmax goes over all rows, positions included, ours
over tokens alone: the logits of the tokens agree. Reference: openai/finetune-transformer-lm `train.py`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from albert_gpt_tf.checkpoints.openai_gpt2 import layer_rules, token_table
from albert_gpt_tf.checkpoints.tensor_files import open_openai_gpt1
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, same
from albert_gpt_tf.checkpoints.tensors import Tensors

HEADS = ()  # the token embedding is the output layer
# The one vocabulary that was published. What a model has beyond it are special tokens.
TOKENS = 40478


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `GPTBackbone` for OpenAI's directory.

    Args:
        directory: str or Path, with `params_shapes.json` and the files of numbers.

    Returns:
        A dict of arguments: what the shapes tell, and for the rest the defaults of the original program, such as 12
        heads and dropout of 0.1.

    Raises:
        ValueError: files are missing or broken.

    Example:
        >>> backbone = GPTBackbone(**backbone_arguments("finetune-transformer-lm/model"))  # doctest: +SKIP
    """
    tensors = open_openai_gpt1(directory)
    max_sequence_length, hidden_dim = tensors.shape("positions")
    return {
        "vocabulary_size": tensors.shape("tokens")[0],
        "num_layers": (len(tensors.names()) - 2) // 12,
        "num_heads": 12,
        "hidden_dim": hidden_dim,
        "intermediate_dim": tensors.shape("h0/mlp/c_fc/b")[0],
        "dropout": 0.1,
        "max_sequence_length": max_sequence_length,
        "activation": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "norm_first": False,
    }


def open_tensors(directory: str | Path) -> Tensors:
    """The tensors of the files of numbers, by the names that the original program gives its variables.

    Args:
        directory: str or Path, with `params_shapes.json` and the files of numbers.

    Returns:
        Tensors: nothing is read yet but shapes.

    Raises:
        ValueError: files are missing or broken.

    Example:
        >>> open_tensors("finetune-transformer-lm/model").shape("tokens")  # doctest: +SKIP
        (40478, 768)
    """
    return open_openai_gpt1(directory)


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task; a language model's own head begins as a copy of the token embedding.

    A model with more than the 40,478 published tokens gets new rows for the others, drawn as at fine-tuning.

    Args:
        model: a `GPTBackbone` with `norm_first=False`, or a task with one.
        names: the names of the tensors in a file. Not needed here.

    Returns:
        A list of rules, one a tensor.

    Example:
        >>> [rule.name for rule in rules(backbone)][:2]
        ['positions', 'tokens']
    """
    backbone = getattr(model, "backbone", model)
    tokens = token_table("tokens", model)
    if (special := backbone.vocabulary_size - TOKENS) > 0:
        tokens = _with_special_tokens(tokens, special, backbone.initializer_range)
    found = [same("positions", backbone.position_embedding.position_embeddings), tokens]
    for index, layer in enumerate(backbone.transformer_layers):
        found += layer_rules(f"h{index}/", layer)
    return found


def _with_special_tokens(rule: TensorRule, special: int, deviation: float) -> TensorRule:
    def append(x):
        drawn = np.random.default_rng().normal(0, deviation, (special, x.shape[1]))
        return rule.to_ours(np.concatenate([x, drawn.astype(x.dtype)]))

    return rule._replace(
        to_ours=append, to_theirs=lambda xs: rule.to_theirs(xs)[:-special], shape=(TOKENS, rule.shape[1])
    )
