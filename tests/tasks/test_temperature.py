"""The temperature of the text classifiers: in every answer and in the preset, not in the loss."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

TEXTS = ["Return the shape of an array.", "", "a module"]


@pytest.fixture(params=["albert", "gpt"])
def task(request, make_classifier, gpt_tokenizer, labels):
    if request.param == "albert":
        return make_classifier()
    backbone = GPTBackbone(gpt_tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=8,
                           max_sequence_length=24)  # fmt: skip
    return GPTTextClassifier(backbone, labels, tokenizer=gpt_tokenizer, dropout=0.0)


def test_every_answer_has_the_scores_of_the_divided_logits_and_the_loss_has_not(task, tmp_path):
    assert task.temperature == 1.0
    loss = task.evaluate(TEXTS, ["class", "module", "class"], verbose=0)[0]
    task.predict(TEXTS, verbose=0)  # compiles predict at the temperature before
    task.temperature = 2.5
    logits = task.logits(task.preprocessor(tf.constant(TEXTS))).numpy()
    expected = tf.nn.softmax(logits / 2.5).numpy()
    assert abs(expected - tf.nn.softmax(logits).numpy()).max() > 1e-4
    np.testing.assert_allclose(task.predict(TEXTS, verbose=0), expected, atol=1e-6)
    answer = task.answer(tf.constant(TEXTS))
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)
    np.testing.assert_allclose(answer["score"], expected.max(-1), atol=1e-6)
    assert task.evaluate(TEXTS, ["class", "module", "class"], verbose=0)[0] == pytest.approx(loss, abs=1e-6)
    task.save_to_preset(str(tmp_path))
    loaded = type(task).from_preset(str(tmp_path))
    assert loaded.temperature == 2.5
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_above_0_is_refused(classifier, temperature):
    with pytest.raises(ValueError, match="Expected a temperature above 0"):
        AlbertTextClassifier(classifier.backbone, labels=["a", "b"], temperature=temperature)


def test_a_regression_has_no_temperature(classifier):
    with pytest.raises(ValueError, match="temperature=1 for a regression"):
        AlbertTextClassifier(classifier.backbone, regression=True, temperature=2.0)
