"""AlbertTokenizer, one op on raw text, against google-research's code and Transformers' (see albert_references.py)."""

import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece

# === The two references ===


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("keep_accents", [True, False])
def test_trained_model_equals_google_research(small_model, google_albert, albert_material, lowercase, keep_accents):
    tokenizer = AlbertTokenizer(small_model, lowercase=lowercase, keep_accents=keep_accents, parse_special_tokens=False)
    expected = google_albert(small_model, lowercase=lowercase, keep_accents=keep_accents).encode(albert_material)
    assert tokenizer.tokenize(albert_material).to_list() == expected


@pytest.mark.parametrize("lowercase", [True, False])
def test_trained_model_equals_transformers(small_model, transformers_albert, albert_material, lowercase):
    tokenizer = AlbertTokenizer(small_model, reference="transformers", lowercase=lowercase)
    assert tokenizer.tokenize(albert_material).to_list() == transformers_albert(
        small_model, lowercase=lowercase
    ).encode(albert_material)


def test_kept_accents_equal_transformers_on_text_without_stray_marks(small_model, transformers_albert, albert_material):
    # `tokenizers` drops a mark or a joiner after a character that the charsmap rewrites; it is kept here.
    texts = [unicodedata.normalize("NFC", text) for text in albert_material]
    texts = [text for text in texts if not any(unicodedata.category(char)[0] in "MC" for char in text)]
    texts += ["e\u0301te\u0301 E\u0301", "Élève à ŒUVRE"]
    assert len(texts) > 4000
    tokenizer = AlbertTokenizer(small_model, reference="transformers", keep_accents=True)
    assert tokenizer.tokenize(texts).to_list() == transformers_albert(small_model, keep_accents=True).encode(texts)


def test_released_model_equals_google_research(genuine_albert_model, google_albert, albert_material):
    tokenizer = AlbertTokenizer(genuine_albert_model, parse_special_tokens=False)
    assert tokenizer.tokenize(albert_material).to_list() == google_albert(genuine_albert_model).encode(albert_material)


def test_released_model_equals_transformers(genuine_albert_model, transformers_albert, albert_material):
    tokenizer = AlbertTokenizer(genuine_albert_model, reference="transformers")
    assert tokenizer.tokenize(albert_material).to_list() == transformers_albert(genuine_albert_model).encode(
        albert_material
    )


def test_released_model_agrees_with_both_references_on_every_character(
    genuine_albert_model, google_albert, transformers_albert
):
    points = [*range(1, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0000, 0xE0200)]
    texts = [f"ab{chr(point)}cd" for point in points]
    for name, reference in (("google-research", google_albert), ("transformers", transformers_albert)):
        tokenizer = AlbertTokenizer(genuine_albert_model, reference=name)
        ours, expected = tokenizer.tokenize(texts).to_list(), reference(genuine_albert_model).encode(texts)
        assert [hex(point) for point, a, b in zip(points, ours, expected, strict=True) if a != b] == []


def test_released_model_has_its_published_ids(genuine_albert_model):
    tokenizer = AlbertTokenizer(genuine_albert_model)
    assert tokenizer.vocabulary_size() == 30000
    special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert special == [0, 1, 2, 3, 4]
    assert tokenizer.tokenize("HELLO  École").numpy().tolist() == tokenizer.tokenize("hello ecole").numpy().tolist()
    assert tokenizer.id_to_token(tokenizer.tokenize("Hello").numpy()[0]) == "▁hello"


def test_released_model_gives_the_ids_that_transformers_js_expects(genuine_albert_model, golden):
    cases = golden("transformers_js_albert_tokenization.json")["Xenova/albert-base-v2"].values()
    tokenizer = AlbertTokenizer(genuine_albert_model, reference="transformers")
    assert len(cases) > 20
    for case in cases:
        assert tokenizer.tokenize(case["text"]).numpy().tolist() == case["ids"][1:-1], case["text"]  # less CLS, SEP


def test_the_references_differ_in_commas_after_digits_and_in_doubled_quotes(genuine_albert_model):
    def tokens(reference, text):
        tokenizer = AlbertTokenizer(genuine_albert_model, reference=reference)
        return [tokenizer.id_to_token(id) for id in tokenizer.tokenize(text).numpy()]

    assert tokens("google-research", "in 2010, and") == ["▁in", "▁2010", ",", "▁and"]
    assert tokens("transformers", "in 2010, and") == ["▁in", "▁2010,", "▁and"]
    assert tokens("google-research", "x''") == ["▁x", "'", "'"]
    assert tokens("transformers", "x''") == ["▁x", '"']


def test_transformers_own_class_gives_the_same_ids(small_model, albert_material):
    albert = pytest.importorskip("transformers", reason="the extra `parity` is not installed").AlbertTokenizer
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    theirs = albert(
        vocab=[(piece.piece, piece.score) for piece in proto.pieces],
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
    )
    ours = AlbertTokenizer(small_model, reference="transformers")
    assert ours.tokenize(albert_material).to_list() == theirs(albert_material, add_special_tokens=False)["input_ids"]


def test_bpe_model_equals_google_research(sources, google_albert, nasty, make_random_texts):
    model = train_sentencepiece(sources, 1000, model_type="bpe")
    texts = nasty + make_random_texts(1000, seed=3) + sources[0].split("\n")
    tokenizer = AlbertTokenizer(model, parse_special_tokens=False)
    assert tokenizer.tokenize(texts).to_list() == google_albert(model).encode(texts)
    assert AlbertTokenizer(model).tokenize("a [MASK] b").numpy().tolist().count(tokenizer.mask_id) == 1


def test_composed_characters_are_found_in_decomposed_text():
    korean = ["각하 가나다 한국어 말 " * 3, "나라 말 각 한국 " * 4] * 40
    tokenizer = AlbertTokenizer(train_sentencepiece(korean, 60))
    composed, decomposed = "한국 각", unicodedata.normalize("NFD", "한국 각")
    assert composed != decomposed
    assert tokenizer.unk_id not in tokenizer.tokenize(composed).numpy()
    assert tokenizer.tokenize(decomposed).numpy().tolist() == tokenizer.tokenize(composed).numpy().tolist()
    model = train_sentencepiece(["été école élève à " * 4] * 40, 60, keep_accents=True)
    french = AlbertTokenizer(model, keep_accents=True)
    assert french.tokenize("E\u0301te\u0301").numpy().tolist() == french.tokenize("été").numpy().tolist()


# === Special tokens in text ===


def test_special_tokens_in_text_are_words_of_their_own(small_albert):
    def tokens(text):
        return small_albert.tokenize(text).numpy().tolist()

    hello, world, mask = tokens("hello"), tokens("world"), [small_albert.mask_id]
    assert tokens("hello [MASK] world") == tokens("hello[MASK]world") == [*hello, *mask, *world]
    assert tokens("[MASK][MASK]") == mask * 2
    assert tokens("[CLS]hello [SEP]") == [small_albert.cls_id, *hello, small_albert.sep_id]
    assert not set(tokens("[mask] [Cls] <pad>")) & {small_albert.mask_id, small_albert.cls_id, small_albert.pad_id}


def test_special_tokens_are_plain_characters_by_choice(small_model):
    tokenizer = AlbertTokenizer(small_model, parse_special_tokens=False)
    ids = tokenizer.tokenize("[CLS] [SEP] [MASK] <pad>").numpy()
    assert not {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id} & set(ids)


def test_which_tokens_are_special_can_be_chosen(small_model):
    tokenizer = AlbertTokenizer(small_model, special_tokens=["[MASK]", "<pad>"])
    ids = tokenizer.tokenize("[CLS] <pad>[MASK]").numpy().tolist()
    assert ids[-2:] == [tokenizer.pad_id, tokenizer.mask_id]
    assert tokenizer.cls_id not in ids
    with pytest.raises(ValueError, match="a model without <x>"):
        AlbertTokenizer(small_model, special_tokens=["<x>"])


def test_no_character_of_raw_text_can_forge_a_special_token(small_albert):
    forged = "".join(map(chr, [*range(1, 32), *range(0xF0000, 0xF0010), 0xE000, 0x10FFFF]))
    special = {small_albert.cls_id, small_albert.sep_id, small_albert.mask_id, small_albert.pad_id}
    assert not special & set(small_albert.tokenize([forged, *forged]).flat_values.numpy())


# === Offsets ===


def surfaces(tokenizer, text):
    ids, starts, ends = tokenizer.tokenize_with_offsets(text)
    data = text.encode() if isinstance(text, str) else text
    return [
        (tokenizer.id_to_token(id), data[start:end].decode())
        for id, start, end in zip(ids.numpy(), starts.numpy(), ends.numpy(), strict=True)
    ]


@pytest.mark.parametrize("reference", ["google-research", "transformers"])
def test_every_offset_slices_back_to_what_the_piece_was_made_of(small_model, reference, google_albert, albert_material):
    tokenizer = AlbertTokenizer(small_model, reference=reference)
    clean = google_albert(small_model).clean
    # These are white space for one reference only, and vanish in the other.
    texts = [text for text in albert_material if not set(text) & set("\x0b\x1c\x1d\x1e\x1f")]
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    assert ids.to_list() == tokenizer.tokenize(texts).to_list()
    pieces = tokenizer.get_vocabulary()
    parts_of_characters = 0
    for text, *row in zip(texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True):
        data, previous = text.encode(), 0
        for id, start, end in zip(*row, strict=True):
            surface = data[start:end].decode()  # whole characters
            assert previous <= start <= end <= len(data)
            previous = start
            piece = pieces[id].lstrip("▁")
            if pieces[id] in tokenizer.special_tokens and id != tokenizer.unk_id:
                assert surface.lower() == pieces[id].lower()  # <PAD> is one of Transformers'
            elif not piece:
                assert surface == ""
            elif id == tokenizer.unk_id:
                assert surface.strip() == surface != ""
            else:
                made = tokenizer._pieces.normalize(clean(surface)).replace("▁", "")
                quotes = surface[:2] in ("``", "''") and piece == '"'
                parts_of_characters += made != piece
                assert made == piece or quotes or piece in made or made.startswith(piece[-1])
    assert parts_of_characters < 0.03 * ids.flat_values.shape[0]


def test_offsets_follow_text_whose_length_changes_when_it_is_cleaned(genuine_albert_model):
    tokenizer = AlbertTokenizer(genuine_albert_model)
    assert surfaces(tokenizer, "  ÉCOLE ﬁne　ＡＢＣ e\u0301t ") == [
        ("▁ecole", "ÉCOLE"),
        ("▁fine", "ﬁne"),
        ("▁abc", "ＡＢＣ"),
        ("▁et", "e\u0301t"),
    ]
    assert surfaces(tokenizer, "½日x") == [("▁1", "½"), ("<unk>", "½"), ("2", "½"), ("<unk>", "日"), ("x", "x")]
    assert surfaces(tokenizer, "in 2010, (a") == [
        *[("▁in", "in"), ("▁2010", "2010"), (",", ","), ("▁", ""), ("(", "("), ("a", "a")]
    ]
    assert surfaces(tokenizer, "x [MASK]y[SEP] ") == [
        ("▁x", "x"),
        ("[MASK]", "[MASK]"),
        ("▁", ""),
        ("y", "y"),
        ("[SEP]", "[SEP]"),
    ]
    transformers_albert = AlbertTokenizer(genuine_albert_model, reference="transformers")
    assert surfaces(transformers_albert, "``a''") == [("▁", ""), ('"', "``"), ("a", "a"), ('"', "''")]


def test_offsets_equal_those_of_tokenizers_where_these_are_of_one_character_class(small_model, albert_references):
    backend = albert_references.transformers_backend(small_model)
    tokenizer = AlbertTokenizer(small_model, reference="transformers")
    text = "The Quick  brown fox, École 123 [MASK] jumped"
    encoding = backend.encode(text, add_special_tokens=False)
    ids, starts, ends = tokenizer.tokenize_with_offsets(text)
    data = text.encode()
    ours = [(len(data[:a].decode()), len(data[:b].decode())) for a, b in zip(starts.numpy(), ends.numpy(), strict=True)]
    assert ids.numpy().tolist() == encoding.ids
    # A lone "▁" has no characters; there it has those of the next piece.
    assert [span for span in ours if span[0] < span[1]] == [
        span for span, token in zip(encoding.offsets, encoding.tokens, strict=True) if token != "▁"
    ]


def test_a_vocabulary_without_all_its_characters_has_no_offsets(small_model):
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    proto.pieces.add(piece="日本", score=-9.0)
    tokenizer = AlbertTokenizer(proto.SerializeToString())
    assert tokenizer.tokenize("日本").numpy().tolist()[-1] == len(proto.pieces) - 1
    with pytest.raises(ValueError, match="offsets are not defined"):
        tokenizer.tokenize_with_offsets("日本")


# === Vocabulary and text ===


def test_special_ids_are_looked_up_by_piece(small_albert):
    assert small_albert.token_to_id("[MASK]") == small_albert.mask_id
    assert small_albert.id_to_token(small_albert.pad_id) == "<pad>"
    assert small_albert.token_to_id("no such piece") == small_albert.unk_id
    assert len(small_albert.get_vocabulary()) == small_albert.vocabulary_size()
    with pytest.raises(ValueError, match="Expected an id"):
        small_albert.id_to_token(-1)


def test_empty_inputs_give_no_tokens(small_albert):
    assert small_albert.tokenize("").shape == (0,)
    assert small_albert.tokenize(["", "  \n ", "a"]).row_lengths().numpy().tolist() == [0, 0, 1]
    assert small_albert.tokenize([]).to_list() == []
    assert small_albert.detokenize([[], []]).numpy().tolist() == [b"", b""]
    assert small_albert.detokenize(tf.zeros([0, 5], tf.int32)).shape == (0,)


def test_malformed_utf8_and_nul_leave_the_rest_alone(small_albert):
    unknown = small_albert.unk_id
    hello, world = small_albert.tokenize("hello").numpy().tolist(), small_albert.tokenize(" world").numpy().tolist()
    for bad in [b"\xff", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\x00"]:
        ids = small_albert.tokenize(b"hello" + bad + b" world").numpy().tolist()
        assert ids == [*hello, unknown, *world], bad
    # Bytes that only follow in a character vanish where none has begun.
    assert small_albert.tokenize(b"hello\x80\x81 world").numpy().tolist() == [*hello, *world]
    rng = random.Random(0)
    rows = [rng.randbytes(rng.randrange(60)) for _ in range(3000)]
    ids, starts, ends = small_albert.tokenize_with_offsets(rows)
    for text in small_albert.detokenize(ids).numpy():
        text.decode("utf-8")  # valid
    for row, alone in zip(rows[:50], ids.to_list()[:50], strict=True):
        assert small_albert.tokenize(row).numpy().tolist() == alone
    assert np.all(starts.flat_values <= ends.flat_values)
    sizes = np.repeat([len(row) for row in rows], ids.row_lengths())
    assert np.all(ends.flat_values.numpy() <= sizes)


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "Hello World " * 83_000, " " * 1_000_000, "日" * 330_000, "é" * 500_000]
)
def test_a_megabyte_in_one_string_is_an_ordinary_string(small_albert, google_albert, text):
    reference = google_albert(small_albert.proto)
    ours, expected = small_albert.tokenize(text).numpy().tolist(), reference.encode_one(text)
    assert ours == expected


def test_detokenize_takes_ragged_dense_or_one_row_and_drops_padding(small_albert):
    row = small_albert.tokenize("The  Quick fox")
    text = b"the quick fox"
    assert small_albert.detokenize(row).numpy() == text
    assert small_albert.detokenize(row.numpy().tolist()).numpy() == text
    assert small_albert.detokenize(small_albert.tokenize(["The Quick fox", ""])).numpy().tolist() == [text, b""]
    packed = np.array([[small_albert.cls_id, *row.numpy(), small_albert.sep_id, small_albert.pad_id]])
    assert small_albert.detokenize(packed).numpy().tolist() == [text]
    unknown = small_albert.detokenize([[small_albert.unk_id]]).numpy()
    assert small_albert.detokenize([[10**12]]).numpy() == unknown
    assert small_albert.detokenize([[-1]]).numpy() == unknown


def test_eager_tf_function_tf_data_and_reloaded_saved_model_agree(small_albert, nasty, make_random_texts, tmp_path):
    texts = nasty + make_random_texts(300, seed=2)
    eager = small_albert(texts).to_list()
    assert tf.function(small_albert.tokenize)(tf.constant(texts)).to_list() == eager
    dataset = tf.data.Dataset.from_tensor_slices(texts)
    assert [ids.numpy().tolist() for ids in dataset.map(small_albert)] == eager
    assert [row for ids in dataset.batch(64).map(small_albert) for row in ids.to_list()] == eager

    class Server(tf.Module):
        def __init__(self, tokenizer):
            super().__init__()
            self.tokenizer = tokenizer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, text):
            return self.tokenizer.tokenize(text)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def decode(self, ids):
            return self.tokenizer.detokenize(ids)

    tf.saved_model.save(Server(small_albert), str(tmp_path))
    server = tf.saved_model.load(str(tmp_path))
    ids = server.encode(tf.constant(texts))
    assert ids.to_list() == eager
    dense = ids.to_tensor(small_albert.pad_id)
    assert server.decode(dense).numpy().tolist() == small_albert.detokenize(dense).numpy().tolist()
