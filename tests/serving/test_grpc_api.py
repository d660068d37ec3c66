"""The gRPC API with the real stubs of tensorflow-serving-api: equal to a direct call, and the real status codes."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

CODE = grpc.StatusCode
TEXTS = [b"good", b"a longer text", b"", b"\xff\xfe invalid", b"nul\x00"]
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def spec(signature_name="", name="toy", version=None):
    return {"name": name, "signature_name": signature_name} | ({"version": {"value": version}} if version else {})


def predict_request(inputs, model_spec=None, output_filter=()):
    request = predict_pb2.PredictRequest(model_spec=model_spec or spec(), output_filter=output_filter)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def examples(*texts):
    features = [{"features": {"feature": {"text": {"bytes_list": {"value": [text]}}}}} for text in texts]
    return {"example_list": {"examples": features}}


def error(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=30)
    return caught.value.code(), caught.value.details()


def test_predict_equals_a_direct_call(stub, direct):
    response = stub.Predict(predict_request({"text": TEXTS}), timeout=30)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 2)
    assert response.model_spec.signature_name == "serving_default"
    want = direct(text=TEXTS)
    assert set(response.outputs) == set(want)
    for name, array in want.items():
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs[name]), array)


def test_typed_inputs_scalars_and_output_filter(stub):
    inputs = {
        "prompt": ["héllo".encode()],
        "max_new_tokens": np.array([2], np.int32),
        "temperature": np.array([0.5], np.float32),
        "seed": np.array([2**40], np.int64),
        "echo": np.array([False]),
    }
    response = stub.Predict(predict_request(inputs, spec("generate"), ["text_bytes", "seed"]), timeout=30)
    assert set(response.outputs) == {"text_bytes", "seed"}
    assert response.outputs["text_bytes"].string_val[0] == "héllo".encode()[:2]
    assert tf.make_ndarray(response.outputs["seed"]) == 2**40 + 1
    response = stub.Predict(predict_request({"x": np.array([1, 2], np.float32)}, spec("numbers")), timeout=30)
    assert response.outputs["total"].tensor_shape.dim == []


def test_versions_and_zero_rows(stub):
    response = stub.Predict(predict_request({"text": ["x"]}, spec(version=1)), timeout=30)
    assert tf.make_ndarray(response.outputs["scores"])[0, 2] == 1.0
    response = stub.Predict(predict_request({"text": np.array([], object)}), timeout=30)
    assert tf.make_ndarray(response.outputs["scores"]).shape == (0, 3)


def test_defaults_fill_missing_inputs(stub):
    def text(inputs):
        return stub.Predict(predict_request(inputs, spec("optional")), timeout=30).outputs["text"].string_val

    assert list(text({"text": ["a"]})) == [b"a!"]
    assert list(text({"text": ["a"], "suffix": ["?"]})) == [b"a?"]
    code, message = error(stub.Predict, predict_request({"suffix": ["?"]}, spec("optional")))
    assert code is CODE.INVALID_ARGUMENT
    assert message.startswith("Signature input alias: text(feed name: optional_text:0) not found in request and no")
    code, message = error(stub.Predict, predict_request({"text": ["a"], "x": ["?"]}, spec("optional")))
    assert message == "Inputs contains invalid name. Used request inputs: text, request input: text,x"


BAD_PREDICTS = {
    "unknown model": (spec(name="none"), {}, CODE.NOT_FOUND, "Servable not found for request: Latest(none)"),
    "no model": (spec(name=""), {}, CODE.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    "unknown version": (spec(version=9), {}, CODE.NOT_FOUND, "Servable not found for request: Specific(toy, 9)"),
    "label": ({"name": "toy", "version_label": "x"}, {}, CODE.INVALID_ARGUMENT, "Unrecognized servable version label"),
    "unknown signature": (spec("x"), {}, CODE.FAILED_PRECONDITION, 'Serving signature key "x" not found.'),
    "missing": (
        spec(),
        {},
        CODE.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1 len({}) != len({text}). Sent extra: {}. "
        "Missing but required: {text}.",
    ),
    "extra": (
        spec(),
        {"text": ["x"], "more": ["x"]},
        CODE.INVALID_ARGUMENT,
        "input size does not match signature: 2!=1 len({more,text}) != len({text}). Sent extra: {more}. "
        "Missing but required: {}.",
    ),
    "wrong name": (spec(), {"texts": ["x"]}, CODE.INVALID_ARGUMENT, "not found in request and no default value"),
    "wrong type": (spec(), {"text": [1.0]}, CODE.INVALID_ARGUMENT, "Expects arg[0] to be string but float is provided"),
    "wrong rank": (spec(), {"text": [["x"]]}, CODE.INVALID_ARGUMENT, "takes the shape [-1], but [1,1] was sent"),
    "an op fails": (spec("parse_number"), {"x": [b"\xff"]}, CODE.INVALID_ARGUMENT, "StringToNumberOp could not"),
    "a long text": (spec("parse_number"), {"x": ["x" * 100_000]}, CODE.INVALID_ARGUMENT, "...TRUNCATED"),
}


@pytest.mark.parametrize("name", BAD_PREDICTS)
def test_bad_predict_is_refused_with_the_servers_code_and_text(stub, name):
    model_spec, inputs, code, message = BAD_PREDICTS[name]
    received, details = error(stub.Predict, predict_request(inputs, model_spec))
    assert (received, message in details) == (code, True), details
    assert stub.Predict(predict_request({"text": ["good"]}), timeout=30).outputs["label"].string_val[0] == b"short"


def test_output_filter_errors(stub):
    code, message = error(stub.Predict, predict_request({"text": ["x"]}, output_filter=["none"]))
    assert code is CODE.INVALID_ARGUMENT
    assert message == (
        "output tensor alias not found in signature: none Outputs expected to be in the set {label,score,scores}."
    )
    code, message = error(stub.Predict, predict_request({"text": ["x"]}, output_filter=["score", "score"]))
    assert message == "duplicate output tensor alias: score"


def test_tensors_that_contradict_themselves_are_refused(stub):
    request = predict_request({"text": ["x"]})
    for dims in ([-1], [2**40], [2**40, 2**40]):
        request.inputs["text"].tensor_shape.Clear()
        for size in dims:
            request.inputs["text"].tensor_shape.dim.add(size=size)
        assert error(stub.Predict, request) == (CODE.INVALID_ARGUMENT, "tensor parsing error: text")
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
    request.inputs["text"].tensor_content = b"123"
    assert error(stub.Predict, request) == (CODE.INVALID_ARGUMENT, "tensor parsing error: text")
    request.inputs["text"].Clear()
    assert error(stub.Predict, request)[0] is CODE.INVALID_ARGUMENT


def test_a_larger_message_is_resource_exhausted(stub):
    code, _ = error(stub.Predict, predict_request({"text": ["x" * 5 * 2**20]}))
    assert code is CODE.RESOURCE_EXHAUSTED
    response = stub.Predict(predict_request({"text": ["x" * 2**20]}), timeout=30)
    assert tf.make_ndarray(response.outputs["score"])[0] == 2**20


def test_classify_regress_and_multi_inference(stub, direct):
    request = classification_pb2.ClassificationRequest(model_spec=spec("classify"), input=examples(b"abc", b"abcdef"))
    response = stub.Classify(request, timeout=30)
    scores = [[entry.score for entry in row.classes] for row in response.result.classifications]
    np.testing.assert_array_equal(np.array(scores, np.float32), direct(text=["abc", "abcdef"])["scores"])
    assert response.model_spec.signature_name == "classify"
    request = regression_pb2.RegressionRequest(model_spec=spec("regress"), input=examples(b"seven b"))
    assert stub.Regress(request, timeout=30).result.regressions[0].value == 1.0
    tasks = [
        {"model_spec": spec("classify"), "method_name": CLASSIFY},
        {"model_spec": spec("regress"), "method_name": REGRESS},
    ]
    request = inference_pb2.MultiInferenceRequest(tasks=tasks, input=examples(b"seven b"))
    results = stub.MultiInference(request, timeout=30).results
    assert results[0].classification_result.classifications[0].classes[0].score == 7.0
    assert results[1].regression_result.regressions[0].value == 1.0


def test_bad_classify_regress_and_multi_inference(stub):
    def classify(model_spec, examples_input):
        request = classification_pb2.ClassificationRequest(model_spec=model_spec, input=examples_input)
        return error(stub.Classify, request)

    assert classify(spec("classify"), {}) == (CODE.INVALID_ARGUMENT, "Input is empty.")
    assert classify(spec("x"), {}) == (CODE.INVALID_ARGUMENT, "No signature was found with the name: x")
    assert classify(spec(), {})[1] == "Expected one or two output Tensors, found 3"
    assert classify(spec("regress"), {})[0] is CODE.FAILED_PRECONDITION
    request = regression_pb2.RegressionRequest(model_spec=spec("classify"), input=examples(b"x"))
    assert error(stub.Regress, request) == (CODE.INVALID_ARGUMENT, "Expected one output Tensor.")

    def multi(*tasks):
        return error(stub.MultiInference, inference_pb2.MultiInferenceRequest(tasks=tasks, input=examples(b"x")))

    task = {"model_spec": spec("classify"), "method_name": CLASSIFY}
    assert multi(task, task) == (CODE.INVALID_ARGUMENT, "Duplicate evaluation of signature: classify")
    assert multi(task | {"method_name": "x"}) == (CODE.UNIMPLEMENTED, "Unsupported signature method_name: x")
    assert multi()[0] is CODE.INVALID_ARGUMENT


def test_status_and_metadata(channel, stub):
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    status = models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec()), timeout=30)
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(entry.version, entry.state) for entry in status.model_version_status] == [(2, available), (1, available)]
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec(name="none"))
    assert error(models.GetModelStatus, request) == (CODE.NOT_FOUND, "Could not find any versions of model none")
    reload = model_management_pb2.ReloadConfigRequest()
    assert error(models.HandleReloadConfigRequest, reload)[0] is CODE.UNIMPLEMENTED

    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec(), metadata_field=["signature_def"])
    packed = stub.GetModelMetadata(request, timeout=30).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert not signatures.signature_def["optional"].defaults
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec(), metadata_field=["x"])
    assert error(stub.GetModelMetadata, request) == (CODE.INVALID_ARGUMENT, "Metadata field x is not supported")
    assert error(stub.Predict, predict_pb2.PredictRequest()) == (CODE.INVALID_ARGUMENT, "Missing ModelSpec")
