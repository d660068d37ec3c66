"""Classify, Regress and MultiInference: serialized `tf.Example` in, a fixed reply out.

TensorFlow Serving's `classifier.cc`, `regressor.cc` and `multi_inference.cc`, without the check of the signature's
`method_name`, which the real server also skips by default.
"""

import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from albert_gpt_tf.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel, type_name
from albert_gpt_tf.serving.request_error import RequestError, invalid

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


def classify(
    model: LoadedModel, signature_name: str, examples: input_pb2.Input
) -> classification_pb2.ClassificationResult:
    """Runs a signature with the input `inputs` and the outputs `classes` and/or `scores`, each [B, C].

    Args:
        model: the loaded version.
        signature_name: str, "" stands for `serving_default`.
        examples: the `Input` of a ClassificationRequest.

    Returns:
        A ClassificationResult with one entry an example.

    Raises:
        RequestError: if the signature does not fit, the input is empty or the outputs have other shapes.
    """
    signature = _signature(model, signature_name)
    check_classify_signature(signature)
    rows = serialized_examples(examples)
    outputs = model.run(signature_name, {"inputs": rows})
    for name, dtype in (("classes", "string"), ("scores", "float")):
        if name not in outputs:
            continue
        array = outputs[name]
        received = "string" if array.dtype == object else type_name(array.dtype)
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
        if received != dtype:
            raise invalid(f"Expected {name} Tensor of DT_{dtype.upper()}. Got: DT_{received.upper()}")
        if len(array) != len(rows):
            raise invalid(f"Expected {name} output batch size of {len(rows)}. Got: {len(array)}")
    widths = {name: outputs[name].shape[1] for name in ("classes", "scores") if name in outputs}
    if len(set(widths.values())) > 1:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {widths['classes']} vs. {widths['scores']}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(len(rows)):
        classes = result.classifications.add().classes
        for column in range(next(iter(widths.values()))):
            entry = classes.add()
            if "classes" in outputs:
                entry.label = _label(outputs["classes"][row, column])
            if "scores" in outputs:
                entry.score = outputs["scores"][row, column]
    return result


def regress(model: LoadedModel, signature_name: str, examples: input_pb2.Input) -> regression_pb2.RegressionResult:
    """Runs a signature with the input `inputs` and the output `outputs`, float32 [B] or [B, 1].

    Args:
        model: the loaded version.
        signature_name: str, "" stands for `serving_default`.
        examples: the `Input` of a RegressionRequest.

    Returns:
        A RegressionResult with one value an example.

    Raises:
        RequestError: if the signature does not fit, the input is empty or the output has another shape.
    """
    signature = _signature(model, signature_name)
    check_regress_signature(signature)
    rows = serialized_examples(examples)
    array = model.run(signature_name, {"inputs": rows})["outputs"]
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape_text(array)}"
        )
    if len(array) != len(rows):
        raise invalid(f"Input batch size did not match output batch size: {len(rows)} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: DT_{array.dtype.name.upper()}")
    return regression_pb2.RegressionResult(
        regressions=[regression_pb2.Regression(value=value) for value in array.ravel()]
    )


def multi_inference(
    model: LoadedModel, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Answers several Classify and Regress tasks on the same examples.

    Args:
        model: the loaded version that the first task names.
        request: the request.

    Returns:
        The response, one result a task.

    Raises:
        RequestError: if a task names another model, an unknown method, or a signature twice.
    """
    response, seen = inference_pb2.MultiInferenceResponse(), set()
    for task in request.tasks:
        signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != model.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if signature_name in seen:
            raise invalid(f"Duplicate evaluation of signature: {signature_name}")
        if signature_name not in model.signatures:
            raise invalid(f"Requested signature not found in model graph: {signature_name}")
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        seen.add(signature_name)
        result = response.results.add(
            model_spec={"name": model.name, "signature_name": signature_name, "version": {"value": model.version}}
        )
        if task.method_name == CLASSIFY_METHOD:
            result.classification_result.CopyFrom(classify(model, signature_name, request.input))
        else:
            result.regression_result.CopyFrom(regress(model, signature_name, request.input))
    return response


def serialized_examples(examples: input_pb2.Input) -> np.ndarray:
    """Serializes the examples of a request, the shared context before each.

    Args:
        examples: the `Input` of a request.

    Returns:
        An object array of bytes, [B].

    Raises:
        RequestError: INVALID_ARGUMENT if there is none.
    """
    kind = examples.WhichOneof("kind")
    rows = list(getattr(examples, kind).examples) if kind else []
    if not rows:
        raise invalid("Input is empty.")
    context = examples.example_list_with_context.context.SerializeToString() if "context" in kind else b""
    array = np.empty(len(rows), object)
    array[:] = [context + row.SerializeToString() for row in rows]  # protobuf merges messages laid end to end
    return array


def check_classify_signature(signature) -> None:
    """Raises a RequestError unless Classify can use the signature."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise RequestError("FAILED_PRECONDITION", f"No classification inputs found in SignatureDef: {signature}")
    if not {"classes", "scores"} & set(signature.outputs):
        raise RequestError(
            "FAILED_PRECONDITION",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}",
        )


def check_regress_signature(signature) -> None:
    """Raises a RequestError unless Regress can use the signature."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise RequestError("FAILED_PRECONDITION", f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise RequestError("FAILED_PRECONDITION", f"No regression outputs found in SignatureDef: {signature}")


def _signature(model: LoadedModel, signature_name: str):
    try:
        return model.signature(signature_name)
    except RequestError as error:
        name = signature_name or DEFAULT_SIGNATURE
        raise invalid(f"No signature was found with the name: {name}") from error


def _label(value: bytes) -> str:
    # The reply's field is a proto3 string, which Python's protobuf refuses to fill with anything but UTF-8.
    return value.decode("utf-8", "replace")


def _shape_text(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
