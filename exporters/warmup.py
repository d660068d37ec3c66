"""Requests that TF Serving runs while it loads a version, so that the first caller does not wait.

The server replays `assets.extra/tf_serving_warmup_requests` before it marks a version as available, and a record that
fails makes the whole version fail. So every request is run here first.

The server runs the records on the model it is loading, whatever model name they hold: the name only labels the latency
metric (tensorflow/serving `saved_model_warmup.cc`, `predict_util.cc`). Give the name under which you serve.
"""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops that the graph may hold)
from tensorflow_serving.apis import (
    classification_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from albert_gpt_tf.exporters.run_rules import serialized_examples

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000  # tensorflow/serving, WarmupConsts::kMaxNumRecords


def write_warmup_requests(saved_model_dir, model_name: str, requests: list[tuple[str, dict]]) -> Path:
    """Runs requests against a SavedModel and stores them for the server to replay.

    Write one request a signature and a shape: a short and a long text, one row and a full batch.

    Args:
        saved_model_dir: str or Path, a SavedModel directory (the one with the version number).
        model_name: str, the name under which the model is served.
        requests: list of (signature name, dict of input name to array or list), each input of shape [B, ...].
            `classify` and `regress` take either `inputs`, serialized tf.Examples, or the features by name.

    Returns:
        The Path of the file, which replaces an earlier one.

    Raises:
        ValueError: There is no request or more than 1,000; or one names an unknown signature, has other inputs than
            the signature, or fails. Nothing is written.

    Example:
        >>> write_warmup_requests("exported/sentiment/1", "sentiment", [("serving_default", {"text": ["good", ""]})])

    Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    if not 1 <= len(requests) <= MAX_RECORDS:
        raise ValueError(
            f"Expected 1 to {MAX_RECORDS} warm-up requests, as many as a server replays. Received: {len(requests)}. "
            "One a signature and a shape is enough."
        )
    signatures = tf.saved_model.load(str(saved_model_dir)).signatures
    records = []
    for number, (name, inputs) in enumerate(requests):
        if name not in signatures:
            raise ValueError(
                f"Expected warm-up request {number} to name a signature among {sorted(signatures)}. "
                f"Received: {name!r}. Correct the name."
            )
        tensors = _run_request(number, name, signatures[name], inputs)
        records.append(_record(model_name, name, tensors).SerializeToString())
    file = Path(saved_model_dir) / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_name(f"{file.name}.unfinished")
    with tf.io.TFRecordWriter(str(unfinished)) as writer:
        for record in records:
            writer.write(record)
    os.replace(unfinished, file)
    return file


def read_warmup_requests(saved_model_dir) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Reads the requests back in the form that `write_warmup_requests` takes.

    Args:
        saved_model_dir: str or Path, a SavedModel directory.

    Returns:
        A list of (signature name, dict of input name to array), empty if there is no warm-up file. Requests to
        `classify` and `regress` come back as `inputs`, serialized tf.Examples.

    Example:
        >>> for name, inputs in read_warmup_requests("exported/sentiment/1"):
        ...     loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    """
    file = Path(saved_model_dir) / WARMUP_FILE
    if not file.is_file():
        return []
    requests = []
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "predict_log":
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        else:
            examples = request.input.example_list.examples
            inputs = {"inputs": np.array([example.SerializeToString() for example in examples], object)}
        requests.append((request.model_spec.signature_name, inputs))
    return requests


def _run_request(number: int, name: str, signature, inputs: dict) -> dict[str, tf.Tensor]:
    specs = signature.structured_input_signature[1]
    if name in ("classify", "regress") and set(inputs) != {"inputs"}:
        inputs = {"inputs": serialized_examples(inputs)}
    if set(inputs) != set(specs):
        raise ValueError(
            f"Expected warm-up request {number} to signature {name!r} to have the inputs {sorted(specs)}. "
            f"Received: {sorted(inputs)}. Pass every input and no other."
        )
    try:
        tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
        rows = {key: int(tensor.shape[0]) for key, tensor in tensors.items()}
        if len(set(rows.values())) > 1:  # a server that batches refuses it, whatever the graph does
            raise ValueError(f"inputs with different numbers of rows, {rows}.")
        signature(**tensors)
    except Exception as error:  # whatever it is, the server would refuse to load the model for it
        raise ValueError(
            f"Expected warm-up request {number} to signature {name!r} to succeed. Received: {str(error)[:300]} "
            "Correct the request: a server that replays it would not load the model."
        ) from error
    return tensors


def _record(model_name: str, name: str, tensors: dict[str, tf.Tensor]) -> prediction_log_pb2.PredictionLog:
    spec = model_pb2.ModelSpec(name=model_name, signature_name=name)
    if name not in ("classify", "regress"):
        request = predict_pb2.PredictRequest(model_spec=spec)
        for key, tensor in tensors.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy(), tensor.dtype, tensor.shape))
        return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    examples = [tf.train.Example.FromString(item) for item in tensors["inputs"].numpy()]
    packed = input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))
    if name == "classify":
        request = classification_pb2.ClassificationRequest(model_spec=spec, input=packed)
        return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))
    request = regression_pb2.RegressionRequest(model_spec=spec, input=packed)
    return prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))
