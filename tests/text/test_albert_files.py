"""Where AlbertTokenizer comes from: presets, google-research's directories, Hugging Face's, and what is refused."""

import io
import json
import re

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer


def test_preset_round_trip_stores_the_model_as_it_was_given_beside_a_small_config(small_model, nasty, tmp_path):
    tokenizer = AlbertTokenizer(small_model, reference="transformers", parse_special_tokens=False)
    tokenizer.save_to_preset(str(tmp_path))
    config = json.loads((tmp_path / "tokenizer.json").read_text())["config"]
    assert (config["reference"], config["lowercase"], config["parse_special_tokens"]) == ("transformers", True, False)
    assert "proto" not in config
    saved = tmp_path / "assets/tokenizer/spiece.model"
    assert saved.read_bytes() == small_model
    loaded = AlbertTokenizer.from_preset(str(tmp_path))
    assert loaded.tokenize(nasty).to_list() == tokenizer.tokenize(nasty).to_list()
    assert loaded.reference == "transformers"
    plain = AlbertTokenizer.from_preset(saved.parent)  # vocabulary file only
    assert plain.reference == "google-research"
    assert plain.tokenize(nasty).to_list() == AlbertTokenizer(small_model).tokenize(nasty).to_list()


def test_preset_of_a_cased_tokenizer_stays_cased(small_model, tmp_path):
    AlbertTokenizer(small_model, lowercase=False, keep_accents=True).save_to_preset(str(tmp_path))
    loaded = AlbertTokenizer.from_preset(tmp_path)
    assert (loaded.lowercase, loaded.keep_accents) == (False, True)


def test_google_research_directory_brings_its_reference(small_model, tmp_path):
    (tmp_path / "30k-clean.model").write_bytes(small_model)
    (tmp_path / "albert_config.json").write_text("{}")
    assert AlbertTokenizer.from_preset(tmp_path).reference == "google-research"
    assert AlbertTokenizer.from_preset(tmp_path, reference="transformers").reference == "transformers"


def test_hugging_face_directory_without_a_tokenizer_json_brings_its_reference(small_model, tmp_path):
    (tmp_path / "spiece.model").write_bytes(small_model)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "keep_accents": true}')
    tokenizer = AlbertTokenizer.from_preset(tmp_path)
    assert (tokenizer.reference, tokenizer.lowercase, tokenizer.keep_accents) == ("transformers", False, True)
    assert AlbertTokenizer.from_preset(tmp_path, lowercase=True).lowercase
    assert AlbertTokenizer.from_preset(tmp_path, reference="google-research").reference == "google-research"


def test_hugging_face_tokenizer_json_brings_its_scores_and_special_tokens(
    small_model, albert_references, albert_material, google_albert, tmp_path
):
    # Transformers' converter lowers the scores of pieces that end in a comma after a digit.
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    scores = [(p.piece, p.score - 100 * bool(re.search("[0-9],$", p.piece))) for p in proto.pieces]
    scores.append(("▁2010,", -105.0))
    scores.append(("▁2010", -6.0))
    backend = albert_references.transformers_backend(small_model, scores=scores)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = AlbertTokenizer.from_preset(tmp_path)
    assert tokenizer.reference == "transformers"
    assert set(tokenizer.special_tokens) == set(albert_references.SPECIAL)
    texts = [*albert_material, "in 2010, 2010 and"]
    expected = [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
    assert tokenizer.tokenize(texts).to_list() == expected
    # Asked for google-research's ids, the scores are as before.
    other = AlbertTokenizer.from_preset(tmp_path, reference="google-research")
    assert [other.id_to_token(id) for id in other.tokenize("2010, x").numpy()[:2]] == ["▁2010", ","]
    texts = [text for text in albert_material if "2010" not in text and "[" not in text]
    assert other.tokenize(texts).to_list() == google_albert(small_model).encode(texts)


def test_added_tokens_of_a_tokenizer_json_are_words_of_their_own(small_model, albert_references, nasty, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    backend = albert_references.transformers_backend(small_model)
    # Transformers 5 adds the user-defined symbols of a spiece.model in this way.
    backend.add_tokens([tokenizers.AddedToken(symbol, normalized=False) for symbol in '().-"'])
    backend.save(str(tmp_path / "tokenizer.json"))
    texts = [*nasty, "U.S. (the) mother-in-law"]
    expected = [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
    assert AlbertTokenizer.from_preset(tmp_path).tokenize(texts).to_list() == expected


def test_tokenizer_json_of_another_model_is_refused(small_model, albert_references, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    backend = albert_references.transformers_backend(small_model)
    backend.normalizer = tokenizers.normalizers.NFC()
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="Expected ALBERT's steps"):
        AlbertTokenizer.from_preset(tmp_path)
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="Expected a Unigram model"):
        AlbertTokenizer.from_preset(tmp_path)


def test_bad_models_and_sources_are_refused_in_one_sentence(small_model, tmp_path):
    with pytest.raises(ValueError, match="serialized SentencePiece model"):
        AlbertTokenizer(b"no model")
    with pytest.raises(ValueError, match="which is not a file"):
        AlbertTokenizer(str(tmp_path / "spiece.model"))
    with pytest.raises(ValueError, match="Expected reference to be one of"):
        AlbertTokenizer(small_model, reference="google")
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
    for kind, message in (("char", "type UNIGRAM or BPE"), ("unigram", r"without <pad>, \[CLS\]")):
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
