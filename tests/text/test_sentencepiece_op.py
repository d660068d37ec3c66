"""What would break TF Text's own op: caches that are cleared."""

import keras
import pytest
import tensorflow as tf

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

TEXTS = ["to be or not to be, that is the question"] * 50


def gpt1():
    vocabulary = {token: id for id, token in enumerate(["<unk>", "t</w>", "o</w>", "t", "o", "b", "e</w>", "to</w>"])}
    return GPT1Tokenizer(vocabulary, ["t o</w>"])


@pytest.mark.parametrize(
    "make",
    [
        gpt1,
        lambda: GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 270)),
        lambda: AlbertTokenizer(train_sentencepiece(TEXTS, 30)),
        lambda: AlbertTokenizer(train_sentencepiece(TEXTS, 30, model_type="bpe")),
    ],
    ids=["gpt1", "gpt2", "albert", "albert_bpe"],
)
def test_a_random_seed_does_not_break_a_tokenizer(make, tmp_path):
    tokenizer = make()
    module = tf.Module()
    module.tokenizer = tokenizer
    module.run = tf.function(tokenizer.tokenize_with_offsets, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")

    def results():
        texts = tf.constant(["to be or not", "tobetto"])
        values = [tokenizer.tokenize(texts), *tokenizer.tokenize_with_offsets(texts), *loaded.run(texts)]
        return [value.to_list() for value in values]

    before = results()
    keras.utils.set_random_seed(3)
    assert results() == before


def test_two_vocabularies_stay_apart():
    first, second = (GPT2Tokenizer(*train_byte_level_bpe(texts, 262)) for texts in (["abab"] * 9, ["cdcd"] * 9))
    assert first.tokenize("abab").shape[0] < 4 < 5 > second.tokenize("cdcd").shape[0]
    assert second.tokenize("abab").shape[0] == 4
