"""Sentences of raw text: where they end, where they do not, and that nothing is lost."""

import re

import pytest

from albert_gpt_tf.data.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained.", "It rains!", "Will it rain?", "Wait…", "What?!", "Yes"],
        ["He said “No.”", "Then he left.", "(Maybe he did not.)", "“Who knows?”", "'Nobody.'"],
        ["It had 3.", "5 were left.", "Version 1.2.3.", "Next came 2.0."],
        ["Он пришёл.", "Она ушла.", "Élan.", "Ça va."],
        ["This is all, etc.", "That was he, not I.", "He said no.", "Then he went."],
        ["He lives in the U.S.", "The rest do not.", "He met J. Hay.", "¿Qué?", "—Nada."],
    ],
)
def test_a_sentence_ends_at_its_mark_before_a_capital_or_a_digit(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Grey and Mrs. J. S. Hay vs. St. Mary saw it.",
        "It is in Fig. 3 and No. 5 on p. 7 of Jan. 8.",
        "The U.S. Army, e.g. the 3rd, i.e. Third, is not here.",
        "He asked who? and left.",
        "It costs 3.50 at example.com now.",
        "... and so on.",
    ],
)
def test_a_full_stop_inside_of_a_sentence_does_not_end_it(sentence):
    assert split_sentences(sentence) == [sentence]


def test_chinese_japanese_and_hindi_marks_end_a_sentence_without_white_space():
    assert split_sentences("今天天气很好。“我们去公园吧！”他说。") == ["今天天气很好。", "“我们去公园吧！”", "他说。"]
    assert split_sentences("雨です。晴れ？はい") == ["雨です。", "晴れ？", "はい"]
    assert split_sentences("नमस्ते। आप कैसे हैं?") == ["नमस्ते।", "आप कैसे हैं?"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_a_line_break_is_white_space_and_a_blank_line_an_end(line_break):
    text = "Chapter one\n \t\nIt rained\nall day. It\nrains.\n\n\n\nThe end\n"
    expected = ["Chapter one", "It rained all day.", "It rains.", "The end"]
    assert split_sentences(text.replace("\n", line_break)) == expected


def test_blank_text_has_no_sentences():
    assert split_sentences("") == split_sentences(" \n\t\n\u3000 ") == []


@pytest.mark.parametrize(
    "text",
    ["." * 10**6, "." * 10**5 + "'" * 10**5, "a." * 10**5, "a. B" * 10**5, " \n" * 10**5, ". " * 10**5, "。」" * 10**5,
     "'. " * 10**5 + "A", ("\n" + " " * 999) * 1000, ". " + "(" * 10**5],
)  # fmt: skip
def test_a_megabyte_of_anything_keeps_all_its_characters(text):
    """In linear time: a quadratic rule would take hours."""
    assert "".join(split_sentences(text)).replace(" ", "") == re.sub(r"\s", "", text)
