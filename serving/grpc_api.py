"""The gRPC API of TensorFlow Serving: PredictionService, and ModelService.GetModelStatus."""

import functools
import logging
from concurrent.futures import Executor

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from albert_gpt_tf.serving import classify_regress, model_info
from albert_gpt_tf.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel, array_from_proto, find_model
from albert_gpt_tf.serving.request_error import RequestError, invalid

# The status text travels in HTTP/2 headers, which are small; the real server cuts it at the same length.
MAX_STATUS_TEXT = 1024

logger = logging.getLogger(__name__)
Models = dict[str, dict[int, LoadedModel]]


def grpc_server(models: Models, executor: Executor, max_body_bytes: int) -> grpc.Server:
    """Builds the server, not yet bound to a port.

    Args:
        models: dict from model name to its loaded versions; may be filled until the server starts.
        executor: the thread pool in which requests run.
        max_body_bytes: int, a longer request is answered with RESOURCE_EXHAUSTED.

    Returns:
        A `grpc.Server`.
    """
    options = [
        ("grpc.so_reuseport", 0),  # otherwise a second server on the same port would start and take half the calls
        ("grpc.max_receive_message_length", max_body_bytes),
        ("grpc.max_send_message_length", -1),
    ]
    server = grpc.server(executor, options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
    return server


def _answered(method):
    """Turns exceptions into status codes; an unexpected one is logged, and the server lives on."""

    @functools.wraps(method)
    def call(self, request, context):
        try:
            return method(self, request)
        except RequestError as error:
            code, message = error.code, error.message
        except Exception as error:
            logger.exception("gRPC request %s failed", method.__name__)
            code, message = "INTERNAL", f"{type(error).__name__}; its traceback is in the server's log."
        if len(message) > MAX_STATUS_TEXT:
            message = message[:MAX_STATUS_TEXT] + "...TRUNCATED"
        # The kernels quote what they were given, which need not be text; gRPC can only send text.
        context.abort(grpc.StatusCode[code], message.encode("utf-8", "replace").decode())

    return call


def _find(models: Models, spec) -> LoadedModel:
    return find_model(models, spec.name, _version(spec), spec.version_label)


def _version(spec) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _answered_spec(model: LoadedModel, spec) -> dict:
    return {
        "name": model.name,
        "signature_name": spec.signature_name or DEFAULT_SIGNATURE,
        "version": {"value": model.version},
    }


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict, Classify, Regress, MultiInference and GetModelMetadata.

    Args:
        models: dict from model name to its loaded versions.
    """

    def __init__(self, models: Models):
        self.models = models

    @_answered
    def Predict(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        model = _find(self.models, request.model_spec)
        model.signature(request.model_spec.signature_name)  # before the inputs are read, as the real server does
        inputs = {name: array_from_proto(name, proto) for name, proto in request.inputs.items()}
        outputs = model.run(request.model_spec.signature_name, inputs, tuple(request.output_filter))
        response = predict_pb2.PredictResponse(model_spec=_answered_spec(model, request.model_spec))
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(_tensor_proto(array))
        return response

    @_answered
    def Classify(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        model = _find(self.models, request.model_spec)
        result = classify_regress.classify(model, request.model_spec.signature_name, request.input)
        return classification_pb2.ClassificationResponse(
            model_spec=_answered_spec(model, request.model_spec), result=result
        )

    @_answered
    def Regress(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        model = _find(self.models, request.model_spec)
        result = classify_regress.regress(model, request.model_spec.signature_name, request.input)
        return regression_pb2.RegressionResponse(model_spec=_answered_spec(model, request.model_spec), result=result)

    @_answered
    def MultiInference(self, request):
        if not request.tasks:
            raise invalid("Inference request must contain at least one task.")
        return classify_regress.multi_inference(_find(self.models, request.tasks[0].model_spec), request)

    @_answered
    def GetModelMetadata(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return model_info.model_metadata(_find(self.models, request.model_spec), list(request.metadata_field))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers GetModelStatus; a reload of the configuration stays UNIMPLEMENTED.

    Args:
        models: dict from model name to its loaded versions.
    """

    def __init__(self, models: Models):
        self.models = models

    @_answered
    def GetModelStatus(self, request):
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        return model_info.model_status(self.models, spec.name, _version(spec), spec.version_label)

    @_answered
    def HandleReloadConfigRequest(self, request):
        raise RequestError("UNIMPLEMENTED", "This server reads its models once; stop it and start it again.")


def _tensor_proto(array: np.ndarray):
    return tf.make_tensor_proto(array, tf.string if array.dtype == object else None, shape=array.shape)
