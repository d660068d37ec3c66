"""AlbertMultipleChoice: every choice is a pair of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice, AlbertMultipleChoicePreprocessor


@pytest.fixture(scope="module")
def make(make_albert):
    return lambda **changes: make_albert(AlbertMultipleChoice, **{"dropout": 0.0, **changes})


@pytest.fixture(scope="module")
def rows(texts):
    """Six contexts with three choices each."""
    return texts[:6], [[texts[i + 6], texts[i + 7], texts[i + 8]] for i in range(6)]


def test_the_logit_of_a_choice_is_that_of_its_pair(make, make_classifier, rows):
    task, (contexts, choices) = make(), rows
    logits = task(task.preprocessor(rows)).numpy()
    assert logits.shape == (6, 3)
    pairs = make_classifier().preprocessor
    for choice in range(3):
        pooled = task.backbone(pairs((contexts, [row[choice] for row in choices])))["pooled_output"].numpy()
        expected = pooled @ task.output_dense.kernel.numpy() + task.output_dense.bias.numpy()
        np.testing.assert_allclose(logits[:, choice], expected[:, 0], atol=1e-5)


def test_any_number_of_choices_is_taken(make, rows):
    task, (contexts, choices) = make(), rows
    three = task.predict(rows, verbose=0)
    two = task.predict((contexts, [row[:2] for row in choices]), verbose=0)
    np.testing.assert_allclose(three.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(two, three[:, :2] / three[:, :2].sum(-1, keepdims=True), atol=1e-5)


def test_all_forms_give_the_same(make, rows):
    task, (contexts, choices) = make(), rows
    expected = task.predict(rows, verbose=0)
    named = {"choices": choices, "context": contexts}
    dataset = tf.data.Dataset.from_tensor_slices({"context": contexts, "choices": choices}).batch(4)
    for form in (named, dataset, dict(task.preprocessor(rows))):
        np.testing.assert_allclose(task.predict(form, verbose=0), expected, atol=1e-5)
    for answer in (task.answer, tf.function(task.answer)):
        result = answer(tf.constant(contexts), tf.constant(choices))
        np.testing.assert_allclose(result["scores"], expected, atol=1e-5)
        assert result["choice"].numpy().tolist() == task.choose(*rows) == expected.argmax(-1).tolist()
    row = task.preprocessor((contexts[2], choices[2]))
    np.testing.assert_array_equal(row["token_ids"], task.preprocessor(rows)["token_ids"][2])


def test_training_learns_which_choice_is_right(make):
    task = make()
    contexts = ["which is a class?"] * 8
    choices = [["a function", "a class", "a module"], ["a class", "a module", "a function"]] * 4
    task.compile(keras.optimizers.Adam(0.01))
    task.fit((contexts, choices), np.array([1, 0] * 4), epochs=30, shuffle=False, verbose=0)
    assert task.choose(contexts[:2], choices[:2]) == [1, 0]
    assert task.evaluate((contexts, choices), np.array([1, 0] * 4), verbose=0)[1] == 1


@pytest.mark.parametrize("x", [(["a"], ["b"]), ["a"], ("a", "b")])
def test_choices_of_another_shape_are_refused(albert_tokenizer, x):
    with pytest.raises(ValueError, match=r"shapes \[batch\] and \[batch, choices\]"):
        AlbertMultipleChoicePreprocessor(albert_tokenizer)(x)
