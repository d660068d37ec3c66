"""A small export with everything a served language model has: tokenizers, a table, loops, sampling, tf.Examples."""

import io

import pytest
import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text

from albert_gpt_tf.text.sentencepiece_op import SentencepieceTokenizer

TEXT = tf.TensorSpec([None], tf.string, "text")


class ToyModel(tf.Module):
    """Labels a text, and appends random words to a prompt."""

    def __init__(self):
        super().__init__()
        trained = io.BytesIO()
        lines = iter(f"the quick brown fox jumps over the lazy dog number {i} and friends" for i in range(300))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=trained, vocab_size=60, minloglevel=2
        )
        self.fast_tokenizer = tf_text.FastSentencepieceTokenizer(trained.getvalue())
        self.tokenizer = SentencepieceTokenizer(trained.getvalue())
        animals = tf.lookup.KeyValueTensorInitializer(["fox", "dog"], tf.constant([1, 2], tf.int64))
        self.animals = tf.lookup.StaticHashTable(animals, 0)
        self.table = tf.Variable(tf.random.stateless_normal([60, 16], [1, 2]))
        self.weight = tf.Variable(tf.random.stateless_normal([16, 2], [3, 4]))

    @tf.function(input_signature=[TEXT])
    def serve(self, text):
        ids = self.fast_tokenizer.tokenize(text)[:, :32]
        slow_ids = self.tokenizer.tokenize(text)[:, :32]
        words = tf_text.regex_split(text, r"\s+")[:, :32]
        hidden = tf.reduce_sum(tf.gather(self.table, ids.to_tensor(0, shape=[None, 32])), 1)
        _, hidden = tf.while_loop(lambda i, h: i < 5, lambda i, h: (i + 1, tf.tanh(h * 1.1)), [0, hidden])
        scores = tf.nn.softmax(hidden @ self.weight)
        return {
            "ids": ids.to_tensor(-1),
            "same": tf.cast(tf.reduce_all(ids.to_tensor(-1) == slow_ids.to_tensor(-1), 1), tf.int32),
            "animals": tf.reduce_sum(self.animals.lookup(words).to_tensor(), 1),
            "scores": scores,
            "label": tf.gather(["good", "bad"], tf.argmax(scores, 1)),
            "text": self.fast_tokenizer.detokenize(ids),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "prompt"),
            tf.TensorSpec([None], tf.int32, "max_new_tokens"),
            tf.TensorSpec([None], tf.float32, "temperature"),
            tf.TensorSpec([None], tf.int64, "seed"),
        ]
    )
    def generate(self, prompt, max_new_tokens, temperature, seed):
        def row(values):
            limit, heat, start = values
            noise = tf.random.stateless_normal([4], [start, 0]) * heat
            return tf.strings.reduce_join(tf.as_string(tf.argsort(noise)[:limit]), separator=" ")

        words = tf.map_fn(row, (max_new_tokens, temperature, seed), fn_output_signature=tf.string)
        text = tf.strings.join([tf.strings.substr(prompt, 0, 64), words], " ")
        valid = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        return {"text": valid, "text_bytes": text, "token_count": max_new_tokens}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        scores = self.serve(text)["scores"]
        return {"classes": tf.tile([["good", "bad"]], [tf.shape(scores)[0], 1]), "scores": scores}


@pytest.fixture(scope="session")
def toy_model():
    return ToyModel()


@pytest.fixture(scope="session")
def toy_export(toy_model, tmp_path_factory):
    """A SavedModel that obeys every rule; tests must not change it."""
    path = tmp_path_factory.mktemp("toy") / "1"
    signatures = {"serving_default": toy_model.serve, "generate": toy_model.generate, "classify": toy_model.classify}
    tf.saved_model.save(toy_model, str(path), signatures=signatures)
    return path


@pytest.fixture
def export(tmp_path):
    """A function that saves signatures and what they need as a SavedModel of its own, and returns its path."""

    def save(signatures, **tracked):
        module = tf.Module()
        for name, value in tracked.items():
            setattr(module, name, value)
        tf.saved_model.save(module, str(tmp_path / "export"), signatures=signatures)
        return tmp_path / "export"

    return save
