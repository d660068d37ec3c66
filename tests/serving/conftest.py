"""A toy export, its direct results and a running server, shared by the tests of this folder."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.serving.local_server import LocalServer

MAX_BODY_BYTES = 4 * 2**20
STRINGS = tf.TensorSpec([None], tf.string)
DEFAULT_SUFFIX = tf.constant(["!"])


class Toy(tf.Module):
    """Counts bytes, and knows nothing else: every output can be computed by hand."""

    def __init__(self, version: int):
        super().__init__()
        self.version = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        scores = tf.stack([length, length / 3.0, self.version * tf.ones_like(length)], axis=1)
        return {
            "label": tf.where(length > 5.0, "long", "short"),
            "score": tf.reduce_max(scores, axis=1),
            "scores": scores,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        scores = self.serve(text)["scores"]
        return {"classes": tf.repeat([["bytes", "thirds", "naïve"]], tf.shape(scores)[0], axis=0), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return {"outputs": tf.cast(tf.strings.length(text), tf.float32) / 7.0}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="prompt"),
            tf.TensorSpec([None], tf.int32, name="max_new_tokens"),
            tf.TensorSpec([None], tf.float32, name="temperature"),
            tf.TensorSpec([None], tf.int64, name="seed"),
            tf.TensorSpec([None], tf.bool, name="echo"),
        ]
    )
    def generate(self, prompt, max_new_tokens, temperature, seed, echo):
        raw = tf.where(echo, prompt, tf.strings.substr(prompt, tf.zeros_like(max_new_tokens), max_new_tokens))
        return {
            "text": tf.strings.unicode_transcode(raw, "UTF-8", "UTF-8"),
            "text_bytes": raw,
            "token_count": max_new_tokens,
            "seed": seed + 1,
            "log_probability": -temperature,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def raw(self, text):
        """One string output without a sanitiser, which the rules allow nobody but the test of that very rule."""
        return {"echo": text}

    @tf.function(input_signature=[STRINGS, STRINGS])
    def optional(self, text, suffix=DEFAULT_SUFFIX):
        return {"text": text + suffix}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def numbers(self, x):
        return {"inverse": 1.0 / x, "total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half(self, x):
        return {"y": tf.cast(x, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def parse_number(self, x):
        return {"y": tf.strings.to_number(x)}


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    """The base path of a model with the versions 1 and 2, beside things a server must overlook."""
    base = tmp_path_factory.mktemp("exports") / "toy"
    for version in (1, 2):
        toy = Toy(version)
        signatures = {
            "serving_default": toy.serve,
            "classify": toy.classify,
            "regress": toy.regress,
            "generate": toy.generate,
            "raw": toy.raw,
            "numbers": toy.numbers,
            "half": toy.half,
            "parse_number": toy.parse_number,
            "optional": toy.optional,
        }
        tf.saved_model.save(toy, str(base / str(version)), signatures=signatures)
    (base / "3.tmp").mkdir()
    (base / "notes.txt").write_text("not a version")
    return base


@pytest.fixture(scope="session")
def direct(export):
    """A function that calls a signature of version 2 without any server."""
    loaded = tf.saved_model.load(str(export / "2"))

    def call(signature_name="serving_default", **inputs):
        outputs = loaded.signatures[signature_name](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: np.asarray(value.numpy()) for name, value in outputs.items()}

    return call


@pytest.fixture(scope="session")
def server(export):
    with LocalServer({"toy": export}, rest_port=0, grpc_port=0, max_body_bytes=MAX_BODY_BYTES) as running:
        yield running
