"""GPT1Tokenizer against OpenAI's own pipeline: where they agree, and where they are known to differ."""

import itertools
import random
import re

import pytest

from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer


@pytest.fixture(scope="module")
def genuine(genuine_gpt1_files):
    return GPT1Tokenizer.from_preset(genuine_gpt1_files)


def original_ids(text, vocabulary, ranks):
    """OpenAI's `TextEncoder.encode` for text that ftfy leaves alone, with spaCy's rules for plain words and marks.

    Restated from openai/finetune-transformer-lm `text_utils.py` and spaCy's punctuation rules for English.
    """
    for old, new in (("—", "-"), ("–", "-"), ("―", "-"), ("…", "..."), ("´", "'")):
        text = text.replace(old, new)
    text = re.sub(r"(-+|~+|!+|\"+|;+|\?+|\++|,+|\)+|\(+|\\+|/+|\*+|\[+|\]+|}+|{+|\|+|_+)", r" \1 ", text)
    text = re.sub(r"\s*\n\s*", " \n ", text)
    text = re.sub(r"[^\S\n]+", " ", text).strip()
    ids = []
    for chunk in text.split(" "):
        # Marks at the end come off one by one, but for an ellipsis.
        for word in re.findall(r"\n|\.\.\.|[.,!?;:\"()]|[^\s.,!?;:\"()]+", chunk):
            word = word.lower()
            symbols = [*word[:-1], word[-1] + "</w>"]
            while len(symbols) > 1:
                pairs = set(itertools.pairwise(symbols))
                first, second = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
                if (first, second) not in ranks:
                    break
                merged, index = [], 0
                while index < len(symbols):
                    both = symbols[index : index + 2] == [first, second]
                    merged.append(first + second if both else symbols[index])
                    index += 2 if both else 1
                symbols = merged
            ids += [vocabulary.get(symbol, 0) for symbol in symbols]
    return ids


@pytest.fixture(scope="module")
def vocabulary_and_ranks(genuine_gpt1_tables):
    vocabulary, merges = genuine_gpt1_tables
    return vocabulary, {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}


def test_plain_english_has_the_ids_of_the_original_pipeline(genuine, vocabulary_and_ranks):
    rng = random.Random(0)
    words = [token.removesuffix("</w>") for token in vocabulary_and_ranks[0] if token.endswith("</w>")]
    words = [word for word in words if re.fullmatch("[a-z]{2,}", word)] + ["1984", "42", "xyzzyqqj", "Paris", "NASA"]
    marks = [",", ".", "!", "?", ";", ":", " (", ")", ' "', '"']
    texts = [
        " ".join(rng.choice(words) + rng.choice(["", "", "", *marks]) for _ in range(rng.randint(1, 20)))
        for _ in range(2000)
    ]
    assert genuine.tokenize(texts).to_list() == [original_ids(text, *vocabulary_and_ranks) for text in texts]


@pytest.mark.parametrize(
    ("text", "original", "ours"),
    [
        ("a café", ["a</w>", "café</w>"], ["a</w>", "cafe</w>"]),
        ("one\n\ntwo", ["one</w>", "\n</w>", "two</w>"], ["one</w>", "two</w>"]),
        ("well...", ["well</w>", "...</w>"], ["well</w>", ".</w>", ".</w>", ".</w>"]),
        ("yes — no", ["yes</w>", "-</w>", "no</w>"], ["yes</w>", "<unk>", "no</w>"]),
    ],
)
def test_accents_line_breaks_ellipses_and_dashes_differ_from_the_original_pipeline(
    genuine, vocabulary_and_ranks, text, original, ours
):
    assert [genuine.id_to_token(id) for id in original_ids(text, *vocabulary_and_ranks)] == original
    assert [genuine.id_to_token(id) for id in genuine.tokenize(text).numpy()] == ours
