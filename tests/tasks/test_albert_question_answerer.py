"""AlbertQuestionAnswerer: logits, losses, and the best span of all windows against a search in Python."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.exporters import check_saved_model
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks import albert_question_answerer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer, AlbertQuestionAnswererPreprocessor
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

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


def test_a_long_question_is_cut_and_leaves_half_of_the_row(answerer, albert_tokenizer):
    long, cut = "which class " * 20, albert_tokenizer.tokenize("which class " * 20)[:12]
    ids = answerer.preprocessor(([long], ["the class"]))["token_ids"].numpy()[0]
    assert ids[1:13].tolist() == cut.numpy().tolist() and ids[13] == albert_tokenizer.sep_id
    windows, _, _ = answerer.preprocessor.windows([long], ["the class"])
    assert windows.token_ids.numpy()[0].tolist() == ids.tolist()
    assert answerer.answer([long], ["the class"])["answer"].numpy()[0]


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


# === Windows ===

LONG = "Über  alles: the CLASS of Objects 👍🏽 a module, 日本 the function. Return ①½ of it; " * 3


def spans_by_hand(answerer, question, context, longest=30):
    """All spans as (score, first byte, last byte), and the score of no answer, window by window in Python."""
    windows, starts, ends = answerer.preprocessor.windows([question], [context])
    starts, ends, spans, of_none = starts.numpy()[0], ends.numpy()[0], [], []
    ids = {name: getattr(windows, name) for name in ("token_ids", "segment_ids", "padding_mask")}
    logits = {name: value.numpy().astype("float64") for name, value in answerer(ids).items()}
    offset = 2 + min(12, len(answerer.preprocessor.tokenizer.tokenize(question)))
    for window in range(len(windows.example)):
        token = int(windows.context_start[window])
        length = int(windows.padding_mask.numpy()[window].sum()) - offset - 1
        start, end = logits["start"][window], logits["end"][window]
        of_none.append(start[0] + end[0])
        for first in range(length):
            if windows.is_max_context[window, offset + first]:
                spans += [
                    (start[offset + first] + end[offset + last], starts[token + first], ends[token + last])
                    for last in range(first, min(length, first + longest))
                ]
    return sorted(spans, reverse=True), min(of_none)


@pytest.mark.parametrize("at_once", [2, 32])
def test_the_answer_is_the_best_span_of_all_windows(answerer, at_once, monkeypatch):
    monkeypatch.setattr(albert_question_answerer, "WINDOWS_AT_ONCE", at_once)
    questions = ["what?", "which class is it?", "it?"]
    contexts = [LONG, "a module", LONG[::-1]]
    result = answerer.best_spans(questions, contexts)
    for row, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        spans, of_none = spans_by_hand(answerer, question, context)
        best, first, last = spans[0]
        assert result["answer"].numpy()[row] == context.encode()[first:last]
        assert context[int(result["start"][row]) : int(result["end"][row])].encode() == context.encode()[first:last]
        assert float(result["no_answer_log_odds"][row]) == pytest.approx(of_none - best, abs=1e-3)
        odds = np.log(float(result["no_answer_score"][row]) / float(result["score"][row]))
        assert odds == pytest.approx(of_none - best, abs=1e-2)


def test_a_row_alone_gives_what_it_gives_among_long_and_empty_ones(answerer):
    questions, contexts = ["what?", "which class?", "", "it?"], [LONG, "the CLASS of", "", LONG[40:]]
    together = answerer.answer(questions, contexts)
    for row in range(4):
        alone = answerer.answer(questions[row : row + 1], contexts[row : row + 1])
        for name in ("answer", "start", "end"):
            assert alone[name].numpy()[0] == together[name].numpy()[row]
        for name in ("score", "no_answer_score"):
            np.testing.assert_allclose(alone[name][0], together[name][row], rtol=1e-3)


def test_what_lies_behind_the_last_window_is_not_read(albert_tokenizer):
    preprocessor = AlbertQuestionAnswererPreprocessor(albert_tokenizer, 24, stride=7, max_windows=3)
    windows, starts, _ = preprocessor.windows(["what?", "what?"], [LONG, "the class"])
    assert windows.example.numpy().tolist() == [0, 0, 0, 1]
    all_starts = albert_tokenizer.tokenize_with_offsets(LONG)[1].numpy()
    room = 24 - 3 - len(albert_tokenizer.tokenize("what?"))
    np.testing.assert_array_equal(starts.numpy()[0], all_starts[: room + 2 * 7])
    with pytest.raises(ValueError, match="Expected max_windows of 1 or more"):
        AlbertQuestionAnswererPreprocessor(albert_tokenizer, max_windows=0)


def test_windows_are_those_of_squad_by_default(albert_tokenizer):
    preprocessor = AlbertQuestionAnswererPreprocessor(albert_tokenizer)
    assert preprocessor.longest_question() == 64
    windows, _, _ = preprocessor.windows(["what?"], ["the class " * 400])
    assert windows.token_ids.shape[1] == 384 and windows.context_start.numpy()[:3].tolist() == [0, 128, 256]


def test_the_best_answers_are_sorted_and_the_first_is_the_answer(answerer):
    answers = answerer.best_answers("what?", LONG, top=7)
    spans, _ = spans_by_hand(answerer, "what?", LONG)
    assert [answer["answer"].encode() for answer in answers] == [LONG.encode()[a:b] for _, a, b in spans[:7]]
    assert all(LONG[answer["start"] : answer["end"]] == answer["answer"] for answer in answers)
    best = answerer.answer(["what?"], [LONG])
    assert answers[0]["answer"].encode() == best["answer"].numpy()[0]
    assert answers[0]["score"] == pytest.approx(float(best["score"][0]), rel=1e-3)
    assert answerer.best_answers("what?", "") == []


# === No answer ===


def test_above_the_threshold_there_is_no_answer(make_albert):
    answerer = make_albert(AlbertQuestionAnswerer)
    always = answerer.best_spans(QUESTIONS, CONTEXTS)
    odds = always["no_answer_log_odds"].numpy()
    assert odds[3] == pytest.approx(1e9)  # nothing to answer with
    answerer.no_answer_threshold = float(np.median(odds[:3]))
    result = answerer.answer(QUESTIONS, CONTEXTS)
    assert set(result) == {"answer", "start", "end", "score", "no_answer_score"}
    for row in range(4):
        is_answered = odds[row] <= answerer.no_answer_threshold
        for name, none in (("answer", b""), ("start", 0), ("end", 0)):
            assert result[name].numpy()[row] == (always[name].numpy()[row] if is_answered else none)
    for name in ("score", "no_answer_score"):  # those of the best span, for callers with a threshold of their own
        np.testing.assert_array_equal(result[name], always[name])


def test_text_without_a_preprocessor_gets_no_answer(make_albert):
    with pytest.raises(ValueError, match="received text but has no preprocessor"):
        make_albert(AlbertQuestionAnswerer, tokenizer=None).answer(["what?"], ["the class"])


# === Presets, exports and other tokenizers ===


def test_a_preset_keeps_the_threshold_and_the_windows(make_albert, albert_tokenizer, tmp_path):
    preprocessor = AlbertQuestionAnswererPreprocessor(albert_tokenizer, 20, 5, 6, 9)
    task = make_albert(AlbertQuestionAnswerer, tokenizer=None, preprocessor=preprocessor, no_answer_threshold=-0.25)
    task.save_to_preset(str(tmp_path / "preset"))
    again = load_task(tmp_path / "preset")
    assert again.no_answer_threshold == -0.25
    for name in ("sequence_length", "stride", "max_question_length", "max_windows"):
        assert getattr(again.preprocessor, name) == getattr(preprocessor, name)
    ours, theirs = (t.answer(QUESTIONS, CONTEXTS) for t in (task, again))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_chinese_task_answers_in_the_characters_of_its_context(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"谁在哪里北京我们住天，。", "pop", "##corn"]
    backbone = AlbertBackbone(
        vocabulary_size=len(pieces), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8,
        max_sequence_length=24,
    )  # fmt: skip
    task = AlbertQuestionAnswerer(backbone, tokenizer=WordPieceTokenizer(pieces))
    context = "我们 住在北京，POPcorn 在天。" * 3
    task.save_to_preset(str(tmp_path / "preset"))
    again = load_task(tmp_path / "preset")
    assert isinstance(again.preprocessor.tokenizer, WordPieceTokenizer)
    result, same = (t.answer(["谁在哪里?"], [context]) for t in (task, again))
    answer = result["answer"].numpy()[0].decode()
    assert answer == context[int(result["start"][0]) : int(result["end"][0])] != ""
    assert same["answer"].numpy()[0].decode() == answer


def test_a_saved_model_has_only_ops_of_the_server_and_gives_the_same_answers(make_albert, tmp_path):
    task = make_albert(AlbertQuestionAnswerer, no_answer_threshold=5.0)
    module = tf.Module()
    module.task = task
    signature = [tf.TensorSpec([None], tf.string, name) for name in ("question", "context")]
    module.answer = tf.function(lambda question, context: task.answer(question, context), input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.answer})
    assert check_saved_model(tmp_path / "1", run=False) == []
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    questions, contexts = [*QUESTIONS, "it?"], [*CONTEXTS, LONG]
    served = serve(question=tf.constant(questions), context=tf.constant(contexts))
    expected = task.answer(questions, contexts)
    for name in ("answer", "start", "end"):
        np.testing.assert_array_equal(served[name], expected[name])
    np.testing.assert_allclose(served["score"], expected["score"], rtol=1e-3)
    nothing = serve(question=tf.constant([], tf.string), context=tf.constant([], tf.string))
    assert all(value.shape == (0,) for value in nothing.values())
