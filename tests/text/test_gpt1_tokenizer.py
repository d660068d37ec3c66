"""GPT1Tokenizer against `tokenizers`, which Transformers' OpenAIGPTTokenizer runs on."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer

tokenizers = pytest.importorskip("tokenizers")

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FINE_TUNING = ["_start_", "_delimiter_", "_classify_"]
BAD_UTF8 = [
    b"ok \xf0\x9f x",
    b"\xff\xfe",
    b"a\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80 a",
    b"\xc0\x80",
    b"a\x00b",
    b"\xef\xbb\xbfab \xe4\xb8",
    b"<unk>\xe4<unk",
]


def byte_spans(text, offsets):
    places = np.cumsum([0, *(len(char.encode()) for char in text)])
    return [(int(places[start]), int(places[end])) for start, end in offsets]


class Reference:
    """The `tokenizers` pipeline that Transformers 5 builds for OpenAIGPTTokenizer."""

    def __init__(self, vocabulary, merges, special_tokens=("<unk>",)):
        self.tokenizer = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                dict(vocabulary),
                [tuple(merge.split(" ")) for merge in merges],
                end_of_word_suffix="</w>",
                continuing_subword_prefix="",
                fuse_unk=False,
                unk_token="<unk>",
            )
        )
        self.tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self.tokenizer.decoder = tokenizers.decoders.BPEDecoder(suffix="</w>")
        self.tokenizer.add_special_tokens(
            [tokenizers.AddedToken(token, normalized=False, special=True) for token in special_tokens]
        )

    def encode(self, texts):
        encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        spans = [byte_spans(text, e.offsets) for text, e in zip(texts, encodings, strict=True)]
        return [encoding.ids for encoding in encodings], spans

    def assert_equal(self, tokenizer, texts):
        ids, starts, ends = (values.to_list() for values in tokenizer.tokenize_with_offsets(texts))
        expected_ids, expected_spans = self.encode(texts)
        assert ids == expected_ids
        assert [list(zip(*row, strict=True)) for row in zip(starts, ends, strict=True)] == expected_spans
        assert tokenizer.tokenize(texts).to_list() == ids
        decoded = [self.tokenizer.decode(row, skip_special_tokens=False) for row in ids]
        assert [text.decode() for text in tokenizer.detokenize(tf.ragged.constant(ids, tf.int32)).numpy()] == decoded


@pytest.fixture(scope="module")
def small_tables(sources):
    tokenizer = Reference({"<unk>": 0}, []).tokenizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([*sources, "é각 ééx"], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(merge) for merge in model["merges"]]


@pytest.fixture(scope="module")
def small(small_tables):
    return GPT1Tokenizer(*small_tables)


@pytest.fixture(scope="module")
def reference(small_tables):
    return Reference(*small_tables)


@pytest.fixture(scope="module")
def genuine(genuine_gpt1_files):
    return GPT1Tokenizer.from_preset(genuine_gpt1_files, special_tokens=FINE_TUNING)


# === Ids and offsets ===


def test_trained_vocabulary_equals_tokenizers_in_ids_and_offsets(small, reference, sources, nasty, make_random_texts):
    reference.assert_equal(small, nasty)
    reference.assert_equal(small, make_random_texts(2000, seed=0))
    reference.assert_equal(small, [line for text in sources for line in text.split("\n")][:5000])
    reference.assert_equal(small, sources[:3])


def test_strings_of_joined_tokens_equal_tokenizers(small, reference, small_tables):
    # Neighbours that make up other tokens are where a merge order shows.
    rng = random.Random(3)
    parts = [token.replace("</w>", rng.choice(["", " "])) for token in small_tables[0]] + ["각", "é", "日", "ß"]
    reference.assert_equal(small, ["".join(rng.choices(parts, k=rng.randint(1, 8))) for _ in range(4000)])
    reference.assert_equal(small, ["".join(rng.choices("et rsin", k=30)) for _ in range(2000)])


def test_unknown_characters_are_one_token_each(small, reference):
    texts = ["日日", "a日日b", "日", "ßßßa", "aß"]
    reference.assert_equal(small, texts)
    assert small.tokenize("日日").numpy().tolist() == [small.unk_id] * 2
    assert small.tokenize("ßßß").numpy().tolist() == [small.unk_id] * 3


def test_a_character_that_is_known_only_inside_a_word_is_unknown_at_its_end():
    tables = ({"<unk>": 0, "a": 1, "b": 2, "b</w>": 3, "ab</w>": 4}, ["a b</w>"])
    tokenizer = GPT1Tokenizer(*tables)
    assert tokenizer.tokenize("ab aba a").numpy().tolist() == [4, 1, 2, 0, 0]
    Reference(*tables).assert_equal(tokenizer, ["ab aba a", "bb aab"])


def test_genuine_vocabulary_equals_tokenizers(genuine, genuine_gpt1_tables, nasty, make_random_texts):
    reference = Reference(*genuine_gpt1_tables, ["<unk>", *FINE_TUNING])
    reference.assert_equal(genuine, nasty + make_random_texts(4000, seed=1))
    rng = random.Random(1)
    parts = [*FINE_TUNING, "<unk>", "_", "start", "_start", "<", "unk>", " ", "é", "_start_start_"]
    reference.assert_equal(genuine, ["".join(rng.choices(parts, k=rng.randrange(12))) for _ in range(2000)])


def test_genuine_vocabulary_equals_tokenizers_on_the_corpora(genuine, genuine_gpt1_tables):
    files = [path for path in sorted((DATA / "corpora").rglob("*")) if path.is_file()]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").split("\n")[::5]]
    assert len(lines) > 10_000
    Reference(*genuine_gpt1_tables, ["<unk>", *FINE_TUNING]).assert_equal(genuine, lines)


def test_genuine_vocabulary_has_its_published_ids(genuine):
    assert genuine.vocabulary_size() == 40481
    assert genuine.unk_id == genuine.pad_id == 0
    assert genuine.end_of_text_id is None
    assert [genuine.token_to_id(token) for token in FINE_TUNING] == [40478, 40479, 40480]
    assert genuine.token_to_id("the</w>") == 481
    assert [genuine.id_to_token(id) for id in genuine.tokenize("Hello, World").numpy()] == [
        "hello</w>",
        ",</w>",
        "world</w>",
    ]


def test_genuine_vocabulary_gives_the_ids_that_transformers_expects(genuine):
    path = DATA / "golden" / "hf_tokenization.json"
    if not path.is_file():
        pytest.skip("the expected outputs of Transformers are not beside the repository (../shared/data)")
    golden = json.loads(path.read_text(encoding="utf-8"))["integration_2025"]
    ids = genuine.tokenize(golden["input"])
    golden = golden["openai-gpt"]
    assert ids.numpy().tolist() == golden["integration_expected_token_ids"]
    assert [genuine.id_to_token(id) for id in ids.numpy()] == golden["integration_expected_tokens"]
    assert genuine.detokenize(ids).numpy().decode() == golden["integration_expected_decoded_text"]


# === Special tokens ===


def test_special_tokens_in_the_text_are_tokens_or_plain_text_by_choice(small_tables):
    size = len(small_tables[0])
    parsed = GPT1Tokenizer(*small_tables, special_tokens=FINE_TUNING)
    text = "_start_ a_delimiter_ b <unk>_classify_"
    ids = parsed.tokenize(text).numpy().tolist()
    assert [ids[0], ids[-1], ids[-2]] == [size, size + 2, 0]
    Reference(*small_tables, ["<unk>", *FINE_TUNING]).assert_equal(parsed, [text, "_start_start_", "_Start_"])
    plain = GPT1Tokenizer(*small_tables, special_tokens=FINE_TUNING, parse_special_tokens=False)
    assert max(plain.tokenize(text).numpy()) < size
    assert plain.token_to_id("_delimiter_") == size + 1
    Reference(*small_tables, []).assert_equal(plain, [text])


def test_a_special_token_that_is_in_the_vocabulary_keeps_its_id(small_tables):
    vocabulary, merges = small_tables
    tables = ({**vocabulary, "<|end|>": len(vocabulary)}, merges)
    tokenizer = GPT1Tokenizer(*tables, special_tokens=["<|end|>", "_start_"])
    assert tokenizer.vocabulary_size() == len(vocabulary) + 2
    assert tokenizer.tokenize("<|end|>_start_").numpy().tolist() == [len(vocabulary), len(vocabulary) + 1]


# === Bad text ===


def test_malformed_utf8_vanishes_like_the_replacement_characters_of_python(small, reference):
    rng = random.Random(0)
    parts = ["天".encode(), b"ab", b" ", b"\xe4\xb8", b"\xf0\x9f", b"\xff", "é".encode(), b"\x00", b"<unk>"]
    rows = BAD_UTF8 + [rng.randbytes(rng.randrange(60)) for _ in range(1000)]
    rows += [b"".join(rng.choices(parts, k=12)) for _ in range(1000)]
    assert small.tokenize(rows).to_list() == reference.encode([row.decode("utf-8", "replace") for row in rows])[0]


def test_a_row_does_not_depend_on_the_rows_beside_it(small, nasty):
    rows = [text.encode() for text in nasty] + BAD_UTF8
    batch = small.tokenize(rows).to_list()
    assert [small.tokenize(row).numpy().tolist() for row in rows] == batch


def test_empty_inputs_give_no_tokens(small):
    assert small.tokenize("").shape == (0,)
    assert small.tokenize(["", "a", " ", ""]).row_lengths().numpy().tolist() == [0, 1, 0, 0]
    assert small.tokenize([]).to_list() == []
    assert [values.to_list() for values in small.tokenize_with_offsets([])] == [[], [], []]
    assert tf.function(small.tokenize)(tf.constant([], tf.string)).dtype == tf.int32
    assert small.detokenize([[], []]).numpy().tolist() == [b"", b""]
    assert small.detokenize([]).numpy() == b""


@pytest.mark.parametrize("text", ["ab" * 250_000, "hello world " * 40_000, "天" * 300_000, "_start_" * 100_000])
def test_a_megabyte_in_one_string_is_an_ordinary_string(small, reference, text):
    assert small.tokenize(text).numpy().tolist() == reference.encode([text])[0][0]


# === Back to text ===


def test_detokenize_writes_a_blank_after_each_word_but_none_at_the_end(small):
    ids = small.tokenize("Return  self, IMPORT")
    assert small.detokenize(ids).numpy() == b"return self , import"
    assert small.detokenize(ids[tf.newaxis]).numpy().tolist() == [b"return self , import"]
    assert small.detokenize(tf.cast(ids, tf.int64)).numpy() == b"return self , import"
    assert small.detokenize(ids[:-1]).numpy().decode() in "return self , import"
    assert small.detokenize([[-1], [10**12]]).numpy().tolist() == [b"<unk>", b"<unk>"]


# === Graphs and presets ===


def test_eager_tf_function_tf_data_and_reloaded_saved_model_agree(small_tables, nasty, make_random_texts, tmp_path):
    tokenizer = GPT1Tokenizer(*small_tables, special_tokens=FINE_TUNING)
    texts = [*nasty, *make_random_texts(300, seed=2), "_start_ a _classify_"]
    eager = tokenizer(texts).to_list()
    assert tf.function(tokenizer.tokenize)(tf.constant(texts)).to_list() == eager
    assert tf.function(tokenizer.tokenize)(tf.constant(texts[-1])).numpy().tolist() == eager[-1]
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    assert [ids.numpy().tolist() for ids in dataset.map(tokenizer)] == eager
    assert [row for ids in dataset.batch(64).map(tokenizer, num_parallel_calls=2) for row in ids.to_list()] == eager

    class Server(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize_with_offsets(text)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def decode(self, ids):
            return self.tokenizer.detokenize(ids)

    tf.saved_model.save(Server(), str(tmp_path))
    server = tf.saved_model.load(str(tmp_path))
    ids, starts, ends = server.encode(tf.constant(texts))
    assert ids.to_list() == eager
    assert [starts.to_list(), ends.to_list()] == [v.to_list() for v in tokenizer.tokenize_with_offsets(texts)[1:]]
    assert server.decode(ids.to_tensor(0)).numpy().tolist() == tokenizer.detokenize(ids.to_tensor(0)).numpy().tolist()


def test_the_graph_has_no_python_no_growing_table_and_no_random_state(small):
    graph = tf.function(small.tokenize_with_offsets).get_concrete_function(tf.TensorSpec([None], tf.string)).graph
    ops = {node.op for node in graph.as_graph_def().node}
    ops |= {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert "SentencepieceTokenizeOp" in ops
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Random" in op or "Regex" in op}


def test_preset_round_trip_keeps_ids_and_settings(small_tables, nasty, tmp_path):
    tokenizer = GPT1Tokenizer(*small_tables, special_tokens=FINE_TUNING, parse_special_tokens=False)
    tokenizer.save_to_preset(str(tmp_path))
    assert (tmp_path / "tokenizer.json").stat().st_size < 2000
    assert sorted(path.name for path in (tmp_path / "assets/tokenizer").iterdir()) == ["merges.txt", "vocab.json"]
    loaded = GPT1Tokenizer.from_preset(str(tmp_path))
    assert loaded.get_vocabulary() == tokenizer.get_vocabulary()
    assert loaded.parse_special_tokens is False
    assert loaded.tokenize(nasty).to_list() == tokenizer.tokenize(nasty).to_list()
    plain = GPT1Tokenizer.from_preset(tmp_path / "assets/tokenizer")  # vocabulary files only
    assert plain.get_vocabulary() == tokenizer.get_vocabulary()[:-3]


def save_tokenizer_json(folder, tables, change=lambda content: None):
    content = json.loads(Reference(*tables, ["<unk>", *FINE_TUNING]).tokenizer.to_str())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("merges_as_pairs", [True, False])
def test_a_hugging_face_directory_brings_its_added_tokens(small_tables, nasty, tmp_path, merges_as_pairs):
    merges = [merge.split(" ") if merges_as_pairs else merge for merge in small_tables[1]]
    save_tokenizer_json(tmp_path, small_tables, lambda content: content["model"].update(merges=merges))
    tokenizer = GPT1Tokenizer.from_preset(tmp_path)
    assert tokenizer.get_vocabulary()[-3:] == FINE_TUNING
    Reference(*small_tables, ["<unk>", *FINE_TUNING]).assert_equal(tokenizer, [*nasty, "_start_ a _delimiter_ b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(end_of_word_suffix=None), "end_of_word_suffix='</w>'"),
        (lambda c: c["model"].update(fuse_unk=True), "fuse_unk=False"),
        (lambda c: c["normalizer"].update(lowercase=False), "lowercase=True"),
        (lambda c: c["normalizer"].update(strip_accents=False), "strip_accents=True"),
        (lambda c: c.update(pre_tokenizer={"type": "ByteLevel"}), "pre_tokenizer='BertPreTokenizer'"),
        (lambda c: c["added_tokens"][1].update(lstrip=True), "strip nothing"),
        (lambda c: c["added_tokens"][1].update(id=5000), "ids after the vocabulary"),
    ],
)
def test_a_tokenizer_json_with_other_rules_is_refused_in_one_sentence(small_tables, tmp_path, change, message):
    save_tokenizer_json(tmp_path, small_tables, change)
    with pytest.raises(ValueError, match=message):
        GPT1Tokenizer.from_preset(tmp_path)


# === Mistakes ===


def test_vocabulary_look_ups(small, small_tables):
    vocabulary, _ = small_tables
    assert small.vocabulary_size() == len(small.get_vocabulary()) == len(vocabulary)
    assert all(small.id_to_token(id) == token and small.token_to_id(token) == id for token, id in vocabulary.items())
    assert small.token_to_id("no such token") == small.unk_id
    with pytest.raises(ValueError, match="Expected an id"):
        small.id_to_token(len(vocabulary))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, m: (v, None), "vocabulary and merges, or neither"),
        (lambda v, m: ({**v, "x" * 50: 5000}, m), "ids 0 to"),
        (lambda v, m: ({"a": 0, "b": 1, "Ġ": 2}, []), "use GPT2Tokenizer"),
        (lambda v, m: (v, [*m, "zq zq"]), "characters or earlier merges"),
        (lambda v, m: (v, [*m, "e</w> r"]), "characters or earlier merges"),
        (lambda v, m: (v, [*m, "q q"]), "result of every merge in the vocabulary"),
        (lambda v, m: (v, [*m, m[0]]), "one way to make each token"),
        (lambda v, m: ("no/vocab.json", "no/merges.txt"), "which is not a file"),
        (lambda v, m: (v, "merges.txt"), "a dict and a list, or as two paths"),
    ],
)
def test_a_vocabulary_that_does_not_fit_together_is_refused_in_one_sentence(small_tables, change, message):
    with pytest.raises(ValueError, match=message):
        GPT1Tokenizer(*change(*small_tables))


@pytest.mark.parametrize("special_tokens", [["a", "a"], [""]])
def test_special_tokens_that_are_empty_or_twice_are_refused(special_tokens):
    with pytest.raises(ValueError, match="differ and are not empty"):
        GPT1Tokenizer(special_tokens=special_tokens)


def test_use_without_a_vocabulary_or_with_wrong_sources_says_what_to_do(small, tmp_path):
    with pytest.raises(ValueError, match="with a vocabulary"):
        GPT1Tokenizer().tokenize("a")
    with pytest.raises(ValueError, match="Flatten the batch"):
        small.tokenize([["a"], ["b"]])
    with pytest.raises(ValueError, match="does not exist"):
        GPT1Tokenizer.from_preset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"encoder_bpe_40000\.json and vocab_40000\.bpe"):
        GPT1Tokenizer.from_preset(tmp_path)
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match="Expected JSON"):
        GPT1Tokenizer.from_preset(tmp_path)
