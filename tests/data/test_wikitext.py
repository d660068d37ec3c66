"""Articles of WikiText, and a de-tokenizer that can be undone."""

from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.wikitext import detokenize_wikitext, read_wikitext, tokenize_wikitext

RELEASED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "corpora" / "wikitext2"

# Tokens as in the released files, and the text that a person would write.
LINES = {
    " a guest @-@ starring role , ": "a guest-starring role,",
    " $ 2 @,@ 000 , 0 @.@ 7 kg ( 1 @.@ 5 – 4 @.@ 9 lb ) . ": "$2,000, 0.7 kg (1.5 – 4.9 lb).",
    ' the episode " Teddy \'s Story " of ; it ': 'the episode "Teddy\'s Story" of; it',
    " But They Don 't Go Down ! ": "But They Don't Go Down!",
    " Chan K 'awiil and Chang 'an ": "Chan K'awiil and Chang'an",
    " = = Description = = ": "== Description ==",
    " = Robert <unk> = ": "= Robert <unk> =",
    " U.S. Route 2 by J. C. W. <unk> . ": "U.S. Route 2 by J. C. W. <unk>.",
    " is called ' turf fuel ' for ": "is called 'turf fuel' for",
    " the peoples ' view ": "the peoples' view",
    " original ones [ ... ] So , 79 % ": "original ones [...] So, 79%",
    " a bird 's @-@ eye view ": "a bird's-eye view",
    " ": "",
}


@pytest.mark.parametrize("tokens", LINES)
def test_lines_read_as_people_write_them_and_are_taken_apart_again(tokens):
    assert detokenize_wikitext(tokens) == LINES[tokens]
    assert tokenize_wikitext(LINES[tokens]) == tokens


@pytest.mark.parametrize(
    "tokens",
    [
        " of vitamin A . It ",  # joined, it would read as an abbreviation
        ' 5 " long ',  # a mark without its partner
        " A @-@ @-@ B ",
        " ( ) , ( ",
        " ' ' ' ",
        ' " " a ',
        " . . . , ",
        " = = a = ",
        " the 's @,@ ",
        " $ $ 5 # 1 ",
    ],
)
def test_what_could_not_be_taken_apart_stays_apart(tokens):
    assert tokenize_wikitext(detokenize_wikitext(tokens)) == tokens


def test_lines_stay_lines():
    text = " a , b \n \n = c = \n"
    assert detokenize_wikitext(text) == "a, b\n\n= c =\n"


def test_an_article_begins_with_a_heading_between_blank_lines(tmp_path):
    path = tmp_path / "wiki.txt"
    formula = " = 1 <unk> / s = \n"
    path.write_text(
        f" \n = A B = \n \n Text ; \n{formula} more . \n \n = = Part = = \n \n End . \n \n = C = \n \n X \n"
    )
    articles = read_wikitext(path)
    assert articles == ["= A B =\n\nText;\n= 1 <unk> / s =\nmore.\n\n== Part ==\n\nEnd.", "= C =\n\nX"]
    assert [a.split()[:4] for a in read_wikitext(path, detokenize=False)] == [
        ["=", "A", "B", "="],
        ["=", "C", "=", "X"],
    ]


def test_a_heading_at_the_edges_of_a_file_counts(tmp_path):
    (tmp_path / "wiki.txt").write_text("= A =\n\ntext\n\n = B =")
    assert read_wikitext(tmp_path / "wiki.txt") == ["= A =\n\ntext", "= B ="]


def test_a_file_without_articles_is_told(tmp_path):
    (tmp_path / "plain.txt").write_text("Just text.\n")
    with pytest.raises(DataError, match=r"plain\.txt:1: expected articles of WikiText"):
        read_wikitext(tmp_path / "plain.txt")


@pytest.mark.skipif(not RELEASED.is_dir(), reason="WikiText-2 is not beside the repository (../shared/data)")
@pytest.mark.parametrize(("name", "lost"), [("valid", 0), ("test", 1)])
def test_the_released_files_have_60_articles_each_and_come_back_from_the_text(name, lost):
    path = RELEASED / f"{name}.txt"
    assert len(read_wikitext(path)) == 60  # Merity et al., 2016, table 1
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[-1] == "":
        lines.pop()
    assert sum(tokenize_wikitext(detokenize_wikitext(line)) != line for line in lines) == lost
