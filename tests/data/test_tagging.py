"""Tagged sentences: each format's rows, what is skipped, the sentence that a broken row gets, words as running text."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.tagging import TaggedSentence, hold_out, read_tagged_file, sentence_texts

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "labelled"
ADA = TaggedSentence(["Ada", "Lovelace", "writes"], ["B-PER", "I-PER", "O"])
PARIS = TaggedSentence(["Paris", "."], ["B-LOC", "O"])
CONLLU = "\n".join(
    [
        "# sent_id = 1",
        "1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_",
        "2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_",
        "2.1\tyou\tyou\tPRON\tPRP\t_\t_\t_\t_\t_",
        "3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\tCase=x|SpaceAfter=No",
        "4\t!\t!\tPUNCT\t.\t_\t3\tpunct\t_\t_",
        "",
        "1-2\tim\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No",
        "1\tin\tin\tADP\t_\t_\t_\t_\t_\t_",
        "2\tdem\tder\tDET\t_\t_\t_\t_\t_\t_",
        "3\t?\t?\tPUNCT\t_\t_\t_\t_\t_\t_",
    ]
)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def genuine():
    if not DATA.is_dir():
        pytest.skip("labelled data is not beside the repository (../shared/data/labelled)")
    return DATA


# === Columns ===


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ("Ada B-PER\nLovelace I-PER\nwrites O\n\nParis B-LOC\n. O\n", {}),
        ("Ada\tB-PER\nLovelace\tI-PER\nwrites\tO\n \t \nParis\tB-LOC\n.\tO", {}),
        ("-DOCSTART- -X- O O\r\n\r\nAda NN x B-PER\r\nLovelace NN x I-PER\r\nwrites VB x O\r\n-DOCSTART- -X- O O\r\n"
         "Paris NN x B-LOC\r\n. . x O\r\n\r\n\r\n", {}),
        ("#\thttp://a.org [2009]\n1\tAda\tB-PER\tO\n2\tLovelace\tI-PER\tO\n3\twrites\tO\tO\n\n#\thttp://b.org [2010]\n"
         "1\tParis\tB-LOC\tO\n2\t.\tO\tO\n", {"words": "1", "tags": "2"}),
        ("B-PER Ada\nI-PER  Lovelace\nO writes \n\nB-LOC Paris\nO .\n", {"words": "-1", "tags": "0"}),
    ],
    ids=["spaces", "tabs", "CoNLL-2003", "GermEval", "tag first"],
)  # fmt: skip
def test_columns_give_words_and_tags(tmp_path, content, places):
    assert read_tagged_file(write(tmp_path, "a.conll", content), **places) == [ADA, PARIS]


def test_a_hash_can_be_a_word(tmp_path):
    path = write(tmp_path, "a.txt", "# a comment of several words\n#\tO\n#tag\tB-x\n\n#\tO\nb\tO\n")
    assert [row.words for row in read_tagged_file(path)] == [["#", "#tag"], ["#", "b"]]


def test_a_word_may_hold_white_space_that_separates_nothing(tmp_path):
    assert read_tagged_file(write(tmp_path, "a.txt", "New York\tB\n"))[0].words == ["New York"]
    assert read_tagged_file(write(tmp_path, "b.txt", "New\u00a0York B\n"))[0].words == ["New\u00a0York"]


def test_limit_counts_sentences_and_leaves_the_rest_unchecked(tmp_path):
    path = write(tmp_path, "a.conll", "Paris B-LOC\n. O\n\nbroken\n")
    assert read_tagged_file(path, limit=1) == [PARIS]
    with pytest.raises(ValueError, match="limit must be at least 1"):
        read_tagged_file(path, limit=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "Paris\n", r"a.conll:1: expected a word and its tag, received 'Paris'; separate them"),
        ("a.conll", "Paris B\n\nin a O\n", r"a.conll:3: expected 2 columns as in the first row, received 3; look"),
        ("a.conll", "Paris\tB\n\tO\n", r"a.conll:2: expected a word, received nothing"),
        ("a.conll", "Paris\tB\nis\t\n", r"a.conll:2: expected a tag, received ''; fill it in"),
        ("a.conll", "\n# nothing\n", r"a.conll:1: expected at least one sentence, received none"),
        ("a.conll", b"Paris B\n\xff O\n", r"a.conll:2: expected UTF-8"),
        ("a.conllu", "1\tgo\tgo\tVERB\n", r"a.conllu:1: expected 10 columns of CoNLL-U, received 4"),
        ("a.conllu", CONLLU.replace("VERB", "_"), r"a.conllu:6: expected a tag, received '_'"),
        ("a.conllu", CONLLU.replace("\n3\tgo", "\n4\tgo"), r"a.conllu:6: expected the word 3 of .* received 4"),
        ("a.conllu", CONLLU.replace("\n3\tgo", "\nx\tgo"), r"a.conllu:6: expected an ID such as 8, 8-9 or 8.1.*'x'"),
        ("a.conllu", CONLLU.replace("1-2\tim", "1-9\tim"), r"a.conllu:9: expected a range .* received 1-9 of 3"),
        ("a.jsonl", "{", r"a.jsonl:1: expected one JSON object"),
        ("a.jsonl", "[]", r"a.jsonl:1: expected a list of strings .* in 'words' or 'tokens', received '\[\]'"),
        ("a.jsonl", '{"words": ["a"], "ner": [3]}', r"a.jsonl:1: .*'pos', received '\[3\]'; tags that are numbers"),
        ("a.jsonl", '{"words": ["a"], "ner": []}', r"a.jsonl:1: expected a tag for every word, received 1 words and 0"),
    ],
)  # fmt: skip
def test_a_broken_row_is_told_by_file_and_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_tagged_file(write(tmp_path, name, content))


def test_columns_that_do_not_exist_are_told(tmp_path):
    path = write(tmp_path, "a.conll", "Paris B\n")
    with pytest.raises(DataError, match=r"a.conll:1: expected a column 2 with the tag, received 2 columns"):
        read_tagged_file(path, tags="2")
    with pytest.raises(ValueError, match=r"tags must be a number of a column .*Received: tags='ner'"):
        read_tagged_file(path, tags="ner")


# === CoNLL-U and JSON lines ===


def test_conllu_skips_multiword_tokens_and_empty_nodes_and_knows_where_spaces_are(tmp_path):
    path = write(tmp_path, "a.conllu", CONLLU)
    one, two = read_tagged_file(path)
    assert one == (["do", "n't", "go", "!"], ["AUX", "PART", "VERB", "PUNCT"], [False, True, False, True])
    assert two.words == ["in", "dem", "?"] and two.space_after == [True, False, True]
    assert sentence_texts([one, two]).texts == ["don't go!", "in dem?"]
    assert read_tagged_file(path, tags="4", limit=1)[0].tags == ["VBP", "RB", "VB", "."]


@pytest.mark.parametrize("keys", [("words", "ner"), ("tokens", "tags"), ("a", "b")])
def test_json_lines_give_words_and_tags(tmp_path, keys):
    line = f'{{"{keys[0]}": ["Paris", "."], "{keys[1]}": ["B-LOC", "O"]}}\n\n'
    places = dict(zip(("words", "tags"), keys, strict=True)) if keys[0] == "a" else {}
    assert read_tagged_file(write(tmp_path, "a.jsonl", line * 2), **places) == [PARIS, PARIS]


# === Genuine files ===


def test_released_files_are_read_whole(genuine):
    # Sentences and words as the publications count them.
    train = read_tagged_file(genuine / "wnut17" / "wnut17train.conll")
    assert (len(train), sum(len(row.words) for row in train)) == (3394, 62730)
    test = read_tagged_file(genuine / "wnut17" / "emerging.test.annotated")
    assert (len(test), sum(len(row.words) for row in test)) == (1287, 23394)
    for name in ("GermEval/dev.txt", "GermEval/train.txt", "conll/sample.json"):
        rows = read_tagged_file(genuine / "hf_tests_samples" / name)
        assert len(rows) >= 10 and {"O", "B-ORG"} <= {tag for row in rows for tag in row.tags}


def test_a_treebank_is_joined_to_the_text_that_it_was_made_from(genuine):
    path = genuine / "ud_english_ewt" / "en_ewt-ud-test.conllu"
    rows = read_tagged_file(path)
    assert (len(rows), sum(len(row.words) for row in rows)) == (2077, 25094)
    texts = re.findall(r"^# text = (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert sentence_texts(rows).texts == [text.replace("\u00a0", " ") for text in texts]  # one space is unbreakable


# === Text and splits ===


def test_places_of_words_are_bytes_of_the_text():
    texts, starts, ends = sentence_texts([TaggedSentence(["né", "à", "Paris"], ["O"] * 3), PARIS])
    assert texts == ["né à Paris", "Paris ."]
    words = [[text.encode()[a:b].decode() for a, b in zip(*places, strict=True)]
             for text, *places in zip(texts, starts, ends, strict=True)]  # fmt: skip
    assert words == [["né", "à", "Paris"], ["Paris", "."]]


@pytest.mark.parametrize(("count", "share"), [(10, 0.2), (2077, 0.2), (7, 0.5), (100, 0.0), (1000, 0.29)])
def test_rows_are_held_out_evenly(count, share):
    stay, held = hold_out(range(count), share)
    assert sorted([*stay, *held]) == list(range(count))
    assert abs(len(held) - count * share) < 1
    gaps = {b - a for a, b in pairwise(held)}
    assert len(gaps) <= 2 and (not gaps or max(gaps) - min(gaps) <= 1)


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match=r"must be 0 or more and below 1. Received: 1.0"):
        hold_out([1, 2], 1.0)
