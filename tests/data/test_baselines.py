"""Baselines against answers computed by hand."""

import math
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.baselines import (
    _kneser_ney,
    bag_of_words_accuracy,
    bigram_bits_per_byte,
    majority_accuracy,
    zlib_bits_per_byte,
)


class TwoLetterTokenizer:
    """ "a" is 0, "b" is 1, the end of text is 2."""

    end_of_text_id = 2

    def vocabulary_size(self):
        return 3

    def tokenize(self, text):
        return tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int32) - ord("a")


def test_majority_is_the_most_frequent_label_of_training_and_ties_go_to_the_first():
    assert majority_accuracy(["a", "b", "b"], ["a", "b", "a", "a"]) == 0.25
    assert majority_accuracy(["b", "a"], ["a", "a", "b", "c"]) == 0.5


def test_bag_of_words_learns_the_word_that_tells():
    texts = ["a good film", "a bad film", "good acting", "bad acting"] * 3
    labels = ["+", "-", "+", "-"] * 3
    assert bag_of_words_accuracy(texts, labels, ["good", "bad bad", "good music", "bad"], ["+", "-", "+", "+"]) == 0.75


def test_pairs_and_punctuation_tell_what_words_alone_do_not():
    train = ["not good", "good not", "not good !", "good not !"] * 5
    labels = ["-", "+", "-", "+"] * 5
    assert bag_of_words_accuracy(train, labels, train, labels, pairs=True) == 1.0
    assert bag_of_words_accuracy(train, labels, train, labels) == 0.5


def test_bag_of_words_says_how_to_install_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(ImportError, match=r"pip install albert-gpt-tf\[quickstart\]"):
        bag_of_words_accuracy(["a"], ["a"], ["a"], ["a"])


def test_zlib_divides_the_compressed_stream_by_the_bytes_of_the_documents():
    assert zlib_bits_per_byte(["é" * 50, "a"]) == 8 * len(zlib.compress(b"\xc3\xa9" * 50 + b"\0a\0", 9)) / 101


def test_bigram_probabilities_are_those_computed_by_hand():
    # Train "ab": the stream is 2 0 1 2 with the pairs 20, 01, 12, once each; none twice, so d = 1/2. Every symbol
    # follows one other: N(w) = 1, N = 3, q(w) = (1/2 + 1/2 * 3 / 3) / 3 = 1/3.
    # Test "aa": 2 0 0 2. p(0|2) = (1 - 1/2 + 1/2 * 1 * 1/3) / 1 = 2/3; p(0|0) = p(2|0) = 1/2 * 1/3 = 1/6.
    bits = -(math.log2(2 / 3) + 2 * math.log2(1 / 6))
    assert bigram_bits_per_byte(["ab"], ["aa"], TwoLetterTokenizer()) == pytest.approx(bits / 2)


def test_byte_bigram_probabilities_are_those_computed_by_hand():
    # The same stream over 257 bytes: q of a seen symbol = (1/2 + 3/2 / 257) / 3, of an unseen one (3/2 / 257) / 3.
    # Test "c": p(c | end) = 1/2 * q(c), and after c, never seen in training, p(end | c) = q(end).
    unseen = 0.5 / 257
    bits = -(math.log2(0.5 * unseen) + math.log2(0.5 / 3 + unseen))
    assert bigram_bits_per_byte(["ab"], ["c"]) == pytest.approx(bits)


def test_bigram_probabilities_sum_to_one_after_every_symbol():
    train = np.random.default_rng(0).zipf(1.5, 2000) % 20
    train = train[train != 7]  # a symbol that training never sees
    for history in range(20):
        streams = [_kneser_ney(train, np.array([history, symbol]), 20)[0] for symbol in range(20)]
        assert sum(streams) == pytest.approx(1)
        assert min(streams) > 0
