"""What Hugging Face directories say of a WordPieceTokenizer, and which of them are refused."""

import json

import pytest

from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

tokenizers = pytest.importorskip("tokenizers")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def pieces():
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789éÉ日本語"
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *"[](),.'-", "the", "qu", "##ick"]


def reference(pieces, lowercase=True):
    """The `tokenizers` pipeline that Transformers 5 builds for BertTokenizer."""
    model = tokenizers.models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([tokenizers.AddedToken(piece, normalized=False, special=True) for piece in SPECIAL])
    return tokenizer


def save_tokenizer_json(folder, pieces, change=lambda content: None):
    content = json.loads(reference(pieces).to_str())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("in_config", [True, False, None])
@pytest.mark.parametrize("in_json", [True, False, None])
def test_hugging_face_directories_say_whether_to_lower_case(pieces, nasty, tmp_path, in_json, in_config):
    if in_json is None:
        (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    else:
        save_tokenizer_json(tmp_path, pieces, lambda content: content["normalizer"].update(lowercase=in_json))
    if in_config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": in_config, "strip_accents": None}))
    tokenizer = WordPieceTokenizer.from_preset(tmp_path)
    expected = in_config if in_config is not None else in_json if in_json is not None else True
    assert tokenizer.lowercase == expected
    encodings = reference(pieces, lowercase=expected).encode_batch(nasty, add_special_tokens=False)
    assert tokenizer.tokenize(nasty).to_list() == [encoding.ids for encoding in encodings]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["normalizer"].update(strip_accents=False), "strip_accents=True"),
        (lambda c: c["normalizer"].update(handle_chinese_chars=False), "handle_chinese_chars=True"),
        (lambda c: c.update(normalizer={"type": "NFC"}), "normalizer='BertNormalizer'"),
        (lambda c: c.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer='BertPreTokenizer'"),
        (lambda c: c["model"].update(max_input_chars_per_word=50), "max_input_chars_per_word=100"),
        (lambda c: c["model"].update(unk_token="<unk>"), "unk_token="),
        (lambda c: c["added_tokens"].append({"id": 1500, "content": "[NEW]"}), "no added tokens but"),
        (lambda c: c["model"]["vocab"].update(new=5000), "each once"),
    ],
)
def test_a_tokenizer_json_with_other_rules_is_refused_in_one_sentence(pieces, tmp_path, change, message):
    save_tokenizer_json(tmp_path, pieces, change)
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.from_preset(tmp_path)


def test_a_tokenizer_config_with_other_rules_is_refused(pieces, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    with pytest.raises(ValueError, match="strip_accents=True"):
        WordPieceTokenizer.from_preset(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenize_chinese_chars": false}')
    with pytest.raises(ValueError, match="tokenize_chinese_chars=True"):
        WordPieceTokenizer.from_preset(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match="Expected JSON"):
        WordPieceTokenizer.from_preset(tmp_path)
