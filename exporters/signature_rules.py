"""What TF Serving demands of the signatures of a SavedModel: names, shapes and dtypes.

Reference: tensorflow/serving `classifier.cc`, `regressor.cc` and `json_tensor.cc`.
"""

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

# json_tensor.cc turns these into JSON and back, and no other.
_INTEGERS = {"int8", "uint8", "int16", "int32", "int64", "uint32", "uint64"}
_SERVABLE = {"bool", "float32", "float64", "string", *_INTEGERS}


def serving_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Returns the signatures a caller can name, in alphabetical order."""
    names = sorted(name for name in meta_graph.signature_def if not name.startswith("__saved_model"))
    return {name: meta_graph.signature_def[name] for name in names}


def signature_problems(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks shapes and dtypes of every input and output, and the keys of `classify` and `regress`."""
    signatures = serving_signatures(meta_graph)
    if not signatures:
        return ["The SavedModel has no signature, so no request can name one: pass signatures= to tf.saved_model.save."]
    problems = []
    for name, signature in signatures.items():
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            if not tensors:
                problems.append(f"signature {name!r} has no {kind}, so it cannot be batched.")
            for key in sorted(tensors):
                problems += _tensor_problems(f"signature {name!r}, {kind} {key!r}", kind, tensors[key])
        if name in ("classify", "regress"):
            problems += _example_signature_problems(name, signature)
    return problems


def _tensor_problems(where: str, kind: str, info: meta_graph_pb2.TensorInfo) -> list[str]:
    if info.WhichOneof("encoding") != "name":
        return [f"{where} is ragged or sparse, which TF Serving cannot send: use to_tensor()."]
    problems = []
    dtype, shape = tf.dtypes.as_dtype(info.dtype).name, info.tensor_shape
    if dtype not in _SERVABLE:
        verb = "read from JSON" if kind == "input" else "send"
        problems.append(f"{where} has dtype {dtype}, which TF Serving cannot {verb}: cast it in the signature.")
    if shape.unknown_rank:
        problems.append(f"{where} has an unknown rank: give it a shape with tf.ensure_shape.")
    elif not shape.dim:
        problems.append(f"{where} is a scalar: its first axis must be the batch.")
    elif shape.dim[0].size != -1:
        problems.append(f"{where} has a first axis of {shape.dim[0].size}: the batch must be unknown (None).")
    return problems


def _example_signature_problems(name: str, signature: meta_graph_pb2.SignatureDef) -> list[str]:
    # classifier.cc and regressor.cc fix the keys, dtypes and ranks of what serialized tf.Examples are answered with.
    if name == "classify":
        allowed = {"classes": ("string", {2}), "scores": ("float32", {2})}
    else:
        allowed = {"outputs": ("float32", {1, 2})}
    problems = []
    if set(signature.inputs) != {"inputs"}:
        problems.append(f"signature {name!r}: expected the one input 'inputs'. Received: {sorted(signature.inputs)}.")
    elif _kind(signature.inputs["inputs"]) != ("string", 1):
        problems.append(f"signature {name!r}, input 'inputs': expected serialized tf.Examples, string [B].")
    if not set(signature.outputs) <= set(allowed):
        problems.append(
            f"signature {name!r}: expected outputs among {sorted(allowed)}. Received: {sorted(signature.outputs)}."
        )
        return problems
    for key, info in sorted(signature.outputs.items()):
        dtype, ranks = allowed[key]
        if _kind(info)[0] != dtype or _kind(info)[1] not in ranks:
            problems.append(
                f"signature {name!r}, output {key!r}: expected {dtype} of rank {' or '.join(map(str, sorted(ranks)))}. "
                f"Received: {_kind(info)[0]} of rank {_kind(info)[1]}."
            )
    columns = {info.tensor_shape.dim[1].size for info in signature.outputs.values() if _kind(info)[1] == 2} - {-1}
    if name == "regress" and columns - {1}:
        problems.append(
            f"signature 'regress', output 'outputs': expected [B] or [B, 1]. Received: [B, {columns.pop()}]."
        )
    if name == "classify" and len(columns) > 1:
        problems.append(
            f"signature 'classify': classes and scores differ in their number of classes, {sorted(columns)}."
        )
    return problems


def _kind(info: meta_graph_pb2.TensorInfo) -> tuple[str, int]:
    shape = info.tensor_shape
    return tf.dtypes.as_dtype(info.dtype).name, -1 if shape.unknown_rank else len(shape.dim)
