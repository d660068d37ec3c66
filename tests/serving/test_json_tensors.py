"""JSON to arrays and back for the types that the toy export does not use."""

import json

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from albert_gpt_tf.serving.json_tensors import inputs_from_json, outputs_to_json
from albert_gpt_tf.serving.request_error import RequestError


def read(dtype, values):
    infos = {"x": meta_graph_pb2.TensorInfo(dtype=tf.as_dtype(dtype).as_datatype_enum)}
    arrays, by_rows = inputs_from_json({"inputs": values}, infos)
    assert not by_rows
    return arrays["x"]


@pytest.mark.parametrize(
    ("dtype", "values", "want"),
    [
        ("int8", [-128, 127, 300], [-128, 127, 44]),  # read as int32, then cut, as the real server does
        ("uint8", [0, 255, -1], [0, 255, 255]),
        ("int64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("uint32", [0, 2**32 - 1], [0, 2**32 - 1]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("float64", [2**53 - 1, 1e300, 2**70], [2**53 - 1, 1e300, 2.0**70]),
        ("float32", [2**24 - 1, 0.1], [2**24 - 1, np.float32(0.1)]),
        ("bool", [[True], [False]], [[True], [False]]),
        ("string", ["a\x00", {"b64": "YQ"}, {"b64": " YQ = = "}], [b"a\x00", b"a", b"a"]),
    ],
)
def test_values_are_read_exactly(dtype, values, want):
    array = read(dtype, values)
    assert array.dtype == (object if dtype == "string" else dtype)
    assert array.tolist() == want


@pytest.mark.parametrize(
    ("dtype", "value", "code"),
    [
        ("int64", 2**63, "INVALID_ARGUMENT"),
        ("uint32", -1, "INVALID_ARGUMENT"),
        ("uint64", 2**64, "INVALID_ARGUMENT"),
        ("float64", 2**53 + 1, "INVALID_ARGUMENT"),
        ("float64", 10**400, "INVALID_ARGUMENT"),
        ("int32", {"b64": "YQ=="}, "INVALID_ARGUMENT"),
        ("uint16", 1, "UNIMPLEMENTED"),
        ("float16", 1.0, "UNIMPLEMENTED"),
    ],
)
def test_values_that_do_not_fit_are_refused(dtype, value, code):
    with pytest.raises(RequestError) as caught:
        read(dtype, [value])
    assert caught.value.code == code


def test_outputs_of_every_type_and_rank():
    outputs = {
        "flag": np.array([True]),
        "half_bytes": np.array([[b"\xff", b""]], object),
        "large": np.array([2**64 - 1], np.uint64),
        "small": np.array([[-1]], np.int8),
        "text": np.array(['"\\\n\x7f é'.encode()], object),
        "third": np.array([1 / 3]),
    }
    want = {
        "flag": True,
        "half_bytes": [{"b64": "/w=="}, {"b64": ""}],
        "large": 2**64 - 1,
        "small": [-1],
        "text": '"\\\n\x7f é',
        "third": 1 / 3,
    }
    assert json.loads(outputs_to_json(outputs, by_rows=True)) == {"predictions": [want]}
    assert json.loads(outputs_to_json({"x": np.float32(0.2)[None][0:0]}, by_rows=True)) == {"predictions": []}
    assert outputs_to_json({"x": np.array(b"s", object)}, by_rows=False) == b'{"outputs": "s"}'


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.uint16, np.complex64])
def test_outputs_without_a_json_form_are_refused(dtype):
    with pytest.raises(RequestError, match="Failed to write JSON value for tensor type"):
        outputs_to_json({"x": np.ones(1, dtype)}, by_rows=False)


def test_rows_of_different_batch_sizes_are_refused():
    with pytest.raises(RequestError, match="Tensor name: b has inconsistent batch size: 1 expecting: 2"):
        outputs_to_json({"a": np.zeros(2), "b": np.zeros(1)}, by_rows=True)
