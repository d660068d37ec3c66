"""Training vocabularies: the same every time, of the size asked for, and right for our tokenizers."""

import json
import random
import re
import weakref
from collections import Counter

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text import train_vocabulary
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.byte_pair_vocabulary import apply_merges, byte_alphabet
from albert_gpt_tf.text.charsmap import clean
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece


def test_bpe_vocabulary_has_bytes_then_merges_then_the_special_token(small_bpe):
    vocabulary, merges = small_bpe
    tokens = list(vocabulary)
    assert list(vocabulary.values()) == list(range(1500))
    assert tokens[:256] == list(byte_alphabet())
    assert tokens[256:-1] == [merge.replace(" ", "") for merge in merges]
    assert tokens[-1] == "<|endoftext|>"


def test_bpe_merges_reproduce_every_token(small_bpe):
    vocabulary, merges = small_bpe
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    assert all(apply_merges(token, ranks, below=len(merges)) == [token] for token in list(vocabulary)[:-1])


def test_bpe_merges_are_nearly_those_of_the_tokenizers_trainer(sources, small_bpe):
    tokenizers = pytest.importorskip("tokenizers")
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1499, initial_alphabet=alphabet, show_progress=False)
    other.train_from_iterator(sources, trainer)
    # Pairs of equal count may come in another order, and the last of them miss the vocabulary.
    common = set(other.get_vocab()) & set(small_bpe[0])
    assert len(common) > 0.98 * 1499


def test_bpe_training_is_deterministic_and_independent_of_the_order_of_texts(sources, small_bpe):
    assert train_byte_level_bpe(sources[::-1], 1500) == small_bpe
    assert train_byte_level_bpe(iter(sources), 1500) == small_bpe


def test_bpe_of_little_text_is_smaller_and_still_works():
    for texts in ([], [""], ["a"], ["to be or not to be", "日本語 日本語", "\x00\x00 x"]):
        vocabulary, merges = train_byte_level_bpe(texts, 400)
        assert 257 <= len(vocabulary) == 257 + len(merges) < 400
        tokenizer = GPT2Tokenizer(vocabulary, merges)
        assert tokenizer.detokenize(tokenizer.tokenize("any 😀 text\x00")).numpy() == "any 😀 text\x00".encode()


def test_bpe_of_repetitive_text_equals_the_references_loop():
    texts = ["aaaaaaaa aaaa aaa abababab abaabaaba bbbbaaaabbbb " * 3, "a" * 500, "ab" * 300, "aab" * 200]
    vocabulary, merges = train_byte_level_bpe(texts, 300)
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    tokenizer = GPT2Tokenizer(vocabulary, merges)
    for word in ("a" * 77, "ab" * 31 + "a", "aab" * 13 + "b", "abba" * 9, "bbbaaabbbbaaaa" * 3):
        expected = [vocabulary[token] for token in apply_merges(word, ranks, below=len(merges))]
        assert tokenizer.tokenize(word).numpy().tolist() == expected


def test_bpe_size_below_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 257"):
        train_byte_level_bpe(["a"], 256)


def test_bpe_counts_stay_within_bounds_and_forget_the_rarest_first():
    rng = random.Random(0)
    common = [f"common{letter}" for letter in "abcdefghij"]
    rare = (["".join(rng.choices("klmnopqrst", k=9)) for _ in range(50)] for _ in range(300))
    texts = [" ".join([*common, *words]) for words in rare]
    limit = 200 * (train_vocabulary._BYTES_A_PIECE + 10)
    counts = train_vocabulary._count_pieces(iter(texts), limit)
    assert sum(len(piece) + train_vocabulary._BYTES_A_PIECE for piece in counts) <= limit
    unlimited = train_vocabulary._count_pieces(iter(texts))
    assert len(unlimited) > 5000
    assert all(counts[b" " + word.encode()] == unlimited[b" " + word.encode()] == 300 for word in common[1:])
    assert train_vocabulary._count_pieces(iter(texts), limit) == counts


def test_bpe_counts_are_those_of_the_pattern(sources):
    tokenizers = pytest.importorskip("tokenizers")
    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    expected = Counter(piece for text in sources[:5] for piece, _ in splitter.pre_tokenize_str(text))
    alphabet = {byte: char for char, byte in byte_alphabet().items()}
    counts = train_vocabulary._count_pieces(iter(sources[:5]))
    assert {"".join(alphabet[byte] for byte in piece): number for piece, number in counts.items()} == expected


def test_bpe_vocabulary_gives_the_same_ids_in_tokenizers(small_bpe, small_gpt2, nasty, make_random_texts, sources):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary, merges = small_bpe
    pairs = [tuple(merge.split(" ")) for merge in merges]
    other = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    # Letters that Unicode has added of late are letters to one of the two only.
    texts = [text for text in nasty + make_random_texts(1500, seed=1)[1::3] + sources[:10] if text.isascii()]
    expected = [encoding.ids for encoding in other.encode_batch(texts, add_special_tokens=False)]
    assert small_gpt2.tokenize(texts).to_list() == expected


def test_bpe_vocabulary_gives_the_same_ids_in_transformers(small_bpe, small_gpt2, sources, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary, merges = small_bpe
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    other = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    texts = sources[:10]
    assert small_gpt2.tokenize(texts).to_list() == other(texts, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def sentencepiece_bpe(sources):
    return train_sentencepiece(sources, 1000, model_type="bpe")


@pytest.mark.parametrize("model", ["small_model", "sentencepiece_bpe"])
def test_sentencepiece_has_alberts_special_pieces_in_alberts_places(model, request):
    model = sentencepiece_model_pb2.ModelProto.FromString(request.getfixturevalue(model))
    assert [piece.piece for piece in model.pieces[:5]] == ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    types = [model.SentencePiece.Type.Name(piece.type) for piece in model.pieces[:5]]
    assert types == ["CONTROL", "UNKNOWN", "CONTROL", "CONTROL", "CONTROL"]
    assert len(model.pieces) == 1000
    symbols = {piece.piece for piece in model.pieces if piece.type == piece.USER_DEFINED}
    assert symbols == {"(", ")", '"', "-", ".", "–", "£", "€"}
    assert model.normalizer_spec.name == "nmt_nfkc"
    assert model.normalizer_spec.normalization_rule_tsv == ""


def test_sentencepiece_has_the_options_of_the_released_model(genuine_albert_model, small_model):
    released = sentencepiece_model_pb2.ModelProto.FromString(genuine_albert_model)
    ours = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    for name in ("name", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        assert getattr(ours.normalizer_spec, name) == getattr(released.normalizer_spec, name)
    for name in (
        "model_type",
        "character_coverage",
        "max_sentencepiece_length",
        "pad_id",
        "unk_id",
        "bos_id",
        "eos_id",
    ):
        assert getattr(ours.trainer_spec, name) == getattr(released.trainer_spec, name)
    assert list(ours.trainer_spec.control_symbols) == list(released.trainer_spec.control_symbols)
    assert list(ours.trainer_spec.user_defined_symbols) == list(released.trainer_spec.user_defined_symbols)
    assert [piece.type for piece in ours.pieces[:13]] == [piece.type for piece in released.pieces[:13]]


@pytest.mark.parametrize("model", ["small_model", "sentencepiece_bpe"])
def test_sentencepiece_sees_cleaned_text(model, request):
    model = sentencepiece_model_pb2.ModelProto.FromString(request.getfixturevalue(model))
    learned = [piece.piece for piece in model.pieces if piece.type == piece.NORMAL]
    assert learned == [piece.lower() for piece in learned]


def test_cased_sentencepiece_keeps_capitals_and_drops_accents():
    cased = sentencepiece.SentencePieceProcessor(
        model_proto=train_sentencepiece(["The Quick Brown Fox, naïve Élan"] * 50, 60, lowercase=False)
    )
    pieces = [cased.id_to_piece(id) for id in range(5, cased.get_piece_size())]
    characters = set("".join(pieces))
    assert {"T", "Q", "E"} <= characters and not {"ï", "É"} & characters


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_sentencepiece_training_is_deterministic(sources, model_type, request):
    model = request.getfixturevalue({"unigram": "small_model", "bpe": "sentencepiece_bpe"}[model_type])
    assert train_sentencepiece(iter(sources), 1000, model_type=model_type) == model


def test_sentencepiece_training_on_a_sample_is_deterministic_and_reads_once(sources):
    def read():
        for number, text in enumerate(sources):
            served.append(number)
            yield text

    models = []
    for _ in range(2):
        served = []
        models.append(train_sentencepiece(read(), 300, sample_characters=50_000))
        assert served == list(range(len(sources)))
    assert models[0] == models[1]
    assert models[0] != train_sentencepiece(sources, 300)


def test_a_sample_never_holds_more_than_its_characters():
    class Line(str):
        """A str that can be counted while it lives."""

    alive = weakref.WeakValueDictionary()
    most_lines, most_characters = 0, 0

    def lines():
        nonlocal most_lines, most_characters
        rng = random.Random(0)
        for number in range(20_000):
            line = Line("x" * rng.choice((1, 5, 60, 200)))
            alive[number] = line
            yield line
            most_lines = max(most_lines, len(alive))
            most_characters = max(most_characters, sum(map(len, alive.values())))

    kept = train_vocabulary._sample(lines(), 2000)
    assert 1500 < sum(max(len(line), train_vocabulary._LEAST_CHARACTERS) for line in kept) <= 2000
    assert most_characters <= 2000 + 2 * 200  # and the line that comes, and the one before it
    assert most_lines <= 2000 // train_vocabulary._LEAST_CHARACTERS + 2


def test_a_sample_is_spread_evenly_and_keeps_the_order():
    lines = [f"{number:05d} {'even' if number % 2 == 0 else 'odd'} and some more text" for number in range(20_000)]
    kept = train_vocabulary._sample(iter(lines), 60_000)
    assert kept == sorted(kept) and len(set(kept)) == len(kept) > 1500
    even = sum("even" in line for line in kept)
    assert abs(even / len(kept) - 0.5) < 0.05
    for tenth in range(10):
        count = sum(int(line[:5]) // 2000 == tenth for line in kept)
        assert abs(count / len(kept) - 0.1) < 0.03
    assert train_vocabulary._sample(iter(lines), 10**7) == lines
    assert len(train_vocabulary._sample(iter(lines), 1)) == 1


def test_long_lines_are_cut_at_blanks_and_lose_nothing():
    for line in ("word " * 1000, "x" * 5000, "", "y" * 3000 + " z" * 2000, "短い" * 3000):
        parts = list(train_vocabulary._cut(line))
        assert "".join(parts) == line
        assert all(len(part.encode()) <= train_vocabulary.MAX_LINE_BYTES for part in parts)
    assert all(
        part.strip("word ") == "" and part.split()[-1] == "word" for part in train_vocabulary._cut("word " * 999)
    )


# Text for which tokenizers around SentencePiece may have rules of their own: doubled quotation marks, names of special
# tokens, a comma after a digit.
NOT_PLAIN = re.compile(r"``|''|\[[A-Z]+\]|<\w+>|\d,")


def assert_nearly_same_ids(ours, expected, reference):
    """Equal ids, but for splits of one score, of which either is right."""
    different = [(a, b) for a, b in zip(ours, expected, strict=True) if a != b]
    assert len(different) <= 2e-3 * len(ours)
    for a, b in different:
        scores = [sum(map(reference.get_score, ids)) for ids in (a, b)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_sentencepiece_gives_the_same_ids_in_our_tokenizer(small_model, small_albert, sources):
    reference = sentencepiece.SentencePieceProcessor(model_proto=small_model)
    lines = [line for text in sources for line in text.splitlines() if not NOT_PLAIN.search(line)][:3000]
    expected = reference.encode([clean(line) for line in lines])
    assert_nearly_same_ids(small_albert.tokenize(lines).to_list(), expected, reference)


def test_sentencepiece_gives_the_same_ids_in_tokenizers(small_model, sources):
    tokenizers = pytest.importorskip("tokenizers")
    reference = sentencepiece.SentencePieceProcessor(model_proto=small_model)
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    other = tokenizers.Tokenizer(
        tokenizers.models.Unigram([(piece.piece, piece.score) for piece in proto.pieces], unk_id=1)
    )
    other.normalizer = tokenizers.normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    other.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    lines = list(filter(None, (clean(line) for text in sources for line in text.splitlines())))[:3000]
    ours = [encoding.ids for encoding in other.encode_batch(lines, add_special_tokens=False)]
    assert_nearly_same_ids(ours, reference.encode(lines), reference)


def test_sentencepiece_gives_the_same_ids_in_transformers(small_model, sources, tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "spiece.model").write_bytes(small_model)
    reference = sentencepiece.SentencePieceProcessor(model_proto=small_model)
    lines = [line for text in sources for line in text.splitlines() if not NOT_PLAIN.search(line)][:3000]
    proto = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    from_pieces = transformers.AlbertTokenizer(vocab=[(piece.piece, piece.score) for piece in proto.pieces])
    ours = from_pieces(lines, add_special_tokens=False)["input_ids"]
    assert_nearly_same_ids(ours, reference.encode([clean(line) for line in lines]), reference)
    # When it reads the file itself it cuts texts at the user-defined symbols, in the released model as in ours, and
    # puts blanks there; between them it agrees.
    from_file = transformers.AlbertTokenizer.from_pretrained(tmp_path)
    parts = [part for line in lines for part in re.split(r"[()\".–£€-]", line)]
    ours = from_file(parts, add_special_tokens=False)["input_ids"]
    assert_nearly_same_ids(ours, reference.encode([clean(part) for part in parts]), reference)


def test_sentencepiece_bpe_encodes_and_decodes(sentencepiece_bpe):
    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_bpe)
    ids = processor.encode("import the name of the module")
    assert processor.decode(ids) == "import the name of the module"
    assert len(ids) < 15


def test_sentencepiece_of_little_text_or_one_long_line_works():
    tokenizer = AlbertTokenizer(train_sentencepiece(["To be or not to be"], 400))
    assert tokenizer.detokenize(tokenizer.tokenize("NOT to be")).numpy() == b"not to be"
    tokenizer = AlbertTokenizer(train_sentencepiece(["one long line " * 10_000], 60))
    assert tokenizer.detokenize(tokenizer.tokenize("One line")).numpy() == b"one line"


def test_sentencepiece_without_text_or_with_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="Expected texts"):
        train_sentencepiece(["", "  \n"], 100)
    with pytest.raises(ValueError, match="Expected a vocabulary_size that suits the text"):
        train_sentencepiece(["to be or not to be"], 10)
    with pytest.raises(ValueError, match="Expected 'unigram' or 'bpe'"):
        train_sentencepiece(["to be"], 100, model_type="word")
    with pytest.raises(ValueError, match="sample_characters=0"):
        train_sentencepiece(["to be"], 100, sample_characters=0)


def test_sentencepiece_of_odd_text_works():
    texts = ["\x00\x00 nul", "\u0301", "\ufdfa" * 900, "\U0010ffff \u2581 \u2585x", "to be\tor\x85not\u2028to be"]
    for model_type in ("unigram", "bpe"):
        model = train_sentencepiece([*texts, "plain words"] * 5, 200, model_type=model_type)
        assert sentencepiece.SentencePieceProcessor(model_proto=model).encode("to be")
    with pytest.raises(ValueError, match="no text but white space"):
        train_sentencepiece(["\u0301\u0300"], 100)
