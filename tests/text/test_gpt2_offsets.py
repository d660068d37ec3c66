"""The byte offsets of GPT-2's tokens."""

import random

import pytest
import tensorflow as tf

from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

SPECIAL = ["<|user|>", "\u3000日", " s"]


def assert_offsets_cover(tokenizer, rows):
    """Each token's span holds its bytes, and the spans follow each other from the first byte to the last."""
    ids, starts, ends = tokenizer.tokenize_with_offsets(rows)
    assert {ragged.dtype for ragged in (ids, starts, ends)} == {tf.int32}
    assert ids.to_list() == tokenizer.tokenize(rows).to_list()
    token_bytes = tokenizer.detokenize_bytes([[id] for id in range(tokenizer.vocabulary_size())]).numpy().tolist()
    for row, *found in zip(rows, ids.to_list(), starts.to_list(), ends.to_list(), strict=True):
        assert [row[start:end] for _, start, end in zip(*found, strict=True)] == [token_bytes[id] for id in found[0]]
        assert [0, *found[2]] == [*found[1], len(row)]


@pytest.mark.parametrize("parse", [False, True])
def test_every_span_holds_the_bytes_of_its_token(small_bpe, nasty, make_random_texts, parse):
    tokenizer = GPT2Tokenizer(*small_bpe, special_tokens=SPECIAL, parse_special_tokens=parse)
    rng = random.Random(0)
    rows = [text.encode() for text in nasty + make_random_texts(1500, seed=41)]
    rows += [rng.randbytes(rng.randrange(40)) for _ in range(500)]
    pool = [*(token.encode() for token in SPECIAL), b"<|endoftext|>", b"\xf0\x9f", b"\xff", b"it's ", b"\x00", b"  "]
    rows += [b"".join(rng.choices(pool, k=rng.randrange(9))) for _ in range(1000)]
    assert_offsets_cover(tokenizer, rows)


def test_spans_are_those_of_tokenizers(small_bpe, nasty, make_random_texts):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary, merges = small_bpe
    ordinary = {token: id for token, id in vocabulary.items() if token != "<|endoftext|>"}
    model = tokenizers.models.BPE(ordinary, [tuple(merge.split(" ")) for merge in merges])
    reference = tokenizers.Tokenizer(model)
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    # Theirs count characters: the same in ASCII.
    texts = [text.encode("ascii", "ignore").decode() for text in nasty + make_random_texts(1000, seed=42)]
    _, starts, ends = GPT2Tokenizer(*small_bpe).tokenize_with_offsets(texts)
    ours = [list(zip(*spans, strict=True)) for spans in zip(starts.to_list(), ends.to_list(), strict=True)]
    assert ours == [row.offsets for row in reference.encode_batch(texts)]


def test_a_scalar_gives_rows_and_an_empty_text_none(small_gpt2):
    ids, starts, ends = small_gpt2.tokenize_with_offsets("x y")
    assert ids.numpy().tolist() == small_gpt2.tokenize("x y").numpy().tolist()
    assert (starts.numpy().tolist(), ends.numpy().tolist()) == ([0, 1], [1, 3])
    assert [tensor.shape for tensor in small_gpt2.tokenize_with_offsets("")] == [(0,)] * 3
    assert [ragged.to_list() for ragged in small_gpt2.tokenize_with_offsets([])] == [[]] * 3
    assert [ragged.to_list() for ragged in small_gpt2.tokenize_with_offsets(["", "a", ""])][1:] == [
        [[], [0], []],
        [[], [1], []],
    ]


def test_bytes_that_the_vocabulary_lacks_are_in_no_span_or_within_one():
    vocabulary = {token: id for id, token in enumerate(["a", "b", "ab", "Ġ", "Ġab", "<|endoftext|>"])}
    tokenizer = GPT2Tokenizer(vocabulary, ["a b", "Ġ ab"], ["<?>"], parse_special_tokens=True)
    ids, starts, ends = tokenizer.tokenize_with_offsets(["?a? ab??", "", "??", "b<?>axb"])
    assert ids.to_list() == [[0, 4], [], [], [1, 6, 2]]
    assert starts.to_list() == [[1, 3], [], [], [0, 1, 4]]
    assert ends.to_list() == [[2, 6], [], [], [1, 4, 7]]
