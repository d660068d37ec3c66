"""The REST API of TensorFlow Serving as a Starlette application.

`answer` is the whole API as one plain function from a request to a reply; the application around it reads the body,
keeps its size in bounds, and runs `answer` in a thread pool so that TensorFlow never blocks the event loop.
"""

import asyncio
import json
import logging
import re
from concurrent.futures import Executor
from urllib.parse import unquote

import numpy as np
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import input_pb2

from albert_gpt_tf.serving import classify_regress, json_tensors, model_info
from albert_gpt_tf.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel, find_model
from albert_gpt_tf.serving.request_error import HTTP_STATUS, RequestError, invalid

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
POST_PATH = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.I | re.A)
GET_PATH = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.I | re.A)
# A body over the limit is read to this many times the limit and thrown away: a client that is still sending would
# otherwise see a broken connection instead of the answer.
DISCARD_FACTOR = 8

logger = logging.getLogger(__name__)
Models = dict[str, dict[int, LoadedModel]]


def rest_application(models: Models, executor: Executor, max_body_bytes: int, timeout_seconds: float) -> Starlette:
    """Builds the application.

    Args:
        models: dict from model name to its loaded versions.
        executor: the thread pool in which TensorFlow runs.
        max_body_bytes: int, a longer body is answered with 413.
        timeout_seconds: float, a slower reply is given up with 504, as the real server's `--rest_api_timeout_in_ms`.

    Returns:
        A Starlette application.
    """

    async def handle(request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if not path.lower().startswith("/v1/"):
            return Response(status_code=404)
        try:
            body = await _read_body(request, max_body_bytes)
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        if body is None:
            message = f"The request body is larger than {max_body_bytes} bytes; send fewer or shorter inputs at a time."
            return _json_response(413, _error_body(message))
        work = asyncio.get_running_loop().run_in_executor(executor, answer, models, request.method, path, body)
        try:
            status, reply = await asyncio.wait_for(work, timeout_seconds)
        except TimeoutError:
            # The thread cannot be interrupted: it finishes, and its answer is dropped.
            message = f"Timed out after {timeout_seconds:g} s; ask for less, or start the server with a longer limit."
            status, reply = HTTP_STATUS["DEADLINE_EXCEEDED"], _error_body(message)
        return _json_response(status, reply)

    return Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)])


def answer(models: Models, http_method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Answers one REST request.

    Args:
        models: dict from model name to its loaded versions.
        http_method: str, "GET" or "POST".
        path: str, the path as sent, percent-encoding included.
        body: the body of the request.

    Returns:
        The HTTP status and the JSON of the reply. Never raises: an unexpected exception is logged and becomes a 500.
    """
    try:
        pattern = {"POST": POST_PATH, "GET": GET_PATH}.get(http_method)
        match = pattern.fullmatch(path) if pattern else None
        if not match:
            raise invalid(f"Malformed request: {http_method} {path}")
        name = unquote(match["name"] or "")
        version = _version(match["version"])
        label = unquote(match["label"] or "")
        if http_method == "GET":
            return 200, _describe(models, name, version, label, bool(match["metadata"]))
        method = match["method"].lower()
        document = json_tensors.parse_json(body)
        signature_name = document.get("signature_name", "")
        if not isinstance(signature_name, str):
            raise invalid(
                f"JSON Value: {json_tensors.quote(document)} not formatted correctly. 'signature_name' key must be a "
                "string value."
            )
        if method == "predict":
            return 200, _predict(find_model(models, name, version, label), signature_name, document)
        examples = _examples_from_json(document)
        model = find_model(models, name, version, label)
        if method == "classify":
            result = classify_regress.classify(model, signature_name, examples)
            rows = [[[entry.label, _decimal(entry.score)] for entry in row.classes] for row in result.classifications]
        else:
            result = classify_regress.regress(model, signature_name, examples)
            rows = [_decimal(row.value) for row in result.regressions]
        return 200, json_tensors.dump_json({"results": rows})
    except RequestError as error:
        return HTTP_STATUS[error.code], _error_body(error.message)
    except RecursionError:
        return 400, _error_body("JSON Parse error: the lists are nested too deeply.")
    except Exception as error:
        logger.exception("REST request %s %s failed", http_method, path)
        return 500, _error_body(f"Internal error: {type(error).__name__}; its traceback is in the server's log.")


def _predict(model: LoadedModel, signature_name: str, document: dict) -> bytes:
    signature_name = signature_name or DEFAULT_SIGNATURE
    try:
        signature = model.signature(signature_name)
    except RequestError as error:
        raise invalid(f'Serving signature name: "{signature_name}" not found in signature def') from error
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {signature_name}")
    inputs, by_rows = json_tensors.inputs_from_json(document, dict(signature.inputs))
    return json_tensors.outputs_to_json(model.run(signature_name, inputs), by_rows)


def _describe(models: Models, name: str, version: int | None, label: str, metadata: bool) -> bytes:
    if not name:
        raise invalid("Missing model name in request.")
    if not metadata:
        response = model_info.model_status(models, name, version, label)
        return json.dumps(_proto_to_dict(response), indent=1).encode()
    model = find_model(models, name, version, label)
    spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
    signatures = _proto_to_dict(model_info.signature_map(model))
    return json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}}, indent=1).encode()


def _proto_to_dict(message) -> dict:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _examples_from_json(document: dict) -> input_pb2.Input:
    examples = input_pb2.Input()
    target = examples.example_list
    if "context" in document:
        target = examples.example_list_with_context
        _fill_example(document["context"], target.context)
    quoted = json_tensors.quote(document)
    if "examples" not in document:
        raise invalid(f"JSON Value: {quoted} When method is classify, key 'examples' is expected and was not found")
    if not isinstance(document["examples"], list):
        raise invalid(f"JSON Value: {quoted} Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        raise invalid(f"JSON Value: {quoted} 'examples' value is an empty array")
    for value in document["examples"]:
        _fill_example(value, target.examples.add())
    return examples


def _fill_example(value, example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_tensors.json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(name, element, feature)


def _add_to_feature(name: str, value, feature) -> None:
    if isinstance(value, str):
        kind, value = "bytes_list", json_tensors.encode_text(value)
    elif isinstance(value, dict) and set(value) == {"b64"}:
        kind, value = "bytes_list", json_tensors.decode_base64(value)
    elif isinstance(value, float):
        kind = "float_list"
    elif isinstance(value, int):  # true and false too
        kind, value = "int64_list", int(value)
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        if value < -(2**63):
            raise invalid(f"Cannot convert JSON value: {value} to int64 without loss of precision.")
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_tensors.json_type(value)}")
    already = feature.WhichOneof("kind") or kind
    if already != kind:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {already.removesuffix('_list')}")
    getattr(feature, kind).value.append(value)


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    if len(digits) > 19 or int(digits) >= 2**63:
        raise invalid(f"Failed to convert version: {digits} to numeric.")
    return int(digits)


def _decimal(value: float) -> float:
    # A protobuf float arrives as a Python double; the fewest digits that say the same float32 are what was meant.
    return float(str(np.float32(value)))


def _error_body(message: str) -> bytes:
    return json.dumps({"error": message}, indent=4).encode()


def _json_response(status: int, body: bytes) -> Response:
    return Response(body, status_code=status, media_type="application/json")


async def _read_body(request: Request, limit: int) -> bytes | None:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
            if size > limit * DISCARD_FACTOR:
                break
    return b"".join(chunks) if size <= limit else None
