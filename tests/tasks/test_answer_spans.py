"""From characters to tokens and back: random spans against Python, and the gold answers of XQuAD."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswererPreprocessor
from albert_gpt_tf.tasks.answer_spans import best_spans, positions_in_windows, span_scores, tokens_of_span
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CONTEXT = "Über  alles: the CLASS of Objects 👍🏽 a module, 日本 the function. Return ①½ of it;  "


def test_the_tokens_of_any_span_are_those_that_hold_one_of_its_bytes(albert_tokenizer):
    _, starts, ends = albert_tokenizer.tokenize_with_offsets([CONTEXT])
    tokens = list(enumerate(zip(starts.numpy()[0], ends.numpy()[0], strict=True)))
    spans = [(a, b) for a in range(len(CONTEXT)) for b in range(a + 1, min(a + 9, len(CONTEXT) + 1))]
    spans += [(-1, -1), (3, 3)]
    count = len(spans)
    offsets = (tf.RaggedTensor.from_row_lengths(tf.tile(part.flat_values, [count]), [len(tokens)] * count)
               for part in (starts, ends))  # fmt: skip
    begin, end = (tf.constant(column) for column in zip(*spans, strict=True))
    first, last = tokens_of_span(tf.constant([CONTEXT] * count), begin, end, *offsets)
    for row, (a, b) in enumerate(spans):
        inside = set(range(len(CONTEXT[: max(a, 0)].encode()), len(CONTEXT[: max(b, 0)].encode())))
        held = [index for index, (x, y) in tokens if inside & set(range(x, y))]
        expected = (held[0], held[-1]) if held else (-1, -1)
        assert (int(first[row]), int(last[row])) == expected


def test_a_context_without_tokens_holds_no_span(albert_tokenizer):
    contexts = ["", "  ", "the class"]
    _, starts, ends = albert_tokenizer.tokenize_with_offsets(contexts)
    first, last = tokens_of_span(tf.constant(contexts), tf.constant([0, 0, 4]), tf.constant([0, 1, 9]), starts, ends)
    assert first.numpy()[:2].tolist() == last.numpy()[:2].tolist() == [-1, -1] and first[2] >= 0


def test_only_windows_with_the_whole_answer_point_to_it(albert_tokenizer):
    preprocessor = AlbertQuestionAnswererPreprocessor(albert_tokenizer, 24, stride=4)
    answer = "CLASS of"
    start = CONTEXT.index(answer)
    rows = [(start, start + len(answer)), (-1, -1), (4, 5)]  # the last one is a blank, which no token holds
    begin, end = zip(*rows, strict=True)
    windows, targets = preprocessor.windows_with_targets(["what?"] * 3, [CONTEXT] * 3, begin, end)
    _, starts, ends = albert_tokenizer.tokenize_with_offsets(CONTEXT)
    offset = 2 + len(albert_tokenizer.tokenize("what?"))
    holding = 0
    for number, example in enumerate(windows.example.numpy()):
        token = int(windows.context_start[number])
        length = int(tf.reduce_sum(tf.cast(windows.padding_mask[number], tf.int32))) - offset - 1
        first, last = int(targets["start"][number]), int(targets["end"][number])
        if example != 0:
            assert first == last == (0 if example == 1 else -1)
            continue
        text = CONTEXT.encode()[int(starts[token]) : int(ends[token + length - 1])]
        if answer.encode() in text:
            holding += 1
            bytes_of = int(starts[token + first - offset]), int(ends[token + last - offset])
            assert answer.encode() in CONTEXT.encode()[slice(*bytes_of)]
        else:
            assert first == last == 0
    assert 1 < holding < np.sum(windows.example.numpy() == 0)


def test_span_scores_are_sums_of_what_may_start_and_end():
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 3, 9)).astype("float32")
    may_start, may_end = rng.random((2, 3, 9)) < 0.7
    scores = span_scores(*map(tf.constant, (start, end, may_start, may_end)), 4).numpy()
    for window, first, length in np.ndindex(3, 9, 4):
        last = first + length
        if last < 9 and may_start[window, first] and may_end[window, last]:
            assert scores[window, first, length] == pytest.approx(start[window, first] + end[window, last])
        else:
            assert scores[window, first, length] < -3e9


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "labelled" / "xquad").is_dir(), reason="needs XQuAD beside the repository")
@pytest.mark.parametrize(
    ("language", "cls", "vocabulary", "cut"),
    [
        # One answer ends within a number, "(2,700,000", and pieces do not.
        (
            "en",
            AlbertTokenizer,
            "albert",
            [("7,000,000 square kilometres (2,70", "7,000,000 square kilometres (2,700,000")],
        ),
        ("zh", WordPieceTokenizer, "albert_zh", []),
    ],
)
def test_all_gold_answers_of_xquad_come_back_from_their_positions(language, cls, vocabulary, cut):
    from albert_gpt_tf.data.squad import read_squad

    rows = read_squad(DATA / "labelled" / "xquad" / f"xquad.{language}.json")
    preprocessor = AlbertQuestionAnswererPreprocessor(cls.from_preset(DATA / "tokenizers" / vocabulary))
    strings, numbers = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[strings, strings, numbers, numbers])
    def find(question, context, start, end):
        windows, starts, ends = preprocessor.windows(question, context)
        tokens = tokens_of_span(context, start, end, starts, ends)
        targets = positions_in_windows(windows, *tokens, start >= 0)
        logits = {name: 20 * tf.one_hot(target, 384) for name, target in targets.items()}
        is_found = tf.math.unsorted_segment_max(targets["start"], windows.example, tf.size(context)) > 0
        return is_found, best_spans(context, windows, logits, starts, ends, max_answer_length=128)

    others = []
    for place in range(0, len(rows), 70):
        part = rows[place : place + 70]
        starts = [row.starts[0] for row in part]
        ends = [row.starts[0] + len(row.answers[0]) for row in part]
        texts = [row.question for row in part], [row.context for row in part]
        is_found, spans = find(*map(tf.constant, texts), tf.constant(starts), tf.constant(ends))
        assert is_found.numpy().all()  # every answer is whole in a window of 384
        for row, answer, start, end in zip(part, *(spans[n].numpy() for n in ("answer", "start", "end")), strict=True):
            assert row.context[start:end] == answer.decode()
            if (answer.decode(), start) != (row.answers[0], row.starts[0]):
                others.append((row.answers[0], answer.decode()))
    assert others == cut
