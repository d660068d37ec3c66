"""Clients for TensorFlow Serving, the local server included, that import neither TensorFlow nor the library.

`RestClient` needs the standard library and NumPy; `GrpcClient` also grpcio and protobuf. Both keep one convention:

* Inputs: a list, or an array. A list of numbers takes the type that the signature asks for if that loses nothing; an
  array is sent as it is. Strings may be str or bytes.
* Outputs: a dict of arrays with the signature's types. Strings come as an object array of str, wrong UTF-8 replaced;
  of bytes if the name ends in `_bytes`. REST cannot tell the shape [0, 3] from [0].
* Errors: `ServingError` with the server's message and a status code, whatever went wrong.
"""

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote

import grpc
import numpy as np

from albert_gpt_tf.serving import client_values, wire
from albert_gpt_tf.serving.request_error import HTTP_STATUS

_CODE_OF_HTTP_STATUS = {status: code for code, status in reversed(HTTP_STATUS.items())} | {413: "RESOURCE_EXHAUSTED"}
Example = dict[str, object]


class ServingError(Exception):
    """A request that failed: refused by the server, or never answered.

    Args:
        code: str, a canonical code such as `"INVALID_ARGUMENT"`, `"NOT_FOUND"`, `"UNAVAILABLE"` (no server there) or
            `"DEADLINE_EXCEEDED"`. Over REST, `"INVALID_ARGUMENT"` also stands for FAILED_PRECONDITION and
            OUT_OF_RANGE, which HTTP does not tell apart.
        message: str, the server's own words.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RestClient:
    """Talks to the REST API; threads may share one client.

    Args:
        base_url: str, defaults to `"http://127.0.0.1:8501"`. Proxies named in the environment are not used.
        timeout: float, seconds to wait for an answer, defaults to 60.

    Example:
        RestClient().predict("sentiment", {"text": ["a fine film"]})["label"]

    Reference: https://www.tensorflow.org/tfx/serving/api_rest
    """

    def __init__(self, base_url: str = "http://127.0.0.1:8501", timeout: float = 60.0):
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._metadata: dict[tuple, dict] = {}

    def predict(
        self,
        model: str,
        inputs: dict[str, Sequence | np.ndarray],
        signature_name: str = "serving_default",
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            model: str, the name the model is served under.
            inputs: dict of lists or arrays, the batch first.
            signature_name: str, defaults to `"serving_default"`.
            version: int, or None for the highest.

        Returns:
            A dict of arrays, see the convention of this module.

        Raises:
            ServingError: if the server refuses or does not answer.
            ValueError: if an input is no rectangular array of numbers, bools or strings.
        """
        signature = _signature_of(self, model, version, signature_name)
        arrays = client_values.to_arrays(inputs, signature["inputs"])
        columns = {name: client_values.array_to_json(array) for name, array in arrays.items()}
        body = {"signature_name": signature_name, "inputs": columns}
        outputs = self._call(model, version, ":predict", "outputs", body)
        # With one output the server leaves its name out; an only output that is itself an object is a b64 string.
        if len(signature["outputs"]) == 1:
            outputs = {next(iter(signature["outputs"])): outputs}
        return {
            name: client_values.array_from_json(name, value, signature["outputs"].get(name, {}).get("dtype"))
            for name, value in outputs.items()
        }

    def classify(
        self, model: str, examples: list[Example], signature_name: str = "classify", version: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Classifies examples.

        Args:
            model: str, the name the model is served under.
            examples: list of dicts from feature name to a value or a list of values: str, bytes, int or float.
            signature_name: str, defaults to `"classify"`.
            version: int, or None for the highest.

        Returns:
            For each example its (label, score) pairs in the order of the model's classes.

        Raises:
            ServingError: if the server refuses or does not answer.
        """
        body = {"signature_name": signature_name, "examples": client_values.examples_to_json(examples)}
        results = self._call(model, version, ":classify", "results", body)
        return [[(label, score) for label, score in row] for row in results]

    def regress(
        self, model: str, examples: list[Example], signature_name: str = "regress", version: int | None = None
    ) -> np.ndarray:
        """Returns one float32 for each example, [B]; the arguments are those of `classify`."""
        body = {"signature_name": signature_name, "examples": client_values.examples_to_json(examples)}
        return np.array(self._call(model, version, ":regress", "results", body), np.float32)

    def status(self, model: str, version: int | None = None) -> dict[int, str]:
        """Returns the state of each version of a model, such as `{2: "AVAILABLE"}`."""
        states = self._call(model, version, "", "model_version_status")
        return {int(entry["version"]): entry["state"] for entry in states}

    def metadata(self, model: str, version: int | None = None) -> dict[str, dict]:
        """Returns the signatures: `{signature: {"inputs": {name: {"dtype": str, "shape": list or None}}, ...}}`."""
        signatures = self._call(model, version, "/metadata", "metadata")["signature_def"]["signature_def"]

        def describe(infos: dict) -> dict:
            return {name: client_values.describe_json(info) for name, info in sorted(infos.items())}

        return {
            name: {"inputs": describe(entry["inputs"]), "outputs": describe(entry["outputs"])}
            for name, entry in sorted(signatures.items())
            if not name.startswith("__")
        }

    def _call(self, model: str, version: int | None, suffix: str, key: str, body: dict | None = None):
        path = f"/v1/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}") + suffix
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base_url + path, data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                return json.loads(response.read().decode("utf-8", "replace"))[key]
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            with contextlib.suppress(ValueError, KeyError, TypeError):
                text = json.loads(text)["error"]
            code = _CODE_OF_HTTP_STATUS.get(error.code, "UNKNOWN")
            raise ServingError(code, text or f"HTTP {error.code} {error.reason}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError("UNKNOWN", f"{self.base_url + path} does not answer as TensorFlow Serving.") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", error), TimeoutError):
                raise ServingError("DEADLINE_EXCEEDED", f"No answer within {self.timeout:g} s.") from error
            raise ServingError("UNAVAILABLE", f"No answer from {self.base_url}: {error}") from error


class GrpcClient:
    """Talks to the gRPC API; threads may share one client. Close it, or use it in a `with` statement.

    Args:
        target: str, host and port, defaults to `"127.0.0.1:8500"`.
        timeout: float, seconds to wait for an answer, defaults to 60.

    Example:
        with GrpcClient() as client:
            client.predict("sentiment", {"text": ["a fine film"]})["label"]
    """

    def __init__(self, target: str = "127.0.0.1:8500", timeout: float = 60.0):
        self.timeout = timeout
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        self._channel = grpc.insecure_channel(target, options=options)
        self._metadata: dict[tuple, dict] = {}

    def predict(
        self,
        model: str,
        inputs: dict[str, Sequence | np.ndarray],
        signature_name: str = "serving_default",
        version: int | None = None,
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Runs a signature, as `RestClient.predict` does.

        Args:
            model: str, the name the model is served under.
            inputs: dict of lists or arrays, the batch first; inputs with a default may be left out.
            signature_name: str, defaults to `"serving_default"`.
            version: int, or None for the highest.
            output_filter: names of the outputs to return, all if empty.

        Returns:
            A dict of arrays, see the convention of this module.

        Raises:
            ServingError: if the server refuses or does not answer.
            ValueError: if an input is no rectangular array of numbers, bools or strings.
        """
        signature = _signature_of(self, model, version, signature_name)
        arrays = client_values.to_arrays(inputs, signature["inputs"])
        request = wire.message("PredictRequest", model_spec=_model_spec(model, version, signature_name))
        request.output_filter.extend(output_filter)
        for name, array in arrays.items():
            request.inputs[name].CopyFrom(wire.tensor_from_array(array))
        response = self._call("PredictionService/Predict", request, "PredictResponse")
        outputs = {name: wire.array_from_tensor(response.outputs[name]) for name in sorted(response.outputs)}
        return {name: client_values.decode_strings(name, array) for name, array in outputs.items()}

    def classify(
        self, model: str, examples: list[Example], signature_name: str = "classify", version: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Returns the (label, score) pairs of each example; the arguments are those of `RestClient.classify`."""
        request = _examples_request("ClassificationRequest", model, examples, signature_name, version)
        response = self._call("PredictionService/Classify", request, "ClassificationResponse")
        return [[(entry.label, entry.score) for entry in row.classes] for row in response.result.classifications]

    def regress(
        self, model: str, examples: list[Example], signature_name: str = "regress", version: int | None = None
    ) -> np.ndarray:
        """Returns one float32 for each example, [B]; the arguments are those of `RestClient.classify`."""
        request = _examples_request("RegressionRequest", model, examples, signature_name, version)
        response = self._call("PredictionService/Regress", request, "RegressionResponse")
        return np.array([row.value for row in response.result.regressions], np.float32)

    def status(self, model: str, version: int | None = None) -> dict[int, str]:
        """Returns the state of each version of a model, such as `{2: "AVAILABLE"}`."""
        request = wire.message("GetModelStatusRequest", model_spec=_model_spec(model, version))
        response = self._call("ModelService/GetModelStatus", request, "GetModelStatusResponse")
        return {entry.version: wire.STATES.get(entry.state, "UNKNOWN") for entry in response.model_version_status}

    def metadata(self, model: str, version: int | None = None) -> dict[str, dict]:
        """Returns the signatures in the form of `RestClient.metadata`."""
        spec = _model_spec(model, version)
        request = wire.message("GetModelMetadataRequest", model_spec=spec, metadata_field=["signature_def"])
        response = self._call("PredictionService/GetModelMetadata", request, "GetModelMetadataResponse")
        signatures = wire.parse("SignatureDefMap", response.metadata["signature_def"].value).signature_def

        def describe(infos) -> dict:
            return {name: client_values.describe_proto(infos[name]) for name in sorted(infos)}

        return {
            name: {"inputs": describe(signatures[name].inputs), "outputs": describe(signatures[name].outputs)}
            for name in sorted(signatures)
            if not name.startswith("__")
        }

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _call(self, method: str, request, response_name: str):
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=lambda data: wire.parse(response_name, data),
        )
        try:
            return call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details() or "") from None


def _signature_of(client, model: str, version: int | None, signature_name: str) -> dict:
    """Returns the types of a signature, asked once; for one that the server does not list, none."""
    key = (model, version)
    if signature_name not in client._metadata.get(key, {}):
        client._metadata[key] = client.metadata(model, version)
    return client._metadata[key].get(signature_name, {"inputs": {}, "outputs": {}})


def _model_spec(model: str, version: int | None, signature_name: str = ""):
    spec = wire.message("ModelSpec", name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    return spec


def _examples_request(kind: str, model: str, examples: list[Example], signature_name: str, version: int | None):
    request = wire.message(kind, model_spec=_model_spec(model, version, signature_name))
    for example in examples:
        client_values.fill_example(request.input.example_list.examples.add(), example)
    return request
