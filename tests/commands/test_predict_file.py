"""`albert-gpt-tf predict --file`: every kind of file, runs that go on, broken lines; and the answers of every task."""

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from albert_gpt_tf.commands.predict_answers import Answers
from albert_gpt_tf.commands.predict_file import predict_file
from albert_gpt_tf.commands.predict_rows import read_rows
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.load import load_task

COLUMNS = {"text": "text", "text_pair": "other", "choices": ["choices"]}


@pytest.fixture(scope="module")
def classifier(presets):
    return load_task(presets.classifier)


@pytest.fixture(scope="module")
def causal_lm(presets):
    return load_task(presets.causal_lm)


@pytest.fixture(scope="module")
def make_task(classifier):
    """The function (class, arguments) -> a task on the backbone of the classifier."""
    return lambda cls, **arguments: cls(classifier.backbone, tokenizer=classifier.preprocessor.tokenizer, **arguments)


class UpperCase(Answers):
    """Answers without a model: a text in capitals; `stop_at` is a text at which the run is stopped."""

    def __init__(self, inputs=("text",), fields=("label",), stop_at=None):
        self.inputs, self.fields, self.stop_at = list(inputs), list(fields), stop_at
        self.generation, self.batches = {}, []

    def of(self, rows, first=0):
        if any(row[0] == self.stop_at for row in rows):
            raise KeyboardInterrupt
        self.batches.append((first, len(rows)))
        return [{"label": str(row[0]).upper()} for row in rows]


@pytest.fixture
def folder(tmp_path):
    """A preset that is only hashed, an input of ten rows, and an output that is not there."""
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "task.json").write_text("{}")
    rows = [{"id": index, "text": f"row {index}"} for index in range(10)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SimpleNamespace(preset=tmp_path / "preset", source=tmp_path / "in.jsonl", output=tmp_path / "out.jsonl")


def predict(folder, answers, batch_size=3):
    return predict_file(answers, str(folder.preset), str(folder.source), str(folder.output), COLUMNS, batch_size)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# === What is written ===


def test_every_row_gives_one_line_in_order_with_its_own_columns(folder, capsys):
    assert predict(folder, UpperCase()) == 10
    expected = [{"id": index, "text": f"row {index}", "label": f"ROW {index}"} for index in range(10)]
    assert lines_of(folder.output) == expected
    assert not folder.output.with_name("out.jsonl.unfinished").exists()
    errors = capsys.readouterr().err
    assert "10/10" in errors and "rows/s" in errors


def test_a_column_with_the_name_of_a_field_of_the_answer_is_kept_beside_it(folder):
    folder.source.write_text('{"label": "ham", "text": "see you"}\n')
    predict(folder, UpperCase())
    assert lines_of(folder.output) == [{"input_label": "ham", "text": "see you", "label": "SEE YOU"}]


def test_two_columns_that_would_get_one_name_are_refused(folder):
    folder.source.write_text('{"label": "ham", "input_label": "x", "text": "see you"}\n')
    with pytest.raises(DataError, match=r"in.jsonl:1: expected no column 'input_label'"):
        predict(folder, UpperCase())


def test_tables_and_plain_text_are_read_too(folder):
    contents = {
        "in.tsv": 'id\ttext\n7\ta "quoted", text\n\n8\t\n',
        "in.csv": 'id,text\n7,"a ""quoted"", text"\n8,\n',
        "in.txt": 'a "quoted", text\n\n',
    }
    for name, content in contents.items():
        folder.source, folder.output = folder.source.with_name(name), folder.output.with_name(name + ".out")
        folder.source.write_text(content)
        predict(folder, UpperCase())
        assert [line["label"] for line in lines_of(folder.output)] == ['A "QUOTED", TEXT', ""]
        assert name == "in.txt" or [line["id"] for line in lines_of(folder.output)] == ["7", "8"]


def test_a_field_of_a_csv_file_may_hold_line_breaks_and_a_megabyte(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('text\n"one\ntwo"\n' + "x" * 2**20 + "\n")
    assert list(read_rows(str(path))) == [(2, {"text": "one\ntwo"}), (4, {"text": "x" * 2**20})]


def test_rows_with_as_many_choices_are_computed_together(folder):
    counts = [2, 2, 2, 2, 3, 3, 2]
    rows = [{"text": f"row {i}", "choices": ["a"] * count} for i, count in enumerate(counts)]
    folder.source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = UpperCase(("text", "choices"))
    predict(folder, answers)
    assert answers.batches == [(0, 3), (3, 1), (4, 2), (6, 1)]


# === Broken input ===


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.jsonl", '{"text": "a"}\n{"text": \n', "in.jsonl:2: expected one JSON object"),
        ("in.jsonl", '{"text": "a"}\n[1]\n', "in.jsonl:2: expected a JSON object"),
        ("in.jsonl", '{"text": "a"}\n{"message": "b"}\n', "in.jsonl:2: expected a column 'text', received 'message'"),
        ("in.jsonl", '{"text": 5}\n', "in.jsonl:1: expected a string in 'text', received 5"),
        ("in.jsonl", '{"text": "\\ud800"}\n', "in.jsonl:1: expected text in 'text', received half of a surrogate"),
        ("in.jsonl", "\n", "in.jsonl:1: expected at least one row"),
        ("in.tsv", "text\tid\na\n", "in.tsv:2: expected 2 fields as in the header, received 1"),
        ("in.tsv", "text\ttext\na\tb\n", "in.tsv:1: expected columns of different names"),
        ("in.csv", 'text\n"a\n', "in.csv:2: expected comma-separated values"),
        ("in.xlsx", "text\n", "in.xlsx: expected a file whose name ends in .jsonl"),
    ],
)
def test_a_broken_line_is_told_by_file_and_line_before_anything_is_computed(folder, name, content, message):
    folder.source = folder.source.with_name(name)
    folder.source.write_text(content)
    answers = UpperCase()
    with pytest.raises(DataError, match=message):
        predict(folder, answers, batch_size=1)
    assert not answers.batches and not folder.output.exists()


def test_choices_that_are_no_list_are_refused(folder):
    folder.source.write_text('{"text": "a", "choices": "b"}\n')
    with pytest.raises(DataError, match=r"in.jsonl:1: expected a list of two or more texts in 'choices', received .b."):
        predict(folder, UpperCase(("text", "choices")))


# === Runs that go on ===


@pytest.fixture
def stopped(folder):
    """A run that was stopped after 6 of 10 rows."""
    with pytest.raises(KeyboardInterrupt):
        predict(folder, UpperCase(stop_at="row 7"))
    assert len(lines_of(folder.output)) == 6
    return folder


@pytest.mark.parametrize("cut", [0, 1, 5, 60])
def test_a_stopped_run_goes_on_after_the_last_whole_line(stopped, cut):
    content = stopped.output.read_bytes()
    stopped.output.write_bytes(content[: len(content) - cut])
    whole = stopped.output.read_bytes().count(b"\n")
    answers = UpperCase()
    assert predict(stopped, answers) == 10
    assert answers.batches[0][0] == whole
    assert [line["label"] for line in lines_of(stopped.output)] == [f"ROW {index}" for index in range(10)]


def test_a_finished_output_is_not_written_over(folder):
    predict(folder, UpperCase())
    before = folder.output.read_bytes()
    with pytest.raises(ValueError, match=r"out.jsonl, which is whole. Delete it"):
        predict(folder, UpperCase())
    assert folder.output.read_bytes() == before


def test_an_input_is_never_its_own_output(folder):
    folder.output, before = folder.source, folder.source.read_bytes()
    with pytest.raises(ValueError, match="Delete it, or give another name"):
        predict(folder, UpperCase())
    assert folder.source.read_bytes() == before


@pytest.mark.parametrize("change", ["model", "input", "shorter input"])
def test_a_run_of_another_model_or_input_is_refused_and_nothing_is_lost(stopped, change):
    before = stopped.output.read_bytes()
    if change == "model":
        (stopped.preset / "task.json").write_text('{"other": 1}')
    elif change == "input":
        stopped.source.write_text(stopped.source.read_text().replace('"id": 4', '"id": 40'))
    else:
        stopped.source.write_text("".join(stopped.source.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(ValueError, match="other model" if change == "model" else "to belong to row [45]"):
        predict(stopped, UpperCase())
    assert stopped.output.read_bytes() == before


# === Answers of every task ===


def test_answers_of_classifiers_have_a_score_for_each_label(classifier):
    texts = ["red one", "", "blue blue blue"]
    rows = Answers(classifier).of([[text] for text in texts])
    np.testing.assert_allclose(
        [list(row["scores"].values()) for row in rows], classifier.predict(texts, verbose=0), 1e-5
    )
    assert [row["label"] for row in rows] == classifier.classify(texts)
    assert all(list(row["scores"]) == ["cat", "dog"] for row in rows)


def test_answers_read_pairs_where_they_are_asked_to(classifier):
    answers = Answers(classifier, has_pair=True)
    assert answers.inputs == ["text", "text_pair"]
    row = answers.of([["red", "one two"]])[0]
    expected = classifier.predict((np.array(["red"], object), np.array(["one two"], object)), verbose=0)
    np.testing.assert_allclose(list(row["scores"].values()), expected[0], 1e-5)


def test_answers_of_a_regression_are_numbers(make_task, classifier):
    regression = type(classifier)(classifier.backbone, regression=True, tokenizer=classifier.preprocessor.tokenizer)
    row = Answers(regression).of([["red one"]])[0]
    assert row == {"value": pytest.approx(float(regression.predict(["red one"], verbose=0)[0]), abs=1e-5)}


def test_answers_of_a_masked_lm_have_no_padding(make_task):
    masked_lm = make_task(AlbertMaskedLM)
    one, two = Answers(masked_lm).of([["red [MASK]"], ["[MASK] green [MASK]"]])
    assert [len(row["token"]) for row in (one, two)] == [len(row["score"]) for row in (one, two)] == [1, 2]
    expected = masked_lm.fill_mask(["red [MASK]"])[0]
    assert one["text"] == expected["text"]
    assert one["token"][0] == [token for token, _ in expected["masks"][0]]
    assert all(score >= 0 for row in (one, two) for scores in row["score"] for score in scores)


def test_answers_of_a_token_classifier_have_no_padding(make_task):
    tagger = make_task(AlbertTokenClassifier, labels=["O", "B-COLOUR", "I-COLOUR"])
    tagger.output_dense.bias.assign([0.0, 9.0, 0.0])  # every token is an entity
    answers = Answers(tagger)
    assert answers.inputs == ["text"]
    texts = ["red green one", "blue", ""]
    rows = answers.of([[text] for text in texts])
    for text, row in zip(texts, rows, strict=True):
        assert {len(row[name]) for name in ("label", "start", "end", "score")} == {len(row["entity"])}
        assert row["entity"] == [text[a:b] for a, b in zip(row["start"], row["end"], strict=True)]
    assert len(rows[0]["entity"]) > len(rows[1]["entity"]) > 0 == len(rows[2]["entity"])


def test_answers_of_a_question_answerer_are_spans(make_task):
    answers = Answers(make_task(AlbertQuestionAnswerer))
    assert answers.inputs == ["question", "context"]
    row = answers.of([["red", "one two three"]])[0]
    assert row["answer"] == "one two three"[row["start"] : row["end"]]


def test_answers_of_multiple_choice_are_an_index_and_scores(make_task):
    answers = Answers(make_task(AlbertMultipleChoice))
    assert answers.inputs == ["context", "choices"]
    row = answers.of([["red", ["one", "two", "three"]]])[0]
    assert row["choice"] == int(np.argmax(row["scores"])) and len(row["scores"]) == 3


def test_answers_of_an_embedder_are_vectors(make_task):
    embedder = make_task(AlbertTextEmbedder)
    row = Answers(embedder).of([["red one"]])[0]
    np.testing.assert_allclose(row["embedding"], embedder.embed(["red one"])[0], atol=1e-6)


def test_a_task_that_answers_nothing_is_refused(make_task):
    with pytest.raises(ValueError, match=r"predict needs a task that answers text. Received: a AlbertPretrainer"):
        Answers(make_task(AlbertPretrainer))


def test_a_pair_for_a_model_of_one_text_is_refused(make_task):
    with pytest.raises(ValueError, match="a AlbertTextEmbedder, with --text_pair"):
        Answers(make_task(AlbertTextEmbedder), has_pair=True)


def test_a_row_of_a_causal_lm_samples_alike_in_every_batch(causal_lm):
    sampling = {"max_new_tokens": 4, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 3}
    answers = Answers(causal_lm, generation=sampling)
    prompts = ["red", "green one", "blue"]
    together = answers.of([[prompt] for prompt in prompts])
    assert [row["text"] for row in together] == causal_lm.generate(prompts, max_new_tokens=4, temperature=1.0, seed=3)
    assert answers.of([["blue"]], first=2)[0]["text"] == together[2]["text"]
    assert "text_bytes" not in together[0]


# === The command ===


def test_the_command_answers_a_table(run, presets, table, classifier, tmp_path):
    output = tmp_path / "folder" / "out.jsonl"
    flags = [f"--preset={presets.classifier}", f"--file={table}", f"--output={output}", "--text=message"]
    result = run("predict", *flags, "--batch_size=4")
    assert (result.status, result.output) == (0, f"{output}  6 rows\n"), result.errors
    lines = lines_of(output)
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [(line["message"], line["kind"]) for line in lines] == [tuple(row) for row in rows]
    assert [line["label"] for line in lines] == classifier.classify([message for message, _ in rows])


def test_the_command_continues_prompts_of_a_file(run, presets, causal_lm, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("albert_gpt_tf.tasks.load"), "load_task", lambda preset: causal_lm)
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("red\ngreen one\n")
    flags = [f"--preset={presets.causal_lm}", f"--file={source}", f"--output={output}"]
    result = run("predict", *flags, "--max_new_tokens=3")
    assert result.status == 0, result.errors
    lines = lines_of(output)
    assert [line["prompt"] for line in lines] == ["red", "green one"]
    assert [line["text"] for line in lines] == causal_lm.generate(["red", "green one"], max_new_tokens=3)


def test_texts_on_the_command_line_need_a_model_of_one_text(run, presets, make_task, monkeypatch):
    load = importlib.import_module("albert_gpt_tf.tasks.load")
    monkeypatch.setattr(load, "load_task", lambda preset: make_task(AlbertQuestionAnswerer))
    result = run("predict", f"--preset={presets.classifier}", "red one")
    assert result.status == 1
    assert "which reads question and context. Give --file and --output." in result.errors


def test_a_file_needs_an_output(run, presets, table):
    result = run("predict", f"--preset={presets.classifier}", f"--file={table}")
    assert result.status == 1 and "Expected --file and --output together" in result.errors
