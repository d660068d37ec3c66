"""Training vocabularies: the same every time, of the size asked for, and right for our tokenizers."""

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.byte_pair_vocabulary import apply_merges, byte_alphabet
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


def test_sentencepiece_has_alberts_special_pieces_in_alberts_places(small_model):
    model = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    assert [piece.piece for piece in model.pieces[:5]] == ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert len(model.pieces) == 1000
    assert {"(", ")", '"', "-", ".", "–", "£", "€"} <= {piece.piece for piece in model.pieces}


def test_sentencepiece_sees_cleaned_text(small_model):
    model = sentencepiece_model_pb2.ModelProto.FromString(small_model)
    learned = [piece.piece for piece in model.pieces if piece.type == piece.NORMAL]
    assert learned == [piece.lower() for piece in learned]
    cased = sentencepiece.SentencePieceProcessor(
        model_proto=train_sentencepiece(["The Quick Brown Fox"] * 50, 60, lowercase=False)
    )
    assert any(cased.id_to_piece(id).strip("▁")[:1].isupper() for id in range(5, cased.get_piece_size()))


def test_sentencepiece_training_is_deterministic(sources, small_model):
    assert train_sentencepiece(iter(sources), 1000) == small_model


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
