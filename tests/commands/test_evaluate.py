"""`evaluate`: the file of each kind of model, its scores, and what is written."""

import json

import numpy as np
import pytest

from albert_gpt_tf.commands.evaluate_scores import evaluate_file
from albert_gpt_tf.data.multiple_choice import read_choices
from albert_gpt_tf.data.squad import read_squad
from albert_gpt_tf.data.tagging import read_tagged_file
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training.entity_scores import evaluate_token_classifier
from albert_gpt_tf.training.language_model_scores import evaluate_language_model
from albert_gpt_tf.training.plan_multiple_choice import evaluate_multiple_choice
from albert_gpt_tf.training.squad_scores import evaluate_question_answerer


@pytest.fixture(scope="module")
def classifier(presets):
    return load_task(presets.classifier)


@pytest.fixture(scope="module")
def make(classifier):
    """Makes an untrained task of another class with the classifier's tokenizer."""

    def task(cls, *labels, **arguments):
        tokenizer = classifier.preprocessor.tokenizer
        backbone = AlbertBackbone(
            tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, embedding_dim=4,
            max_sequence_length=32,
        )  # fmt: skip
        return cls(backbone, *labels, tokenizer=tokenizer, **arguments)

    return task


def test_a_classifier_gets_scores_json_and_plots(run, presets, table, classifier, tmp_path):
    result = run(
        "evaluate", f"--preset={presets.classifier}", f"--file={table}", "--text=message", "--label=kind",
        f"--output={tmp_path / 'out'}",
    )  # fmt: skip
    assert result.status == 0, result.errors
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    scores = classifier.predict([text for text, _ in rows], verbose=0)
    chosen = scores[np.arange(len(rows)), [["cat", "dog"].index(label) for _, label in rows]]
    results = json.loads(result.output)
    assert results["loss"] == pytest.approx(-np.log(chosen).mean(), abs=1e-5)
    assert results["accuracy"] == pytest.approx((chosen > 0.5).mean())
    assert {"macro_f1", "matthews"} <= set(results)
    assert "accuracy" in result.errors and f"{results['accuracy']:.4f}" in result.errors  # the table
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: written[name] for name in results} == results
    for name in ("confusion.png", "reliability.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_a_file_of_glue_is_read_as_glue(make, tmp_path):
    file = tmp_path / "dev.tsv"
    file.write_text("index\tsentence1\tsentence2\tlabel\n0\tred\tone\tentailment\n1\tred\ttwo\tnot_entailment\n")
    task = make(AlbertTextClassifier, ["entailment", "not_entailment"])
    evaluation = evaluate_file(task, str(file), "glue:rte")
    assert evaluation.targets == ["entailment", "not_entailment"] and evaluation.probabilities.shape == (2, 2)
    assert evaluation.scores["accuracy"] == np.mean(evaluation.probabilities.argmax(-1) == [0, 1])


def test_a_regression_gets_correlations(make, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nred,1.5\nblue,2\ngreen,4\n")
    scores = evaluate_file(make(AlbertTextClassifier, regression=True), str(file)).scores
    assert {"pearson", "spearman"} <= set(scores)


def test_each_other_task_gets_its_own_scores(make, tmp_path):
    tagged, questions, choices = (tmp_path / name for name in ("a.conll", "b.json", "c.jsonl"))
    tagged.write_text("red B-COLOR\none O\n\nblue B-COLOR\n")
    paragraph = {
        "context": "red one blue",
        "qas": [{"id": "q", "question": "one?", "answers": [{"text": "blue", "answer_start": 8}]}],
    }
    questions.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": [paragraph]}]}))
    choices.write_text(json.dumps({"context": "red", "choices": ["one", "two"], "answer": 1}) + "\n")
    tagger = make(AlbertTokenClassifier, ["O", "B-COLOR", "I-COLOR"])
    answerer, chooser = make(AlbertQuestionAnswerer), make(AlbertMultipleChoice)
    assert evaluate_file(tagger, str(tagged)).scores == evaluate_token_classifier(tagger, read_tagged_file(tagged))
    assert evaluate_file(answerer, str(questions)).scores == evaluate_question_answerer(answerer, read_squad(questions))
    assert evaluate_file(chooser, str(choices)).scores == evaluate_multiple_choice(chooser, read_choices(choices))


def test_a_language_model_gets_perplexities(run, presets, tmp_path):
    path = tmp_path / "test.txt"
    path.write_text("red green\n\nblue one two")
    result = run("evaluate", f"--preset={presets.causal_lm}", f"--file={path}", "--window=8", "--stride=4")
    assert result.status == 0, result.errors
    task = load_task(presets.causal_lm)
    expected = evaluate_language_model(task, ["red green", "blue one two"], 8, 4)
    assert json.loads(result.output) == pytest.approx(expected, rel=1e-5)
    # Untrained: every token costs about log2(vocabulary) bits.
    bits = np.log2(task.preprocessor.tokenizer.vocabulary_size())
    assert expected["loss"] / np.log(2) == pytest.approx(bits, rel=0.02)


def test_formats_of_language_models(presets, tmp_path):
    task = load_task(presets.causal_lm)
    wiki, lambada, dialogue = (tmp_path / name for name in ("wiki.txt", "lambada.jsonl", "talk.jsonl"))
    wiki.write_text(" \n = Red = \n \n one two , three . \n")
    lambada.write_text(json.dumps({"text": "red one two"}) + "\n")
    dialogue.write_text(json.dumps({"turns": ["red?", "one"]}) + "\n")
    scores = evaluate_file(task, str(wiki), "wikitext").scores
    assert scores["words"] == len(wiki.read_text().split())  # those of the file, whose punctuation is set apart
    assert evaluate_file(task, str(lambada), "lambada").scores.keys() == {"accuracy", "perplexity", "passages"}
    assert evaluate_file(task, str(dialogue), "dialogue").scores["loss"] > 0


@pytest.mark.parametrize(
    ("make_task", "format", "message"),
    [
        (lambda make: make(AlbertTokenClassifier, ["O", "X"]), "wikitext", "Expected no --format for AlbertToken"),
        (lambda make: make(AlbertTextClassifier, ["a", "b"]), "lambada", "Expected --format=glue:TASK, or none"),
        (lambda make: make(AlbertMaskedLM), "", "which no labelled file belongs to"),
    ],
)
def test_what_does_not_fit_is_refused(make, make_task, format, message):
    with pytest.raises(ValueError, match=message):
        evaluate_file(make_task(make), "no-file", format)


def test_labels_that_the_model_does_not_know_are_refused(run, presets, tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("text\tlabel\na\tparrot\n")
    result = run("evaluate", f"--preset={presets.classifier}", f"--file={path}")
    assert result.status == 1
    assert "Expected the labels ['cat', 'dog'] of the model. Received: ['parrot'] as well." in result.errors


def test_a_broken_row_is_told_by_file_and_line(run, presets, table):
    result = run("evaluate", f"--preset={presets.classifier}", f"--file={table}")
    assert result.status == 1
    assert f"albert-gpt-tf: {table}:1: expected a column 'text'" in result.errors
