"""GPTCausalLMPreprocessor: how texts begin and end with each tokenizer, and language models on all of them."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM, GPTCausalLMPreprocessor
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

PIECES = ["[PAD]", "a", "[UNK]", "[CLS]", "fox", "[SEP]", "[MASK]", "runs", "##ing", "天", "气"]
GPT1_VOCABULARY = {"a</w>": 0, "<unk>": 1, "h": 2, "i": 3, "h</w>": 4, "i</w>": 5, "hi</w>": 6}


@pytest.fixture(scope="module")
def tokenizers(gpt_tokenizer):
    return {
        "gpt2": gpt_tokenizer,
        "gpt1": GPT1Tokenizer(GPT1_VOCABULARY, ["h i</w>"]),
        "wordpiece": WordPieceTokenizer(PIECES),
    }


@pytest.fixture(scope="module")
def make_task(tokenizers):
    """The function (name of a tokenizer) -> a tiny language model with it, the same at every call."""

    def make(name):
        tokenizer = tokenizers[name]
        random.seed(3)  # of the initializers; TensorFlow has no part in it
        backbone = GPTBackbone(tokenizer.vocabulary_size(), 2, 2, 16, max_sequence_length=16, initializer_range=0.5)
        return GPTCausalLM(backbone, tokenizer=tokenizer)

    return make


def pack(preprocessor, texts):
    inputs, targets, weights = preprocessor(texts)
    return inputs["token_ids"].numpy().tolist(), targets.numpy().tolist(), weights.numpy().tolist()


def test_the_ids_that_begin_end_and_pad_are_the_tokenizers(tokenizers, gpt_tokenizer):
    end = gpt_tokenizer.end_of_text_id
    expected = {"gpt2": (end, end, end), "gpt1": (None, None, 1), "wordpiece": (3, 5, 0)}
    for name, ids in expected.items():
        preprocessor = GPTCausalLMPreprocessor(tokenizers[name])
        assert (preprocessor.start_id, preprocessor.end_id, preprocessor.pad_id) == ids, name


def test_wordpiece_texts_stand_between_cls_and_sep(tokenizers):
    preprocessor = GPTCausalLMPreprocessor(tokenizers["wordpiece"], sequence_length=5)
    ids, targets, weights = pack(preprocessor, ["a fox", "天气", ""])
    assert ids == [[3, 1, 4, 5, 0], [3, 9, 10, 5, 0], [3, 5, 0, 0, 0]]
    assert targets == [[1, 4, 5, 0, 0], [9, 10, 5, 0, 0], [5, 0, 0, 0, 0]]
    assert weights == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    preprocessor = GPTCausalLMPreprocessor(tokenizers["wordpiece"], sequence_length=3, add_start_token=False)
    assert pack(preprocessor, ["a fox"]) == ([[1, 4, 5]], [[4, 5, 0]], [[1, 1, 0]])


@pytest.mark.parametrize("add_start_token", [True, False])
def test_gpt1_texts_have_neither_begin_nor_end(add_start_token, tokenizers):
    preprocessor = GPTCausalLMPreprocessor(tokenizers["gpt1"], sequence_length=4, add_start_token=add_start_token)
    ids, targets, weights = pack(preprocessor, ["a hi hi", "a", ""])
    assert ids == [[0, 6, 6, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    assert targets == [[6, 6, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert weights == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # the first token is only read


TEXTS = {"gpt2": ["Return the", "", "a"], "gpt1": ["a hi", "", "hi hi a"], "wordpiece": ["a fox", "", "天气 runs"]}


@pytest.mark.parametrize("name", TEXTS)
def test_every_tokenizer_trains_generates_and_scores(name, make_task, tokenizers):
    task, tokenizer = make_task(name), tokenizers[name]
    preprocessor = task.preprocessor
    task.compile(keras.optimizers.SGD(0.01))
    assert np.isfinite(task.fit(TEXTS[name], verbose=0).history["loss"]).all()
    answers = task.generate(TEXTS[name], max_new_tokens=4)
    scores = task.score(TEXTS[name])
    for row, text in enumerate(TEXTS[name]):
        # The naive loop, up to the end.
        own = tokenizer.tokenize(text).numpy().tolist()
        start = [] if preprocessor.start_id is None else [preprocessor.start_id]
        ids = [*start, *own] or [preprocessor.pad_id]
        new = []
        for _ in range(4):
            inputs = {"token_ids": np.array([ids + new]), "padding_mask": np.ones((1, len(ids + new)), bool)}
            new.append(int(tf.argmax(task(inputs)[0, -1])))
        new = new[: new.index(preprocessor.end_id)] if preprocessor.end_id in new else new
        assert answers[row] == tokenizer.detokenize(tf.constant(new, tf.int32)).numpy().decode()
        assert scores["token_count"][row] == max(len(start) + len(own) - 1, 0)
    assert all(np.isfinite(scores["log_likelihood"]))


@pytest.mark.parametrize("name", TEXTS)
def test_text_bytes_are_there_with_every_tokenizer(name, make_task):
    task, rows = make_task(name), tf.ones([1])
    none = tf.constant([0])
    answer = task.answer(tf.constant(TEXTS[name][:1]), tf.constant([4]), 0 * rows, none, rows, rows, none)
    text = answer["text_bytes"].numpy()[0].decode("utf-8", "replace")
    assert text == answer["text"].numpy()[0].decode()


@pytest.mark.parametrize("load", [GPTCausalLM.from_preset, load_task])
@pytest.mark.parametrize("name", TEXTS)
def test_a_preset_comes_back_with_its_tokenizer(name, load, make_task, tokenizers, tmp_path):
    task = make_task(name)
    task.save_to_preset(str(tmp_path / "preset"))
    again = load(str(tmp_path / "preset"))
    assert type(again.preprocessor.tokenizer) is type(tokenizers[name])
    assert again.preprocessor.end_id == task.preprocessor.end_id
    assert again.preprocessor.start_id == task.preprocessor.start_id
    assert again.generate(TEXTS[name], max_new_tokens=4) == task.generate(TEXTS[name], max_new_tokens=4)
    preprocessor = GPTCausalLMPreprocessor.from_preset(str(tmp_path / "preset"))
    assert pack(preprocessor, TEXTS[name]) == pack(task.preprocessor, TEXTS[name])
