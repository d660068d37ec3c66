"""Multiple choice from files: every form gives the same rows, and a broken row is told by its place."""

import json
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.multiple_choice import ChoiceRow, choice_texts, read_choices

SWAG = Path(__file__).parents[3] / "shared" / "data" / "labelled" / "hf_tests_samples" / "swag" / "sample.json"
ROW = ChoiceRow("It rained, and the street was wet.", "The shoes", ("were dry.", "were wet."), 1)
ARTICLE = {
    "article": "Ann was _ing home.\nIt rained.",
    "questions": ["The street was _ .", "Who walked?"],
    "options": [["dry", " wet ", "red", "long"], ["Ann", "Bob", "Cy", "Di"]],
    "answers": ["B", "A"],
    "id": "high1.txt",
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_article(folder, name, **changes):
    return write(folder, name, json.dumps({**ARTICLE, **changes}))


def jsonl(*rows):
    return "\n".join(json.dumps(row) for row in rows)


# === What is read ===

CONTEXT, QUESTION, (DRY, WET), _ = ROW
FORMS = {
    "own.jsonl": jsonl({"context": CONTEXT, "question": QUESTION, "choices": [DRY, WET], "answer": 1, "id": 7}),
    "letter.jsonl": jsonl({"answer": "B", "choices": [DRY, WET], "question": QUESTION, "context": CONTEXT}),
    "own.csv": f'context,question,choice0,choice1,answer\n"{CONTEXT}",{QUESTION},{DRY},{WET},1\n',
    "own.tsv": f"context\tquestion\tchoice1\tchoice0\tanswer\n{CONTEXT}\t{QUESTION}\t{WET}\t{DRY}\tB\n",
    "race.jsonl": jsonl({"article": CONTEXT, "question": QUESTION, "options": [DRY, WET], "answer": "B"}),
    "swag.csv": (
        ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,label\r\n"
        f'0,v,1,"{CONTEXT} {QUESTION}","{CONTEXT}",{QUESTION},gold,{DRY},{WET},1\r\n'
    ),
    "cosmos.csv": f'id,context,question,answer0,answer1,label\nx,"{CONTEXT}",{QUESTION},{DRY},{WET},1\n',
    "cosmos.jsonl": "\ufeff"
    + jsonl({"id": "x", "context": CONTEXT, "question": QUESTION, "answer0": DRY, "answer1": WET, "label": "1"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_row(tmp_path, name):
    assert read_choices(write(tmp_path, name, FORMS[name])) == [ROW]


@pytest.mark.parametrize("name", ["own.jsonl", "cosmos.jsonl"])
def test_a_test_file_without_answers_is_read_on_request(tmp_path, name):
    row = json.loads(FORMS[name].lstrip("\ufeff"))
    del row["answer" if name == "own.jsonl" else "label"]
    path = write(tmp_path, name, jsonl(row))
    assert read_choices(path, has_answers=False) == [ROW._replace(answer=None)]
    with pytest.raises(DataError, match=rf"{name}:1: expected a column '(answer|label)'"):
        read_choices(path)


def test_answers_of_minus_one_as_in_hidden_test_sets_are_read_as_none_only_on_request(tmp_path):
    path = write(tmp_path, "a.jsonl", FORMS["own.jsonl"].replace('"answer": 1', '"answer": -1'))
    assert read_choices(path, has_answers=False)[0].answer is None
    with pytest.raises(DataError, match="received -1"):
        read_choices(path)


def test_a_question_may_be_left_out(tmp_path):
    path = write(tmp_path, "a.csv", "context,choice0,choice1,answer\nIt rained.,So it was dry.,So it was wet.,B\n")
    [row] = read_choices(path)
    assert row.question == "" and choice_texts(row) == ["So it was dry.", "So it was wet."]


def test_more_than_ten_numbered_choices_keep_the_order_of_their_numbers(tmp_path):
    names = [f"ending{number}" for number in range(12)]
    header = ",".join(["sent1", "sent2", *sorted(names), "label"])
    path = write(tmp_path, "a.csv", f"{header}\na,b,{','.join(name[6:] for name in sorted(names))},11\n")
    [row] = read_choices(path)
    assert row.choices == tuple(str(number) for number in range(12)) and row.answer == 11


def test_the_published_swag_rows_are_read(tmp_path):
    if not SWAG.is_file():
        pytest.skip("needs the SWAG sample of the shared data")
    rows = read_choices(SWAG)
    lines = [json.loads(line) for line in SWAG.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(lines) > 5
    for row, line in zip(rows, lines, strict=True):
        # What the multiple choice example of Transformers (run_swag.py) puts into a row of the model.
        assert row.context == line["sent1"] and row.answer == line["label"]
        expected = [f"{line['sent2']} {line[f'ending{number}']}" for number in range(4)]
        assert choice_texts(row) == [" ".join(text.split()) for text in expected]


# === RACE ===


def released_race_texts(article):
    """`RaceProcessor.read_examples` of google-research/albert, derived anew: contexts, texts of choices, labels."""
    clean = lambda text: " ".join(text.strip().split())  # noqa: E731
    for question, options, answer in zip(article["questions"], article["options"], article["answers"], strict=True):
        question = clean(question)
        if "_" in question:
            texts = [question.replace("_", clean(option)) for option in options]
        else:
            texts = [question + " " + clean(option) for option in options]
        yield texts, ord(answer) - ord("A")


def test_race_folders_are_read_as_the_release_reads_them(tmp_path):
    write_article(tmp_path, "train/high/1.txt")
    write_article(tmp_path, "train/middle/2.txt", answers=["C", "D"])
    write_article(tmp_path, "test/high/3.txt")
    write(tmp_path, "train/README", "not an article")
    rows = read_choices(tmp_path / "train")
    assert [row.answer for row in rows] == [1, 0, 2, 3]
    expected = [*released_race_texts(ARTICLE)]
    assert [(choice_texts(row), row.answer) for row in rows[:2]] == expected
    assert {row.context for row in rows} == {ARTICLE["article"]}
    assert choice_texts(rows[0])[1] == "The street was wet ." and choice_texts(rows[1])[0] == "Who walked? Ann"
    assert read_choices(tmp_path / "train" / "high") == rows[:2]  # a level of its own


def test_a_run_of_underscores_is_one_gap_and_several_gaps_are_all_filled():
    assert choice_texts(ChoiceRow("", "A ____ is a _!", ("fox", r"\1"), 0)) == ["A fox is a fox!", r"A \1 is a \1!"]


def test_articles_without_answers_are_read_on_request(tmp_path):
    write(tmp_path, "a.txt", json.dumps({name: value for name, value in ARTICLE.items() if name != "answers"}))
    assert [row.answer for row in read_choices(tmp_path, has_answers=False)] == [None, None]
    with pytest.raises(DataError, match="without answers"):
        read_choices(tmp_path)


def test_a_bar_shows_the_files_of_a_folder_on_request(tmp_path, capsys):
    write_article(tmp_path, "a.txt")
    read_choices(tmp_path)
    assert capsys.readouterr() == ("", "")
    assert len(read_choices(tmp_path, progress=True)) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": ["B"]}, r"a\.txt: expected questions, options, answers to be lists of one length"),
        ({"answers": "BA"}, "to be lists of one length"),
        ({"answers": ["B", "E"]}, r"a\.txt: question 2: expected the index .*, 0 to 3, .* A to D, received \"E\""),
        ({"article": None}, r"a\.txt: question 1: expected a string as context, received null"),
        ({"options": [["a", "b", "c", "d"], ["a"]]}, r"question 2: expected two or more choices, received \[\"a\"\]"),
        ({"options": [["a", "b", "c", "d"], ["a", "b"]]}, r"question 2: expected 4 choices, as at .*question 1"),
        ({"questions": ["a", 3]}, r"question 2: expected a string as question, received 3"),
    ],
)
def test_a_broken_article_is_told_by_file_and_question(tmp_path, changes, message):
    write_article(tmp_path, "train/a.txt", **changes)
    with pytest.raises(DataError, match=message):
        read_choices(tmp_path / "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.txt: expected a JSON object, received '{'"),
        ("[1]", r"a\.txt: expected a JSON object, received \[1\]"),
        (b"\xff{}", r"a\.txt:1: expected UTF-8"),
        ("{}", "without article and questions and options and answers"),
    ],
)
def test_a_file_that_is_no_article_is_told_by_its_name(tmp_path, content, message):
    write(tmp_path, "a.txt", content)
    with pytest.raises(DataError, match=message):
        read_choices(tmp_path)


# === Broken tables ===

OWN = json.loads(FORMS["own.jsonl"])
HEADER = "context,question,choice0,choice1,answer\n"
BROKEN = {
    "no such form": ("a.csv", "text,label\na,b\n", 2, "expected columns context, .*received 'text', 'label'"),
    "no column of answers": ("a.csv", "context,choice0,choice1\na,b,c\n", 2, "a column 'answer', received 'context'"),
    "a column twice": ("a.csv", "context,context\na,b\n", 1, "one column 'context', received several"),
    "a gap in the numbers": (
        "a.csv", "sent1,sent2,ending0,ending2,label\na,b,c,d,0\n", 2, "the columns 'ending0', 'ending1', received",
    ),
    "too few fields": ("a.csv", HEADER + "a,b,c,d,0\na,b,c,d\n", 3, "5 fields as in the header, received 4"),
    "a quote in the middle": ("a.csv", HEADER + 'a,b,"c"d,e,0\n', 2, "broken quotes"),
    "a label too large": ("a.tsv", HEADER.replace(",", "\t") + "a\tb\tc\td\t2\n", 2, '0 to 1, .* A to B, received "2"'),
    "a label as a word": ("a.csv", HEADER + "a,b,c,d,yes\n", 2, 'received "yes"'),
    "an empty label": ("a.csv", HEADER + "a,b,c,d,\n", 2, 'received ""'),
    "an empty choice": ("a.csv", HEADER + "a,b,c, ,0\n", 2, "a text as choice 1, received ' '"),
    "no object": ("a.jsonl", "\n" + jsonl(OWN) + "\n[1]", 3, r"expected a JSON object, received \[1\]"),
    "no JSON": ("a.jsonl", "{1}", 1, r"expected a JSON object, received '\{1\}'"),
    "choices in one string": ("a.jsonl", jsonl({**OWN, "choices": "ab"}), 1, 'two or more choices, received "ab"'),
    "a choice as a number": ("a.jsonl", jsonl({**OWN, "choices": ["a", 1]}), 1, "expected a string as choice"),
    "half a character": ("a.jsonl", jsonl({**OWN, "context": "\ud800"}), 1, "half of a surrogate pair"),
    "true for an index": ("a.jsonl", jsonl({**OWN, "answer": True}), 1, "received true"),
    "a column less later": (
        "a.jsonl", jsonl(OWN, {name: OWN[name] for name in ("context", "answer")}), 2, "a column 'choices', received",
    ),
    "another number of choices": (
        "a.jsonl", jsonl(OWN, {**OWN, "choices": ["a", "b", "c"]}), 2, r"expected 2 choices, as at .*a\.jsonl:1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_is_told_by_file_and_line(tmp_path, case):
    name, content, line, message = BROKEN[case]
    with pytest.raises(DataError, match=rf"{name}:{line}: .*{message}"):
        read_choices(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "expected at least one row"),
        ("a.jsonl", "\n", "expected at least one row"),
        ("a.xlsx", "x", r"a folder of RACE, or a file whose name ends in \.csv"),
        ("folder/a.md", "x", r"expected \.txt files of RACE"),
    ],
)
def test_nothing_to_read_is_told_by_name(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message):
        read_choices(path.parent if "/" in name else path)


def test_a_path_where_there_is_nothing_is_told(tmp_path):
    with pytest.raises(DataError, match="where there is none"):
        read_choices(tmp_path / "none.csv")


def test_limit_reads_no_further(tmp_path):
    path = write(tmp_path, "a.csv", HEADER + "a,b,c,d,0\na,b,c,d,1\nbroken\n")
    assert [row.answer for row in read_choices(path, limit=2)] == [0, 1]
    with pytest.raises(ValueError, match="at least 1"):
        read_choices(path, limit=0)
