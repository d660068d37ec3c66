"""What holds for every ALBERT task: presets, precision, training, the row alone, whoever makes the preprocessor."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.load import TASKS, load_task

ROWS, LENGTH, MASKS = 8, 24, 3

# Name -> class and arguments besides the backbone and the tokenizer.
MAKE = {
    "pretrainer": (AlbertPretrainer, {}),
    "masked LM": (AlbertMaskedLM, {}),
    "classifier": (AlbertTextClassifier, {"labels": ["a", "b", "c"], "dropout": 0.2}),
    "regression": (AlbertTextClassifier, {"regression": True, "dropout": 0.1}),
    "token classifier": (AlbertTokenClassifier, {"labels": ["O", "X"], "dropout": 0.0}),
    "question answerer": (AlbertQuestionAnswerer, {}),
    "multiple choice": (AlbertMultipleChoice, {"dropout": 0.3}),
    "embedder": (AlbertTextEmbedder, {"pooling": "cls", "normalize": False}),
}


@pytest.fixture(scope="module")
def make(make_albert):
    """The function (name in MAKE, changed arguments) -> the task."""
    return lambda name, **changes: make_albert(MAKE[name][0], **{**MAKE[name][1], **changes})


@pytest.fixture(scope="module")
def examples(texts, make_classifier):
    """The function (name) -> ids, targets and weights of eight rows."""
    preprocessor = make_classifier().preprocessor
    rows = np.arange(ROWS)

    def build(name):
        ids = {key: value.numpy() for key, value in preprocessor((texts[:ROWS], texts[ROWS : 2 * ROWS])).items()}
        places = np.stack([1 + rows % 3, 5 + rows % 4, 10 + 0 * rows], 1)
        hidden = np.take_along_axis(ids["token_ids"], places, 1)
        if name == "pretrainer":
            targets = {"masked_lm": hidden, "sentence_order": rows % 2}
            weights = {"masked_lm": (places % 2).astype("float32"), "sentence_order": 1.0 + rows}
            return {**ids, "mask_positions": places}, targets, weights
        if name == "masked LM":
            return {**ids, "mask_positions": places}, hidden, (places % 2).astype("float32")
        if name == "multiple choice":
            return {key: np.stack([value, value[::-1]], 1) for key, value in ids.items()}, rows % 2, 1.0 + rows
        targets = {
            "classifier": rows % 3,
            "regression": rows / 4,
            "token classifier": np.where(ids["token_ids"] > 20, ids["token_ids"] % 2, -100),
            "question answerer": {"start": 3 + rows, "end": 4 + rows},
            "embedder": None,
        }
        return ids, targets[name], 1.0 + rows

    return build


def outputs_of(task, ids):
    return [output.numpy() for output in tf.nest.flatten(task(ids))]


def test_every_task_is_tried():
    assert {cls for cls, _ in MAKE.values()} == {task for task in TASKS if task.__name__.startswith("Albert")}


# === Presets ===


@pytest.mark.parametrize("name", MAKE)
def test_a_preset_gives_the_same_task_bit_for_bit(name, make, examples, tmp_path):
    task = make(name)
    ids, targets, weights = examples(name)
    if name == "pretrainer":  # a run's optimizer and metrics stay behind
        task.compile(keras.optimizers.Adam(0.01))
        task.fit(ids, targets, sample_weight=weights, verbose=0)
    task.save_to_preset(str(tmp_path / "preset"))
    again = load_task(tmp_path / "preset")
    assert type(again) is type(task)
    assert again.preprocessor.sequence_length == task.preprocessor.sequence_length == LENGTH
    for attribute, value in MAKE[name][1].items():
        assert getattr(again, attribute) == value
    for ours, theirs in zip(outputs_of(again, ids), outputs_of(task, ids), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", MAKE)
def test_configurations_are_plain_json_and_give_the_task_again(name, make):
    task = make(name)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(task)))
    again = type(task).from_config(config["config"])
    assert again.get_config().keys() == task.get_config().keys()
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in task.weights]


@pytest.fixture(scope="module")
def pretrained(make, tmp_path_factory):
    task = make("pretrainer")
    path = tmp_path_factory.mktemp("pretrainer") / "preset"
    task.save_to_preset(str(path))
    return task, path


@pytest.mark.parametrize("name", [name for name in MAKE if name != "pretrainer"])
def test_any_task_can_begin_with_a_pretrained_preset(name, pretrained, caplog):
    source, path = pretrained
    cls, arguments = MAKE[name]
    with caplog.at_level(logging.WARNING, "albert_gpt_tf"):
        task = cls.from_preset(path, **arguments)
    for ours, theirs in zip(task.backbone.weights, source.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert task.preprocessor.tokenizer.get_vocabulary() == source.preprocessor.tokenizer.get_vocabulary()
    assert task.preprocessor.sequence_length == LENGTH  # and not more than the backbone has positions
    if name == "masked LM":
        for ours, theirs in zip(task.masked_lm_head.weights, source.masked_lm_head.weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    is_said = any("new, to be trained: the output layer" in record.getMessage() for record in caplog.records)
    assert is_said == hasattr(task, "output_dense")


def test_other_labels_give_the_backbone_a_new_head_and_the_same_labels_the_saved_one(make, texts, tmp_path):
    task = make("classifier")
    task.save_to_preset(str(tmp_path / "preset"))
    same = AlbertTextClassifier.from_preset(tmp_path / "preset", labels=["a", "b", "c"])
    np.testing.assert_array_equal(same.output_dense.kernel.numpy(), task.output_dense.kernel.numpy())
    other = AlbertTextClassifier.from_preset(tmp_path / "preset", labels=["x", "y"])
    np.testing.assert_array_equal(other.backbone.pooler.kernel.numpy(), task.backbone.pooler.kernel.numpy())
    assert other.output_dense.kernel.shape == (16, 2)
    other.fit(texts[:4], ["x", "y", "x", "x"], verbose=0)
    assert set(other.classify(texts[:4])) <= {"x", "y"}


def test_without_weights_a_preset_gives_a_new_model_of_the_same_shape(pretrained):
    source, path = pretrained
    for load in (AlbertPretrainer.from_preset, AlbertMaskedLM.from_preset):
        task = load(path, load_weights=False)
        assert task.masked_lm_head.dense.kernel.shape == source.masked_lm_head.dense.kernel.shape
        assert abs(task.backbone.pooler.kernel.numpy() - source.backbone.pooler.kernel.numpy()).max() > 0.01


# === Training ===


# The others learn in their own files, from text.
@pytest.mark.parametrize("name", ["pretrainer", "regression", "token classifier"])
def test_a_few_rows_are_learned_by_heart(name, make, examples):
    task = make(name, **({"dropout": 0.0} if "dropout" in MAKE[name][1] else {}))
    ids, targets, weights = examples(name)
    task.compile(keras.optimizers.Adam(0.02))
    before = task.evaluate(ids, targets, sample_weight=weights, verbose=0)
    task.fit(ids, targets, sample_weight=weights, epochs=60, shuffle=False, verbose=0)
    after = task.evaluate(ids, targets, sample_weight=weights, verbose=0)
    assert after[0] < 0.2 * before[0]  # the first is the loss


@pytest.mark.parametrize("name", ["pretrainer", "regression", "token classifier", "question answerer"])
def test_micro_batches_change_neither_weights_nor_logs(name, make, examples, assert_same_weights, moved):
    ids, targets, weights = examples(name)
    trained, logs = [], []
    for parts in (1, 4):
        task = make(name, **({"dropout": 0.0} if "dropout" in MAKE[name][1] else {}))
        task.compile(keras.optimizers.SGD(0.02), micro_batches=parts)
        history = task.fit(ids, targets, sample_weight=weights, batch_size=6, shuffle=False, verbose=0).history
        trained.append(task)
        logs.append(history)
    assert moved(trained[0], make(name)) > 1e-3
    assert_same_weights(*trained)
    assert logs[0] == {key: pytest.approx(value, abs=1e-5) for key, value in logs[1].items()}


@pytest.mark.parametrize("name", MAKE)
def test_bfloat16_is_near_float32(name, make, examples):
    ids, targets, weights = examples(name)
    task = make(name, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in task.trainable_weights} == {"float32"}
    for half, full in zip(outputs_of(task, ids), outputs_of(make(name), ids), strict=True):
        assert np.corrcoef(half.astype("float32").ravel(), full.ravel())[0, 1] > 0.99
    for output in tf.nest.flatten(task.predict(ids, verbose=0)):
        assert output.dtype == np.float32
    if name == "pretrainer":
        task.compile(keras.optimizers.Adam(0.01))
        history = task.fit(ids, targets, sample_weight=weights, epochs=12, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]


# === Rows and preprocessors ===


@pytest.mark.parametrize("name", MAKE)
def test_a_row_alone_gives_what_it_gives_among_others(name, make, examples):
    task, (ids, _, _) = make(name), examples(name)
    together = outputs_of(task, ids)
    alone = outputs_of(task, {key: value[5:6] for key, value in ids.items()})
    for ours, theirs in zip(alone, together, strict=True):
        np.testing.assert_allclose(ours[0], theirs[5], atol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_a_preprocessor_and_a_tokenizer_together_are_refused(name, make):
    with pytest.raises(ValueError, match=r"Give preprocessor=... or tokenizer=..., not both"):
        make(name, preprocessor=make(name).preprocessor)


@pytest.mark.parametrize("name", MAKE)
def test_text_without_a_preprocessor_is_refused(name, make, texts):
    with pytest.raises(ValueError, match=r"received text but has no preprocessor"):
        make(name, tokenizer=None).predict(texts[:2], verbose=0)


def test_a_tokenizer_with_more_ids_than_the_backbone_is_refused(make_albert, albert_tokenizer):
    backbone = make_albert(AlbertTextEmbedder).backbone
    small = type(backbone).from_config({**backbone.get_config(), "vocabulary_size": 20})
    with pytest.raises(ValueError, match=r"at most 20 ids, as the backbone has. Received: 300 ids"):
        AlbertTextEmbedder(small, tokenizer=albert_tokenizer)
