"""A SavedModel as the server sees it: versions on disk, signatures, and one checked way to run them.

The checks and their texts are those of TensorFlow Serving (`predict_util.cc`, and `GetInputValues` in TensorFlow's
`cc/saved_model/util.cc`). Nothing here knows what a model is for.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the text ops that an export may hold; the real server links them
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from albert_gpt_tf.serving.request_error import HTTP_STATUS, RequestError, invalid

DEFAULT_SIGNATURE = "serving_default"
# A TensorProto may name a huge shape and give one value, which then fills it. Past this many such elements it is
# taken for a mistake, because filling them would exhaust the memory of the server.
MAX_FILLED_ELEMENTS = 2**20
_CODE_OF_ERROR = {getattr(tf.errors, name): name for name in HTTP_STATUS}  # TensorFlow's numbers have the same names


def find_versions(path: str | Path) -> dict[int, Path]:
    """Finds the versions of a model below its base path.

    Args:
        path: a directory with one SavedModel for each positive integer name, as TensorFlow Serving reads it, or a
            SavedModel itself, whose version is its name if that is a positive integer, else 1.

    Returns:
        A dict from version to its directory, lowest version first.

    Raises:
        ValueError: if there is no SavedModel, or a version directory holds none.

    Example:
        find_versions("exports/sentiment")  # {1: Path("exports/sentiment/1"), 2: Path("exports/sentiment/2")}

    Reference: `FileSystemStoragePathSource` of TensorFlow Serving.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        name = path.resolve().name
        return {int(name) if _is_version(name) else 1: path}
    if not path.is_dir():
        raise ValueError(
            f"Expected the directory of a SavedModel or of its numbered versions, but {str(path)!r} does not exist or "
            "is not a directory; export a model first, or correct the path."
        )
    versions = {int(child.name): child for child in path.iterdir() if child.is_dir() and _is_version(child.name)}
    if not versions:
        raise ValueError(
            f"Expected saved_model.pb or directories named 1, 2, ... in {str(path)!r}, but it holds "
            f"{sorted(child.name for child in path.iterdir())[:5]}; give the path that the model was exported to."
        )
    for version, directory in versions.items():
        if not (directory / "saved_model.pb").is_file():
            raise ValueError(
                f"Version {version} of the model in {str(path)!r} holds no saved_model.pb; remove {str(directory)!r} "
                "or export into it again."
            )
    return dict(sorted(versions.items()))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) > 0


def find_model(
    models: dict[str, dict[int, "LoadedModel"]], name: str, version: int | None, label: str = ""
) -> "LoadedModel":
    """Finds the version that a request asks for.

    Args:
        models: dict from model name to its versions.
        name: str, the model.
        version: int, or None for the highest.
        label: str, a version label; this server has none, so any label is an error.

    Returns:
        The `LoadedModel`.

    Raises:
        RequestError: with the texts of TensorFlow Serving if there is no such model, version or label.
    """
    if not name:
        raise invalid("ModelSpec has no name specified.")
    if label:
        raise invalid(f"Unrecognized servable version label: {label}")
    versions = models.get(name, {})
    if version is None and versions:
        return versions[max(versions)]
    if version in versions:
        return versions[version]
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    raise RequestError("NOT_FOUND", f"Servable not found for request: {asked}")


class LoadedModel:
    """One version of a model in memory.

    Args:
        name: str, the name it is served under.
        version: int, its version.
        path: the directory that holds `saved_model.pb`.

    Raises:
        ValueError: if TensorFlow cannot load the directory.

    Example:
        model = LoadedModel("sentiment", 1, "exports/sentiment/1")
        model.run("serving_default", {"text": np.array([b"good"], object)})["label"]
    """

    def __init__(self, name: str, version: int, path: str | Path):
        self.name = name
        self.version = version
        try:
            saved = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
            self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(saved.meta_graphs[0].signature_def)
            self._loaded = tf.saved_model.load(str(path))  # holds the variables that the functions use
        except Exception as error:
            raise ValueError(
                f"Expected a SavedModel in {str(path)!r}, but TensorFlow cannot load it ({_first_line(error)}); export "
                "the model again."
            ) from error
        self._functions = dict(self._loaded.signatures)

    def signature(self, signature_name: str) -> meta_graph_pb2.SignatureDef:
        """Returns the SignatureDef of that name, or FAILED_PRECONDITION as Predict over gRPC answers."""
        signature_name = signature_name or DEFAULT_SIGNATURE
        if signature_name not in self._functions:
            raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{signature_name}" not found.')
        return self.signatures[signature_name]

    def run(
        self, signature_name: str, inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature after the checks of TensorFlow Serving.

        Args:
            signature_name: str, "" stands for `serving_default`.
            inputs: dict of arrays; strings are object arrays of bytes. Inputs with a default in the signature may
                be left out.
            output_filter: names of the outputs to return, all if empty.

        Returns:
            A dict of arrays in the order of the names, strings as object arrays of bytes.

        Raises:
            RequestError: for unknown signatures and outputs, for missing or extra inputs, for wrong types and
                shapes, and for errors of the graph itself.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self.signature(signature_name)
        inputs = _with_defaults(signature, inputs)
        _check_output_filter(signature, output_filter)
        tensors = {}
        for index, name in enumerate(sorted(inputs)):
            tensors[name] = _checked_tensor(index, name, inputs[name], signature.inputs[name], signature_name)
        try:
            outputs = self._functions[signature_name](**tensors)
        except tf.errors.OpError as error:
            raise RequestError(
                _CODE_OF_ERROR.get(error.error_code, "UNKNOWN"), _graph_message(error.message)
            ) from error
        except UnicodeDecodeError as error:
            # An op quoted bytes that are not UTF-8. TensorFlow's Python cannot raise that message and loses its code;
            # an op that quotes what it was given complains about it.
            raise invalid(_graph_message(error.object.decode("utf-8", "replace"))) from error
        return {name: _to_array(outputs[name]) for name in sorted(output_filter or outputs)}


def array_from_proto(name: str, proto) -> np.ndarray:
    """Reads a TensorProto that a caller sent.

    Args:
        name: str, the input, for the error text.
        proto: `tensorflow.TensorProto`.

    Returns:
        The array, strings as an object array of bytes.

    Raises:
        RequestError: if the proto contradicts itself or asks for more memory than its bytes justify.
    """
    dims = [dim.size for dim in proto.tensor_shape.dim]
    elements = int(np.prod(dims, dtype=object)) if dims else 1
    if min(dims, default=0) < 0 or elements > proto.ByteSize() + MAX_FILLED_ELEMENTS:
        raise invalid(f"tensor parsing error: {name}")
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise invalid(f"tensor parsing error: {name}") from error
    return array


def type_name(dtype) -> str:
    """Returns a dtype's name as TensorFlow's C++ prints it, which the error texts hold: `float`, not `float32`."""
    name = tf.as_dtype(dtype).name
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def _with_defaults(signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    sent, wanted, defaults = set(inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_braces(sent)}) != "
            f"len({_braces(wanted)}). Sent extra: {_braces(sent - wanted)}. "
            f"Missing but required: {_braces(wanted - sent)}."
        )
    for name in sorted(wanted - sent - defaults):
        raise invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {_braces(sent)}, or default input alias "
            f"set: {','.join(sorted(defaults))}"
        )
    if sent - wanted:
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & wanted))}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return {name: tf.make_ndarray(signature.defaults[name]) for name in wanted - sent} | inputs


def _check_output_filter(signature, output_filter: tuple[str, ...]) -> None:
    for index, name in enumerate(output_filter):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_braces(set(signature.outputs))}."
            )
        if name in output_filter[:index]:
            raise invalid(f"duplicate output tensor alias: {name}")


def _checked_tensor(index: int, name: str, array: np.ndarray, info, signature_name: str) -> tf.Tensor:
    received = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    if received != tf.as_dtype(info.dtype):
        raise invalid(f"Expects arg[{index}] to be {type_name(info.dtype)} but {type_name(received)} is provided")
    if not tf.TensorShape(info.tensor_shape).is_compatible_with(array.shape):
        # The real server lets an op of the graph complain; which one, and how, depends on the model.
        raise invalid(
            f'Input "{name}" of signature "{signature_name}" takes the shape '
            f"{_shape_text(dim.size for dim in info.tensor_shape.dim)}, but {_shape_text(array.shape)} was sent; "
            "-1 stands for any size."
        )
    return tf.constant(array, received)


def _to_array(tensor: tf.Tensor) -> np.ndarray:
    # A string scalar comes back as bytes, everything else as an array.
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)


def _graph_message(message: str) -> str:
    # Eager TensorFlow puts a header before the kernel's message, and lines on where the node was built, which a saved
    # graph does not know, and names the function after it. The real server has the kernel's message alone.
    message = message.split(" [Op:__inference")[0]
    return message.rpartition("<stack traces unavailable>\n")[2].removeprefix("Graph execution error:").strip()


def _braces(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape_text(sizes) -> str:
    return "[" + ",".join(str(size) for size in sizes) + "]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
