"""An export gives the same answers in a process without Python, with TF Serving's op libraries and XLA off."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from albert_gpt_tf.exporters.check_saved_model import check_saved_model

TEXTS = ["the quick brown fox", "lazy dog number 42", "", "  naïve  friends\nand\x00über foxes ", b"caf\xc3 \xff"]


def assert_same(got, want):
    assert set(got) == set(want)
    for name, value in want.items():
        value = value.numpy()
        assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(got[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_tokenizers_tables_and_loops_equal_python(toy_model, toy_export, run_without_python):
    got = run_without_python(toy_export, "serving_default", {"text": TEXTS})
    assert_same(got, toy_model.serve(tf.constant(TEXTS)))
    assert got["animals"].tolist() == [1, 2, 0, 0, 0]


def test_several_inputs_of_different_dtypes_equal_python(toy_model, toy_export, run_without_python):
    inputs = {"prompt": TEXTS, "max_new_tokens": [1, 2, 3, 4, 0], "temperature": [0.5] * 5, "seed": [2**40, 1, 2, 3, 4]}
    got = run_without_python(toy_export, "generate", inputs)
    dtypes = [tf.string, tf.int32, tf.float32, tf.int64]
    assert_same(got, toy_model.generate(*map(tf.constant, inputs.values(), dtypes)))


def test_strings_and_shapes_survive_the_protocol(export, run_without_python):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "a"), tf.TensorSpec([None, 2], tf.bool, "b")])
    def echo(a, b):
        return {"a": a, "b": b, "half": tf.cast(b, tf.float16), "scalar": tf.size(a)}

    strings = np.array([[b"", b"\x00", b"a\nb"], [b"\r\n\x00\xff", "ü日🙂".encode(), b"x" * 100_000]], object)
    got = run_without_python(export(echo), "serving_default", {"a": strings, "b": [[True, False]]})
    np.testing.assert_array_equal(got["a"], strings)
    assert got["b"].tolist() == [[True, False]] and got["half"].tolist() == [[1.0, 0.0]] and got["scalar"] == 6
    empty = run_without_python(export(echo), "serving_default", {"a": np.empty([0, 3], object), "b": np.empty([0, 2])})
    assert empty["a"].shape == (0, 3) and empty["b"].shape == (0, 2)


def test_a_compiled_function_loads_and_then_fails_as_in_the_server(export, run_without_python):
    @tf.function(jit_compile=True)
    def double(x):
        return x * 2

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(x):
        return {"y": double(x)}

    path = export(serve)
    with pytest.raises(RuntimeError, match=r"^run: .*XLA compilation disabled"):
        run_without_python(path, "serving_default", {"x": [1.0]})
    assert any("_XlaMustCompile" in problem for problem in check_saved_model(path))


def test_an_op_that_serving_does_not_link_does_not_load(export, run_without_python):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(text):
        words = tf.strings.split(text)
        return {"words": tf_text.RoundRobinTrimmer(4).trim([words, words])[0].to_tensor()}

    path = export(serve)
    with pytest.raises(RuntimeError, match=r"^load: .*Op type not registered 'TFText>RoundRobinTrim'"):
        run_without_python(path, "serving_default", {"text": ["a b c"]})
    assert any("RoundRobinTrim is not an op" in problem for problem in check_saved_model(path))
