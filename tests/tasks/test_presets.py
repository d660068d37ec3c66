"""Presets: what is saved is what comes back, trained or not, with nothing of the run in it."""

import json

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.load import load_task

PROMPTS = ["Return the", "", "class"]


def train(task, texts, targets=None):
    task.compile(keras.optimizers.Adam(0.01))
    task.fit(texts[:8], targets, verbose=0)
    return task


def names_in(path):
    """Names of all datasets of the .h5 files in a directory."""
    names = []
    for file in sorted(path.glob("*.h5")):
        with h5py.File(file) as content:
            content.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


@pytest.fixture(scope="module")
def saved_classifier(make_classifier, texts, tmp_path_factory):
    task = train(make_classifier(), texts, np.arange(8) % 3)
    path = tmp_path_factory.mktemp("classifier") / "preset"
    task.save_to_preset(str(path))
    return task, path


@pytest.fixture(scope="module")
def saved_causal_lm(make_causal_lm, texts, tmp_path_factory):
    task = train(make_causal_lm(), texts)
    path = tmp_path_factory.mktemp("causal_lm") / "preset"
    task.save_to_preset(str(path))
    return task, path


@pytest.mark.parametrize("load", [AlbertTextClassifier.from_preset, load_task])
def test_a_trained_classifier_comes_back(load, saved_classifier, texts):
    task, path = saved_classifier
    again = load(str(path))
    assert isinstance(again, AlbertTextClassifier)
    assert again.labels == task.labels and again.dropout == task.dropout
    assert again.preprocessor.labels == task.labels
    assert again.preprocessor.sequence_length == task.preprocessor.sequence_length
    np.testing.assert_allclose(again.predict(texts[:9], verbose=0), task.predict(texts[:9], verbose=0), atol=1e-6)
    assert again.classify(texts[:9]) == task.classify(texts[:9])


def test_a_trained_language_model_comes_back(saved_causal_lm, texts):
    task, path = saved_causal_lm
    again = load_task(path)
    assert isinstance(again, GPTCausalLM)
    assert again.generate(PROMPTS, max_new_tokens=6) == task.generate(PROMPTS, max_new_tokens=6)
    expected, scores = task.score(texts[:5]), again.score(texts[:5])
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, rtol=1e-5)
    assert again.preprocessor.sequence_length == task.preprocessor.sequence_length


@pytest.mark.parametrize("saved", ["saved_classifier", "saved_causal_lm"])
def test_a_preset_holds_the_weights_of_the_model_and_nothing_of_the_run(saved, request):
    task, path = request.getfixturevalue(saved)
    names = names_in(path)
    assert len(names) == len(task.weights)
    assert not [name for name in names if "optimizer" in name or "mean" in name or "metric" in name]


def test_a_loaded_task_trains_on(saved_classifier, texts):
    again = load_task(saved_classifier[1])
    again.compile(keras.optimizers.SGD(0.1))
    history = again.fit(texts[:8], ["class", "module"] * 4, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_a_saved_preset_may_be_saved_again(saved_classifier, texts, tmp_path):
    task, path = saved_classifier
    load_task(path).save_to_preset(str(tmp_path / "again"))
    again = load_task(tmp_path / "again")
    np.testing.assert_allclose(again.predict(texts[:5], verbose=0), task.predict(texts[:5], verbose=0), atol=1e-6)


def test_a_backbone_may_be_taken_from_the_preset_of_a_task(saved_causal_lm):
    task, path = saved_causal_lm
    backbone = type(task.backbone).from_preset(str(path))
    for ours, theirs in zip(backbone.weights, task.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_config_round_trip_of_the_classifier(make_classifier, labels):
    config = make_classifier(dropout=0.3).get_config()
    assert config["labels"] == labels and config["dropout"] == 0.3
    json.dumps(keras.saving.serialize_keras_object(config))  # plain JSON


@pytest.mark.parametrize("content", [None, {"registered_name": "keras_hub>BertTextClassifier"}, {}])
def test_another_directory_is_refused_by_name(content, tmp_path):
    if content is not None:
        (tmp_path / "task.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Expected a .*Received: "):
        load_task(tmp_path)


def test_a_preset_of_the_other_task_is_refused(saved_classifier):
    with pytest.raises((ValueError, tf.errors.OpError)):
        GPTCausalLM.from_preset(str(saved_classifier[1]))


def test_a_trained_classifier_gets_adapters_and_keeps_its_answers(saved_classifier, texts):
    plain, path = saved_classifier
    adapted = AlbertTextClassifier.from_preset(str(path), adapter_dim=4, layer_gates=True)
    assert len(adapted.backbone.adapters) == adapted.backbone.num_layers and adapted.labels == plain.labels
    ours, theirs = (task.predict(texts[:4], verbose=0) for task in (adapted, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
