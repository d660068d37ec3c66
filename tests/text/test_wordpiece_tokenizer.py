"""WordPieceTokenizer against `tokenizers`, on which Transformers' BertTokenizer runs, in every way it can be called."""

import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.text.bert_classes import DROPPED, WORD, character_table
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

tokenizers = pytest.importorskip("tokenizers")

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CODE_POINTS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
BAD_UTF8 = [
    b"ok \xf0\x9f x",
    b"\xff\xfe",
    b"a\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80 a",
    b"\xc0\x80",
    b"a\x00b",
    b"\xef\xbb\xbfab \xe4\xb8",
    b"\xe4\xb8ab\xe4\xb8\xad[MASK]\xe4[MASK",
]


def byte_spans(text, offsets):
    places = np.cumsum([0, *(len(char.encode()) for char in text)])
    return [(int(places[start]), int(places[end])) for start, end in offsets]


class Reference:
    """The `tokenizers` pipeline that Transformers 5 builds for BertTokenizer."""

    def __init__(self, pieces, lowercase=True, parse_special_tokens=True):
        ids = {piece: id for id, piece in enumerate(pieces)}
        self.tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
        self.tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
        self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        if parse_special_tokens:
            self.tokenizer.add_special_tokens(
                [tokenizers.AddedToken(piece, normalized=False, special=True) for piece in SPECIAL]
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


def texts_of_all_categories(count, seed):
    """Random strings in which every Unicode category is equally likely, without marks (see the test of those)."""
    rng = random.Random(seed)
    categories = {}
    for code in CODE_POINTS:
        if not unicodedata.combining(chr(code)):
            categories.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    pools = list(categories.values())
    return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(30))) for _ in range(count)]


def train(sources, lowercase=True):
    tokenizer = Reference(SPECIAL, lowercase).tokenizer
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=SPECIAL, initial_alphabet=list("天地玄黄é각"), show_progress=False
    )
    tokenizer.train_from_iterator(sources, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.get)


@pytest.fixture(scope="module")
def pieces(sources):
    return train(sources)


@pytest.fixture(scope="module")
def small(pieces):
    return WordPieceTokenizer(pieces)


@pytest.fixture(scope="module")
def reference(pieces):
    return Reference(pieces)


@pytest.fixture(scope="module")
def genuine_folder():
    folder = DATA / "tokenizers" / "albert_zh"
    if not (folder / "vocab.txt").is_file():
        pytest.skip("the vocabulary of Chinese ALBERT is not beside the repository (../shared/data)")
    return folder


@pytest.fixture(scope="module")
def genuine(genuine_folder):
    return WordPieceTokenizer.from_preset(genuine_folder)


# === Ids and offsets ===


def test_released_vocabularies_have_none_of_the_marks_that_can_come_in_another_order(genuine):
    kinds, _, _ = character_table(lowercase=True)
    marks = {c for c in map(chr, CODE_POINTS) if unicodedata.combining(c) and kinds[ord(c)] != DROPPED}
    assert len(marks) > 90
    assert all(kinds[ord(mark)] == WORD for mark in marks)  # so that the order cannot move the border of a word
    canonical = {mark for mark in marks if unicodedata.normalize("NFD", mark) == mark}
    assert not canonical & set("".join(genuine.get_vocabulary()))


def test_trained_vocabulary_equals_tokenizers_in_ids_and_offsets(small, reference, sources, nasty, make_random_texts):
    reference.assert_equal(small, nasty)
    reference.assert_equal(small, make_random_texts(2000, seed=0))
    reference.assert_equal(small, [line for text in sources for line in text.split("\n")][:5000])
    reference.assert_equal(small, sources[:3])


def test_strings_of_joined_pieces_equal_tokenizers(small, reference, pieces):
    # Where the longest piece leads into a dead end: the whole word is unknown.
    rng = random.Random(3)
    parts = [piece.removeprefix("##") for piece in pieces] + ["[MA", "SK]", " ", "é", "É", "각"]
    reference.assert_equal(small, ["".join(rng.choices(parts, k=rng.randint(1, 6))) for _ in range(4000)])


def test_cased_vocabulary_keeps_case_and_accents_as_in_tokenizers(sources, nasty, make_random_texts):
    pieces = train(sources, lowercase=False)
    tokenizer = WordPieceTokenizer(pieces, lowercase=False)
    Reference(pieces, lowercase=False).assert_equal(tokenizer, nasty + make_random_texts(1000, seed=5) + sources[:3])
    assert tokenizer.tokenize("SELF").numpy().tolist() != tokenizer.tokenize("self").numpy().tolist()


def test_genuine_vocabulary_equals_tokenizers(genuine, nasty, make_random_texts):
    reference = Reference(genuine.get_vocabulary())
    reference.assert_equal(genuine, nasty + make_random_texts(4000, seed=1) + texts_of_all_categories(2000, seed=1))


def test_genuine_vocabulary_equals_tokenizers_on_the_corpora(genuine):
    reference = Reference(genuine.get_vocabulary())
    files = [path for path in sorted((DATA / "corpora").rglob("*")) if path.is_file()]
    # All of the Chinese lines and of the dialogues, every fourth of the English ones.
    steps = {path: 1 if path.suffix in (".json", ".yml") else 4 for path in files}
    lines = [line for path in files for line in path.read_text(encoding="utf-8").split("\n")[:: steps[path]]]
    assert len(lines) > 30_000
    reference.assert_equal(genuine, lines)


def test_genuine_vocabulary_has_its_published_ids(genuine):
    assert genuine.vocabulary_size() == 21128
    ids = (genuine.pad_id, genuine.unk_id, genuine.cls_id, genuine.sep_id, genuine.mask_id)
    assert ids == (0, 100, 101, 102, 103)
    assert genuine.tokenize("今天[MASK]气").numpy().tolist() == [791, 1921, 103, 3698]


def test_words_of_more_than_a_hundred_characters_are_unknown_however_many_bytes_they_have(small, reference):
    texts = [char * length for char in "eé" for length in (99, 100, 101, 250)]
    texts += ["각" * 33, "각" * 34]  # 3 characters each, once decomposed
    reference.assert_equal(small, texts)
    unknown = [ids == [small.unk_id] for ids in small.tokenize(texts).to_list()]
    assert unknown[:4] == unknown[4:8] == [False, False, True, True]
    assert small.tokenize_with_offsets("a " + "é" * 101)[2].numpy().tolist() == [1, 204]


def test_offsets_slice_the_original_where_cleaning_changes_lengths(small):
    text = "İSTANBUL e\u0301e 각x\u00ad"
    ids, starts, ends = (values.numpy().tolist() for values in small.tokenize_with_offsets(text))
    surfaces = [text.encode()[start:end].decode() for start, end in zip(starts, ends, strict=True)]
    assert len(ids) == len(surfaces)
    assert "".join(surfaces) == "İSTANBULee각x"  # the accent that is a character of its own belongs to no piece
    assert starts[0] == 0
    assert ends[-1] == len(text.encode()) - len("\u00ad".encode())


# === Special tokens ===


def test_special_pieces_in_the_text_are_tokens_or_plain_text_by_choice(small, pieces):
    text = "[CLS]a[MASK][mask] [UNK][SEP][PAD]"
    ids = small.tokenize(text).numpy().tolist()
    assert ids[0] == small.cls_id
    assert ids.count(small.mask_id) == 1
    assert ids[-3:] == [small.unk_id, small.sep_id, small.pad_id]
    plain = WordPieceTokenizer(pieces, parse_special_tokens=False)
    Reference(pieces, parse_special_tokens=False).assert_equal(plain, [text, "[MASK]"])
    assert plain.mask_id not in plain.tokenize(text).numpy()


# === Bad text ===


def test_malformed_utf8_vanishes_like_the_replacement_characters_of_python(small, reference):
    rng = random.Random(0)
    parts = ["天".encode(), b"ab", b" ", b"\xe4\xb8", b"\xf0\x9f", b"\xff", "é".encode(), b"\x00", b"[MASK]"]
    rows = BAD_UTF8 + [rng.randbytes(rng.randrange(60)) for _ in range(1000)]
    rows += [b"".join(rng.choices(parts, k=12)) for _ in range(1000)]
    ids, starts, ends = small.tokenize_with_offsets(rows)
    texts = [row.decode("utf-8", "replace") for row in rows]
    expected, spans = reference.encode(texts)
    assert ids.to_list() == expected
    ours = [
        [row[start:end].decode("utf-8", "replace") for start, end in zip(*places, strict=True)]
        for row, *places in zip(rows, starts.to_list(), ends.to_list(), strict=True)
    ]
    assert ours == [
        [text.encode()[start:end].decode() for start, end in row] for text, row in zip(texts, spans, strict=True)
    ]


def test_a_row_does_not_depend_on_the_rows_beside_it(small, nasty):
    rows = [text.encode() for text in nasty] + BAD_UTF8
    batch = small.tokenize(rows).to_list()
    assert [small.tokenize(row).numpy().tolist() for row in rows] == batch


def test_empty_inputs_give_no_tokens(small):
    assert small.tokenize("").shape == (0,)
    assert small.tokenize(["", "天", " ", ""]).row_lengths().numpy().tolist() == [0, 1, 0, 0]
    assert small.tokenize([]).to_list() == []
    assert [values.to_list() for values in small.tokenize_with_offsets([])] == [[], [], []]
    assert tf.function(small.tokenize)(tf.constant([], tf.string)).dtype == tf.int32
    assert small.detokenize([[], []]).numpy().tolist() == [b"", b""]
    assert small.detokenize([]).numpy() == b""


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "hello 天 " * 80_000, "天" * 330_000, "[" * 500_000, "[MASK]" * 160_000]
)
def test_a_megabyte_in_one_string_is_an_ordinary_string(small, reference, text):
    assert small.tokenize(text).numpy().tolist() == reference.encode([text])[0][0]


# === Back to text ===


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("天地 玄黄", "天地玄黄"),
        ("天地 self, the 天", "天地self, the天"),
        ("(import) the,the .", "(import) the, the."),
        ("Import : [THE] the!", "import: [the] the!"),
        ("[UNK] the [UNK] 天", "[UNK] the [UNK]天"),
    ],
)
def test_detokenize_puts_blanks_between_words_but_not_beside_ideographs(small, text, expected):
    assert small.detokenize(small.tokenize(text)).numpy().decode() == expected


def test_ids_come_ragged_dense_or_as_one_row_and_out_of_range_ids_are_unknown(small):
    row = small.tokenize("return self")
    assert small.detokenize(row).numpy() == b"return self"
    assert small.detokenize(row[tf.newaxis]).numpy().tolist() == [b"return self"]
    assert small.detokenize(tf.cast(row, tf.int64)).numpy() == b"return self"
    dense = small.tokenize(["return self", "a"]).to_tensor(small.pad_id)
    assert small.detokenize(dense).numpy().tolist() == [b"return self", b"a"]
    assert small.detokenize([[-1], [10**12]]).numpy().tolist() == [b"[UNK]", b"[UNK]"]
    assert small.detokenize([small.cls_id, row[0].numpy(), small.sep_id]).numpy() == b"return"


# === Graphs and presets ===


def test_eager_tf_function_tf_data_and_reloaded_saved_model_agree(small, nasty, make_random_texts, tmp_path):
    texts = nasty + make_random_texts(300, seed=2)
    eager = small(texts).to_list()
    assert tf.function(small.tokenize)(tf.constant(texts)).to_list() == eager
    assert tf.function(small.tokenize)(tf.constant("a [MASK]")).numpy().tolist()[-1] == small.mask_id
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    assert [ids.numpy().tolist() for ids in dataset.map(small)] == eager
    assert [row for ids in dataset.batch(64).map(small, num_parallel_calls=2) for row in ids.to_list()] == eager

    class Server(tf.Module):
        def __init__(self, tokenizer):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize_with_offsets(text)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def decode(self, ids):
            return self.tokenizer.detokenize(ids)

    tf.saved_model.save(Server(small), str(tmp_path))
    server = tf.saved_model.load(str(tmp_path))
    ids, starts, ends = server.encode(tf.constant(texts))
    assert ids.to_list() == eager
    assert [starts.to_list(), ends.to_list()] == [v.to_list() for v in small.tokenize_with_offsets(texts)[1:]]
    assert server.decode(ids.to_tensor(0)).numpy().tolist() == small.detokenize(ids.to_tensor(0)).numpy().tolist()


def test_the_graph_has_no_python_no_growing_table_and_no_random_state(small):
    graph = tf.function(small.tokenize_with_offsets).get_concrete_function(tf.TensorSpec([None], tf.string)).graph
    ops = {node.op for node in graph.as_graph_def().node}
    ops |= {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert "FastWordpieceTokenizeWithOffsets" in ops
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Random" in op or "Regex" in op}


def test_preset_round_trip_keeps_ids_and_settings(pieces, nasty, tmp_path):
    tokenizer = WordPieceTokenizer(pieces, lowercase=False, parse_special_tokens=False)
    tokenizer.save_to_preset(str(tmp_path))
    assert (tmp_path / "tokenizer.json").stat().st_size < 2000
    assert [path.name for path in (tmp_path / "assets/tokenizer").iterdir()] == ["vocab.txt"]
    loaded = WordPieceTokenizer.from_preset(str(tmp_path))
    assert loaded.get_vocabulary() == pieces
    assert (loaded.lowercase, loaded.parse_special_tokens) == (False, False)
    assert loaded.tokenize(nasty).to_list() == tokenizer.tokenize(nasty).to_list()
    assert WordPieceTokenizer.from_preset(str(tmp_path), lowercase=True).lowercase


def test_a_vocabulary_may_hold_white_space_and_an_empty_piece(pieces, nasty, tmp_path):
    # Chinese ALBERT has U+2028 as a piece; Transformers strips it as it reads, and writes an empty one.
    pieces = [*pieces, "\u2028", "##\u2028", "\u3000", "##", ""]
    tokenizer = WordPieceTokenizer(pieces)
    Reference(pieces).assert_equal(tokenizer, [*nasty, "## # ##a \u2028"])
    assert tokenizer.detokenize([len(pieces) - 1]).numpy() == b""
    tokenizer.save_to_preset(str(tmp_path))
    assert WordPieceTokenizer.from_preset(str(tmp_path)).get_vocabulary() == pieces


# === Mistakes ===


def test_vocabulary_look_ups(small, pieces):
    assert small.vocabulary_size() == len(small.get_vocabulary()) == len(pieces)
    assert all(small.id_to_token(id) == piece and small.token_to_id(piece) == id for id, piece in enumerate(pieces))
    assert small.token_to_id("no such piece") == small.unk_id
    with pytest.raises(ValueError, match="Expected an id"):
        small.id_to_token(len(pieces))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pieces: pieces[1:], r"without \[PAD\]"),
        (lambda pieces: [*pieces, pieces[7]], "as piece 7 and piece 1500"),
        (lambda pieces: "no/vocab.txt", "which is not a file"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused_in_one_sentence(pieces, change, message):
    assert len(pieces) == 1500
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(change(pieces))


def test_use_without_a_vocabulary_or_with_wrong_sources_says_what_to_do(small, tmp_path):
    with pytest.raises(ValueError, match="with a vocabulary"):
        WordPieceTokenizer().tokenize("a")
    with pytest.raises(ValueError, match="Flatten the batch"):
        small.tokenize([["a"], ["b"]])
    with pytest.raises(ValueError, match="does not exist"):
        WordPieceTokenizer.from_preset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"tokenizer\.json, or vocab\.txt"):
        WordPieceTokenizer.from_preset(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="Expected UTF-8"):
        WordPieceTokenizer.from_preset(tmp_path)
