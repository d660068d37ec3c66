"""AlbertTokenizer, one op on raw text, against sentencepiece on text cleaned in Python."""

import io
import json
import random
import unicodedata

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from albert_gpt_tf.text import charsmap
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece


def clean(text):
    """google-research/albert, `preprocess_text`, written down once more."""
    text = unicodedata.normalize("NFKD", " ".join(text.strip().split()))
    return "".join(char for char in text if not unicodedata.combining(char)).lower()


@pytest.fixture(scope="module")
def unfolded_model(sources):
    """A model whose own charsmap is nmt_nfkc, like the released one."""
    return train_sentencepiece([clean(line) for text in sources for line in text.split("\n")], 1000, lowercase=False)


def assert_same_ids(reference, ours, expected):
    """Equal ids. Two splits of one score are both right ("c|cc", "cc|c"): rounding decides which is found."""

    def score_and_text(ids):
        return round(sum(map(reference.get_score, ids)), 3), "".join(map(reference.id_to_piece, ids))

    different = [(a, b) for a, b in zip(ours, expected, strict=True) if a != b]
    assert [score_and_text(a) for a, _ in different] == [score_and_text(b) for _, b in different]
    assert len(different) <= 1e-3 * len(ours)


def assert_equals_reference(model, texts):
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    expected = reference.encode([clean(text) for text in texts])
    assert_same_ids(reference, AlbertTokenizer(model).tokenize(texts).to_list(), expected)


def corpus_and_random(nasty, make_random_texts, sources):
    lines = [line for text in sources for line in text.split("\n")][:4000]
    return nasty + make_random_texts(4000, seed=0) + lines


def test_folded_model_on_raw_text_equals_reference_on_cleaned_text(unfolded_model, nasty, make_random_texts, sources):
    assert_equals_reference(unfolded_model, corpus_and_random(nasty, make_random_texts, sources))


def test_genuine_model_on_raw_text_equals_reference_on_cleaned_text(
    genuine_albert_model, nasty, make_random_texts, sources
):
    assert_equals_reference(genuine_albert_model, corpus_and_random(nasty, make_random_texts, sources))


def test_genuine_model_agrees_on_every_basic_plane_character(genuine_albert_model):
    points = [point for point in range(1, 0x10000) if not 0xD800 <= point < 0xE000]
    assert_equals_reference(genuine_albert_model, [f"ab{chr(point)}cd" for point in points])


def test_genuine_model_has_its_published_ids(genuine_albert_model):
    tokenizer = AlbertTokenizer(genuine_albert_model)
    assert tokenizer.vocabulary_size() == 30000
    special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert special == [0, 1, 2, 3, 4]
    assert tokenizer.tokenize("HELLO  École").numpy().tolist() == tokenizer.tokenize("hello ecole").numpy().tolist()
    assert tokenizer.id_to_token(tokenizer.tokenize("Hello").numpy()[0]) == "▁hello"


def test_trained_model_is_folded_and_equals_reference_with_the_same_normaliser(small_model, nasty, make_random_texts):
    assert charsmap.is_folded(small_model)
    texts = nasty + make_random_texts(2000, seed=4)
    reference = sentencepiece.SentencePieceProcessor(model_proto=small_model)
    assert_same_ids(reference, AlbertTokenizer(small_model).tokenize(texts).to_list(), reference.encode(texts))


def test_a_folded_model_is_not_folded_again(small_model, unfolded_model):
    assert charsmap.fold(small_model) is small_model
    folded = AlbertTokenizer(unfolded_model).proto
    assert folded != unfolded_model
    assert AlbertTokenizer(folded).proto == folded


def test_cased_model_is_used_as_it_is(unfolded_model):
    tokenizer = AlbertTokenizer(unfolded_model, lowercase=False)
    assert tokenizer.proto == unfolded_model
    assert tokenizer.unk_id in tokenizer.tokenize("QÀ").numpy()
    assert tokenizer.unk_id not in AlbertTokenizer(unfolded_model).tokenize("QÀ").numpy()


def test_special_ids_are_looked_up_by_piece(small_albert):
    assert small_albert.token_to_id("[MASK]") == small_albert.mask_id
    assert small_albert.id_to_token(small_albert.pad_id) == "<pad>"
    assert small_albert.token_to_id("no such piece") == small_albert.unk_id
    assert len(small_albert.get_vocabulary()) == small_albert.vocabulary_size()
    with pytest.raises(ValueError, match="Expected an id"):
        small_albert.id_to_token(-1)


def test_special_tokens_typed_in_the_text_are_plain_characters(small_albert):
    ids = small_albert.tokenize("[CLS] [SEP] [MASK] <pad>").numpy()
    special = [small_albert.cls_id, small_albert.sep_id, small_albert.mask_id, small_albert.pad_id]
    assert not set(special) & set(ids)


def test_empty_inputs_give_no_tokens(small_albert):
    assert small_albert.tokenize("").shape == (0,)
    assert small_albert.tokenize(["", "  \n ", "a"]).row_lengths().numpy().tolist() == [0, 0, 1]
    assert small_albert.tokenize([]).to_list() == []
    assert small_albert.detokenize([[], []]).numpy().tolist() == [b"", b""]
    assert small_albert.detokenize(tf.zeros([0, 5], tf.int32)).shape == (0,)


def test_malformed_utf8_and_nul_become_unknown_and_leave_the_rest_alone(small_albert):
    unknown = small_albert.unk_id
    hello, world = small_albert.tokenize("hello").numpy().tolist(), small_albert.tokenize(" world").numpy().tolist()
    for bad in [b"\xff", b"\xf0\x9f", b"\xed\xa0\x80", b"\xc0\x80", b"\x80\x81\x82", b"\xf5\x80\x80\x80", b"\x00"]:
        ids = small_albert.tokenize(b"hello" + bad + b" world").numpy().tolist()
        assert ids == [*hello, unknown, *world], bad
    rng = random.Random(0)
    rows = [rng.randbytes(rng.randrange(60)) for _ in range(3000)]
    ids = small_albert.tokenize(rows)
    for text in small_albert.detokenize(ids).numpy():
        text.decode("utf-8")  # valid
    for row, alone in zip(rows[:50], ids.to_list()[:50], strict=True):
        assert small_albert.tokenize(row).numpy().tolist() == alone


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "Hello World " * 83_000, " " * 1_000_000, "日" * 330_000, "é" * 500_000]
)
def test_a_megabyte_in_one_string_is_an_ordinary_string(small_albert, text):
    reference = sentencepiece.SentencePieceProcessor(model_proto=small_albert.proto)
    ours, expected = small_albert.tokenize(text).numpy().tolist(), reference.encode(text)
    assert len(ours) == len(expected)
    assert reference.decode(ours) == reference.decode(expected)


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


def test_preset_round_trip_stores_the_folded_model_beside_a_small_config(unfolded_model, nasty, tmp_path):
    tokenizer = AlbertTokenizer(unfolded_model)
    tokenizer.save_to_preset(str(tmp_path))
    config = json.loads((tmp_path / "tokenizer.json").read_text())
    assert config["config"]["lowercase"] is True
    assert "proto" not in config["config"]
    saved = tmp_path / "assets/tokenizer/spiece.model"
    assert charsmap.is_folded(saved.read_bytes())
    loaded = AlbertTokenizer.from_preset(str(tmp_path))
    assert loaded.tokenize(nasty).to_list() == tokenizer.tokenize(nasty).to_list()
    plain = AlbertTokenizer.from_preset(saved.parent)  # vocabulary file only
    assert plain.tokenize(nasty).to_list() == tokenizer.tokenize(nasty).to_list()


def test_preset_of_a_cased_tokenizer_stays_cased(unfolded_model, tmp_path):
    AlbertTokenizer(unfolded_model, lowercase=False).save_to_preset(str(tmp_path))
    loaded = AlbertTokenizer.from_preset(tmp_path)
    assert not loaded.lowercase
    assert loaded.proto == unfolded_model


def test_bad_models_and_sources_are_refused_in_one_sentence(small_model, tmp_path):
    with pytest.raises(ValueError, match="serialized SentencePiece model"):
        AlbertTokenizer(b"no model")
    with pytest.raises(ValueError, match="which is not a file"):
        AlbertTokenizer(str(tmp_path / "spiece.model"))
    with pytest.raises(ValueError, match="lowercase=False"):
        AlbertTokenizer(small_model, lowercase=False)
    with pytest.raises(ValueError, match="with a vocabulary"):
        AlbertTokenizer().tokenize("a")
    with pytest.raises(ValueError, match="does not exist"):
        AlbertTokenizer.from_preset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"spiece\.model"):
        AlbertTokenizer.from_preset(tmp_path)
    AlbertTokenizer(small_model).save_to_preset(str(tmp_path))
    (tmp_path / "assets/tokenizer/spiece.model").unlink()
    with pytest.raises(ValueError, match="Copy the whole preset directory"):
        AlbertTokenizer.from_preset(tmp_path)


def test_models_of_another_kind_or_without_special_pieces_are_refused():
    for kind, message in (("bpe", "type UNIGRAM"), ("unigram", r"without <pad>, \[CLS\]")):
        trained = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["to be or not to be"] * 9),
            model_writer=trained,
            model_type=kind,
            vocab_size=18,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        with pytest.raises(ValueError, match=message):
            AlbertTokenizer(trained.getvalue())
