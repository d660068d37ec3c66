"""Charsmaps compiled here, read back and used by SentencePiece's own normaliser."""

import random

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.rewriting_rules import compile_rules, read_rules


def normalizer(charsmap):
    model = sentencepiece_model_pb2.ModelProto()
    model.normalizer_spec.precompiled_charsmap = charsmap
    model.pieces.add(piece="<unk>", type=model.SentencePiece.UNKNOWN)
    return sentencepiece.SentencePieceNormalizer(
        model_proto=model.SerializeToString(),
        add_dummy_prefix=False,
        escape_whitespaces=False,
        remove_extra_whitespaces=False,
    )


def rewrite(text, rules):
    """From left to right, the longest source first."""
    result, place = b"", 0
    while place < len(text):
        for length in range(min(12, len(text) - place), 0, -1):
            if text[place : place + length] in rules:
                result += rules[text[place : place + length]]
                break
        else:
            length = 1
            result += text[place : place + 1]
        place += length
    return result


def random_rules(count, seed):
    rng = random.Random(seed)
    alphabet = "abcdé日😀'\u0301"
    return {
        "".join(rng.choices(alphabet, k=rng.randint(1, 3))).encode(): "".join(
            rng.choices("xyzß", k=rng.randrange(4))
        ).encode()
        for _ in range(count)
    }


@pytest.mark.parametrize("count", [1, 5, 60, 500])
def test_rules_come_back_as_they_were(count):
    rules = random_rules(count, seed=count)
    assert read_rules(compile_rules(rules)) == dict(sorted(rules.items()))


def test_sentencepiece_applies_compiled_rules_from_left_to_right_the_longest_first():
    rules = random_rules(200, seed=1)
    ours = normalizer(compile_rules(rules))
    rng = random.Random(2)
    for _ in range(2000):
        text = "".join(rng.choices("abcdeé日😀'\u0301 ", k=rng.randrange(20)))
        assert ours.normalize(text).encode() == rewrite(text.encode(), rules), text


def test_sentencepieces_own_charsmap_can_be_read_and_compiled_again(genuine_albert_model):
    spec = sentencepiece_model_pb2.ModelProto.FromString(genuine_albert_model).normalizer_spec
    # Those of one character: the others are 200,000 ways to compose Hangul.
    rules = {
        source: target for source, target in read_rules(spec.precompiled_charsmap).items() if len(source.decode()) == 1
    }
    assert len(rules) > 4000
    theirs, ours = normalizer(spec.precompiled_charsmap), normalizer(compile_rules(rules))
    for source, target in rules.items():
        assert theirs.normalize(source.decode()) == ours.normalize(source.decode()) == target.decode()


def test_one_byte_may_be_a_rule_for_all_characters_that_begin_with_it():
    rules = {bytes([byte]): b"" for byte in range(0x80, 0xC0)} | {bytes([byte]): b"?" for byte in range(0xC0, 0x100)}
    ours = normalizer(compile_rules(rules | {"é".encode(): b"e"}))
    assert ours.normalize("aéß日😀") == "ae???"


def test_no_rules_make_no_charsmap_and_impossible_ones_are_refused():
    assert compile_rules({}) == b""
    assert read_rules(b"") == {}
    for rules in ({b"": b"a"}, {b"a\0": b"a"}, {b"a": b"\0"}):
        with pytest.raises(ValueError, match="without NUL"):
            compile_rules(rules)
