"""GPT2Tokenizer from every kind of file: all give the same ids, and what is not GPT-2's is refused."""

import base64
import json
import random

import pytest

from albert_gpt_tf.text.byte_pair_vocabulary import byte_alphabet
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

tokenizers = pytest.importorskip("tokenizers")

END = "<|endoftext|>"
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def write_pair(folder, names, vocabulary, merges):
    (folder / names[0]).write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / names[1]).write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def write_tiktoken(path, vocabulary):
    alphabet = byte_alphabet()
    ranks = {bytes(alphabet[char] for char in token): id for token, id in vocabulary.items() if token != END}
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))


def tokenizer_json(vocabulary, merges, added=(), **model):
    """What GPT-2's file holds, by hand."""
    flags = {"special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    added = [{"id": id, "content": content, **flags} for content, id in added]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, **model},
    }


def write_json(folder, content):
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def texts(nasty, make_random_texts):
    return nasty + make_random_texts(500, seed=51)


@pytest.mark.parametrize(
    "kind",
    ["vocab.json", "encoder.json", "tiktoken", "tiktoken file", "pairs", "strings", "tokenizer.json file", "no type"],
)
def test_every_kind_of_file_gives_the_same_tokenizer(small_bpe, small_gpt2, texts, tmp_path, kind):
    vocabulary, merges = small_bpe
    source = tmp_path
    if kind == "vocab.json":
        write_pair(tmp_path, ("vocab.json", "merges.txt"), vocabulary, merges)
    elif kind == "encoder.json":
        write_pair(tmp_path, ("encoder.json", "vocab.bpe"), vocabulary, merges)
    elif kind.startswith("tiktoken"):
        write_tiktoken(tmp_path / "small.tiktoken", vocabulary)
        source = tmp_path / "small.tiktoken" if kind == "tiktoken file" else tmp_path
    else:
        pairs = merges if kind == "strings" else [merge.split(" ") for merge in merges]
        content = tokenizer_json(vocabulary, pairs, [(END, 1499)])
        if kind == "no type":
            del content["model"]["type"]
        write_json(tmp_path, content)
        source = tmp_path / "tokenizer.json" if kind == "tokenizer.json file" else tmp_path
    tokenizer = GPT2Tokenizer.from_preset(source)
    assert tokenizer.get_vocabulary() == small_gpt2.get_vocabulary()
    assert tokenizer.tokenize(texts).to_list() == small_gpt2.tokenize(texts).to_list()
    assert tokenizer.end_of_text_id == 1499
    parsing = GPT2Tokenizer.from_preset(source, parse_special_tokens=True)
    assert parsing.tokenize(END).numpy().tolist() == [1499]


def test_the_files_of_the_released_vocabulary_agree(genuine_gpt2_files, texts, tmp_path):
    files = [genuine_gpt2_files / name for name in ("encoder.json", "vocab.bpe")]
    expected = GPT2Tokenizer(*map(str, files))
    vocabulary = json.loads(files[0].read_text(encoding="utf-8"))
    write_tiktoken(tmp_path / "r50k_base.tiktoken", vocabulary)
    for source in (genuine_gpt2_files / "tokenizer.json", tmp_path):
        tokenizer = GPT2Tokenizer.from_preset(source)
        assert tokenizer.get_vocabulary() == expected.get_vocabulary()
        assert tokenizer.tokenize(texts).to_list() == expected.tokenize(texts).to_list()
        assert tokenizer.end_of_text_id == 50256
        # The same merges in the same order, so the same files when saved.
        assert tokenizer._vocabulary.merges == expected._vocabulary.merges


def test_the_json_that_tokenizers_writes_is_read_with_its_added_tokens(small_bpe, texts, tmp_path):
    vocabulary, merges = small_bpe
    reference = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges], fuse_unk=False)
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.add_special_tokens([END, "<|user|>"])
    reference.add_tokens(["    ", "xyzzy"])  # not special there, found in text all the same
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = GPT2Tokenizer.from_preset(tmp_path, parse_special_tokens=True)
    rng = random.Random(0)
    pool = ["<|user|>", "    ", "xyzzy", END, "a", " ", "it's"]
    texts = [*texts, *("".join(rng.choices(pool, k=rng.randrange(9))) for _ in range(1000))]
    assert tokenizer.tokenize(texts).to_list() == [row.ids for row in reference.encode_batch(texts)]
    assert tokenizer.special_tokens == [END, "<|user|>", "    ", "xyzzy"]
    tokenizer.save_to_preset(str(tmp_path / "saved"))
    saved = GPT2Tokenizer.from_preset(tmp_path / "saved")
    assert saved.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()
    more = GPT2Tokenizer.from_preset(tmp_path, special_tokens=["<|more|>", "xyzzy"])
    assert more.special_tokens == [END, "<|user|>", "    ", "xyzzy", "<|more|>"]


def test_tokenizer_json_comes_before_the_files_beside_it(small_bpe, tmp_path):
    vocabulary, merges = small_bpe
    write_pair(tmp_path, ("vocab.json", "merges.txt"), vocabulary, merges)
    write_json(tmp_path, tokenizer_json(vocabulary, merges, [(END, 1499), ("<|user|>", 1500)]))
    assert GPT2Tokenizer.from_preset(tmp_path).token_to_id("<|user|>") == 1500


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]},
        {"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}]},
        {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                {**BYTE_LEVEL, "use_regex": False},
            ],
        },
    ],
)
def test_wrappers_that_amount_to_the_same_are_read(small_bpe, small_gpt2, texts, tmp_path, pre_tokenizer):
    content = tokenizer_json(*small_bpe, [(END, 1499)], unk_token=END, ignore_merges=True, dropout=None)
    content |= {"pre_tokenizer": pre_tokenizer, "normalizer": {"type": "Sequence", "normalizers": []}}
    write_json(tmp_path, content)
    ours = GPT2Tokenizer.from_preset(tmp_path).tokenize(texts).to_list()
    assert ours == small_gpt2.tokenize(texts).to_list()
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.encode_special_tokens = True
    assert ours == [row.ids for row in theirs.encode_batch(texts)]


def split(regex, behavior="Isolated"):
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, {**BYTE_LEVEL, "use_regex": False}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, "the normalizer NFC"),
        ({"pre_tokenizer": None}, "the pre-tokenizer None instead of ByteLevel"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "the pre-tokenizer Whitespace instead of ByteLevel"),
        ({"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}}, "add_prefix_space=True"),
        ({"pre_tokenizer": {**BYTE_LEVEL, "use_regex": False}}, "use_regex=False"),
        ({"pre_tokenizer": split(r"\p{N}{1,3}|\s+")}, "the pre-tokenizer Split with the pattern"),
        ({"pre_tokenizer": split(PATTERN, "Removed")}, "the pre-tokenizer Split with the pattern"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, BYTE_LEVEL]}},
            "the pre-tokenizer Digits",
        ),
        ({"model": {"dropout": 0.1}}, "dropout=0.1"),
        ({"model": {"byte_fallback": True}}, "byte_fallback=True"),
        ({"model": {"continuing_subword_prefix": "##"}}, "continuing_subword_prefix='##'"),
        ({"model": {"end_of_word_suffix": "</w>"}}, "end_of_word_suffix='</w>'"),
        ({"model": {"type": "WordPiece"}}, "Expected a BPE model"),
    ],
)
def test_a_tokenizer_json_that_is_not_gpt2s_is_refused_by_what_differs(small_bpe, tmp_path, change, message):
    content = tokenizer_json(*small_bpe, [(END, 1499)])
    content["model"] |= change.pop("model", {})
    write_json(tmp_path, content | change)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        GPT2Tokenizer.from_preset(tmp_path)


def test_an_unknown_token_matters_only_where_bytes_are_missing(small_bpe, tmp_path):
    vocabulary = {token: id for id, token in enumerate(["a", "b", "ab", END])}
    write_json(tmp_path, tokenizer_json(vocabulary, ["a b"], [(END, 3)], unk_token=END))
    with pytest.raises(ValueError, match=r"unk_token='<\|endoftext\|>' and without some of the 256 bytes"):
        GPT2Tokenizer.from_preset(tmp_path)


def test_ignored_merges_matter_only_where_they_do_not_make_every_token(small_bpe, tmp_path):
    vocabulary, merges = small_bpe
    write_json(tmp_path, tokenizer_json(vocabulary, merges[::-1], [(END, 1499)], ignore_merges=True))
    with pytest.raises(ValueError, match="ignore_merges=True and merges that"):
        GPT2Tokenizer.from_preset(tmp_path)
    write_json(tmp_path, tokenizer_json(vocabulary, merges[:-1], [(END, 1499)], ignore_merges=True))
    with pytest.raises(ValueError, match="neither the result of a merge nor an added token, and ignore_merges"):
        GPT2Tokenizer.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lstrip": True}, "lstrip=True for the added token '<|user|>'"),
        ({"rstrip": True}, "rstrip=True"),
        ({"single_word": True}, "single_word=True"),
        ({"normalized": True, "content": "x<|endoftext|>"}, "which may overlap"),
        ({"normalized": True, "content": "x<|endo"}, "which may overlap"),
    ],
)
def test_added_tokens_that_match_otherwise_are_refused_if_they_are_parsed(small_bpe, tmp_path, flags, message):
    content = tokenizer_json(*small_bpe, [(END, 1499), ("<|user|>", 1500)])
    content["added_tokens"][1] |= flags
    write_json(tmp_path, content)
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        GPT2Tokenizer.from_preset(tmp_path, parse_special_tokens=True)
    assert GPT2Tokenizer.from_preset(tmp_path).vocabulary_size() == 1501


def test_a_token_of_no_merge_is_refused_if_tokens_are_parsed(small_bpe, tmp_path):
    vocabulary, merges = small_bpe
    write_json(tmp_path, tokenizer_json({**vocabulary, "Ġunused": 1500}, merges, [(END, 1499)]))
    with pytest.raises(ValueError, match="'Ġunused', which is neither the result of a merge nor an added token"):
        GPT2Tokenizer.from_preset(tmp_path, parse_special_tokens=True)
    assert GPT2Tokenizer.from_preset(tmp_path).vocabulary_size() == 1501


def test_ids_that_contradict_each_other_are_refused(small_bpe, tmp_path):
    write_json(tmp_path, tokenizer_json(*small_bpe, [(END, 7)]))
    with pytest.raises(ValueError, match="with 1499 in the vocabulary and 7 as an added token"):
        GPT2Tokenizer.from_preset(tmp_path)
    write_json(tmp_path, tokenizer_json(*small_bpe, [(END, 1499), ("<|far|>", 2000)]))
    with pytest.raises(ValueError, match="without gaps"):
        GPT2Tokenizer.from_preset(tmp_path)


def test_special_tokens_of_a_tiktoken_file_come_after_the_last_rank(small_bpe, tmp_path):
    write_tiktoken(tmp_path / "small.tiktoken", small_bpe[0])
    tokenizer = GPT2Tokenizer.from_preset(tmp_path, special_tokens=["<|user|>", END])
    assert tokenizer.special_token_ids == [1499, 1500]
    with pytest.raises(ValueError, match=r"Expected '<\|endoftext\|>'"):
        GPT2Tokenizer.from_preset(tmp_path, special_tokens=["<|user|>"])
    tokenizer.save_to_preset(str(tmp_path / "saved"))
    assert GPT2Tokenizer.from_preset(tmp_path / "saved").get_vocabulary() == tokenizer.get_vocabulary()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"YQ== 0\nnot base64! 1\n", "line 2"),
        (b"YQ==\n", "line 1"),
        (b"YQ== x\n", "line 1"),
        (b"YQ== 0\nYg== 1\nYWJi 2\n", "made of 3"),
        (b"YQ== 0\nYg== 5\n", "without gaps"),
    ],
)
def test_a_malformed_tiktoken_file_is_refused_in_one_sentence(tmp_path, lines, message):
    (tmp_path / "x.tiktoken").write_bytes(lines)
    with pytest.raises(ValueError, match=message):
        GPT2Tokenizer.from_preset(tmp_path)


def test_two_tiktoken_files_need_a_choice(small_bpe, tmp_path):
    for name in ("a", "b"):
        write_tiktoken(tmp_path / f"{name}.tiktoken", small_bpe[0])
    with pytest.raises(ValueError, match=r"a\.tiktoken, b\.tiktoken\. Give the path of one"):
        GPT2Tokenizer.from_preset(tmp_path)
    assert GPT2Tokenizer.from_preset(tmp_path / "b.tiktoken").vocabulary_size() == 1500


@pytest.mark.parametrize(
    ("content", "message"), [("{", "Expected JSON"), ("[]", "other JSON"), ('{"a": "b"}', "other")]
)
def test_a_vocab_json_of_another_kind_is_refused(tmp_path, content, message):
    (tmp_path / "vocab.json").write_text(content)
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(ValueError, match=message):
        GPT2Tokenizer.from_preset(tmp_path)
