"""AlbertQuestionAnswerer: logits, losses, and the best span against a search in Python."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer, AlbertQuestionAnswererPreprocessor

QUESTIONS = ["what?", "which class?", "", "return?"]
CONTEXTS = ["Über  alles: the CLASS of Objects", "a module", "日本 the function", ""]


@pytest.fixture(scope="module")
def answerer(make_albert):
    """One that no test may train."""
    return make_albert(AlbertQuestionAnswerer)


def test_rows_have_question_and_context_and_only_the_context_is_cut(albert_tokenizer):
    preprocessor = AlbertQuestionAnswererPreprocessor(albert_tokenizer, sequence_length=20)
    question, context = "which class is it?", "a function " * 20
    packed = preprocessor({"context": [context], "question": [question]})
    ids = [albert_tokenizer.tokenize(text).numpy().tolist() for text in (question, context)]
    framed = [albert_tokenizer.cls_id, *ids[0], albert_tokenizer.sep_id, *ids[1]]
    assert packed["token_ids"].numpy()[0].tolist() == [*framed[:19], albert_tokenizer.sep_id]
    scalar = preprocessor((question, context))
    np.testing.assert_array_equal(scalar["token_ids"], packed["token_ids"][0])


def test_one_text_is_refused(albert_tokenizer):
    with pytest.raises(ValueError, match=r"Expected a question and a context. Received: 1 text"):
        AlbertQuestionAnswererPreprocessor(albert_tokenizer)(["what?"])


def test_logits_are_the_two_columns_of_a_dense_layer_at_every_position(answerer):
    ids = answerer.preprocessor((QUESTIONS, CONTEXTS))
    hidden = answerer.backbone(ids)["sequence_output"].numpy()
    expected = hidden @ answerer.output_dense.kernel.numpy() + answerer.output_dense.bias.numpy()
    outputs = answerer(ids)
    np.testing.assert_allclose(outputs["start"], expected[..., 0], atol=1e-5)
    np.testing.assert_allclose(outputs["end"], expected[..., 1], atol=1e-5)


def test_the_loss_is_the_mean_of_both_over_all_positions(answerer, softmax):
    # As Transformers: nothing is masked, and a position outside of the row does not count.
    targets = {"start": np.array([5, 24, 0, 3]), "end": np.array([6, 4, 0, -1])}
    logits = answerer(answerer.preprocessor((QUESTIONS, CONTEXTS)))
    means = {}
    for name, rows in (("start", [0, 2, 3]), ("end", [0, 1, 2])):
        probabilities = softmax(logits[name].numpy())
        means[name] = -np.log(probabilities[rows, targets[name][rows]]).mean()
    result = answerer.evaluate((QUESTIONS, CONTEXTS), targets, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx((means["start"] + means["end"]) / 2, abs=1e-5)
    assert result["start_loss"] == pytest.approx(means["start"] / 2, abs=1e-5)


def test_predict_gives_probabilities_of_the_context_and_of_the_first_position(answerer, softmax):
    ids = {name: value.numpy() for name, value in answerer.preprocessor((QUESTIONS, CONTEXTS)).items()}
    outputs, logits = answerer.predict((QUESTIONS, CONTEXTS), verbose=0), answerer(ids)
    for row in range(4):
        last = ids["padding_mask"][row].sum() - 1
        allowed = [0, *(place for place in range(last) if ids["segment_ids"][row, place])]
        for name in ("start", "end"):
            expected = np.zeros(24)
            expected[allowed] = softmax(logits[name].numpy()[row, allowed])
            np.testing.assert_allclose(outputs[name][row], expected, atol=1e-5)


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_answer_is_the_best_span_of_the_context_as_it_was_given(answerer, albert_tokenizer, longest):
    result = answerer.answer(QUESTIONS, CONTEXTS, max_answer_length=longest)
    outputs = answerer.predict((QUESTIONS, CONTEXTS), verbose=0)
    for row, (question, context) in enumerate(zip(QUESTIONS, CONTEXTS, strict=True)):
        offset = 2 + len(albert_tokenizer.tokenize(question))
        _, starts, ends = (part.numpy() for part in albert_tokenizer.tokenize_with_offsets(context))
        tokens = min(len(starts), 24 - 1 - offset)
        start, end = outputs["start"][row].astype("float64"), outputs["end"][row].astype("float64")
        spans = {
            (first, last): start[offset + first] * end[offset + last]
            for first in range(tokens)
            for last in range(first, min(tokens, first + longest))
        }
        first, last = max(spans, key=spans.get) if spans else (None, None)
        expected = context.encode()[starts[first] : ends[last]] if spans else b""
        assert result["answer"].numpy()[row] == expected
        place = slice(int(result["start"][row]), int(result["end"][row]))
        assert context[place].encode() == expected  # in characters
        assert float(result["score"][row]) == pytest.approx(max(spans.values(), default=0), rel=1e-3)
        assert float(result["no_answer_score"][row]) == pytest.approx(start[0] * end[0], rel=1e-3)


def test_a_graph_gives_the_same_answers(answerer):
    result, in_graph = answerer.answer(QUESTIONS, CONTEXTS), tf.function(answerer.answer)(QUESTIONS, CONTEXTS)
    for name in ("answer", "start", "end"):
        np.testing.assert_array_equal(result[name], in_graph[name])
    np.testing.assert_allclose(result["score"], in_graph["score"], rtol=1e-3)


def test_bad_text_goes_through_and_answers_are_valid_utf8(answerer, bad_texts):
    bad_texts = [text[:500] for text in bad_texts]
    result = answerer.answer(bad_texts, bad_texts[::-1])
    assert all(isinstance(answer.decode(), str) for answer in result["answer"].numpy())
    assert np.isfinite(result["score"]).all()


def test_a_question_that_fills_the_row_leaves_an_empty_answer(answerer):
    result = answerer.answer(["which class " * 20], ["the class"])
    assert result["answer"].numpy()[0] == b"" and float(result["score"][0]) == 0
    assert int(result["start"][0]) == int(result["end"][0]) == 0


def test_a_probability_too_small_for_the_product_still_has_its_order(make_albert):
    answerer = make_albert(AlbertQuestionAnswerer)
    answerer.output_dense.kernel.assign(300 * answerer.output_dense.kernel)
    logits = answerer(answerer.preprocessor((QUESTIONS[:1], CONTEXTS[:1])))
    result = answerer.answer(QUESTIONS[:1], CONTEXTS[:1], max_answer_length=1)
    tokens = [int(i) for i in np.nonzero(answerer.preprocessor((QUESTIONS[0], CONTEXTS[0]))["segment_ids"])[0][:-1]]
    best = max(tokens, key=lambda i: float(logits["start"][0, i]) + float(logits["end"][0, i])) - tokens[0]
    _, starts, ends = answerer.preprocessor.tokenizer.tokenize_with_offsets(CONTEXTS[0])
    assert result["answer"].numpy()[0] == CONTEXTS[0].encode()[int(starts[best]) : int(ends[best])]


def test_training_finds_the_answer(make_albert, albert_tokenizer):
    task = make_albert(AlbertQuestionAnswerer)
    contexts = ["the class of objects", "a module of functions"] * 4
    ids = task.preprocessor((["what?"] * 8, contexts))
    first = int(np.argmax(ids["segment_ids"][0]))
    length = len(albert_tokenizer.tokenize("the")), len(albert_tokenizer.tokenize("the class"))
    place = {"start": np.array([first + length[0], first] * 4), "end": np.array([first + length[1] - 1, first] * 4)}
    task.compile(keras.optimizers.Adam(0.01))
    task.fit((["what?"] * 8, contexts), place, epochs=50, shuffle=False, verbose=0)
    assert task.answer(["what?"], ["The CLASS of objects"])["answer"].numpy()[0] == b"CLASS"
