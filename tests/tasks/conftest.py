"""Texts that every machine has, vocabularies trained on them once, and tiny tasks."""

import importlib
import inspect

import keras
import numpy as np
import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

LIBRARY = ("argparse", "ast", "collections", "datetime", "email.message", "inspect", "logging", "pathlib", "random",
           "shutil", "statistics", "string", "tarfile", "textwrap", "threading", "unittest", "zipfile")  # fmt: skip
LABELS = ["class", "function", "module"]


def collect_docstrings() -> list[str]:
    texts = []
    for name in LIBRARY:
        module = importlib.import_module(name)
        for _, member in sorted(inspect.getmembers(module, lambda m: inspect.isclass(m) or inspect.isfunction(m))):
            if member.__module__ == name and inspect.getdoc(member):
                texts.append(inspect.getdoc(member)[:300])
    return sorted(set(texts))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return collect_docstrings()


@pytest.fixture(scope="session")
def albert_tokenizer(texts):
    return AlbertTokenizer(train_sentencepiece(texts, 300))


@pytest.fixture(scope="session")
def gpt_tokenizer(texts):
    return GPT2Tokenizer(*train_byte_level_bpe(texts, 400))


def draw_weights(model):
    """Weights that do not depend on the order of tests, large enough to matter."""
    random = np.random.RandomState(0)
    for weight in model.weights:
        scale = 0.1 if len(weight.shape) == 1 else 0.3
        weight.assign(random.standard_normal(weight.shape) * scale + ("gamma" in weight.path))


@pytest.fixture(scope="session")
def make_albert(albert_tokenizer):
    """The function (class of a task, dtype, changed arguments) -> a tiny ALBERT task, the same at every call."""

    def make(cls, dtype=None, **changes):
        backbone = AlbertBackbone(
            vocabulary_size=albert_tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16,
            intermediate_dim=32, embedding_dim=8, max_sequence_length=24, dtype=dtype,
        )  # fmt: skip
        task = cls(backbone, **{"tokenizer": albert_tokenizer, **changes})
        draw_weights(task)
        return task

    return make


@pytest.fixture(scope="session")
def make_classifier(make_albert):
    """The function (changed arguments) -> a tiny classifier, the same at every call."""
    return lambda **changes: make_albert(AlbertTextClassifier, **{"labels": LABELS, "dropout": 0.0, **changes})


@pytest.fixture(scope="session")
def make_causal_lm(gpt_tokenizer):
    """The function (dtype, changed arguments) -> a tiny language model, the same at every call."""

    def make(dtype=None, **changes):
        backbone = GPTBackbone(
            vocabulary_size=gpt_tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16,
            max_sequence_length=24, dtype=dtype,
        )  # fmt: skip
        causal_lm = GPTCausalLM(backbone, **{"tokenizer": gpt_tokenizer, **changes})
        draw_weights(causal_lm)
        return causal_lm

    return make


@pytest.fixture(scope="session")
def classifier(make_classifier):
    """One that no test may train."""
    return make_classifier()


@pytest.fixture(scope="session")
def causal_lm(make_causal_lm):
    """One that no test may train."""
    return make_causal_lm()


@pytest.fixture(scope="session")
def labels() -> list[str]:
    return LABELS


@pytest.fixture(scope="session")
def bad_texts() -> list[bytes]:
    """Empty, blank, malformed UTF-8, NUL, a lone continuation, special tokens in words, and a megabyte in one line."""
    return [
        b"", b"   ", b"\xff\xfe\x80 a", b"a\x00b\x00", "日本語 👍".encode(), b"[CLS] <pad> <|endoftext|>",
        b"to be or not " * 80_000,
    ]  # fmt: skip


@pytest.fixture
def sgd():
    """Plain gradient descent: a difference in gradients is one in weights, of the same size."""
    return keras.optimizers.SGD(0.5)


@pytest.fixture(scope="session")
def assert_same_weights():
    def check(first, second, atol=1e-5):
        for a, b in zip(first.weights, second.weights, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=atol, rtol=0, err_msg=a.path)

    return check


@pytest.fixture(scope="session")
def moved():
    """The function (trained task, new task) -> the largest change of a weight, to see that training did something."""
    return lambda trained, fresh: max(
        abs(a.numpy() - b.numpy()).max() for a, b in zip(trained.weights, fresh.weights, strict=True)
    )


@pytest.fixture(scope="session")
def softmax():
    """In float64, over the last axis."""

    def compute(logits):
        exponentials = np.exp(np.asarray(logits, "float64") - np.max(logits, -1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    return compute
