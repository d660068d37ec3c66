"""Byte-level BPE vocabularies against `tokenizers`: bytes missing, merges in any order, tokens made twice."""

import json
import random

import pytest
import tensorflow as tf

from albert_gpt_tf.text.byte_level_bpe import ByteLevelBPE
from albert_gpt_tf.text.byte_pair_vocabulary import BytePairVocabulary, byte_alphabet
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

tokenizers = pytest.importorskip("tokenizers")
END = "<|endoftext|>"


def tokenizers_reference(vocabulary, merges):
    pairs = [tuple(merge.split(" ")) for merge in merges]
    ordinary = {token: id for token, id in vocabulary.items() if token != END}
    reference = tokenizers.Tokenizer(tokenizers.models.BPE(ordinary, pairs))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return reference


def numbered(tokens):
    return {token: id for id, token in enumerate(dict.fromkeys(tokens))}


def reverse(vocabulary, merges, rng):
    return vocabulary, merges[::-1]


def shuffle(vocabulary, merges, rng):
    return vocabulary, rng.sample(merges, len(merges))


def list_twice(vocabulary, merges, rng):
    return vocabulary, [*merges, *rng.sample(merges, 200)]


def make_twice(vocabulary, merges, rng):
    """Gives many tokens further merges, at any rank."""
    more = [
        f"{token[:cut]} {token[cut:]}"
        for token in vocabulary
        for cut in range(1, len(token))
        if token != END and token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    for merge in more:
        merges = [*merges]
        merges.insert(rng.randrange(len(merges)), merge)
    return vocabulary, merges


def lose_bytes(vocabulary, merges, rng):
    lost = {*rng.sample(sorted(byte_alphabet()), 100), "e", "Ġ", "Ł"}
    merges = [merge for merge in merges if not lost & {*merge}]
    return numbered(token for token in vocabulary if token == END or not lost & {*token}), merges


def lose_bytes_and_make_twice(vocabulary, merges, rng):
    return make_twice(*lose_bytes(vocabulary, merges, rng), rng)


def lose_bytes_of_tokens(vocabulary, merges, rng):
    """Leaves tokens whose bytes are not there: text cannot give them."""
    merges = [merge for merge in merges if not {"e", "t"} & {*merge.split(" ")}]
    return numbered(token for token in vocabulary if token not in ("e", "t")), merges


def lose_merges(vocabulary, merges, rng):
    """Leaves tokens that are parts of merges only."""
    return vocabulary, [merge for merge in merges if rng.random() < 0.7]


CHANGES = [
    reverse,
    shuffle,
    list_twice,
    make_twice,
    lose_bytes,
    lose_bytes_and_make_twice,
    lose_bytes_of_tokens,
    lose_merges,
]


@pytest.fixture(scope="module")
def texts(nasty, make_random_texts, sources):
    rng = random.Random(8)
    repeated = ["".join(rng.choices("et rsinabc", k=40)) for _ in range(1500)]
    repeated += ["".join(rng.choices(["e", "se", "ee", "  ", "self"], k=20)) for _ in range(500)]
    lines = [line for text in sources[:20] for line in text.split("\n")]
    return [*nasty, *make_random_texts(2500, seed=31), *repeated, *lines[:2500], "aaaa " * 9, "e" * 301]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_vocabulary_of_any_kind_equals_tokenizers(small_bpe, texts, change, seed):
    vocabulary, merges = change(*small_bpe, random.Random(seed))
    ours = GPT2Tokenizer(vocabulary, merges).tokenize(texts).to_list()
    expected = [row.ids for row in tokenizers_reference(vocabulary, merges).encode_batch(texts)]
    assert ours == expected


def test_the_changes_are_those_that_need_the_merge_loop(small_bpe):
    def has_one_way(change):
        return BytePairVocabulary.from_tables(*change(*small_bpe, random.Random(0))).has_one_way

    assert BytePairVocabulary.from_tables(*small_bpe).has_one_way
    assert has_one_way(lose_bytes)
    assert not any(has_one_way(change) for change in CHANGES if change is not lose_bytes)


def test_random_small_vocabularies_equal_tokenizers():
    # Few letters, many merges in any order: tokens made in several ways, pairs that interrupt each other.
    rng = random.Random(9)
    texts = ["".join(rng.choices("abc", k=rng.randrange(1, 30))) for _ in range(300)]
    for _ in range(60):
        tokens, merges = ["a", "b", "c"], []
        for _ in range(rng.randrange(1, 14)):
            left, right = rng.choice(tokens), rng.choice(tokens)
            merges.append(f"{left} {right}")
            tokens.append(left + right)
        vocabulary = numbered([*tokens, END])
        merges = rng.sample(merges, len(merges)) if rng.random() < 0.7 else merges
        ours = GPT2Tokenizer(vocabulary, merges).tokenize(texts).to_list()
        expected = [row.ids for row in tokenizers_reference(vocabulary, merges).encode_batch(texts)]
        assert ours == expected, merges


@pytest.mark.parametrize("alphabet", [[], tokenizers.pre_tokenizers.ByteLevel.alphabet()])
def test_vocabularies_of_the_trainer_of_tokenizers_equal_it(sources, texts, tmp_path, alphabet):
    reference = tokenizers.Tokenizer(tokenizers.models.BPE())
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    reference.train_from_iterator(sources[:20], trainer)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = GPT2Tokenizer.from_preset(tmp_path, parse_special_tokens=True)
    assert (json.loads(reference.to_str())["model"]["vocab"].keys() >= set(byte_alphabet())) == bool(alphabet)
    assert tokenizer.tokenize(texts).to_list() == [row.ids for row in reference.encode_batch(texts)]
    assert tokenizer.token_to_id(END) == 0


def test_the_merge_loop_equals_sentencepiece_where_both_may_be_used(small_bpe, texts):
    vocabulary = BytePairVocabulary.from_tables(*small_bpe)
    fast = ByteLevelBPE(vocabulary)
    loop = ByteLevelBPE(BytePairVocabulary(**{**vocabulary.__dict__, "has_one_way": False}))
    assert loop.encode(tf.constant(texts)).to_list() == fast.encode(tf.constant(texts)).to_list()


def test_any_bytes_come_back_from_the_merge_loop(small_bpe):
    tokenizer = GPT2Tokenizer(*make_twice(*small_bpe, random.Random(0)))
    rng = random.Random(1)
    rows = [rng.randbytes(rng.randrange(60)) for _ in range(2000)] + [b"", b"\x00", b"a" * 5000]
    assert tokenizer.detokenize_bytes(tokenizer.tokenize(rows)).numpy().tolist() == rows
    assert tokenizer.tokenize([]).to_list() == []


def test_special_tokens_work_with_every_vocabulary(small_bpe, texts):
    for change in (lose_bytes, make_twice):
        vocabulary, merges = change(*small_bpe, random.Random(2))
        tokenizer = GPT2Tokenizer(vocabulary, merges, ["<|e|>"], parse_special_tokens=True)
        reference = tokenizers_reference(vocabulary, merges)
        pieces = [text[: len(text) // 2] + "<|e|>" + text[len(text) // 2 :] for text in texts]
        halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in texts]
        pieces = [piece for piece, text in zip(pieces, texts, strict=True) if END not in text]
        halves = [half for half, text in zip(halves, texts, strict=True) if END not in text]
        expected = [
            [*reference.encode(left).ids, len(vocabulary), *reference.encode(right).ids] for left, right in halves
        ]
        assert tokenizer.tokenize(pieces).to_list() == expected


def test_a_saved_model_with_the_merge_loop_gives_the_same(small_bpe, texts, tmp_path):
    tokenizer = GPT2Tokenizer(*lose_bytes_and_make_twice(*small_bpe, random.Random(0)))

    class Server(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize(text)

    server = Server()
    graph = server.encode.get_concrete_function().graph.as_graph_def()
    ops = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Random" in op or "Regex" in op}
    tf.saved_model.save(server, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    assert reloaded.encode(tf.constant(texts)).to_list() == tokenizer.tokenize(texts).to_list()


def test_presets_keep_such_vocabularies(small_bpe, texts, tmp_path):
    tokenizer = GPT2Tokenizer(*lose_bytes_and_make_twice(*small_bpe, random.Random(3)))
    tokenizer.save_to_preset(str(tmp_path))
    loaded = GPT2Tokenizer.from_preset(str(tmp_path))
    assert loaded.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()


def test_a_vocabulary_without_end_of_text_takes_an_added_one(small_bpe):
    vocabulary = {token: id for token, id in small_bpe[0].items() if token != END}
    with pytest.raises(ValueError, match=r"Expected '<\|endoftext\|>' in the vocabulary.*special_tokens"):
        GPT2Tokenizer(vocabulary, small_bpe[1])
    tokenizer = GPT2Tokenizer(vocabulary, small_bpe[1], special_tokens=["<|x|>", END])
    assert tokenizer.end_of_text_id == tokenizer.pad_id == len(vocabulary) + 1
