"""SQuAD's files: both versions, both forms, and every broken row by its place."""

import json
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.squad import SquadRow, read_squad

LABELLED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "labelled"
XQUAD, SAMPLE = LABELLED / "xquad", LABELLED / "hf_tests_samples" / "SQUAD" / "sample.json"
CONTEXT = "Der Fuchs 🦊 läuft."


def question(**changes):
    entry = {"id": "1", "question": "Wer läuft?", "answers": [{"text": "Fuchs 🦊", "answer_start": 4}]}
    entry |= changes
    return {name: value for name, value in entry.items() if value is not None}


def write(path, *questions, context=CONTEXT):
    """Two paragraphs in a second article, the questions in the last one."""
    first = {"context": "Leer.", "qas": []}
    articles = [{"title": "A", "paragraphs": []}, {"paragraphs": [first, {"context": context, "qas": list(questions)}]}]
    path.write_text(json.dumps({"version": "v2.0", "data": articles}), encoding="utf-8")
    return path


def test_questions_come_with_their_contexts_and_all_their_answers(tmp_path):
    answers = [{"text": "Fuchs", "answer_start": 4}, {"text": "läuft", "answer_start": 12}]
    rows = read_squad(write(tmp_path / "a.json", question(answers=answers), question(id="2")))
    assert rows[0] == SquadRow("1", "Wer läuft?", CONTEXT, ["Fuchs", "läuft"], [4, 12], False)
    assert rows[1].answers == ["Fuchs 🦊"] and len(rows) == 2  # starts count characters, not bytes


def test_an_impossible_question_has_no_answers_even_if_the_file_has_plausible_ones(tmp_path):
    impossible = question(is_impossible=True, answers=[], plausible_answers=[{"text": "Fuchs", "answer_start": 4}])
    marked = question(id="2", is_impossible=True)
    for row in read_squad(write(tmp_path / "a.json", impossible, marked)):
        assert row.is_impossible and row.answers == row.starts == []


def test_the_limit_counts_questions_and_leaves_the_rest_unread(tmp_path):
    path = write(tmp_path / "a.json", question(), question(id="2"), question(id="3", answers=None))
    assert [row.id for row in read_squad(path, limit=2)] == ["1", "2"]
    with pytest.raises(ValueError, match="limit must be at least 1"):
        read_squad(path, limit=0)


BROKEN = {
    "an answer elsewhere": (question(answers=[{"text": "Fuchs", "answer_start": 5}]), r"'uchs '; it stands at 4"),
    "an answer that is nowhere": (question(answers=[{"text": "Wolf", "answer_start": 4}]), "it is nowhere"),
    "a start before the text": (question(answers=[{"text": ".", "answer_start": -1}]), "at character -1"),
    "an empty answer": (question(answers=[{"text": "", "answer_start": 4}]), "expected the answer ''"),
    "a start in quotes": (question(answers=[{"text": "Fuchs", "answer_start": "4"}]), "whole number in 'answer_start'"),
    "no start": (question(answers=[{"text": "Fuchs"}]), "received no 'answer_start'"),
    "no answer": (question(answers=[]), "expected an answer, received none"),
    "no list of answers": (question(answers=None), "expected a list or columns in 'answers'"),
    "no question": (question(question=None), "received no 'question'"),
    "a number as question": (question(question=3), "'question' of type int"),
    "a flag in quotes": (question(is_impossible="no"), "true or false in 'is_impossible'"),
    "half of a character": (question(question="a\ud800"), "half of a surrogate pair"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_question_is_refused_with_its_place(name, tmp_path):
    broken, message = BROKEN[name]
    path = write(tmp_path / "broken.json", question(id="0"), broken)
    with pytest.raises(DataError, match=message) as error:
        read_squad(path)
    assert str(error.value).startswith(f"{path}: article 2, paragraph 2, question 2")


def test_the_same_id_twice_is_refused_with_both_places(tmp_path):
    with pytest.raises(DataError, match=r"question 2: .* '1', which article 2, paragraph 2, question 1 has"):
        read_squad(write(tmp_path / "a.json", question(), question()))


def test_a_file_that_is_no_squad_is_refused(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match="a path where there is none"):
        read_squad(path)
    for content, message in (
        (b"{", "expected JSON"),
        (b'"\xff"', "expected UTF-8, received the byte 0xff at byte 2"),
        (b"[]", "expected a list in 'data'"),
        (b'{"data": [3]}', "article 1: expected a list in 'paragraphs'"),
        (b'{"data": []}', "expected at least one question"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_squad(path)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs the samples beside the repository")
def test_the_form_of_the_hugging_face_datasets_is_read(tmp_path):
    rows = read_squad(SAMPLE)
    entries = json.loads(SAMPLE.read_text(encoding="utf-8"))["data"]
    assert [row.id for row in rows] == [entry["id"] for entry in entries]
    assert [row.answers for row in rows] == [entry["answers"]["text"] for entry in entries]
    assert [row.is_impossible for row in rows] == [not entry["answers"]["text"] for entry in entries]
    entries[1]["answers"]["answer_start"] = []
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"data": entries[:2]}), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2 of data \(id .*as many starts as texts|row 2 of data"):
        read_squad(path)


@pytest.mark.skipif(not XQUAD.is_dir(), reason="needs XQuAD beside the repository")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_xquad_has_1190_questions_whose_answers_stand_where_they_should(language):
    rows = read_squad(XQUAD / f"xquad.{language}.json")
    assert len(rows) == 1190 and not any(row.is_impossible for row in rows)
    assert len({row.context for row in rows}) == 240
    for row in rows:
        for answer, start in zip(row.answers, row.starts, strict=True):
            assert row.context[start:].startswith(answer)
