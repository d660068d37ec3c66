"""Poems: what is read, the text that a model learns, and what is held out."""

import json
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.verse import Poem, hold_out_poems, poem_document, read_poems

POETRY = Path(__file__).parents[3] / "shared" / "data" / "corpora" / "chinese_poetry"
NIGHT = {"title": "靜夜思", "author": "李白", "paragraphs": ["床前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]}
POEM = Poem("靜夜思", "李白", ("床前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"))


def write(folder, content, name="a.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_poems_are_read_whatever_the_layout(tmp_path, indent, mark):
    rows = [{**NIGHT, "tags": ["[", "]"], "id": "1"}, {"rhythmic": "酒泉子", "paragraphs": [" 空  山\n", " "]}]
    path = write(tmp_path, mark + json.dumps(rows, indent=indent))
    assert read_poems(path) == [POEM, Poem("酒泉子", "", ("空  山",))]
    assert read_poems(path, limit=1) == [POEM]


def test_a_poem_without_lines_is_left_out_and_does_not_count(tmp_path):
    assert read_poems(write(tmp_path, [{**NIGHT, "paragraphs": []}, NIGHT]), limit=1) == [POEM]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "expected a list of poems"),
        ("\n{}", 2, "expected a list of poems"),
        ("[]", 1, "expected at least one poem with lines"),
        ('[\n{"title": "a", "paragraphs": []}]', 1, "expected at least one poem with lines"),
        ('[\n{"title": "a", "paragraphs": ["b"]},\n{"title": 5, "paragraphs": ["b"]}]', 3, "expected an object with a"),
        ('[\n{"title": "a", "paragraphs": "b"}]', 2, "expected an object with a string 'title' and a list of strings"),
        ('[{"title": "a", "paragraphs": ["b", 5]}]', 1, "expected an object with a string 'title'"),
        ('[{"title": "a", "paragraphs": ["\\ud800"]}]', 1, "expected an object with a string 'title'"),
        ("[\n[]\n]", 2, "expected an object with a string 'title'"),
        ('[{"title": "a", "paragraphs": ["b"]}\n {}]', 2, "expected a comma or ] after a poem, received '{'"),
        ('[{"title": "a", "paragraphs": ["b"]}\n\n', 2, "expected a comma or ] .* received 'the end of the file'"),
        ('[{"title": "a", "paragraphs": ["b"]},\n]', 2, "expected a JSON object"),
        ('[{"title": "a",\n "paragraphs" ["b"]}]', 2, "expected a JSON object"),
        ("[" + "[" * 100_000, 1, "expected a JSON object"),
    ],
)
def test_a_broken_poem_is_told_by_file_and_line(tmp_path, content, line, message):
    with pytest.raises(DataError, match=rf"a.json:{line}: {message}"):
        read_poems(write(tmp_path, content))


def test_other_names_and_limits_below_one_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"a.txt: expected a file whose name ends in .json"):
        read_poems(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="limit=0"):
        read_poems(tmp_path / "a.json", limit=0)


def test_a_document_is_title_author_and_lines():
    assert poem_document(POEM) == "靜夜思\n李白\n床前看月光，疑是地上霜。\n舉頭望山月，低頭思故鄉。"


def test_poems_with_one_first_line_stay_together():
    poems = [Poem(f"title {i}", "", (f"line {i % 300}", f"line {i}")) for i in range(600)]
    rest, held_out = hold_out_poems(poems, 0.2)
    assert sorted(rest + held_out) == sorted(poems)
    assert not {poem.lines[0] for poem in rest} & {poem.lines[0] for poem in held_out}
    assert 0.1 < len(held_out) / len(poems) < 0.3


@pytest.mark.skipif(not POETRY.is_dir(), reason="needs the poems of the chinese-poetry collection")
def test_the_collections_own_files_are_read_as_json_reads_them():
    files = sorted(POETRY.glob("*.json"))
    assert files
    for path in files:
        expected = [
            (row["title"], row["author"], "".join(row["paragraphs"]))
            for row in json.loads(path.read_text(encoding="utf-8"))
        ]
        assert [(poem.title, poem.author, "".join(poem.lines)) for poem in read_poems(path)] == expected
