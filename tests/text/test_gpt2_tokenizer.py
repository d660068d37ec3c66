"""GPT2Tokenizer against tiktoken and `tokenizers`, in every way it can be called."""

import json
import random

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.text.byte_pair_vocabulary import byte_alphabet
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


class Reference:
    """The two other implementations, over the same vocabulary."""

    def __init__(self, vocabulary, merges):
        alphabet = byte_alphabet()
        ordinary = {token: id for token, id in vocabulary.items() if token != "<|endoftext|>"}
        ranks = {bytes(alphabet[char] for char in token): id for token, id in ordinary.items()}
        self.tiktoken = tiktoken.Encoding("test", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
        pairs = [tuple(merge.split(" ")) for merge in merges]
        self.tokenizers = tokenizers.Tokenizer(tokenizers.models.BPE(ordinary, pairs))
        self.tokenizers.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    def assert_equal(self, tokenizer, texts):
        ids = tokenizer.tokenize(texts)
        ours = ids.to_list()
        assert ours == [self.tiktoken.encode_ordinary(text) for text in texts]
        assert ours == [encoding.ids for encoding in self.tokenizers.encode_batch(texts)]
        assert tokenizer.detokenize_bytes(ids).numpy().tolist() == [text.encode() for text in texts]
        assert tokenizer.detokenize(ids).numpy().tolist() == [text.encode() for text in texts]


@pytest.fixture(scope="module")
def reference(small_bpe):
    return Reference(*small_bpe)


@pytest.fixture(scope="module")
def genuine(genuine_gpt2_files):
    return GPT2Tokenizer.from_preset(genuine_gpt2_files)


@pytest.fixture(scope="module")
def genuine_reference(genuine_gpt2_files):
    vocabulary = json.loads((genuine_gpt2_files / "encoder.json").read_text(encoding="utf-8"))
    merges = (genuine_gpt2_files / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    return Reference(vocabulary, merges)


def test_trained_vocabulary_equals_both_references_on_nasty_and_random_strings(
    small_gpt2, reference, nasty, make_random_texts
):
    reference.assert_equal(small_gpt2, nasty)
    reference.assert_equal(small_gpt2, make_random_texts(4000, seed=0))


def test_trained_vocabulary_equals_both_references_on_source_text(small_gpt2, reference, sources):
    reference.assert_equal(small_gpt2, sources)
    reference.assert_equal(small_gpt2, [line for text in sources for line in text.split("\n")][:5000])


def test_trained_vocabulary_equals_both_references_on_strings_of_joined_tokens(small_gpt2, reference, small_bpe):
    # Neighbours that make up other tokens are where a merge order shows.
    rng = random.Random(3)
    tokens = [
        text.decode("utf-8", "ignore") for text in small_gpt2.detokenize_bytes([[i] for i in range(1499)]).numpy()
    ]
    reference.assert_equal(small_gpt2, ["".join(rng.choices(tokens, k=rng.randint(1, 8))) for _ in range(4000)])
    reference.assert_equal(small_gpt2, ["".join(rng.choices("et rsin", k=30)) for _ in range(2000)])


def test_genuine_vocabulary_equals_both_references(genuine, genuine_reference, nasty, make_random_texts):
    genuine_reference.assert_equal(genuine, nasty)
    genuine_reference.assert_equal(genuine, make_random_texts(4000, seed=1))


def test_genuine_vocabulary_has_its_published_ids(genuine):
    assert genuine.vocabulary_size() == 50257
    assert genuine.end_of_text_id == genuine.pad_id == 50256
    assert genuine.tokenize("Hello world").numpy().tolist() == [15496, 995]
    assert genuine.id_to_token(995) == "Ġworld"
    assert genuine.token_to_id("Ġworld") == 995


def test_every_token_but_the_special_one_encodes_to_itself(small_gpt2):
    # Whole UTF-8 or not: tokens that split a character are encoded as such bytes.
    ids = [[id] for id in range(small_gpt2.vocabulary_size()) if id != small_gpt2.end_of_text_id]
    texts = small_gpt2.detokenize_bytes(ids)
    alone = [i for i, ids in enumerate(small_gpt2.tokenize(texts).to_list()) if ids != [i]]
    # The splitter may cut a token that is no valid text; a token that is text stays whole.
    assert all(not _is_utf8(texts[i].numpy()) for i in alone)


def _is_utf8(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_any_bytes_come_back_and_do_not_touch_other_rows(small_gpt2):
    rng = random.Random(0)
    rows = [rng.randbytes(rng.randrange(60)) for _ in range(3000)]
    rows += [
        b"ok \xf0\x9f x",
        b"\xff\xfe",
        b"a\xc3",
        b"\xed\xa0\x80",
        b"\xf0",
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
        b"\x80",
    ]
    ids = small_gpt2.tokenize(rows)
    assert small_gpt2.detokenize_bytes(ids).numpy().tolist() == rows
    # Text that decodes is replaced exactly as Python does it.
    assert [text.decode() for text in small_gpt2.detokenize(ids).numpy()] == [
        r.decode("utf-8", "replace") for r in rows
    ]
    for row, alone in zip(rows[:50], ids.to_list()[:50], strict=True):
        assert small_gpt2.tokenize(row).numpy().tolist() == alone


def test_empty_inputs_give_no_tokens(small_gpt2):
    assert small_gpt2.tokenize("").shape == (0,)
    assert small_gpt2.tokenize(["", "a", ""]).row_lengths().numpy().tolist() == [0, 1, 0]
    assert small_gpt2.tokenize([]).to_list() == []
    assert tf.function(small_gpt2.tokenize)(tf.constant([], tf.string)).dtype == tf.int32
    assert small_gpt2.detokenize([[], []]).numpy().tolist() == [b"", b""]
    assert small_gpt2.detokenize(tf.zeros([0, 5], tf.int32)).shape == (0,)
    assert small_gpt2.detokenize([]).numpy() == b""


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "hello world " * 83_000, " " * 1_000_000, "日" * 330_000, "😀'" * 200_000]
)
def test_a_megabyte_in_one_string_is_an_ordinary_string(small_gpt2, text):
    ids = small_gpt2.tokenize(text)
    assert small_gpt2.detokenize_bytes(ids).numpy() == text.encode()


def test_ids_come_ragged_dense_or_as_one_row_and_out_of_range_ids_give_nothing(small_gpt2):
    text = b"def tokenize(self): pass"
    row = small_gpt2.tokenize(text)
    assert small_gpt2.detokenize(row).numpy() == text
    assert small_gpt2.detokenize(row[tf.newaxis]).numpy().tolist() == [text]
    assert small_gpt2.detokenize(row.numpy().tolist()).numpy() == text
    assert small_gpt2.detokenize(np.array([row, row])).numpy().tolist() == [text, text]
    assert small_gpt2.detokenize(tf.cast(row, tf.int64)).numpy() == text
    assert small_gpt2.detokenize([[-1, 10**9, 10**12]]).numpy().tolist() == [b""]
    assert small_gpt2.detokenize([small_gpt2.end_of_text_id]).numpy() == b"<|endoftext|>"


def test_text_that_spells_the_special_token_is_plain_text(small_gpt2):
    ids = small_gpt2.tokenize("<|endoftext|>").numpy()
    assert small_gpt2.end_of_text_id not in ids
    assert len(ids) > 1


def test_eager_tf_function_tf_data_and_reloaded_saved_model_agree(small_gpt2, nasty, make_random_texts, tmp_path):
    texts = nasty + make_random_texts(300, seed=2)
    eager = small_gpt2(texts).to_list()
    assert tf.function(small_gpt2.tokenize)(tf.constant(texts)).to_list() == eager
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    assert [ids.numpy().tolist() for ids in dataset.map(small_gpt2)] == eager
    batched = dataset.batch(64).map(small_gpt2, num_parallel_calls=2)
    assert [row for ids in batched for row in ids.to_list()] == eager

    class Server(tf.Module):
        def __init__(self, tokenizer):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize(text)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def decode(self, ids):
            return self.tokenizer.detokenize(ids), self.tokenizer.detokenize_bytes(ids)

    tf.saved_model.save(Server(small_gpt2), str(tmp_path))
    server = tf.saved_model.load(str(tmp_path))
    ids = server.encode(tf.constant(texts))
    assert ids.to_list() == eager
    text, text_bytes = server.decode(ids.to_tensor(-1))
    assert text.numpy().tolist() == [text.encode() for text in texts]
    assert text_bytes.numpy().tolist() == text.numpy().tolist()


def test_the_graph_has_no_python_no_growing_table_and_no_random_state(small_gpt2):
    graph = tf.function(small_gpt2.tokenize).get_concrete_function(tf.TensorSpec([None], tf.string)).graph
    ops = {node.op for node in graph.as_graph_def().node}
    ops |= {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Random" in op or "Regex" in op}


def test_preset_round_trip_keeps_ids_and_keeps_the_vocabulary_out_of_the_config(small_gpt2, nasty, tmp_path):
    small_gpt2.save_to_preset(str(tmp_path))
    assert (tmp_path / "tokenizer.json").stat().st_size < 2000
    assert sorted(path.name for path in (tmp_path / "assets/tokenizer").iterdir()) == ["merges.txt", "vocab.json"]
    loaded = GPT2Tokenizer.from_preset(str(tmp_path))
    assert loaded.tokenize(nasty).to_list() == small_gpt2.tokenize(nasty).to_list()
    assert loaded.get_vocabulary() == small_gpt2.get_vocabulary()
    plain = GPT2Tokenizer.from_preset(tmp_path / "assets/tokenizer")  # vocabulary files only
    assert plain.tokenize(nasty).to_list() == small_gpt2.tokenize(nasty).to_list()


def test_ids_need_not_follow_the_order_of_merges(small_bpe, nasty):
    # `tokenizers` puts the special token first and sorts the bytes by their printable characters.
    vocabulary, merges = small_bpe
    order = ["<|endoftext|>", "<|extra|>", *sorted(token for token in vocabulary if token != "<|endoftext|>")]
    shuffled = {token: id for id, token in enumerate(order)}
    ours, other = GPT2Tokenizer(vocabulary, merges), GPT2Tokenizer(shuffled, merges)
    expected = [[shuffled[ours.id_to_token(id)] for id in row] for row in ours.tokenize(nasty).to_list()]
    assert other.tokenize(nasty).to_list() == expected
    assert other.detokenize([[1]]).numpy().tolist() == [b"<|extra|>"]


def test_vocabulary_look_ups(small_gpt2, small_bpe):
    vocabulary, _ = small_bpe
    assert small_gpt2.vocabulary_size() == len(small_gpt2.get_vocabulary()) == 1500
    assert all(small_gpt2.id_to_token(id) == token for token, id in vocabulary.items())
    assert all(small_gpt2.token_to_id(token) == id for token, id in vocabulary.items())
    with pytest.raises(ValueError, match="Expected an id"):
        small_gpt2.id_to_token(1500)
    with pytest.raises(ValueError, match="Expected a token"):
        small_gpt2.token_to_id("no such token")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, m: (v, None), "vocabulary and merges, or neither"),
        (lambda v, m: ({**v, "x" * 50: 5000}, m), "ids 0 to"),
        (lambda v, m: ({"<|pad|>": 0, "<|endoftext|>": 1}, []), "single bytes"),
        (lambda v, m: ({t: i for t, i in v.items() if i < 256}, []), "endoftext"),
        (lambda v, m: (v, [*m, "z q"]), "result of every merge in the vocabulary"),
        (lambda v, m: (v, [*m, "Ġthe~ x"]), "tokens of the vocabulary"),
        (lambda v, m: (v, [*m, "a b c"]), "tokens of the vocabulary"),
        (lambda v, m: ({**v, "é日": 1500, "é日a": 1501}, [*m, "é日 a"]), "printable alphabet"),
        (lambda v, m: ("no/vocab.json", "no/merges.txt"), "which is not a file"),
        (lambda v, m: (v, "merges.txt"), "a dict and a list, or as two paths"),
    ],
)
def test_a_vocabulary_that_does_not_fit_together_is_refused_in_one_sentence(small_bpe, change, message):
    with pytest.raises(ValueError, match=message):
        GPT2Tokenizer(*change(*small_bpe))


def test_a_source_that_holds_nothing_recognisable_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        GPT2Tokenizer.from_preset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="an empty directory"):
        GPT2Tokenizer.from_preset(tmp_path)
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(ValueError, match=r"vocab\.json and merges\.txt.*\.tiktoken.*Received: readme\.txt"):
        GPT2Tokenizer.from_preset(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')  # Hugging Face's, not ours
    with pytest.raises(ValueError, match="no model with a vocabulary"):
        GPT2Tokenizer.from_preset(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"registered_name": "albert_gpt_tf>AlbertTokenizer"}')
    with pytest.raises(ValueError, match="Expected a saved GPT2Tokenizer"):
        GPT2Tokenizer.from_preset(tmp_path)


def test_use_without_a_vocabulary_and_wrong_shapes_say_what_to_do(small_gpt2):
    with pytest.raises(ValueError, match="with a vocabulary"):
        GPT2Tokenizer().tokenize("a")
    with pytest.raises(ValueError, match="Flatten the batch"):
        small_gpt2.tokenize([["a"], ["b"]])
    with pytest.raises(ValueError, match="Expected ids"):
        small_gpt2.detokenize(tf.zeros([2, 2, 2], tf.int32))
