"""What the clients send and return: Python values to arrays, and arrays to JSON and protos, without TensorFlow."""

import base64

import numpy as np

from albert_gpt_tf.serving import wire


def to_arrays(inputs: dict, infos: dict[str, dict]) -> dict[str, np.ndarray]:
    """Makes arrays of the inputs of a request.

    Args:
        inputs: dict of lists, arrays or single values.
        infos: dict from input name to `{"dtype": str, ...}`; names that are not in it keep the type NumPy gives.

    Returns:
        A dict of arrays; strings are object arrays of bytes.

    Raises:
        ValueError: if a value is no rectangular array of numbers, bools or strings.
    """
    return {name: _to_array(name, value, infos.get(name, {}).get("dtype")) for name, value in inputs.items()}


def _to_array(name: str, value, dtype: str | None) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU":
        if value.dtype.kind not in "biuf":
            raise ValueError(f'Input "{name}" must hold numbers, bools or strings; received an array of {value.dtype}.')
        return value
    # By way of objects: NumPy's own string types drop NUL characters at the end.
    array = np.array(value, dtype=object)
    elements = array.ravel().tolist()
    if not elements:
        return array if dtype in (None, "string") else array.astype(dtype)
    if all(isinstance(element, str | bytes) for element in elements):
        return _map_objects(lambda text: text.encode() if isinstance(text, str) else text, array)
    if not all(isinstance(element, bool | int | float | np.generic) for element in elements):
        kinds = sorted({type(element).__name__ for element in elements})
        raise ValueError(
            f'Input "{name}" must be a rectangular list of numbers, bools or strings, not a mix; received {kinds}.'
        )
    numbers = np.array(elements).reshape(array.shape)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f'Input "{name}" holds an integer beyond 64 bits, which no tensor can hold.')
    return _cast(numbers, dtype)


def _cast(array: np.ndarray, dtype: str | None) -> np.ndarray:
    """Takes the wanted type if that is only a matter of precision; else the server says what is wrong."""
    if dtype is None or dtype == "string" or dtype.startswith("type"):
        return array
    target = np.dtype(dtype)
    if target.kind == "f":
        return array.astype(target)
    if target.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(target)
        if limits.min <= int(array.min()) and int(array.max()) <= limits.max:
            return array.astype(target)
    return array


def _map_objects(function, array: np.ndarray) -> np.ndarray:
    # Element by element: np.array would look for a common type, or into sequences.
    flat = np.empty(array.size, object)
    flat[:] = [function(element) for element in array.ravel()]
    return flat.reshape(array.shape)


def decode_strings(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an output with its strings as str, wrong UTF-8 replaced, unless its name ends in `_bytes`."""
    if array.dtype != object or name.endswith("_bytes"):
        return array
    return _map_objects(lambda value: value.decode("utf-8", "replace"), array)


def array_to_json(array: np.ndarray):
    """Returns an array as nested lists for the REST API; bytes that are not UTF-8 become `{"b64": ...}`."""
    return (_map_objects(_string_to_json, array) if array.dtype == object else array).tolist()


def array_from_json(name: str, value, dtype: str | None) -> np.ndarray:
    """Reads an output of the REST API.

    Args:
        name: str, the output's name; strings of one that ends in `_bytes` come as `{"b64": ...}`.
        value: nested lists.
        dtype: str, the type by the signature, or None to let NumPy choose.

    Returns:
        An array, strings as an object array of str or bytes.
    """
    if dtype != "string":
        return np.array(value, dtype)
    array = np.array(value, dtype=object)
    if name.endswith("_bytes"):
        array = _map_objects(lambda element: base64.b64decode(element["b64"]), array)
    return array


def _string_to_json(value: str | bytes):
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def examples_to_json(examples: list[dict]) -> list[dict]:
    """Returns examples, dicts from feature name to a value or a list, as Classify and Regress over REST take them."""

    def convert(value):
        if isinstance(value, list | tuple):
            return [convert(element) for element in value]
        return _string_to_json(value) if isinstance(value, bytes) else value

    return [{name: convert(value) for name, value in example.items()} for example in examples]


def fill_example(target, example: dict) -> None:
    """Fills an Example message from a dict from feature name to a value or a list of one type."""
    for name, value in example.items():
        values = list(value) if isinstance(value, list | tuple) else [value]
        feature = target.features.feature[name]
        if all(isinstance(element, str | bytes) for element in values):
            encoded = [element.encode() if isinstance(element, str) else element for element in values]
            feature.bytes_list.value.extend(encoded)
        elif all(isinstance(element, int) for element in values):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)


def describe_json(info: dict) -> dict:
    """Returns `{"dtype": "float32", "shape": [-1]}` for a TensorInfo in JSON; an unknown rank gives the shape None."""
    names = {"float": "float32", "double": "float64", "half": "float16"}
    dtype = info["dtype"].removeprefix("DT_").lower()
    shape = info["tensor_shape"]
    sizes = [int(dim["size"]) for dim in shape.get("dim", [])]
    return {"dtype": names.get(dtype, dtype), "shape": None if shape.get("unknown_rank") else sizes}


def describe_proto(info) -> dict:
    """Returns the same for a TensorInfo message."""
    sizes = [dim.size for dim in info.tensor_shape.dim]
    return {"dtype": wire.type_name(info.dtype), "shape": None if info.tensor_shape.unknown_rank else sizes}
