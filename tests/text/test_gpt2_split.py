"""The splitter against the original pattern."""

import pytest
import tensorflow as tf

from albert_gpt_tf.text.gpt2_split import GPT2Splitter
from albert_gpt_tf.text.unicode_classes import FIRST_UNCLASSED, SPACE, code_point_classes

PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def test_white_space_is_unicodes_white_space():
    classes = code_point_classes()
    assert len(classes) == FIRST_UNCLASSED + 1
    spaces = {point for point, kind in enumerate(classes) if kind == SPACE}
    expected = {*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
    assert spaces == expected


def test_pieces_equal_the_pattern_of_the_original(nasty, make_random_texts):
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated")
    texts = nasty + make_random_texts(4000, seed=7)
    ours = GPT2Splitter().split(tf.constant(texts)).to_list()
    assert ours == [[piece.encode() for piece, _ in split.pre_tokenize_str(text)] for text in texts]


def test_every_character_is_classed_as_in_tokenizers():
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated")
    points = [*range(0x3000), *range(0xA000, 0xD800), *range(0xF900, 0x20000), 0x30000, 0x323AF, 0x32400, 0x10FFFF]
    texts = [f"a{chr(point)}1 {chr(point)}!{chr(point)}" for point in points]
    ours = GPT2Splitter().split(tf.constant(texts)).to_list()
    wrong = [
        hex(point)
        for point, text, pieces in zip(points, texts, ours, strict=True)
        if pieces != [piece.encode() for piece, _ in split.pre_tokenize_str(text)]
    ]
    assert wrong == []
