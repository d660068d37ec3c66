"""Training a few parameters: what moves, what is saved, and that it merges back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from albert_gpt_tf.checkpoints.load import load_backbone
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.tasks.trained_part import base_weights, save_trained_part
from albert_gpt_tf.training.optimizers import AdamW
from albert_gpt_tf.training.parameter_efficient import with_trained_parts

IDS = np.random.default_rng(0).integers(0, 40, (8, 6)).astype("int32")
INPUTS = {"token_ids": IDS, "padding_mask": IDS >= 0}


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    albert = AlbertBackbone(40, num_layers=2, num_heads=2, embedding_dim=8, hidden_dim=16, intermediate_dim=32)
    AlbertTextClassifier(albert, labels=["even", "odd"], dropout=0.0).save_to_preset(str(folder / "classifier"))
    GPTBackbone(40, num_layers=2, num_heads=2, hidden_dim=16).save_to_preset(str(folder / "gpt"))
    return SimpleNamespace(classifier=str(folder / "classifier"), gpt=str(folder / "gpt"))


def config_of(preset, train_only):
    return ConfigDict({"preset": preset, "train_only": train_only, "adapter_dim": 4, "lora_rank": 2})


def trained_classifier(presets, train_only):
    classifier = AlbertTextClassifier.from_preset(presets.classifier)
    classifier = with_trained_parts(classifier, config_of(presets.classifier, train_only))
    classifier.compile(AdamW(1e-2))
    inputs = {**INPUTS, "segment_ids": np.zeros_like(IDS)}
    classifier.fit(inputs, IDS[:, 0] % 2, epochs=3, verbose=0)
    return classifier, inputs


@pytest.mark.parametrize("train_only", ["head", "adapters", "gates", "lora"])
def test_the_rest_stays_and_what_is_saved_is_what_was_trained(presets, train_only, tmp_path):
    classifier, inputs = trained_classifier(presets, train_only)
    for weight, before in zip(
        base_weights(classifier.backbone), base_weights(AlbertBackbone.from_preset(presets.classifier)), strict=True
    ):
        np.testing.assert_array_equal(weight, before)
    assert np.abs(classifier(inputs) - AlbertTextClassifier.from_preset(presets.classifier)(inputs)).max() > 1e-3

    save_trained_part(classifier, tmp_path / "part", presets.classifier)
    assert not list((tmp_path / "part").glob("*.h5"))
    saved = np.load(tmp_path / "part" / "trained.npz")
    assert sum(saved[name].size for name in saved.files) == sum(w.numpy().size for w in classifier.trainable_weights)
    kinds = {"head": "logits", "adapters": "adapter", "gates": "gate", "lora": "lora"}
    assert any(kinds[train_only] in name for name in saved.files)

    # Merged: an ordinary task with the same answers, whole when it is saved again.
    merged = load_task(tmp_path / "part")
    np.testing.assert_allclose(merged(inputs), classifier(inputs), atol=1e-6)
    assert not [w for w in merged.weights if "lora" in w.path]
    merged.save_to_preset(str(tmp_path / "whole"))
    again = AlbertTextClassifier.from_preset(str(tmp_path / "whole"))
    np.testing.assert_array_equal(again(inputs), merged(inputs))


def test_lora_on_a_language_model_merges_into_query_and_value(presets, tmp_path):
    language_model = GPTCausalLM(GPTBackbone.from_preset(presets.gpt))
    language_model = with_trained_parts(language_model, config_of(presets.gpt, "lora"))
    language_model.compile(AdamW(1e-2))
    language_model.fit(INPUTS, np.roll(IDS, -1, 1), epochs=2, verbose=0)
    save_trained_part(language_model, tmp_path / "part", presets.gpt)
    merged, base = GPTCausalLM.from_preset(str(tmp_path / "part")), GPTBackbone.from_preset(presets.gpt)
    np.testing.assert_allclose(merged(INPUTS), language_model(INPUTS), atol=1e-6)
    moved = [w.path for w, b in zip(merged.backbone.weights, base.weights, strict=True) if np.any(w.numpy() != b)]
    assert {path.split("/")[-2] for path in moved} == {"query", "value"} and len(moved) == 4


def test_another_task_and_a_backbone_can_be_made_of_it(presets, tmp_path):
    classifier, inputs = trained_classifier(presets, "lora")
    save_trained_part(classifier, tmp_path / "part", presets.classifier)
    expected = classifier.backbone(inputs)["sequence_output"]
    other = AlbertTextClassifier.from_preset(str(tmp_path / "part"), labels=["a", "b", "c"])
    for backbone in (other.backbone, load_backbone(AlbertBackbone, tmp_path / "part")):
        np.testing.assert_allclose(backbone(inputs)["sequence_output"], expected, atol=1e-5)


def test_another_base_is_refused(presets, tmp_path):
    classifier, _ = trained_classifier(presets, "head")
    save_trained_part(classifier, tmp_path / "part", presets.classifier)
    other = AlbertBackbone(40, num_layers=2, num_heads=2, embedding_dim=8, hidden_dim=16, intermediate_dim=32)
    other.save_to_preset(str(tmp_path / "other"))
    file = tmp_path / "part" / "base.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base": str(tmp_path / "other")}))
    with pytest.raises(ValueError, match=r"was trained upon in .*other. Received: one with other weights"):
        load_task(tmp_path / "part")
    file.write_text(json.dumps({**json.loads(file.read_text()), "base": str(tmp_path / "nothing")}))
    with pytest.raises(ValueError, match="nothing"):
        load_task(tmp_path / "part")


def test_adapters_and_gates_begin_as_nothing(presets):
    classifier = AlbertTextClassifier.from_preset(presets.classifier)
    expected = classifier({**INPUTS, "segment_ids": np.zeros_like(IDS)})
    for train_only in ("adapters", "gates"):
        with_more = with_trained_parts(classifier, config_of(presets.classifier, train_only))
        np.testing.assert_array_equal(with_more({**INPUTS, "segment_ids": np.zeros_like(IDS)}), expected)


@pytest.mark.parametrize(
    ("preset", "train_only", "message"),
    [
        ("", "lora", "Expected config.preset for config.train_only='lora'"),
        ("gpt", "adapters", r"'all', 'head', 'lora'.* for GPTCausalLM. Received: 'adapters'"),
        ("gpt", "head", r"Expected weights to train. Received: config.train_only='head' and a GPTCausalLM"),
    ],
)
def test_what_cannot_be_trained_is_refused(presets, preset, train_only, message):
    language_model = GPTCausalLM(GPTBackbone.from_preset(presets.gpt))
    with pytest.raises(ValueError, match=message):
        with_trained_parts(language_model, config_of(preset, train_only))


def test_otherwise_all_is_trained(presets):
    classifier = AlbertTextClassifier.from_preset(presets.classifier)
    assert with_trained_parts(classifier, config_of(presets.classifier, "all")) is classifier
    assert len(classifier.trainable_weights) == len(classifier.weights)
