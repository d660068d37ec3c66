"""A task as one .tflite file that takes text."""

import os
from pathlib import Path

import tensorflow as tf

from albert_gpt_tf.exporters.signatures import holder_of
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier

QUANTIZATIONS = (None, "float16", "int8")


def export_tflite(task, path, quantization: str | None = None, interface: str = "text") -> Path:
    """Writes a classifier as a .tflite file: text in, label and scores out.

    The file holds built-in ops and two custom ops of TF Text (`FastSentencepieceTokenize`, `RaggedTensorToTensor`), no
    Select-TF ops. Run it with LiteRT and TF Text's registrar, see the README.

    Args:
        task: an `AlbertTextClassifier` with a tokenizer.
        path: str or Path, the file to write; it appears whole or not at all.
        quantization: `None`, `"float16"` (weights in half precision) or `"int8"` (weights in 8 bits, dynamic range).
            Defaults to `None`.
        interface: `"text"`. Defaults to `"text"`.

    Returns:
        The Path of the file.

    Raises:
        ValueError: an argument is not one of the above.

    Example:
        >>> export_tflite(classifier, "sentiment.tflite", quantization="int8")
        PosixPath('sentiment.tflite')

    Reference:
        https://ai.google.dev/edge/litert/conversion/tensorflow/overview
    """
    if not isinstance(task, AlbertTextClassifier):
        raise ValueError(f"Expected an AlbertTextClassifier to write as TFLite. Received: {type(task).__name__}")
    if task.preprocessor is None:
        raise ValueError("A file that takes text needs the task's tokenizer. Received: preprocessor=None")
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization must be one of {QUANTIZATIONS}. Received: quantization={quantization!r}")
    if interface != "text":
        raise ValueError(f"interface must be 'text'. Received: interface={interface!r}")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def classify(text):
        return task.answer(text)

    # From the function and not from a SavedModel: that way the converter does not leak 20 MB a call.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()], holder_of(task))
    # Never SELECT_TF_OPS: it would turn `to_tensor` into a Flex op, which the pip packages no longer run.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = True
    if quantization:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path
