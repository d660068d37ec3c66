"""Two small trained models and their exports, shared by the tests of this folder."""

import keras
import pytest

import albert_gpt_tf as agt
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

SENTENCES = [
    ("Return the sum of all elements of the array along an axis.", "array"),
    ("The shape of the output is the shape of the input without the axis.", "array"),
    ("Elements are compared one by one; NaN sorts to the end of the array.", "array"),
    ("Open the file and return a stream; raise OSError if it cannot be opened.", "file"),
    ("Write the bytes to the file and return how many were written.", "file"),
    ("Close the stream; closing it twice does nothing. Größe: naïve “quotes” 日本語 👍", "file"),
]


@pytest.fixture(scope="session")
def classifier():
    keras.utils.set_random_seed(0)
    texts, labels = map(list, zip(*SENTENCES * 20, strict=True))
    tokenizer = agt.AlbertTokenizer(train_sentencepiece(texts, 200))
    backbone = agt.AlbertBackbone(
        tokenizer.vocabulary_size(), num_layers=3, num_heads=4, hidden_dim=64, intermediate_dim=128, embedding_dim=32,
        max_sequence_length=48,
    )  # fmt: skip
    task = agt.AlbertTextClassifier(backbone, labels=["array", "file"], tokenizer=tokenizer)
    task.compile(keras.optimizers.Adam(1e-3))
    task.fit(texts, labels, batch_size=24, epochs=6, verbose=0)
    return task


@pytest.fixture(scope="session")
def causal_lm():
    keras.utils.set_random_seed(0)
    texts = [text for text, _ in SENTENCES * 20]
    tokenizer = agt.GPT2Tokenizer(*train_byte_level_bpe(texts, 400))
    backbone = agt.GPTBackbone(
        tokenizer.vocabulary_size(), num_layers=2, num_heads=4, hidden_dim=64, max_sequence_length=64
    )
    task = agt.GPTCausalLM(backbone, tokenizer=tokenizer)
    task.compile(keras.optimizers.Adam(3e-3))
    task.fit(texts, batch_size=24, epochs=10, verbose=0)
    return task


@pytest.fixture(scope="session")
def classifier_export(classifier, tmp_path_factory):
    return agt.exporters.export_saved_model(classifier, tmp_path_factory.mktemp("exports") / "docs")


@pytest.fixture(scope="session")
def causal_lm_export(causal_lm, tmp_path_factory):
    return agt.exporters.export_saved_model(causal_lm, tmp_path_factory.mktemp("exports") / "gpt", max_new_tokens=12)
