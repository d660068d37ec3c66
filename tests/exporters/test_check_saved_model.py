"""Every rule of TF Serving is broken by a small export made for it, and found."""

import os
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import op_def_registry

from albert_gpt_tf.exporters import graph_rules
from albert_gpt_tf.exporters.check_saved_model import assert_servable, check_saved_model
from albert_gpt_tf.exporters.run_rules import make_rows

TEXT = tf.TensorSpec([None], tf.string, "text")
X = tf.TensorSpec([None], tf.float32, "x")
INPUTS = tf.TensorSpec([None], tf.string, "inputs")


def function(spec, body):
    """A signature with one input and, unless the body returns a dict, the one output `y`."""

    @tf.function(input_signature=[spec])
    def signature(value):
        outputs = body(value)
        return outputs if isinstance(outputs, dict) else {"y": outputs}

    return signature


def assert_found(problems, message):
    assert any(re.search(message, problem) for problem in problems), problems


def edit(path, change):
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return path


def test_a_good_export_has_no_findings(toy_export):
    assert check_saved_model(toy_export) == []
    assert check_saved_model(str(toy_export), run=False) == []
    assert assert_servable(toy_export) is None


def test_every_listed_text_op_exists_and_the_newer_ones_are_not_listed():
    names = {name for ops in graph_rules.TEXT_OPS.values() for name in ops}
    assert all(op_def_registry.get(name) for name in names)
    assert not names & set(dir(tf.raw_ops))
    for name in ["TFText>RoundRobinTrim", "TFText>RoundRobinGenerateMasks", "TFText>Utf8Binarize"]:
        assert op_def_registry.get(name) and name not in names


def round_robin(text):
    words = tf.strings.split(text)
    return tf_text.RoundRobinTrimmer(4).trim([words, words])[0].to_tensor()


def python_function(text):
    return tf.ensure_shape(tf.py_function(lambda value: value, [text], tf.string), [None])


def numpy_function(text):
    return tf.ensure_shape(tf.numpy_function(lambda value: value, [text], tf.string), [None])


@pytest.mark.parametrize(
    "spec, body, message",
    [
        (TEXT, round_robin, "TFText>RoundRobinTrim is not an op of TensorFlow or of tensorflow_text"),
        (X, lambda x: xla.dynamic_update_slice(x, x[:1], [0]), "XlaDynamicUpdateSlice needs XLA"),
        (X, tf.function(lambda x: x * 2, jit_compile=True), "_XlaMustCompile is true"),
        (TEXT, python_function, "EagerPyFunc calls Python"),
        (TEXT, numpy_function, "PyFunc calls Python"),
    ],
)
def test_ops_the_server_does_not_have(export, spec, body, message):
    assert_found(check_saved_model(export(function(spec, body))), message)


def test_an_op_of_nobody(export):
    path = export(function(X, lambda x: x * 2))
    edit(path, lambda graph: setattr(graph.graph_def.library.function[0].node_def[0], "op", "MyOwnOp"))
    assert_found(check_saved_model(path), "MyOwnOp is not an op")


def growing_table():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)

    def body(text):
        table.insert(text, tf.ones_like(text, tf.int64))
        return table.lookup(text)

    return body, table


def counter():
    count = tf.Variable(0.0)

    def body(x):
        return tf.cond(tf.size(x) > 1, lambda: x + count.assign_add(1.0), lambda: x)

    return body, count


def setter():
    last = tf.Variable([0.0], shape=[None])
    return lambda x: last.assign(x) + 0.0, last


def generator():
    random = tf.random.Generator.from_seed(1)
    return lambda x: x + random.normal(tf.shape(x)), random


@pytest.mark.parametrize(
    "spec, make, messages",
    [
        (TEXT, growing_table, ["LookupTableInsertV2 is a table that can grow", "MutableHashTableV2 is a table"]),
        (X, counter, ["AssignAddVariableOp changes a variable"]),
        (X, setter, ["AssignVariableOp changes a variable"]),
        (X, generator, ["RngReadAndSkip keeps random state"]),
        (X, lambda: (lambda x: x + tf.random.normal(tf.shape(x)), None), ["RandomStandardNormal keeps random state"]),
        (X, lambda: (lambda x: tf.random.shuffle(x), None), ["RandomShuffle keeps random state"]),
    ],
)
def test_state_that_a_request_changes(export, spec, make, messages):
    body, tracked = make()
    problems = check_saved_model(export(function(spec, body), state=tracked))
    for message in messages:
        assert_found(problems, f"signature 'serving_default': .*{message}")


def test_state_that_only_loading_changes_is_fine(export):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
    weight = tf.Variable(3)
    assert check_saved_model(export(function(TEXT, lambda t: table.lookup(t) * weight), table=table, w=weight)) == []


@pytest.mark.parametrize(
    "spec, body, message",
    [
        (tf.TensorSpec([], tf.float32, "x"), lambda x: tf.ones([4]) * x, "input 'x' is a scalar"),
        (tf.TensorSpec([4], tf.float32, "x"), lambda x: x, "input 'x' has a first axis of 4"),
        (tf.TensorSpec(None, tf.float32, "x"), lambda x: x, "input 'x' has an unknown rank"),
        (X, lambda x: tf.reduce_sum(x), "output 'y' is a scalar"),
        (X, lambda x: tf.zeros([1, 2]), "output 'y' has a first axis of 1"),
        (X, lambda x: tf.reshape(x, tf.shape(tf.zeros(tf.cast(x, tf.int32)))), "output 'y' has an unknown rank"),
        (X, lambda x: tf.cast(x, tf.half), "output 'y' has dtype float16"),
        (X, lambda x: tf.cast(x, tf.bfloat16), "output 'y' has dtype bfloat16"),
        (X, lambda x: tf.cast(x, tf.complex64), "output 'y' has dtype complex64"),
        (X, lambda x: tf.cast(x, tf.uint16), "output 'y' has dtype uint16"),
        (tf.TensorSpec([None], tf.half, "x"), lambda x: tf.cast(x, tf.float32), "input 'x' has dtype float16, which"),
    ],
)
def test_shapes_and_dtypes_of_signatures(export, spec, body, message):
    assert_found(check_saved_model(export(function(spec, body))), f"signature 'serving_default', {message}")


def test_ragged_outputs_and_missing_signatures(export):
    def ragged(graph):
        output = graph.signature_def["serving_default"].outputs["y"]
        output.composite_tensor.components.add(name=output.name)

    path = export(function(X, lambda x: x))
    assert_found(check_saved_model(edit(path, ragged)), "output 'y' is ragged or sparse")
    assert_found(check_saved_model(edit(path, lambda graph: graph.signature_def.clear())), "has no signature")


def matrix(width=2, dtype=tf.float32):
    return lambda value: tf.zeros([tf.shape(value)[0], width], dtype)


def classes(**others):
    return lambda value: {name: body(value) for name, body in others.items()}


STRINGS = matrix(dtype=tf.string)


@pytest.mark.parametrize(
    "name, spec, body, message",
    [
        ("classify", TEXT, classes(classes=STRINGS), "expected the one input 'inputs'"),
        ("classify", tf.TensorSpec([None], tf.int32, "inputs"), classes(classes=STRINGS), "input 'inputs': expected"),
        ("classify", INPUTS, classes(classes=STRINGS, label=STRINGS), "expected outputs among .*classes"),
        ("classify", INPUTS, classes(classes=lambda value: value), "output 'classes': expected string of rank 2"),
        ("classify", INPUTS, classes(scores=matrix(dtype=tf.float64)), "output 'scores': expected float32"),
        ("classify", INPUTS, classes(classes=STRINGS, scores=matrix(3)), r"number of classes, \[2, 3\]"),
        ("regress", INPUTS, classes(value=matrix(1)), "expected outputs among .*outputs"),
        ("regress", INPUTS, classes(outputs=STRINGS), "output 'outputs': expected float32"),
        ("regress", INPUTS, classes(outputs=matrix(2)), r"expected \[B\] or \[B, 1\]"),
    ],
)
def test_keys_and_ranks_of_classify_and_regress(export, name, spec, body, message):
    assert_found(check_saved_model(export({name: function(spec, body)})), f"signature '{name}'.*{message}")


def test_paths_of_the_machine_that_exported(export, tmp_path):
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(vocabulary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    path = export(function(TEXT, table.lookup), table=table)
    assert_found(check_saved_model(path), "attribute 'shared_name' holds the path .*vocabulary.txt")
    (path / "assets" / "vocabulary.txt").unlink()
    assert_found(check_saved_model(path), "asset 'vocabulary.txt' is missing")
    edit(path, lambda graph: setattr(graph.asset_file_def[0], "filename", "../vocabulary.txt"))
    assert_found(check_saved_model(path), "asset '../vocabulary.txt' lies outside")


def test_a_file_that_is_read_while_serving(export):
    body = lambda x: tf.fill(tf.shape(x), tf.io.read_file("/home/me/prefix.txt"))  # noqa: E731
    assert_found(check_saved_model(export(function(X, body))), "attribute 'value' holds the path '/home/me/prefix.txt'")


def test_vocabularies_patterns_and_devices_are_no_paths(export):
    words = tf.lookup.KeyValueTensorInitializer(["/usr/bin/env", "/a/b"], [1, 2])
    table = tf.lookup.StaticHashTable(words, 0)

    def body(text):
        with tf.device("/device:CPU:0"):
            return table.lookup(tf.strings.regex_replace(text, "/a/+b/", "/c/d"))

    assert check_saved_model(export(function(TEXT, body), table=table)) == []


def test_weights_that_are_constants(export):
    weights = np.ones([2**22 + 1], np.float32)  # 16 MiB and 4 bytes
    path = export(function(X, lambda x: x + weights[-1] + tf.constant(weights)[0]))
    assert_found(check_saved_model(path, run=False), "a constant of 167772.. bytes: keep weights in variables")


def test_a_signature_without_inputs_or_outputs(export):
    path = export(function(X, lambda x: x))
    edit(path, lambda graph: graph.signature_def["serving_default"].inputs.clear())
    assert_found(check_saved_model(path), "signature 'serving_default' has no input")


def test_a_graph_too_large_for_a_protocol_buffer(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    os.truncate(tmp_path / "saved_model.pb", 2**31)  # takes no space on the disk
    assert_found(check_saved_model(tmp_path), "has 2147483648 bytes, .*: keep weights in variables")


def refuse(condition):
    """A body that fails for every batch that holds a string for which `condition` is true."""

    def body(text):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(~condition(text)), ["refused"])]):
            return tf.strings.length(text)

    return body


def cut_at(size):
    """A body that makes texts valid and then cuts them after a number of bytes."""
    return lambda text: tf.strings.substr(tf.strings.unicode_transcode(text, "UTF-8", "UTF-8"), 0, size)


def longest(text):
    # Pads with ever other numbers, so what stands behind a short row says something about its neighbours.
    return tf.range(tf.reduce_max(tf.strings.length(text)))[None] + tf.zeros_like(tf.strings.length(text))[:, None]


@pytest.mark.parametrize(
    "spec, body, message",
    [
        (TEXT, refuse(lambda text: text == ""), "fails for one row, an empty string"),
        (TEXT, refuse(lambda text: tf.strings.length(text) > 2**19), "fails for one row, a string of 1 MB"),
        (TEXT, refuse(lambda text: tf.strings.regex_full_match(text, "before.after")), "fails for one row, a NUL byte"),
        (TEXT, lambda t: tf.strings.unicode_decode(t, "UTF-8", "strict").to_tensor(), "fails for one row, invalid UTF"),
        (TEXT, lambda t: t, "'y' is not valid UTF-8 for one row, invalid UTF-8: .* or name it y_bytes"),
        (TEXT, lambda t: tf.strings.substr(t, 0, 3), "'y' is not valid UTF-8 for one row, ordinary row 2"),
        (TEXT, cut_at(64), "'y' is not valid UTF-8 for one row, a string of 1 MB"),
        (TEXT, cut_at(1000), "'y' is not valid UTF-8 for one row, a string of 1 MB"),
        (TEXT, lambda t: tf.math.log(tf.cast(tf.strings.length(t), tf.float32)), "NaN or infinite for .* empty string"),
        (TEXT, refuse(lambda text: tf.shape(text)[:1] == 0), "fails for a batch of 0 rows"),
        (TEXT, refuse(lambda text: tf.shape(text)[:1] == 3), "fails for a batch of 3 rows"),
        (TEXT, lambda t: tf.strings.length(tf.concat([t, t], 0)), r"'y' has shape \[2\] for one row"),
        (TEXT, lambda t: tf.strings.length(t) + tf.size(t), "'y' of row 0 differs from the row alone in a batch of 8"),
        (
            TEXT,
            lambda t: tf.cast(tf.strings.length(t), tf.float32) + 1e-3 * tf.cast(tf.size(t) > 1, tf.float32),
            "row 0",
        ),
        (TEXT, longest, "'y' of row 0 has more than padding beyond the row alone"),
    ],
)
def test_answers_of_rows(export, spec, body, message):
    problems = check_saved_model(export(function(spec, body)))
    assert_found(problems, f"signature 'serving_default': .*{message}")
    assert check_saved_model(export(function(spec, body)), run=False) == []


def test_raw_bytes_and_padding_up_to_the_longest_row_are_fine(export):
    body = lambda t: {"y_bytes": t, "ids": tf.strings.unicode_decode(t, "UTF-8").to_tensor(-1)}  # noqa: E731
    assert check_saved_model(export(function(TEXT, body))) == []


def test_tf_examples_need_the_input_names_of_serving_default(export):
    path = export({"classify": function(INPUTS, classes(scores=matrix()))})
    assert_found(check_saved_model(path), "'classify' takes tf.Examples, but no serving_default")


def test_examples_stand_in_for_the_default_values(export):
    @tf.function(input_signature=[TEXT, tf.TensorSpec([None, None], tf.int32, "choices")])
    def serve(text, choices):
        with tf.control_dependencies([tf.debugging.assert_greater(choices, 4)]):
            return {"sum": tf.reduce_sum(choices, 1) + tf.strings.length(text)}

    path = export(serve)
    assert_found(check_saved_model(path), "'serving_default': fails for one row, ordinary row 0")
    assert check_saved_model(path, examples={"serving_default": {"choices": [[5, 6], [7, 8]]}}) == []
    for examples in [{"nope": {}}, {"serving_default": {"nope": [1]}}, {"serving_default": {"choices": []}}]:
        with pytest.raises(ValueError, match="Expected"):
            check_saved_model(path, examples=examples)


def test_every_string_input_meets_every_hostile_string():
    signature = meta_graph_pb2.SignatureDef()
    for spec in [TEXT, tf.TensorSpec([None, None], tf.string, "choices")]:
        signature.inputs[spec.name].dtype = tf.string.as_datatype_enum
        signature.inputs[spec.name].tensor_shape.CopyFrom(spec.shape.as_proto())
    rows = {name: value.numpy() for name, value in make_rows(signature, {"text": ["a [MASK]"]}).items()}
    assert rows["text"].shape == (8,) and rows["choices"].shape == (8, 3)
    assert rows["text"][:4].tolist() == [b"a [MASK]"] * 4
    assert set(rows["text"][4:]) == set(rows["choices"][4:, 0]) and len(set(rows["text"][4:])) == 4
    assert all(rows["text"][4:] != rows["choices"][4:, 0])


@pytest.mark.parametrize("content", [None, b"no protocol buffer", b""])
def test_what_is_no_saved_model_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a .*Received: .*"):
        check_saved_model(tmp_path)


def test_assert_servable_lists_every_problem(export):
    path = export({"a": function(X, tf.reduce_sum), "b": function(X, lambda x: tf.cast(x, tf.half))})
    with pytest.raises(ValueError, match=r"(?s)breaks 2 rules.*\n  - signature 'a'.*\n  - signature 'b'"):
        assert_servable(path)
