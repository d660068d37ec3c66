"""The same texts in memory, reloaded, over REST and gRPC, in LiteRT and in a process without Python."""

import numpy as np
import pytest
import tensorflow as tf

import albert_gpt_tf as agt
from albert_gpt_tf.exporters.run_rules import serialized_examples
from albert_gpt_tf.serving.client import GrpcClient, RestClient
from albert_gpt_tf.serving.lite import LiteModel
from albert_gpt_tf.serving.local_server import LocalServer

TEXTS = [
    "Return the sum of the array.",
    "Open the file, then CLOSE it.",
    "",
    "   white \t space\n\n and a new line ",
    "Größe ÉCOLE ﬁne ＡＢＣ 日本語 👍🏽 \u00a0x\u0085y",
    "[MASK] [CLS] <|endoftext|> <pad>",
    "a NUL \0 inside",
    "far too long for the model " * 40,
]
PROMPTS = ["Return the", "Open", "", "the file ", "日本", "<|endoftext|>", "far too long for the context " * 30]
GENERATE = {
    "prompt": PROMPTS,
    "max_new_tokens": [12, 0, 7, 3, 9, 12, 5],
    "temperature": [0.0, 0.7, 1.0, 1.3, 0.0, 0.9, 0.5],
    "top_k": [0, 0, 5, 40, 1, 0, 3],
    "top_p": [1.0, 0.9, 1.0, 0.5, 1.0, 0.95, 1.0],
    "repetition_penalty": [1.0, 1.0, 1.2, 1.0, 1.5, 1.0, 1.0],
    "seed": [0, 1, 2, 3, 4, 5, 6],
}


@pytest.fixture(scope="module")
def clients(classifier_export, causal_lm_export):
    models = {"docs": classifier_export.parent, "gpt": causal_lm_export.parent}
    with LocalServer(models, rest_port=0, grpc_port=0) as server:
        rest = RestClient(f"http://{server.host}:{server.rest_port}")
        with GrpcClient(f"{server.host}:{server.grpc_port}") as grpc:
            yield {"REST": rest, "gRPC": grpc}


def decoded(outputs):
    """Bytes as str, but for `*_bytes`."""
    return {
        name: value if name.endswith("_bytes") or value.dtype.kind not in "SO" else
        np.array([v.decode() if isinstance(v, bytes) else v for v in value.ravel()], object).reshape(value.shape)
        for name, value in ((name, np.asarray(value)) for name, value in outputs.items())
    }  # fmt: skip


def assert_same(got, want, tolerance=1e-5):
    """Strings and integers equal, floats within the tolerance, relative for sums above 1."""
    assert set(got) == set(want)
    got, want = decoded(got), decoded(want)
    for name in want:
        if want[name].dtype.kind == "f":
            np.testing.assert_allclose(got[name], want[name], rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def in_memory_answer(task, inputs):
    tensors = {name: tf.constant(value, dtype=tf.float32 if isinstance(value[0], float) else None)
               for name, value in inputs.items()}  # fmt: skip
    return {name: value.numpy() for name, value in task.answer(**tensors).items()}


def test_the_classifier_has_learned_something_to_compare(classifier):
    assert classifier.classify(["sum of the elements of an array", "write to the file"]) == ["array", "file"]


def test_predict_equals_answer(classifier):
    scores = classifier.predict(TEXTS, verbose=0)
    np.testing.assert_allclose(scores, in_memory_answer(classifier, {"text": TEXTS})["scores"], atol=1e-6)


def test_classifier_reloaded_saved_model_equals_memory(classifier, classifier_export):
    signature = tf.saved_model.load(str(classifier_export)).signatures["serving_default"]
    assert_same(signature(text=tf.constant(TEXTS)), in_memory_answer(classifier, {"text": TEXTS}))


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_classifier_over_the_network_equals_memory(classifier, clients, protocol):
    assert_same(clients[protocol].predict("docs", {"text": TEXTS}), in_memory_answer(classifier, {"text": TEXTS}))


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_classify_api_gives_labels_and_scores(classifier, clients, protocol):
    results = clients[protocol].classify("docs", [{"text": text} for text in TEXTS])
    want = in_memory_answer(classifier, {"text": TEXTS})["scores"]
    assert [[label for label, _ in row] for row in results] == [classifier.labels] * len(TEXTS)
    np.testing.assert_allclose([[score for _, score in row] for row in results], want, atol=1e-5)


def test_classifier_in_a_process_without_python_equals_memory(classifier, classifier_export, run_without_python):
    got = run_without_python(classifier_export, "serving_default", {"text": TEXTS})
    assert_same(got, in_memory_answer(classifier, {"text": TEXTS}))


def test_classify_in_a_process_without_python_equals_memory(classifier, classifier_export, run_without_python):
    got = run_without_python(classifier_export, "classify", {"inputs": serialized_examples({"text": TEXTS})})
    assert decoded(got)["classes"].tolist() == [classifier.labels] * len(TEXTS)
    np.testing.assert_allclose(got["scores"], in_memory_answer(classifier, {"text": TEXTS})["scores"], atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_classifier_in_litert_equals_memory(classifier, tmp_path_factory, rows):
    path = agt.exporters.export_tflite(classifier, tmp_path_factory.mktemp("lite") / "docs.tflite")
    want = in_memory_answer(classifier, {"text": TEXTS[:rows]})
    assert_same(LiteModel(path).predict({"text": TEXTS[:rows]}), want, tolerance=1e-4)


def test_greedy_text_over_rest_equals_python(causal_lm, clients):
    want = causal_lm.generate(PROMPTS, max_new_tokens=12)
    assert any(want)
    assert list(clients["REST"].predict("gpt", {"prompt": PROMPTS})["text"]) == want


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_sampled_text_over_the_network_equals_memory(causal_lm, clients, protocol):
    got = clients[protocol].predict("gpt", GENERATE, signature_name="generate")
    assert_same(got, in_memory_answer(causal_lm, GENERATE))


@pytest.mark.parametrize("signature", ["serving_default", "generate", "score"])
def test_language_model_in_a_process_without_python_equals_python(causal_lm_export, run_without_python, signature):
    inputs = {"serving_default": {"prompt": PROMPTS}, "generate": GENERATE, "score": {"text": TEXTS}}[signature]
    function = tf.saved_model.load(str(causal_lm_export)).signatures[signature]
    specs = function.structured_input_signature[1]
    want = function(**{name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()})
    assert_same(run_without_python(causal_lm_export, signature, inputs), {k: v.numpy() for k, v in want.items()})


def test_scores_over_rest_equal_python(causal_lm, clients):
    got = clients["REST"].predict("gpt", {"text": TEXTS}, signature_name="score")
    assert_same(got, {name: np.array(value) for name, value in causal_lm.score(TEXTS).items()})


def test_seeds_of_generate_in_python_are_those_of_the_signature(causal_lm, clients):
    rows = len(PROMPTS)
    inputs = {"prompt": PROMPTS, "max_new_tokens": [9] * rows, "temperature": [0.8] * rows, "top_k": [20] * rows}
    inputs |= {"top_p": [0.9] * rows, "repetition_penalty": [1.0] * rows, "seed": list(range(5, 5 + rows))}
    want = causal_lm.generate(PROMPTS, max_new_tokens=9, temperature=0.8, top_k=20, top_p=0.9, seed=5)
    assert list(clients["REST"].predict("gpt", inputs, signature_name="generate")["text"]) == want


def test_the_server_lives_on_after_bad_text(clients):
    hostile = [b"\xff\xfe invalid", b"x" * 2**20, b"\0", b""]
    for protocol in ("REST", "gRPC"):
        assert len(clients[protocol].predict("docs", {"text": hostile})["label"]) == 4
        assert len(clients[protocol].predict("gpt", {"prompt": hostile})["text"]) == 4
        assert len(clients[protocol].predict("docs", {"text": TEXTS})["label"]) == len(TEXTS)
