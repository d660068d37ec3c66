"""Passages of LAMBADA: the last word is what follows the last space."""

import json
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.lambada import Passage, read_lambada

RELEASED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "corpora" / "lambada" / "lambada_test.jsonl"


def write(path, *texts):
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n", encoding="utf-8")
    return path


def test_the_last_word_follows_the_last_space_line_breaks_included(tmp_path):
    path = write(tmp_path / "a.jsonl", "It rained  and", "He said it.\n\nAnd left\nhim")
    assert read_lambada(path) == [Passage("It rained ", "and"), Passage("He said it.\n\nAnd", "left\nhim")]
    assert read_lambada(path, limit=1) == [Passage("It rained ", "and")]


@pytest.mark.parametrize("text", ["rain", " rain", "It rained ", ""])
def test_a_passage_without_two_words_is_told_with_its_line(tmp_path, text):
    path = write(tmp_path / "a.jsonl", "It rains")
    path.write_text(path.read_text() + "\n" + json.dumps({"text": text}) + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:3: expected a passage of at least two words"):
        read_lambada(path)


def test_another_file_is_told(tmp_path):
    with pytest.raises(DataError, match=r"name ends in \.jsonl"):
        read_lambada(tmp_path / "lambada.txt")
    (tmp_path / "a.jsonl").write_text('{"sentence": "It rains"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected a column 'text'"):
        read_lambada(tmp_path / "a.jsonl")


@pytest.mark.skipif(not RELEASED.is_file(), reason="LAMBADA is not beside the repository (../shared/data)")
def test_the_released_file_has_5153_passages_and_nothing_of_them_is_lost():
    passages = read_lambada(RELEASED)
    texts = [json.loads(line)["text"] for line in RELEASED.read_text(encoding="utf-8").splitlines()]
    assert len(passages) == 5153
    assert [" ".join(passage) for passage in passages] == texts
    assert sum("\n" in passage.target for passage in passages) == 7
