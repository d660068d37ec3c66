"""JSON to arrays and back, by the rules of TensorFlow Serving's REST API (`json_tensor.cc`).

Every text an error gives is the real server's, except that a quoted JSON value is cut after `MAX_QUOTED` characters:
the real one returns a megabyte to whoever sent a megabyte.
"""

import base64
import binascii
import json
import math

import numpy as np
import tensorflow as tf

from albert_gpt_tf.serving.loaded_model import type_name
from albert_gpt_tf.serving.request_error import RequestError, invalid

MAX_QUOTED = 1000
MAX_RANK = 32  # half of what NumPy can hold, and far more than any model asks for
INT32 = (-(2**31), 2**31 - 1)
INTEGER_RANGES = {
    # The narrow integers are read as int32 and then cut, as the real server does.
    **dict.fromkeys((tf.int32, tf.int16, tf.int8, tf.uint8), INT32),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
}
# Integers beyond these cannot be held exactly, so the server refuses to round them.
MAX_EXACT = {tf.float32: 2**24 - 1, tf.float64: 2**53 - 1}


def parse_json(body: bytes) -> dict:
    """Parses a request body into a JSON object.

    Args:
        body: the bytes of an HTTP request, UTF-8.

    Returns:
        The object as a dict.

    Raises:
        RequestError: INVALID_ARGUMENT if the body is empty, is not JSON or UTF-8, or is no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {quote(document)} Is not object")
    return document


def quote(value) -> str:
    """Returns a JSON value as the error texts quote it."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "..."


def json_type(value) -> str:
    """Returns the name RapidJSON gives to the type of a JSON value."""
    if isinstance(value, bool):
        return "True" if value else "False"
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return names[type(value)]


def inputs_from_json(document: dict, infos: dict) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the inputs of a Predict request.

    Args:
        document: the request body, with either `instances` (rows) or `inputs` (columns).
        infos: dict from input name to its `TensorInfo`.

    Returns:
        The inputs as arrays, and whether the request was by rows, as the answer then must be too.

    Raises:
        RequestError: INVALID_ARGUMENT or UNIMPLEMENTED, with the texts of the real server.
    """
    dtypes = {name: tf.as_dtype(infos[name].dtype) for name in sorted(infos)}
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {quote(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {quote(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {quote(document)} No values in 'instances' array")
        return _from_rows(rows, dtypes), True
    if "inputs" in document:
        return _from_columns(document["inputs"], dtypes), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(rows: list, dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_named(rows[0])
    shapes, values = {}, {name: [] for name in dtypes}
    for index, row in enumerate(rows):
        if _is_named(row) != named:
            raise invalid(
                f"Expecting object but got list at item {index} of input list"
                if named
                else f"Expecting value/list but got object at item {index} of input list"
            )
        for name, value in row.items() if named else [(next(iter(dtypes)), row)]:
            try:
                _add_row(name, value, dtypes, shapes, values)
            except RequestError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {error.code}: {error.message}"
                ) from error
        if named and set(row) != set(dtypes):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {quote(row)} keys must be "
                f"equal to: {','.join(dtypes)}"
            )
    return {name: _array(values[name], (len(rows), *shapes[name]), dtypes[name]) for name in dtypes}


def _add_row(name: str, value, dtypes, shapes: dict, values: dict) -> None:
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape, row = _shape(value), []
    _fill(value, 0, shape, dtypes[name], row)
    first = shapes.setdefault(name, shape)
    if math.prod(first) != math.prod(shape):
        raise invalid(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
    if first != shape:
        raise invalid(f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}")
    values[name] += row


def _from_columns(columns, dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    if not _is_named(columns):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        columns = {next(iter(dtypes)): columns}
    arrays = {}
    for name, dtype in dtypes.items():
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        shape, values = _shape(columns[name]), []
        _fill(columns[name], 0, shape, dtype, values)
        arrays[name] = _array(values, shape, dtype)
    return arrays


def _is_named(value) -> bool:
    """Whether it is an object of named inputs, rather than a value; {"b64": "..."} is a value."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _shape(value) -> tuple[int, ...]:
    # The shape that the first element at every level suggests; _fill then holds all others to it.
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    if len(shape) > MAX_RANK:
        raise invalid(f"Encountered lists nested {len(shape)} deep; a tensor has at most {MAX_RANK} dimensions.")
    return tuple(shape)


def _fill(value, level: int, shape: tuple[int, ...], dtype: tf.DType, values: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        values.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _fill(element, level + 1, shape, dtype, values)


def _element(value, dtype: tf.DType):
    """Checks one JSON value against the type that the signature asks for."""
    if dtype == tf.string:
        if isinstance(value, dict):
            return decode_base64(value)
        good = isinstance(value, str)
    elif dtype == tf.bool:
        good = isinstance(value, bool)
    elif dtype in MAX_EXACT:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if good and not _is_exact(value, dtype):
            raise invalid(f"Cannot convert JSON value: {quote(value)} to {type_name(dtype)} without loss of precision.")
    elif dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[dtype]
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    elif isinstance(value, dict):
        good = False
    else:
        raise RequestError("UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {type_name(dtype)}")
    if not good:
        raise invalid(
            f"JSON Value: {quote(value)} Type: {json_type(value)} is not of expected type: {type_name(dtype)}"
        )
    return encode_text(value) if dtype == tf.string else value


def _is_exact(value: int | float, dtype: tf.DType) -> bool:
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return abs(value) <= MAX_EXACT[dtype]
    # NaN and Infinity pass; so does an integer too long for 64 bits, which RapidJSON reads as a double.
    limit = float(np.finfo(dtype.as_numpy_dtype).max)
    return (not isinstance(value, int) and not math.isfinite(value)) or -limit <= value <= limit


def encode_text(text: str) -> bytes:
    """Returns the UTF-8 of a JSON string, refusing half a surrogate pair as RapidJSON does."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def decode_base64(value: dict) -> bytes:
    """Decodes `{"b64": "..."}`: the standard alphabet, with or without padding; blanks are skipped.

    Args:
        value: the JSON object.

    Returns:
        The bytes.

    Raises:
        RequestError: INVALID_ARGUMENT for another object or for characters outside the alphabet, `-` and `_` included.
    """
    if not _is_base64(value):
        raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    if "=" not in text:
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _array(values: list, shape: tuple[int, ...], dtype: tf.DType) -> np.ndarray:
    if dtype == tf.string:
        array = np.empty(len(values), object)  # np.array would look into the bytes, and drop trailing NULs
        array[:] = values
    elif dtype in INTEGER_RANGES:
        wide = np.uint64 if dtype == tf.uint64 else np.int64
        array = np.array(values, wide).astype(dtype.as_numpy_dtype)
    else:
        array = np.array(values, dtype.as_numpy_dtype)
    return array.reshape(shape)


def outputs_to_json(outputs: dict[str, np.ndarray], by_rows: bool) -> bytes:
    """Writes the answer to a Predict request.

    Args:
        outputs: dict of arrays; strings are object arrays of bytes.
        by_rows: whether the request came by rows.

    Returns:
        The body of the answer. Strings are copied as they are, even if they are no UTF-8, unless their name ends in
        `_bytes`: then they come as `{"b64": ...}`. NaN and Infinity are bare words. So the real server does.

    Raises:
        RequestError: INVALID_ARGUMENT if a type has no JSON form, or by rows if the outputs differ in their first
            dimension.
    """
    if by_rows:
        batch = None
        for name, array in outputs.items():
            if array.ndim == 0:
                raise invalid(f"Tensor name: {name} has no shape information ")
            if batch is not None and batch != len(array):
                raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}")
            batch = len(array)
    columns = {name: _json_values(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        values = next(iter(columns.values()))
    elif by_rows:
        values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        values = columns
    return dump_json({"predictions" if by_rows else "outputs": values})


def dump_json(document: dict) -> bytes:
    """Returns a JSON document as bytes; surrogate escapes become the raw bytes they stand for."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _json_values(name: str, array: np.ndarray):
    if array.dtype == object:
        convert = _base64_object if name.endswith("_bytes") else raw_text
        flat = np.empty(array.size, object)
        flat[:] = [convert(value) for value in array.ravel()]
        return flat.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # Through text, so that 0.2 is written as 0.2 and not with the digits of its double.
        return array.astype(str).astype(np.float64).tolist()
    if (array.dtype.kind in "biu" and array.dtype != np.uint16) or array.dtype == np.float64:
        return array.tolist()
    raise invalid(f"Failed to write JSON value for tensor type: {type_name(array.dtype)}")


def raw_text(value: bytes) -> str:
    """Returns bytes as text from which `dump_json` makes the same bytes again, UTF-8 or not."""
    return value.decode("utf-8", "surrogateescape")


def _base64_object(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
