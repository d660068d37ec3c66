"""The cleaning and splitting of BERT's words against `tokenizers`, character by character."""

import itertools
import random
import unicodedata

import pytest
import tensorflow as tf

from albert_gpt_tf.text.bert_split import BertSplitter

tokenizers = pytest.importorskip("tokenizers")

CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def words_and_spans(splitter, texts):
    words = splitter.split(tf.constant(texts))
    strings = [word.decode() for word in words.encode_utf8(words.characters).numpy()]
    starts, ends = words.source_spans(words.word_lengths())
    spans = list(zip(starts.numpy().tolist(), ends.numpy().tolist(), strict=True))
    splits = words.row_splits.numpy().tolist()
    return [(strings[a:b], spans[a:b]) for a, b in itertools.pairwise(splits)]


def reference_words(texts, lowercase):
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in texts:
        yield [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]


def texts_of_all_categories(count, seed):
    """Random strings in which every Unicode category is equally likely, without marks (see the test of those)."""
    rng = random.Random(seed)
    categories = {}
    for code in CODE_POINTS:
        if not unicodedata.combining(chr(code)):
            categories.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    pools = list(categories.values())
    return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(30))) for _ in range(count)]


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_is_cleaned_and_split_as_in_tokenizers(lowercase):
    texts = [
        " ".join(f"ab{chr(code)}cd" for code in CODE_POINTS[start : start + 512])
        for start in range(0, len(CODE_POINTS), 512)
    ]
    ours = [words for words, _ in words_and_spans(BertSplitter(lowercase), texts)]
    assert ours == list(reference_words(texts, lowercase))


@pytest.mark.parametrize("lowercase", [True, False])
def test_random_strings_of_every_category_are_split_as_in_tokenizers(lowercase, nasty, make_random_texts):
    texts = nasty + make_random_texts(2000, seed=4) + texts_of_all_categories(4000, seed=4)
    ours = [words for words, _ in words_and_spans(BertSplitter(lowercase), texts)]
    assert ours == list(reference_words(texts, lowercase))


def test_neighbouring_marks_that_are_kept_stay_in_the_order_they_were_typed():
    # The known difference: Unicode's canonical order swaps these two.
    text = "a\u302e\u1bf2b"
    assert words_and_spans(BertSplitter(True), [text])[0][0] == [text]
    assert next(reference_words([text], True)) == ["a\u1bf2\u302eb"]


def test_of_special_tokens_that_overlap_the_leftmost_counts_and_then_the_longest():
    rng = random.Random(0)
    special = ["_a_", "_a_b", "_", "b_a_b", "aa"]
    splitter = BertSplitter(True, special)
    reference = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    reference.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in special])
    texts = ["".join(rng.choices("_ab ", k=rng.randrange(25))) for _ in range(3000)]
    for text, (_, spans) in zip(texts, words_and_spans(splitter, texts), strict=True):
        assert spans == reference.encode(text).offsets
