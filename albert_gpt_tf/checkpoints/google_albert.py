"""google-research's ALBERT checkpoints (TensorFlow 1): configuration, names of tensors, heads.

Kernels are `[in, out]`, as ours; the weights of heads on sentences and spans are `[out, in]`. Reference:
google-research/albert `modeling.py`, `run_pretraining.py`, `classifier_utils.py`, `race_utils.py`, `squad_utils.py`.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from albert_gpt_tf.checkpoints.config_files import read_fields
from albert_gpt_tf.checkpoints.tensor_files import open_tf_checkpoint
from albert_gpt_tf.checkpoints.tensor_rules import TensorRule, same, transposed
from albert_gpt_tf.checkpoints.tensors import Tensors

CONFIG_FILE = "albert_config.json"
# Heads, as regular expressions of whole names: a model without the head has no use for its tensors.
_SPANS_OF_SQUAD_2 = "(start_logits|end_logits|answer_class)/.*"
HEADS = ("cls/(predictions|seq_relationship|squad)/.*", "output_(weights|bias)", _SPANS_OF_SQUAD_2)

_OTHER_FAMILY = re.compile(r"(.*/)?(word_embeddings_2|encoder/layer_shared/.*)")


# === Configuration ===


def backbone_arguments(directory: str | Path) -> dict[str, Any]:
    """Arguments of `AlbertBackbone` for a directory of google-research.

    Args:
        directory: str or Path, with an `albert_config.json`.

    Returns:
        A dict of arguments. A field that is left out means what the original takes for it: xxlarge's sizes.

    Raises:
        ValueError: there is no such file, a field is of the wrong kind, or the model is another one.

    Example:
        >>> backbone = AlbertBackbone(**backbone_arguments("albert_base_v2"))  # doctest: +SKIP

    Reference:
        google-research/albert `modeling.py`, AlbertConfig.
    """
    config = read_fields(Path(directory) / CONFIG_FILE, required=["vocab_size"])
    if "ln_type" in config.values:
        raise _other_family(config.path, "the field ln_type")
    hidden_dim = config.get("hidden_size", int, 4096)
    embedding_dim = config.get("embedding_size", int, 128)
    return {
        "vocabulary_size": config.get("vocab_size", int, None),
        "num_layers": config.get("num_hidden_layers", int, 12),
        "num_heads": config.get("num_attention_heads", int, 64),
        "hidden_dim": hidden_dim,
        "intermediate_dim": config.get("intermediate_size", int, 16384),
        "embedding_dim": embedding_dim,
        "num_groups": config.get("num_hidden_groups", int, 1),
        "num_inner_repetitions": config.get("inner_group_num", int, 1),
        "dropout": config.get("hidden_dropout_prob", float, 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", float, 0.0),
        "max_sequence_length": config.get("max_position_embeddings", int, 512),
        "num_segments": config.get("type_vocab_size", int, 2),
        "activation": config.activation("hidden_act", "gelu", {"gelu": "gelu_new"}),  # its gelu is the tanh form
        "initializer_range": config.get("initializer_range", float, 0.02),
        "use_embedding_projection": embedding_dim != hidden_dim,
    }


# === Tensors ===


def open_tensors(directory: str | Path) -> Tensors:
    """The weights in a checkpoint, without what an optimizer left and without the prefix of a TF-Hub module.

    Args:
        directory: str or Path, with `model.ckpt-*.index` and `model.ckpt-*.data-*`.

    Returns:
        Tensors: nothing is read yet but names and shapes.

    Raises:
        ValueError: there is no checkpoint, or it is of another architecture.

    Example:
        >>> open_tensors("albert_base_v2").shape("bert/embeddings/word_embeddings")  # doctest: +SKIP
        (30000, 128)
    """
    tensors = open_tf_checkpoint(directory)
    for name in tensors.names():
        if _OTHER_FAMILY.fullmatch(name):
            raise _other_family(tensors.source, name)
    return tensors


def rules(model, names: Collection[str] = ()) -> list[TensorRule]:
    """The tensors of a backbone or of a task with all its heads.

    Args:
        model: an `AlbertBackbone` or a task with one.
        names: the names of the tensors in a file. If `group_0` is its only group, it fills every group of the model,
            as the original's option `init_from_group0` does. Defaults to none: a group of the file for each.

    Returns:
        A list of rules, one a tensor.

    Raises:
        ValueError: the model answers questions, and the file holds the head of SQuAD 2.0, which works in another way.

    Example:
        >>> [rule.name for rule in rules(backbone)][0]
        'bert/embeddings/word_embeddings'
    """
    backbone = getattr(model, "backbone", model)
    groups = {match[1] for name in names if (match := re.search(r"/group_(\d+)/", name))}
    found = [
        same("bert/embeddings/word_embeddings", backbone.token_embedding.embeddings),
        same("bert/embeddings/token_type_embeddings", backbone.segment_embedding.embeddings),
        same("bert/embeddings/position_embeddings", backbone.position_embedding.position_embeddings),
        *_norm("bert/embeddings/LayerNorm", backbone.embedding_norm),
    ]
    if backbone.embedding_projection is not None:
        found += _dense("bert/encoder/embedding_hidden_mapping_in", backbone.embedding_projection)
    for group, layers in enumerate(backbone.groups):
        for inner, layer in enumerate(layers):
            name = f"bert/encoder/transformer/group_{0 if groups == {'0'} else group}/inner_group_{inner}"
            found += [
                *_dense(f"{name}/attention_1/self/query", layer.attention.query),
                *_dense(f"{name}/attention_1/self/key", layer.attention.key),
                *_dense(f"{name}/attention_1/self/value", layer.attention.value),
                *_dense(f"{name}/attention_1/output/dense", layer.attention.output_dense),
                *_norm(f"{name}/LayerNorm", layer.attention_norm),
                *_dense(f"{name}/ffn_1/intermediate/dense", layer.feed_forward.intermediate_dense),
                *_dense(f"{name}/ffn_1/intermediate/output/dense", layer.feed_forward.output_dense),
                *_norm(f"{name}/LayerNorm_1", layer.feed_forward_norm),
            ]
    return [*_one_a_tensor(found), *_dense("bert/pooler/dense", backbone.pooler), *_head_rules(model, names)]


def _head_rules(model, names) -> list[TensorRule]:
    found = []
    if (head := getattr(model, "masked_lm_head", None)) is not None:
        found += [
            *_dense("cls/predictions/transform/dense", head.dense),
            *_norm("cls/predictions/transform/LayerNorm", head.norm),
            same("cls/predictions/output_bias", head.bias),
        ]
    if (dense := getattr(model, "sentence_order_dense", None)) is not None:
        found += _output("cls/seq_relationship/", dense)
    if (dense := getattr(model, "output_dense", None)) is not None:
        answers_questions = type(model).__name__ == "AlbertQuestionAnswerer"
        of_v2 = [name for name in names if re.fullmatch(_SPANS_OF_SQUAD_2, name)]
        if answers_questions and of_v2:
            raise ValueError(
                "Expected the span head of SQuAD 1.1, cls/squad/output_weights. Received: the one of SQuAD 2.0 "
                f"({of_v2[0]}), whose end depends on its start. Load AlbertBackbone and train the head anew."
            )
        found += _output("cls/squad/" if answers_questions else "", dense)
    return found


def _one_a_tensor(found) -> list[TensorRule]:
    """Joins the rules that read one tensor, and leaves out those of variables that a rule before them fills."""
    variables_of, first_of, seen = {}, {}, set()
    for rule in found:
        (variable,) = rule.variables
        if id(variable) not in seen:
            seen.add(id(variable))
            first_of.setdefault(rule.name, rule)
            variables_of.setdefault(rule.name, []).append(variable)
    return [_for_all(rule, variables_of[name]) for name, rule in first_of.items()]


def _for_all(rule, variables) -> TensorRule:
    # A copy for each but the first: a variable may keep the memory of the array that it is given.
    return rule._replace(variables=tuple(variables), to_ours=lambda x: (x, *(x.copy() for _ in variables[1:])))


def _other_family(source, sign) -> ValueError:
    return ValueError(
        f"Expected google-research's ALBERT in {source}. Received: {sign}, which only the community's albert_zh models "
        "have (albert_tiny_zh, albert_base_zh, albert_large_zh, albert_xlarge_zh), another architecture under the same "
        "name. Use google-research's albert_*_zh, or the 'google version' of albert_zh."
    )


def _dense(name, layer) -> list[TensorRule]:
    return [same(f"{name}/kernel", layer.kernel), same(f"{name}/bias", layer.bias)]


def _output(prefix, layer) -> list[TensorRule]:
    return [transposed(f"{prefix}output_weights", layer.kernel), same(f"{prefix}output_bias", layer.bias)]


def _norm(name, layer) -> list[TensorRule]:
    return [same(f"{name}/gamma", layer.gamma), same(f"{name}/beta", layer.beta)]
