"""The REST API: equal to a direct call, and the real server's answer to everything that is wrong."""

import base64
import json

import httpx
import numpy as np
import pytest

TEXTS = ["good", "a longer text", "", "naïve 日本語", "nul\x00byte"]
GENERATE = {"prompt": "héllo", "max_new_tokens": 2, "temperature": 0.5, "seed": 2**40, "echo": False}


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}", trust_env=False, timeout=30) as client:
        yield client


def predict(http, body, path="/v1/models/toy:predict"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(path, content=content)


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_rows_equal_a_direct_call(http, direct):
    rows = predict(http, {"instances": TEXTS}).json()["predictions"]
    want = direct(text=TEXTS)
    assert [row["label"].encode() for row in rows] == want["label"].tolist()
    np.testing.assert_array_equal(np.array([row["scores"] for row in rows], np.float32), want["scores"])
    assert set(rows[0]) == {"label", "score", "scores"}


def test_columns_equal_rows_and_objects_equal_values(http):
    columns = predict(http, {"inputs": TEXTS}).json()["outputs"]
    assert columns == predict(http, {"inputs": {"text": TEXTS, "ignored": 1}}).json()["outputs"]
    rows = predict(http, {"instances": [{"text": text} for text in TEXTS]}).json()["predictions"]
    assert rows == predict(http, {"instances": TEXTS}).json()["predictions"]
    assert [row["scores"] for row in rows] == columns["scores"]


def test_typed_inputs_bytes_outputs_and_the_name_of_a_single_output(http):
    body = {"signature_name": "generate", "instances": [GENERATE, GENERATE | {"echo": True}]}
    first, second = predict(http, body).json()["predictions"]
    assert (
        first
        == {
            "text": "h\ufffd",  # two bytes cut "é" in half
            "text_bytes": b64("héllo".encode()[:2]),
            "token_count": 2,
            "seed": 2**40 + 1,
            "log_probability": -0.5,
        }
    )
    assert second["text"] == "héllo"
    assert predict(http, {"signature_name": "raw", "inputs": ["x"]}).json() == {"outputs": ["x"]}
    assert predict(http, {"signature_name": "raw", "instances": ["x"]}).json() == {"predictions": ["x"]}


def test_versions_labels_and_case(http):
    def version(path):
        return predict(http, {"inputs": ["x"]}, path).json()["outputs"]["scores"][0][2]

    assert version("/v1/models/toy/versions/1:predict") == 1.0
    assert version("/v1/models/toy/versions/2:predict") == version("/V1/MODELS/toy:PREDICT") == 2.0
    reply = predict(http, {"inputs": ["x"]}, "/v1/models/toy/labels/stable:predict")
    assert (reply.status_code, reply.json()["error"]) == (400, "Unrecognized servable version label: stable")


def test_floats_are_short_and_special_values_are_bare_words(http):
    text = predict(http, {"signature_name": "numbers", "inputs": [0.0, 5.0]}).text
    assert '"inverse": [Infinity, 0.2]' in text
    reply = predict(http, b'{"signature_name": "numbers", "inputs": [NaN, -Infinity]}')
    assert '"total": NaN' in reply.text


def test_raw_strings_are_copied_without_a_utf8_check(http):
    reply = predict(http, {"signature_name": "raw", "instances": [b64(b"\xff\x80\x00")]})
    assert reply.status_code == 200
    assert b'"\xff\x80\\u0000"' in reply.content


def test_classify_and_regress(http, direct):
    body = {"signature_name": "classify", "examples": [{"text": "abc"}, {"text": ["abcdef"]}]}
    results = http.post("/v1/models/toy:classify", json=body).json()["results"]
    want = direct(text=["abc", "abcdef"])["scores"]
    assert [[label for label, _ in row] for row in results] == [["bytes", "thirds", "naïve"]] * 2
    np.testing.assert_array_equal(np.array([[score for _, score in row] for row in results], np.float32), want)

    body = {"signature_name": "regress", "context": {"text": "ignored"}, "examples": [{"text": b64(b"seven b")}]}
    assert http.post("/v1/models/toy:regress", json=body).json() == {"results": [1.0]}


def test_status_and_metadata(http):
    status = http.get("/v1/models/toy").json()["model_version_status"]
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert status == [{"version": "2"} | available, {"version": "1"} | available]
    assert len(http.get("/v1/models/toy/versions/1").json()["model_version_status"]) == 1
    metadata = http.get("/v1/models/toy/metadata").json()
    assert metadata["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["generate"]
    assert signature["inputs"]["max_new_tokens"]["dtype"] == "DT_INT32"
    optional = metadata["metadata"]["signature_def"]["signature_def"]["optional"]
    assert optional["defaults"] == {}  # the real server hides them


BAD_BODIES = {
    "no body": (b"", "JSON Parse error: The document is empty"),
    "no JSON": (b'{"instances": [', "JSON Parse error: "),
    "no UTF-8": (b'{"instances": ["\xff"]}', "JSON Parse error: Invalid encoding in string."),
    "half a surrogate pair": (b'{"instances": ["\\ud800"]}', "JSON Parse error: The surrogate pair"),
    "a list": (b"[1]", "Is not object"),
    "nested too deeply": (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "JSON Parse error: "),
    "nested deeply": (b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
    "a huge integer": (b'{"instances": [1' + b"0" * 5000 + b"]}", "JSON Parse error: "),
    "neither key": ({}, "Missing 'inputs' or 'instances' key"),
    "both keys": ({"inputs": ["x"], "instances": ["x"]}, "expecting only one of 'inputs' or 'instances' keys"),
    "no rows": ({"instances": []}, "No values in 'instances' array"),
    "rows are no list": ({"instances": "x"}, "Excepting 'instances' to be an list/array"),
    "signature is no string": ({"signature_name": 1, "inputs": ["x"]}, "'signature_name' key must be a string value."),
    "unknown signature": (
        {"signature_name": "none", "inputs": ["x"]},
        'Serving signature name: "none" not found in signature def',
    ),
    "wrong name by row": ({"instances": [{"texts": "x"}]}, "does not have named input: texts"),
    "wrong name by column": ({"inputs": {"texts": ["x"]}}, "Missing named input: text in 'inputs' object."),
    "extra name by row": ({"instances": [{"text": "x", "more": 1}]}, "does not have named input: more"),
    "missing name by row": (
        {"signature_name": "generate", "instances": [{"prompt": "x"}]},
        "keys must be equal to: echo,max_new_tokens,prompt,seed,temperature",
    ),
    "a plain list for several inputs": (
        {"signature_name": "generate", "instances": ["x"]},
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per",
    ),
    "a plain value for several inputs": ({"signature_name": "generate", "inputs": ["x"]}, "inputs is a plain value"),
    "object after value": ({"instances": ["x", {"text": "x"}]}, "Expecting value/list but got object at item 1"),
    "value after object": ({"instances": [{"text": "x"}, "x"]}, "Expecting object but got list at item 1"),
    "number for string": (
        {"inputs": [1]},
        "JSON Value: 1 Type: Number is not of expected type: string",
    ),
    "number for string by row": (
        {"instances": [1]},
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1 Type: Number is not "
        "of expected type: string",
    ),
    "null": ({"inputs": [None]}, "JSON Value: null Type: Null is not of expected type: string"),
    "decimal for int32": (
        {"signature_name": "generate", "instances": [GENERATE | {"max_new_tokens": 1.0}]},
        "JSON Value: 1.0 Type: Number is not of expected type: int32",
    ),
    "too large for int32": (
        {"signature_name": "generate", "instances": [GENERATE | {"max_new_tokens": 2**31}]},
        "is not of expected type: int32",
    ),
    "true for int32": (
        {"signature_name": "generate", "instances": [GENERATE | {"max_new_tokens": True}]},
        "Type: True is not of expected type: int32",
    ),
    "number for bool": (
        {"signature_name": "generate", "instances": [GENERATE | {"echo": 1}]},
        "Type: Number is not of expected type: bool",
    ),
    "inexact for float": (
        {"signature_name": "numbers", "inputs": [2**24 + 1]},
        "Cannot convert JSON value: 16777217 to float without loss of precision.",
    ),
    "too large for float": ({"signature_name": "numbers", "inputs": [1e39]}, "to float without loss of precision."),
    "ragged by column": (
        {"inputs": [["x"], ["x", "y"]]},
        "Encountered list at unexpected size: 2 at level: 1 expected size: 1",
    ),
    "ragged by row": ({"instances": [["x"], ["x", "y"]]}, "Expecting tensor size: 1 but got: 2"),
    "other shape by row": ({"instances": [[["x", "y"]], [["x"], ["y"]]]}, "Expecting shape [1,2] but got: [2,1]"),
    "mixed depth": ({"inputs": ["x", ["y"]]}, "Encountered list at unexpected level: 1 expected < 1"),
    "shallow after deep": ({"inputs": [["x"], "y"]}, "found at incorrect level: 2 in the JSON DOM. Expected at level"),
    "wrong rank": ({"instances": [["x"]]}, 'Input "text" of signature "serving_default" takes the shape [-1]'),
    "a scalar": ({"inputs": "x"}, "takes the shape [-1], but [] was sent"),
    "no base64": ({"instances": [{"b64": "!"}]}, "Unable to base64 decode"),
    "URL-safe base64": ({"instances": [{"b64": "_-8="}]}, "Unable to base64 decode"),
    "b64 is no string": ({"inputs": {"text": [{"b64": 1}]}}, "not formatted correctly for base64 data"),
    "scalar output by row": ({"signature_name": "numbers", "instances": [1.0]}, "has no shape information"),
    "half output": (
        {"signature_name": "half", "inputs": [1.0]},
        "Failed to write JSON value for tensor type: half",
    ),
    "an op fails": (
        {"signature_name": "parse_number", "inputs": ["x"]},
        "StringToNumberOp could not correctly convert string: x",
    ),
    "an op fails on bytes": ({"signature_name": "parse_number", "inputs": [b64(b"\xff")]}, "StringToNumberOp could"),
    "REST ignores defaults": (
        {"signature_name": "optional", "inputs": {"text": ["x"]}},
        "Missing named input: suffix in 'inputs' object.",
    ),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_body_is_refused_with_the_servers_text(http, name):
    body, message = BAD_BODIES[name]
    reply = predict(http, body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]
    assert "Graph execution error" not in reply.text
    assert len(reply.content) < 5000
    assert predict(http, {"instances": ["good"]}).json()["predictions"][0]["label"] == "short"


BAD_EXAMPLES = {
    "no examples": ({}, 400, "When method is classify, key 'examples' is expected and was not found"),
    "examples are no list": ({"examples": 1}, 400, "Expecting 'examples' value to be an list/array"),
    "empty": ({"examples": []}, 400, "'examples' value is an empty array"),
    "no object": ({"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
    "null": ({"examples": [{"text": None}]}, 400, "Feature: text has element with unexpected JSON type: Null"),
    "mixed": ({"examples": [{"text": ["x", 1]}]}, 400, "Unexpected element type in feature: text expecting type: by"),
    "wrong type": ({"examples": [{"text": 1}]}, 400, "text"),
    "missing": ({"examples": [{"other": "x"}]}, 400, "Feature: text (data type: string) is required"),
    "signature for predict": ({"signature_name": "", "examples": [{}]}, 400, "Expected one or two output Tensors"),
    "signature unknown": ({"signature_name": "x", "examples": [{}]}, 400, "No signature was found with the name: x"),
    "signature without inputs": ({"signature_name": "raw", "examples": [{}]}, 400, "No classification inputs found"),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_bad_examples_are_refused(http, name):
    body, status, message = BAD_EXAMPLES[name]
    reply = http.post("/v1/models/toy:classify", json={"signature_name": "classify"} | body)
    assert reply.status_code == status
    assert message in reply.json()["error"]


def test_unknown_models_versions_and_paths(http):
    def error(method, path):
        reply = http.request(method, path, content=b'{"inputs": ["x"]}')
        return reply.status_code, reply.json()["error"]

    assert error("POST", "/v1/models/none:predict") == (404, "Servable not found for request: Latest(none)")
    assert error("POST", "/v1/models/toy/versions/9:predict") == (
        404,
        "Servable not found for request: Specific(toy, 9)",
    )
    assert error("GET", "/v1/models/none") == (404, "Could not find any versions of model none")
    assert error("GET", "/v1/models/toy/versions/9") == (404, "Could not find version 9 of model toy")
    assert error("GET", "/v1/models") == (400, "Missing model name in request.")
    assert error("GET", "/v1/models/toy:predict") == (400, "Malformed request: GET /v1/models/toy:predict")
    assert error("POST", "/v1/models/toy:generate") == (400, "Malformed request: POST /v1/models/toy:generate")
    assert error("PUT", "/v1/models/toy:predict") == (400, "Malformed request: PUT /v1/models/toy:predict")
    assert error("GET", "/v1/models/toy/versions/" + "9" * 30)[0] == 400
    assert http.get("/").status_code == 404


def test_zero_rows_by_column(http):
    assert predict(http, {"inputs": []}).json() == {"outputs": {"label": [], "score": [], "scores": []}}


def test_a_megabyte_is_served_and_a_larger_body_is_413(http):
    row = predict(http, {"instances": ["x" * 2**20]}).json()["predictions"][0]
    assert row["score"] == 2**20
    reply = predict(http, {"instances": ["x" * 5 * 2**20]})
    assert reply.status_code == 413
    assert reply.json()["error"].startswith("The request body is larger than 4194304 bytes")
    assert predict(http, {"instances": ["good"]}).status_code == 200
