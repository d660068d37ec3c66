"""ALBERT from Hugging Face: the same numbers and gradients as PyTorch, head by head; what a configuration may say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from albert_gpt_tf.checkpoints.hugging_face_albert import backbone_arguments, rules
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier

# Beside the repository, where a machine of the project has them.
WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"


@pytest.fixture(scope="module")
def reference():
    """The module transformers_reference.py; skips without PyTorch Transformers."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    path = Path(__file__).parent / "transformers_reference.py"
    spec = importlib.util.spec_from_file_location("transformers_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# === The same numbers as PyTorch ===

SHAPES = {
    "one group": {},
    "two groups": {"num_hidden_groups": 2},
    "inner layers": {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2},
    "wide embedding": {"embedding_size": 16},
    "relu": {"hidden_act": "relu"},
    "erf gelu": {"hidden_act": "gelu"},
    "tanh gelu": {"hidden_act": "gelu_pytorch_tanh"},
    "three segments": {"type_vocab_size": 3, "layer_norm_eps": 1e-5},
    "all at once": {"num_hidden_groups": 2, "inner_group_num": 2, "embedding_size": 16, "hidden_act": "gelu"},
}
HEADS = {
    "AlbertForPreTraining": (
        AlbertPretrainer,
        {"masked_lm": "prediction_logits", "sentence_order": "sop_logits"},
    ),
    "AlbertForMaskedLM": (AlbertMaskedLM, {"": "logits"}),
    "AlbertForSequenceClassification": (AlbertTextClassifier, {"": "logits"}),
    "AlbertForTokenClassification": (AlbertTokenClassifier, {"": "logits"}),
    "AlbertForQuestionAnswering": (AlbertQuestionAnswerer, {"start": "start_logits", "end": "end_logits"}),
    "AlbertForMultipleChoice": (AlbertMultipleChoice, {"": "logits"}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_backbone_computes_what_pytorch_does(reference, tmp_path, shape):
    theirs = reference.make_model("AlbertModel", tmp_path, **SHAPES[shape])
    ours = load_backbone(AlbertBackbone, tmp_path)
    outputs = {"sequence_output": "last_hidden_state", "pooled_output": "pooler_output"}
    difference, of_gradients = reference.compare(ours, theirs, outputs)
    assert difference < 1e-5
    assert of_gradients < 1e-4


@pytest.mark.parametrize("shape", ["one group", "all at once"])
@pytest.mark.parametrize("head", HEADS)
def test_a_head_computes_what_pytorch_does(reference, tmp_path, head, shape):
    cls, outputs = HEADS[head]
    labels = {"num_labels": 3} if "Classification" in head else {}
    theirs = reference.make_model(head, tmp_path, **SHAPES[shape], **labels)
    difference, of_gradients = reference.compare(load_task(cls, tmp_path), theirs, outputs)
    assert difference < 1e-5
    assert of_gradients < 1e-4


def test_a_regression_computes_what_pytorch_does(reference, tmp_path):
    theirs = reference.make_model("AlbertForSequenceClassification", tmp_path, num_labels=1)
    ours = load_task(AlbertTextClassifier, tmp_path)
    assert ours.regression
    difference, of_gradients = reference.compare(ours, theirs, {"": "logits"})
    assert difference < 1e-5
    assert of_gradients < 1e-4


def test_trained_weights_give_the_logits_that_were_published_with_them():
    folder = WEIGHTS / "rxnmapper_albert"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("the trained weights are not beside the repository (../shared/data/weights)")
    expected = np.load(folder / "hf_reference.npz")
    ids = expected["input_ids"]
    masked_lm = load_task(AlbertMaskedLM, folder, preprocessor=None)
    inputs = {
        "token_ids": ids,
        "segment_ids": expected["token_type_ids"],
        "padding_mask": expected["attention_mask"].astype(bool),
        "mask_positions": np.tile(np.arange(ids.shape[1]), (len(ids), 1)),
    }
    is_real = inputs["padding_mask"][..., None]
    logits = masked_lm(inputs).numpy()
    # Logits reach 30: 1e-5 of that.
    np.testing.assert_allclose(logits * is_real, expected["logits"] * is_real, atol=3e-4)


# === Configuration ===


def write_config(folder, **fields):
    (folder / "config.json").write_text(json.dumps({"model_type": "albert", **fields}), encoding="utf-8")
    return folder


def test_a_field_that_is_left_out_means_the_size_of_xxlarge(tmp_path):
    arguments = backbone_arguments(write_config(tmp_path))
    assert arguments["hidden_dim"] == 4096
    assert arguments["num_heads"] == 64
    assert arguments["intermediate_dim"] == 16384
    assert arguments["activation"] == "gelu_new"
    assert arguments["layer_norm_epsilon"] == 1e-12


def test_both_dropout_rates_are_kept(tmp_path):
    fields = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0}
    arguments = backbone_arguments(write_config(tmp_path, **fields))
    assert (arguments["dropout"], arguments["attention_dropout"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": "768"}, 'Expected a whole number as hidden_size in .*config.json. Received: "768"'),
        ({"hidden_size": None}, "Expected a whole number as hidden_size .* Received: null"),
        ({"num_hidden_layers": True}, "Expected a whole number as num_hidden_layers .* Received: true"),
        ({"layer_norm_eps": [1]}, "Expected a number as layer_norm_eps"),
        ({"hidden_dropout_prob": -0.1}, "Expected a number as hidden_dropout_prob .* Received: -0.1"),
        ({"hidden_act": "mish"}, "Expected an activation among .* as hidden_act .* Received: 'mish'"),
        ({"position_embedding_type": "relative_key"}, "Expected position_embedding_type other than"),
        ({"model_type": "bert"}, "Expected model_type 'albert' in .*config.json. Received: 'bert'"),
        ({"model_type": None}, "Expected a model_type .* Received: null"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        backbone_arguments(write_config(tmp_path, **fields))


def test_a_directory_without_configuration_and_broken_json_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a config.json in .* Received: none"):
        backbone_arguments(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "alb')
    with pytest.raises(ValueError, match=r"Expected JSON in .*config.json"):
        backbone_arguments(tmp_path)


# === Names ===


@pytest.fixture(scope="module")
def backbone():
    return AlbertBackbone(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8
    )


def test_a_backbone_has_bare_names_and_a_task_prefixed_ones(backbone):
    names = [rule.name for rule in rules(backbone)]
    assert "embeddings.word_embeddings.weight" in names
    classifier = AlbertTextClassifier(backbone, labels=["a", "b"])
    prefixed = [rule.name for rule in rules(classifier)]
    assert prefixed == [f"albert.{name}" for name in names] + ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize("prefix", ["", "albert.", "model.albert."])
def test_the_prefix_is_that_of_the_file(backbone, prefix):
    names = [f"{prefix}embeddings.word_embeddings.weight"]
    assert rules(backbone, names)[0].name == names[0]


def test_every_weight_has_one_rule(backbone):
    pretrainer = AlbertPretrainer(backbone)
    filled = [id(variable) for rule in rules(pretrainer) for variable in rule.variables]
    assert sorted(filled) == sorted(id(weight) for weight in pretrainer.trainable_weights)
