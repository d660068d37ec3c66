"""Both clients against the server, and the client's own protobuf messages against the real ones."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.unknown_fields import UnknownFieldSet
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from albert_gpt_tf.serving import wire
from albert_gpt_tf.serving.client import GrpcClient, RestClient, ServingError

TEXTS = ["good", "a longer text", "", "naïve 日本語", "nul\x00", b"\xff\xfe\x00"]
GENERATE = {
    "prompt": ["héllo", b"h\xc3"],
    "max_new_tokens": [2, 1],
    "temperature": [1, 0.5],
    "seed": [2**40, -1],
    "echo": [False, True],
}


@pytest.fixture(scope="module", params=["rest", "grpc"])
def client(request, server):
    if request.param == "rest":
        yield RestClient(f"http://127.0.0.1:{server.rest_port}", timeout=30)
    else:
        with GrpcClient(f"127.0.0.1:{server.grpc_port}", timeout=30) as grpc_client:
            yield grpc_client


def test_predict_equals_a_direct_call(client, direct):
    outputs = client.predict("toy", {"text": TEXTS})
    want = direct(text=TEXTS)
    assert outputs["label"].tolist() == [label.decode() for label in want["label"]]
    assert outputs["score"].dtype == outputs["scores"].dtype == np.float32
    np.testing.assert_array_equal(outputs["scores"], want["scores"])
    from_array = client.predict("toy", {"text": np.array(TEXTS[:4])}, version=1)
    np.testing.assert_array_equal(from_array["scores"][:, :2], want["scores"][:4, :2])
    assert set(from_array["scores"][:, 2]) == {1.0}


def test_lists_take_the_types_of_the_signature(client):
    outputs = client.predict("toy", GENERATE, signature_name="generate")
    assert outputs["text"].tolist() == ["h\ufffd", "h\ufffd"]
    assert outputs["text_bytes"].tolist() == [b"h\xc3", b"h\xc3"]
    assert outputs["token_count"].dtype == np.int32
    assert outputs["seed"].tolist() == [2**40 + 1, 0]
    assert outputs["seed"].dtype == np.int64
    assert outputs["log_probability"].tolist() == [-1.0, -0.5]


def test_one_output_and_scalars(client):
    assert client.predict("toy", {"text": [b"\xffx"]}, "raw") == {"echo": np.array(["\ufffdx"], object)}
    outputs = client.predict("toy", {"x": [0, np.nan, 2]}, "numbers")
    np.testing.assert_array_equal(outputs["inverse"], np.array([np.inf, np.nan, 0.5], np.float32))
    assert outputs["total"].shape == ()
    assert client.predict("toy", {"text": []})["label"].shape == (0,)


def test_classify_regress_status_and_metadata(client, direct):
    results = client.classify("toy", [{"text": "abc"}, {"text": [b"\xffbcdef"]}])
    assert [[label for label, _ in row] for row in results] == [["bytes", "thirds", "naïve"]] * 2
    scores = np.array([[score for _, score in row] for row in results], np.float32)
    np.testing.assert_array_equal(scores, direct(text=["abc", "abcdef"])["scores"])
    assert client.regress("toy", [{"text": "seven b", "extra": [1, 2], "more": 0.5}]).tolist() == [1.0]
    assert client.status("toy") == {1: "AVAILABLE", 2: "AVAILABLE"}
    assert client.status("toy", version=1) == {1: "AVAILABLE"}
    signatures = client.metadata("toy")
    assert signatures["generate"]["inputs"]["max_new_tokens"] == {"dtype": "int32", "shape": [-1]}
    assert signatures["serving_default"]["outputs"]["scores"] == {"dtype": "float32", "shape": [-1, 3]}
    assert "__saved_model_init_op" not in signatures


@pytest.mark.parametrize(
    ("model", "inputs", "options", "code", "message"),
    [
        ("none", {"text": ["x"]}, {}, "NOT_FOUND", "Servable not found for request: Latest(none)"),
        ("toy", {"text": ["x"]}, {"version": 9}, "NOT_FOUND", "Servable not found for request: Specific(toy, 9)"),
        ("toy", {"texts": ["x"]}, {}, "INVALID_ARGUMENT", "text"),
        ("toy", {"text": [1]}, {}, "INVALID_ARGUMENT", "string"),
        ("toy", {"text": [["x"]]}, {}, "INVALID_ARGUMENT", "takes the shape [-1]"),
        ("toy", {"x": [True]}, {"signature_name": "generate"}, "INVALID_ARGUMENT", ""),
        ("toy", {"x": ["one"]}, {"signature_name": "parse_number"}, "INVALID_ARGUMENT", "could not correctly convert"),
        ("toy", {"text": ["x" * 5 * 2**20]}, {}, "RESOURCE_EXHAUSTED", "larger than"),
    ],
)
def test_errors_are_serving_errors_with_code_and_message(client, model, inputs, options, code, message):
    with pytest.raises(ServingError) as caught:
        client.predict(model, inputs, **options)
    assert caught.value.code == code
    assert message in caught.value.message


def test_values_that_are_no_tensor_are_refused_before_sending(client):
    for value in ([["x"], ["x", "y"]], ["x", 1], [None], [2**70], np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(ValueError, match='Input "text"'):
            client.predict("toy", {"text": value})


def test_no_server_is_unavailable_and_another_server_is_unknown(server):
    with pytest.raises(ServingError) as caught:
        RestClient("http://127.0.0.1:1", timeout=5).status("toy")
    assert caught.value.code == "UNAVAILABLE"
    with GrpcClient("127.0.0.1:1", timeout=5) as client, pytest.raises(ServingError) as caught:
        client.status("toy")
    assert caught.value.code == "UNAVAILABLE"
    with pytest.raises(ServingError) as caught:
        RestClient(f"http://127.0.0.1:{server.rest_port}/elsewhere", timeout=5).status("toy")
    assert caught.value.code == "NOT_FOUND"


PAIRS = {
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "ClassificationRequest": classification_pb2.ClassificationRequest,
    "ClassificationResponse": classification_pb2.ClassificationResponse,
    "RegressionRequest": regression_pb2.RegressionRequest,
    "RegressionResponse": regression_pb2.RegressionResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
}
INT32_AND_ENUM = (5, 14)  # descriptor types that have the same bytes


def check_fields(ours, real, seen):
    """Every field of ours is in the real message: number, name, type, repeated or not, packed or not."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = real.fields_by_name[field.name]
        same = field.type == other.type or (field.type, other.type) == INT32_AND_ENUM
        assert same, f"{real.full_name}.{field.name}"
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated), field.full_name
        assert field.is_packed == other.is_packed, field.full_name
        if field.message_type:
            check_fields(field.message_type, other.message_type, seen)


def fill(message):
    """Sets every field of a message, two entries in what repeats; of a Feature one, as they exclude each other."""
    values = {1: 0.1, 2: 0.5, 3: -(2**40), 4: 2**63, 5: 30, 8: True, 9: "é", 12: b"\xff\x00", 13: 7}
    fields = message.DESCRIPTOR.fields
    for field in fields[:1] if message.DESCRIPTOR.name == "Feature" else fields:
        target = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            for key in ("b", "a"):
                fill(target[key])
        elif field.message_type:
            for entry in [target.add(), target.add()] if field.is_repeated else [target]:
                fill(entry)
        elif field.is_repeated:
            target.extend([values[field.type]] * 2)
        else:
            setattr(message, field.name, values[field.type])


@pytest.mark.parametrize("name", PAIRS)
def test_wire_messages_have_the_bytes_of_the_real_ones(name):
    ours = wire.message(name)
    check_fields(ours.DESCRIPTOR, PAIRS[name].DESCRIPTOR, set())
    fill(ours)
    data = ours.SerializeToString(deterministic=True)
    real = PAIRS[name].FromString(data)
    assert not list(UnknownFieldSet(real))
    assert real.SerializeToString(deterministic=True) == data
    assert wire.parse(name, data) == ours


@pytest.mark.parametrize("dtype", [name for name, _, _ in wire._TYPES.values() if name != "string"])
def test_tensors_travel_both_ways(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for value in (array, array[:0], array[0, 0], array[:, :1]):
        ours = wire.tensor_from_array(np.asarray(value))
        real = tf.make_tensor_proto(value)
        received = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
        np.testing.assert_array_equal(received, value)
        assert received.dtype == value.dtype
        back = wire.array_from_tensor(wire.parse("TensorProto", real.SerializeToString()))
        np.testing.assert_array_equal(back, value)
        assert back.dtype == value.dtype
    proto = tf.make_tensor_proto(array)
    if proto.tensor_content:  # TensorFlow writes bool and uint16 one by one
        assert wire.tensor_from_array(array).SerializeToString() == proto.SerializeToString()
    # One by one, and the last repeated, as the real server may send them.
    field = next(field for name, _, field in wire._TYPES.values() if name == dtype)
    proto.ClearField("tensor_content")
    proto.ClearField(field)
    getattr(proto, field).extend([0, 0x3C00 if field == "half_val" else 1])  # half floats travel as their bits
    back = wire.array_from_tensor(wire.parse("TensorProto", proto.SerializeToString()))
    np.testing.assert_array_equal(back, np.array([[0, 1, 1], [1, 1, 1]], dtype))


def test_string_tensors_have_the_same_bytes():
    array = np.array([[b"a", b""], [b"\xff\x00", "é".encode()]], object)
    proto = tf.make_tensor_proto(array)
    assert wire.tensor_from_array(array).SerializeToString() == proto.SerializeToString()
    back = wire.array_from_tensor(wire.parse("TensorProto", proto.SerializeToString()))
    assert back.tolist() == array.tolist()


SCRIPT = """
import sys
{before}
from albert_gpt_tf.serving.client import GrpcClient, RestClient
assert ("tensorflow" in sys.modules) == {tensorflow}, "tensorflow was imported"
for client in (RestClient("http://127.0.0.1:{rest}"), GrpcClient("127.0.0.1:{grpc}")):
    assert client.predict("toy", {{"text": ["good"]}})["label"][0] == "short"
    assert client.classify("toy", [{{"text": "abc"}}])[0][0] == ("bytes", 3.0)
{after}
assert GrpcClient("127.0.0.1:{grpc}").predict("toy", {{"text": ["good"]}})["label"][0] == "short"
"""


@pytest.mark.parametrize("order", ["alone, then tensorflow", "tensorflow first"])
def test_client_without_tensorflow_and_beside_it(server, order):
    both = "from tensorflow_serving.apis import predict_pb2"
    alone = f'assert "tensorflow" not in sys.modules\n{both}'
    before, after = (both, "") if order == "tensorflow first" else ("", alone)
    script = SCRIPT.format(
        before=before, after=after, tensorflow=bool(before), rest=server.rest_port, grpc=server.grpc_port
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
