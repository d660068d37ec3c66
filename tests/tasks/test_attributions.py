"""Integrated gradients: exact on a linear model, complete on real ones, in the places of the text they belong to."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.attributions import embedded_as, explain, integrated_gradients, log_odds, origins, spans_of
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

TEXT, PAIR = "Return the shape of an array, élan!", "the name of a module"


@pytest.fixture(scope="module")
def gpt_classifier(gpt_tokenizer, labels):
    backbone = GPTBackbone(
        gpt_tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16, max_sequence_length=40
    )
    task = GPTTextClassifier(backbone, labels, tokenizer=gpt_tokenizer, dropout=0.0)
    random = np.random.RandomState(0)
    for weight in task.weights:
        weight.assign(0.3 * random.standard_normal(weight.shape) + ("gamma" in weight.path))
    return task


@pytest.fixture(scope="module")
def tasks(classifier, gpt_classifier):
    return {"albert": classifier, "gpt": gpt_classifier}


# === The integral ===


class LinearEmbedding:
    """An embedding of 5 ids in 3 dimensions, as a layer has it."""

    compute_dtype = "float32"
    table = np.random.RandomState(0).standard_normal((5, 3)).astype("float32")

    def call(self, inputs, reverse=False):
        return tf.gather(self.table, inputs)

    def __call__(self, inputs):
        return self.call(inputs)


def test_a_linear_function_gets_exactly_its_own_terms():
    embedding, kernel = LinearEmbedding(), np.random.RandomState(1).standard_normal((4, 3)).astype("float32")
    ids, baseline = np.array([[4, 1, 2, 1]]), np.array([[0, 0, 2, 0]])

    def function(some):
        return tf.reduce_sum(embedding(some["token_ids"]) * kernel, [1, 2])

    found = integrated_gradients(embedding, function, {"token_ids": tf.constant(ids)}, tf.constant(baseline), steps=3)
    expected = ((embedding.table[ids[0]] - embedding.table[baseline[0]]) * kernel).sum(-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[2] == 0  # the same in both


def test_a_product_is_shared_by_its_factors():
    """f = x y from 0: each gets half of the product (Sundararajan et al., symmetry)."""
    embedding = LinearEmbedding()
    embedding.table = np.array([[0.0], [3.0], [5.0]], "float32")

    def function(some):
        return tf.reduce_prod(embedding(some["token_ids"]), [1, 2])

    ids = {"token_ids": tf.constant([[1, 2]])}
    found = integrated_gradients(embedding, function, ids, tf.constant([[0, 0]]), steps=2)
    np.testing.assert_allclose(found, [7.5, 7.5], rtol=1e-6)


def test_a_linear_function_of_a_models_own_embedding_layer_too(classifier):
    task = classifier
    embedding = task.backbone.token_embedding
    ids = task.preprocessor(tf.constant([TEXT]))
    kernel = np.random.RandomState(2).standard_normal(task.backbone.embedding_dim).astype("float32")

    def function(some):
        return tf.reduce_sum(embedding(some["token_ids"]) * kernel, [1, 2])

    found = integrated_gradients(embedding, function, ids, tf.zeros_like(ids["token_ids"]), steps=4)
    table = embedding.embeddings.numpy()
    np.testing.assert_allclose(found, (table[ids["token_ids"].numpy()[0]] - table[0]) @ kernel, atol=1e-5)


@pytest.mark.parametrize("name", ["albert", "gpt"])
def test_gradients_are_those_of_the_embedding_table(tasks, name):
    """Ids that occur once: the gradient by the layer's output is that by the row of the table."""
    task = tasks[name]
    embedding = task.backbone.token_embedding
    ids = {key: value[:, :6] for key, value in task.preprocessor(tf.constant([TEXT])).items()}
    table = embedding.embeddings.value
    with tf.GradientTape() as tape:
        value = task.logits(ids)[0, 0]
    by_table = tf.convert_to_tensor(tape.gradient(value, table)).numpy()
    rows = tf.gather(table, ids["token_ids"])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        with embedded_as(embedding, rows):
            given = task.logits(ids)[0, 0]
    by_rows = tape.gradient(given, rows).numpy()[0]
    tokens = ids["token_ids"].numpy()[0]
    assert float(given) == pytest.approx(float(value), abs=1e-6)
    once = [i for i, token in enumerate(tokens) if (tokens == token).sum() == 1]
    assert len(once) > 2
    np.testing.assert_allclose(by_rows[once], by_table[tokens[once]], atol=1e-6)
    assert "call" not in vars(embedding)  # the layer is as it was


# === Explanations ===


@pytest.mark.parametrize("name", ["albert", "gpt"])
@pytest.mark.parametrize("given", [(TEXT,), (TEXT, PAIR), ("",), ("to be or not " * 30,)])
def test_the_parts_add_up_to_the_difference_that_the_text_makes(tasks, name, given):
    explanation = explain(tasks[name], *given)
    difference = explanation.explained - explanation.baseline
    assert explanation.attributions.sum() == pytest.approx(difference, rel=0.01, abs=2e-3)
    assert sum(span.attribution for span in explanation.spans) == pytest.approx(
        explanation.attributions.sum(), abs=1e-9
    )
    assert (abs(difference) > 0.01) == (given != ("",))


@pytest.mark.parametrize("name", ["albert", "gpt"])
def test_an_explanation_has_the_scores_of_predict(tasks, name):
    task = tasks[name]
    explanation, scores = explain(task, TEXT, steps=2), task.predict([TEXT], verbose=0)[0]
    np.testing.assert_allclose(list(explanation.scores.values()), scores, atol=1e-5)
    assert list(explanation.scores) == task.labels and explanation.label == task.labels[scores.argmax()]
    assert explanation.explained == pytest.approx(np.log(scores.max() / (1 - scores.max())), abs=1e-4)


@pytest.mark.parametrize("name", ["albert", "gpt"])
def test_spans_are_the_words_of_the_text_and_special_tokens_have_no_part(tasks, name):
    explanation = explain(tasks[name], TEXT, PAIR, steps=2)
    for index, text in enumerate((TEXT, PAIR)):
        spans = [span for span in explanation.spans if span.text == index]
        assert all(before.end <= after.start for before, after in itertools.pairwise(spans))
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        covered = "".join(text[span.start : span.end] for span in spans)
        assert text.replace(" ", "").startswith(covered.replace(" ", "")) and len(covered) > 10
    assert explanation.attributions[0] == explanation.attributions[-1] == 0
    assert len(explanation.tokens) == len(explanation.attributions)
    assert explanation.attentions.shape == (2, 2, len(explanation.tokens), len(explanation.tokens))
    np.testing.assert_allclose(explanation.attentions.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["albert", "gpt"])
def test_positions_of_a_cut_pair_lead_to_the_right_tokens(tasks, name):
    task = tasks[name]
    texts = (TEXT, "the name of a module " * 5)
    ids = task.preprocessor(tuple(tf.constant([text]) for text in texts))["token_ids"].numpy()[0]
    tokens = [task.preprocessor.tokenizer.tokenize(text).numpy() for text in texts]
    text, position = origins(task, [len(row) for row in tokens], len(ids))
    assert {-1, 0, 1} == set(text)
    assert all(ids[i] == tokens[text[i]][position[i]] for i in range(len(ids)) if text[i] >= 0)


def test_a_temperature_scales_the_log_odds_of_two_labels(make_classifier):
    task = make_classifier(labels=["no", "yes"])
    warm = explain(task, TEXT, steps=4)
    task.temperature = 2.0
    cool = explain(task, TEXT, steps=4)
    np.testing.assert_allclose(cool.attributions, warm.attributions / 2, atol=1e-5)
    assert cool.scores[cool.label] < warm.scores[warm.label]


def test_a_regression_is_explained_by_its_number(make_classifier):
    task = make_classifier(labels=None, regression=True)
    explanation = explain(task, TEXT)
    assert explanation.label is None
    assert explanation.scores["value"] == pytest.approx(float(task.predict([TEXT], verbose=0)[0]), abs=1e-5)
    difference = explanation.explained - explanation.baseline
    assert explanation.attributions.sum() == pytest.approx(difference, abs=2e-3)


def test_more_points_are_taken_where_the_parts_do_not_add_up(gpt_classifier):
    """With one point the integral is far off; 16 are enough here."""
    explanation = explain(gpt_classifier, TEXT, steps=1)
    difference = explanation.explained - explanation.baseline
    assert explanation.attributions.sum() == pytest.approx(difference, rel=0.011)


def test_the_text_is_compared_with_what_has_the_label_least(classifier):
    explanation, tokenizer = explain(classifier, TEXT, steps=2), classifier.preprocessor.tokenizer
    ids = classifier.preprocessor(tf.constant([TEXT]))["token_ids"][:, : len(explanation.tokens)]
    of_label, is_text = [], (np.arange(ids.shape[1]) > 0) & (np.arange(ids.shape[1]) < ids.shape[1] - 1)
    for token in ("[MASK]", "<pad>", "<unk>"):
        row = tf.where(is_text, tokenizer.token_to_id(token), ids)
        inputs = {"token_ids": row, "segment_ids": 0 * row, "padding_mask": tf.ones_like(row, "bool")}
        scores = classifier.probabilities(inputs)[0, classifier.labels.index(explanation.label)]
        of_label.append((float(scores), token))
    assert explanation.baseline_token == min(of_label)[1]
    assert explanation.baseline == pytest.approx(np.log(min(of_label)[0] / (1 - min(of_label)[0])), abs=1e-4)


def test_ids_alone_cannot_be_explained(make_classifier):
    with pytest.raises(ValueError, match="explain needs text"):
        explain(make_classifier(tokenizer=None), TEXT)


# === Places in the text ===


def test_log_odds_are_those_of_the_softmax():
    logits = np.random.RandomState(0).standard_normal((5, 4)).astype("float32")
    probabilities = tf.nn.softmax(logits).numpy()[:, 2]
    np.testing.assert_allclose(log_odds(tf.constant(logits), 2), np.log(probabilities / (1 - probabilities)), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "offsets", "expected"),
    [
        ("ab c", [(0, 2), (3, 4)], [(0, 2, 1.0), (3, 4, 2.0)]),
        ("é!", [(0, 1), (1, 2), (2, 3)], [(0, 1, 3.0), (1, 2, 4.0)]),  # two tokens of one character
        ("½x", [(0, 2), (0, 2), (0, 2), (2, 3)], [(0, 1, 7.0), (1, 2, 8.0)]),
        ("a b", [(0, 1), (2, 2), (2, 3)], [(0, 1, 1.0), (2, 3, 6.0)]),  # one without a character counts for the next
        ("a ", [(0, 1), (2, 2)], [(0, 1, 3.0)]),  # or for the last
        ("👍a", [(0, 3), (3, 4), (4, 5)], [(0, 1, 3.0), (1, 2, 4.0)]),
        ("", [], []),
    ],
)
def test_bytes_of_tokens_become_characters(text, offsets, expected):
    starts, ends = (np.array(part, int) for part in zip(*offsets, strict=True)) if offsets else ([], [])
    assert spans_of(text, starts, ends, 2.0 ** np.arange(len(offsets))) == expected
