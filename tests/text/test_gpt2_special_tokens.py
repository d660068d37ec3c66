"""Special tokens in text, against tiktoken and `tokenizers`."""

import random

import pytest
import tensorflow as tf

from albert_gpt_tf.text.byte_pair_vocabulary import byte_alphabet
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.special_tokens import SpecialTokenFinder

tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
END = "<|endoftext|>"
# Begin or end with what the pattern looks at: letters, blanks, white space of several bytes, apostrophes.
PLAIN = ["<|user|>", "s>", "'tt", " <pad> ", "\u3000x\u3000", "<é>", "日", "\n\n\n", "re|", "\x00\x00"]
# One begins, ends or lies within another; tiktoken leaves open which it takes.
OVERLAPPING = ["aa", "<|a|>", "<|a|>b", "|>b<|", "b<", "<|a|><|a|>c", "a|", ">"]


def add_to(small_bpe, tokens, parse):
    return GPT2Tokenizer(*small_bpe, special_tokens=tokens, parse_special_tokens=parse)


def tokenizers_reference(small_bpe, tokens):
    vocabulary, merges = small_bpe
    pairs = [tuple(merge.split(" ")) for merge in merges]
    reference = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.add_special_tokens([END, *tokens])
    return reference


def tiktoken_reference(small_bpe, tokens):
    alphabet = byte_alphabet()
    ordinary = {token: id for token, id in small_bpe[0].items() if token != END}
    ranks = {bytes(alphabet[char] for char in token): id for token, id in ordinary.items()}
    special = {token: len(ranks) + index for index, token in enumerate([END, *tokens])}
    return tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


def embed(texts, tokens, seed):
    """Puts special tokens, and halves of them, at random places of the texts."""
    rng = random.Random(seed)
    result = []
    for text in texts:
        for _ in range(rng.randrange(6)):
            token = rng.choice([END, *tokens])
            if rng.random() < 0.2:
                token = token[: rng.randrange(len(token))]
            place = rng.randrange(len(text) + 1)
            text = text[:place] + token * rng.choice([1, 1, 1, 2]) + text[place:]
        result.append(text)
    return result


NEIGHBOURS = [
    END,
    END * 3,
    f"a  {END}",
    f"a  {END}  b",
    f"\u3000\u3000{END}\u3000\u3000x",
    f"'{END}s",
    "'s>",
    "I's>'ttre|'ll",
    f"don{END}'t",
    f" {END} ",
    f"\n{END}\n",
    f"x{END}1",
    "<|endoftext|",
    "<|endoftext<|endoftext|>|>",
    "é<é>é 日日 日",
    "a\x00\x00\x00b",
    "",
    " ",
]


def test_plain_tokens_equal_both_references(small_bpe, nasty, make_random_texts):
    tokenizer = add_to(small_bpe, PLAIN, parse=True)
    texts = NEIGHBOURS + nasty + embed(nasty * 5, PLAIN, 0) + embed(make_random_texts(4000, seed=21), PLAIN, 1)
    ids = tokenizer.tokenize(texts)
    ours = ids.to_list()
    reference = tiktoken_reference(small_bpe, PLAIN)
    assert ours == [reference.encode(text, allowed_special="all") for text in texts]
    assert ours == [row.ids for row in tokenizers_reference(small_bpe, PLAIN).encode_batch(texts)]
    assert sum(id in tokenizer.special_token_ids for row in ours for id in row) > 5000
    assert tokenizer.detokenize_bytes(ids).numpy().tolist() == [text.encode() for text in texts]


def test_overlapping_tokens_give_the_leftmost_and_then_the_longest(small_bpe, make_random_texts):
    tokenizer = add_to(small_bpe, OVERLAPPING, parse=True)
    rng = random.Random(5)
    texts = embed(make_random_texts(2000, seed=22), OVERLAPPING, 2)
    texts += ["".join(rng.choices("<|a>b c", k=rng.randrange(40))) for _ in range(3000)] + ["a" * n for n in range(40)]
    expected = [row.ids for row in tokenizers_reference(small_bpe, OVERLAPPING).encode_batch(texts)]
    assert tokenizer.tokenize(texts).to_list() == expected


def test_ordinary_tokens_may_be_added_and_keep_their_ids(small_bpe):
    tokenizer = add_to(small_bpe, ["self", "e"], parse=True)
    texts = ["we selfed there", "self", "se lf e", "itself"]
    expected = [row.ids for row in tokenizers_reference(small_bpe, ["self", "e"]).encode_batch(texts)]
    assert tokenizer.tokenize(texts).to_list() == expected
    assert tokenizer.token_to_id("self") == small_bpe[0]["self"]
    assert tokenizer.vocabulary_size() == len(small_bpe[0])


def test_by_default_special_tokens_are_plain_text(small_gpt2, small_bpe, nasty, make_random_texts):
    tokenizer = add_to(small_bpe, PLAIN, parse=False)
    texts = NEIGHBOURS + embed(nasty + make_random_texts(1000, seed=23), PLAIN, 3)
    reference = tiktoken_reference(small_bpe, PLAIN)
    ours = tokenizer.tokenize(texts).to_list()
    assert ours == [reference.encode_ordinary(text) for text in texts]
    assert ours == small_gpt2.tokenize(texts).to_list()


def test_new_tokens_get_the_ids_after_the_vocabulary(small_bpe):
    tokenizer = add_to(small_bpe, ["<|b|>", END, "<|a|>"], parse=False)
    assert [tokenizer.token_to_id(token) for token in ("<|b|>", "<|a|>")] == [1500, 1501]
    assert tokenizer.special_tokens == [END, "<|b|>", "<|a|>"]
    assert tokenizer.special_token_ids == [1499, 1500, 1501]
    assert tokenizer.detokenize([1501, 1500]).numpy() == b"<|a|><|b|>"


def test_special_tokens_beside_malformed_text_do_not_touch_it(small_bpe):
    tokenizer = add_to(small_bpe, PLAIN, parse=True)
    rng = random.Random(6)
    malformed = [b"\xf0\x9f", b"\xff", b"\xc3", b"\x80", b"\xe3\x80", b"\x00", b" \xf0", b"\xa9", b"ok", b"'", b"  "]
    tokens = [token.encode() for token in [END, *PLAIN]]
    rows, parts = [], []
    for _ in range(2000):
        row = [rng.choice(malformed + tokens) for _ in range(rng.randrange(7))]
        # Leftmost, longest; no token overlaps another here, so that any order of replacement finds the same.
        text, found = b"".join(row), []
        while text:
            starts = [(text.find(token), -len(token), token) for token in tokens if token in text]
            place, _, token = min(starts, default=(len(text), 0, b""))
            found += [(False, text[:place]), (True, token)]
            text = text[place + len(token) :]
        rows.append(b"".join(row))
        parts.append([part for part in found if part[1]])
    ids = tokenizer.tokenize(rows)
    assert tokenizer.detokenize_bytes(ids).numpy().tolist() == rows
    unique = sorted({text for row in parts for is_special, text in row if not is_special})
    plain = dict(zip(unique, add_to(small_bpe, PLAIN, parse=False).tokenize(unique).to_list(), strict=True))
    for row, found in zip(ids.to_list(), parts, strict=True):
        expected = []
        for is_special, text in found:
            expected += [tokenizer.token_to_id(text.decode())] if is_special else plain[text]
        assert row == expected


def test_a_million_overlapping_matches_are_found_in_a_few_rounds():
    starts, ends = SpecialTokenFinder(["aaa", "aa"]).find(tf.fill([1_000_001], tf.constant(ord("a"), tf.uint8)))
    # 333,333 times three and a pair at the end.
    assert starts.shape == (333_334,)
    assert (ends[:-1] - starts[:-1]).numpy().tolist() == [3] * 333_333
    assert int(ends[-1]) == 1_000_001


def test_a_thousand_special_tokens_work(small_bpe):
    tokens = [f"<|extra_{index}|>" for index in range(1000)]
    tokenizer = add_to(small_bpe, tokens, parse=True)
    texts = [f"a {token}b" for token in tokens]
    ours = tokenizer.tokenize(texts).to_list()
    assert ours == [row.ids for row in tokenizers_reference(small_bpe, tokens).encode_batch(texts)]
    assert [row[-2] for row in ours] == list(range(1500, 2500))


def test_the_vocabularys_own_special_tokens_are_parsed(small_bpe):
    vocabulary = {**small_bpe[0], "<|pad|>": 1500}
    tokenizer = GPT2Tokenizer(vocabulary, small_bpe[1], parse_special_tokens=True)
    assert tokenizer.tokenize("<|pad|>" + END).numpy().tolist() == [1500, 1499]


def test_config_and_preset_keep_the_tokens_and_whether_they_are_parsed(small_bpe, tmp_path):
    tokenizer = add_to(small_bpe, PLAIN, parse=True)
    config = tokenizer.get_config()
    assert config["special_tokens"] == PLAIN and type(config["special_tokens"]) is list
    assert config["parse_special_tokens"] is True
    tokenizer.save_to_preset(str(tmp_path))
    texts = embed(["it's  a\u3000test"] * 50, PLAIN, 4)
    loaded = GPT2Tokenizer.from_preset(str(tmp_path))
    assert loaded.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()
    assert loaded.get_vocabulary() == tokenizer.get_vocabulary()
    assert loaded.get_config()["special_tokens"] == PLAIN
    plain = GPT2Tokenizer.from_preset(str(tmp_path), parse_special_tokens=False)
    assert plain.tokenize(texts).to_list() == add_to(small_bpe, [], parse=False).tokenize(texts).to_list()
    files = GPT2Tokenizer.from_preset(tmp_path / "assets/tokenizer", parse_special_tokens=True)
    assert files.special_tokens == tokenizer.special_tokens  # vocab.json has them all
    assert files.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()


def test_tf_function_tf_data_and_reloaded_saved_model_parse_too(small_bpe, nasty, tmp_path):
    tokenizer = add_to(small_bpe, PLAIN + OVERLAPPING, parse=True)
    texts = NEIGHBOURS + embed(nasty * 4, PLAIN + OVERLAPPING, 5)
    eager = tokenizer.tokenize(texts).to_list()
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(16).map(tokenizer)
    assert [row for ids in dataset for row in ids.to_list()] == eager

    class Server(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize_with_offsets(text)

    tf.saved_model.save(Server(), str(tmp_path))
    server = tf.saved_model.load(str(tmp_path))
    for ours, reloaded in zip(tokenizer.tokenize_with_offsets(texts), server.encode(tf.constant(texts)), strict=True):
        assert reloaded.to_list() == ours.to_list()
    assert server.encode(tf.constant(texts))[0].to_list() == eager
    assert server.encode(tf.constant([], tf.string))[0].to_list() == []


@pytest.mark.parametrize("parse", [False, True])
def test_the_graph_stays_free_of_python_tables_that_grow_and_regular_expressions(small_bpe, parse):
    tokenizer = add_to(small_bpe, PLAIN, parse)
    function = tf.function(tokenizer.tokenize_with_offsets)
    graph = function.get_concrete_function(tf.TensorSpec([None], tf.string)).graph.as_graph_def()
    ops = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Random" in op or "Regex" in op}
    # Where nothing is parsed, nothing is looked for.
    assert bool(ops & {"While", "StatelessWhile"}) == parse


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([""], "none empty"),
        (["<|a|>", 3], "whole characters"),
        (["\ud83d"], "whole characters"),
        (["<|a|>", "<|b|>", "<|a|>"], "each special token once"),
        ("<|a|>", "list of strings"),
        (["é"], "no bytes are named after"),
        (["Ġ"], "no bytes are named after"),
    ],
)
def test_malformed_special_tokens_are_refused_in_one_sentence(small_bpe, tokens, message):
    with pytest.raises(ValueError, match=message):
        GPT2Tokenizer(*small_bpe, special_tokens=tokens)
