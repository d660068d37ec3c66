"""The protobuf messages of TensorFlow Serving that a client needs, without TensorFlow.

`tensorflow_serving.apis` imports the whole of TensorFlow, some 600 MB and several seconds. The messages below hold the
same fields under the same numbers, so their bytes are the same, but live in a descriptor pool of their own: TensorFlow
may be imported in the same process without a clash. Fields that no client here uses are left out; protobuf keeps
unknown ones. An enum is written as its number, which has the same bytes. `tests/serving` proves both directions.
"""

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message: fields as "number name type". Sources: tensorflow/core/framework/{tensor, tensor_shape}.proto,
# tensorflow/core/example/{example, feature}.proto, tensorflow/core/protobuf/meta_graph.proto,
# tensorflow_serving/apis/*.proto, google/protobuf/{any, wrappers}.proto.
_MESSAGES = {
    "Dim": "1 size int64; 2 name string",
    "TensorShapeProto": "2 dim repeated Dim; 3 unknown_rank bool",
    "TensorProto": "1 dtype int32; 2 tensor_shape TensorShapeProto; 4 tensor_content bytes; 5 float_val repeated float;"
    "6 double_val repeated double; 7 int_val repeated int32; 8 string_val repeated bytes; 10 int64_val repeated int64;"
    "11 bool_val repeated bool; 13 half_val repeated int32; 16 uint32_val repeated uint32;"
    "17 uint64_val repeated uint64",
    "BytesList": "1 value repeated bytes",
    "FloatList": "1 value repeated float",
    "Int64List": "1 value repeated int64",
    "Feature": "1 bytes_list BytesList; 2 float_list FloatList; 3 int64_list Int64List",
    "Features": "1 feature map Feature",
    "Example": "1 features Features",
    "ExampleList": "1 examples repeated Example",
    "Input": "1 example_list ExampleList",
    "Int64Value": "1 value int64",
    "Any": "1 type_url string; 2 value bytes",
    "ModelSpec": "1 name string; 2 version Int64Value; 3 signature_name string",
    "PredictRequest": "1 model_spec ModelSpec; 2 inputs map TensorProto; 3 output_filter repeated string",
    "PredictResponse": "1 outputs map TensorProto; 2 model_spec ModelSpec",
    "ClassificationRequest": "1 model_spec ModelSpec; 2 input Input",
    "Class": "1 label string; 2 score float",
    "Classifications": "1 classes repeated Class",
    "ClassificationResult": "1 classifications repeated Classifications",
    "ClassificationResponse": "1 result ClassificationResult; 2 model_spec ModelSpec",
    "RegressionRequest": "1 model_spec ModelSpec; 2 input Input",
    "Regression": "1 value float",
    "RegressionResult": "1 regressions repeated Regression",
    "RegressionResponse": "1 result RegressionResult; 2 model_spec ModelSpec",
    "GetModelStatusRequest": "1 model_spec ModelSpec",
    "StatusProto": "1 error_code int32; 2 error_message string",
    "ModelVersionStatus": "1 version int64; 2 state int32; 3 status StatusProto",
    "GetModelStatusResponse": "1 model_version_status repeated ModelVersionStatus",
    "TensorInfo": "1 name string; 2 dtype int32; 3 tensor_shape TensorShapeProto",
    "SignatureDef": "1 inputs map TensorInfo; 2 outputs map TensorInfo; 3 method_name string",
    "SignatureDefMap": "1 signature_def map SignatureDef",
    "GetModelMetadataRequest": "1 model_spec ModelSpec; 2 metadata_field repeated string",
    "GetModelMetadataResponse": "1 model_spec ModelSpec; 2 metadata map Any",
}
_PACKAGE = "albert_gpt_tf.wire"
_SCALARS = ("double", "float", "int64", "int32", "uint64", "uint32", "bool", "string", "bytes")

# tensorflow.DataType: number, name, numpy type, and the field of TensorProto that holds its values.
_TYPES = {
    1: ("float32", np.float32, "float_val"),
    2: ("float64", np.float64, "double_val"),
    3: ("int32", np.int32, "int_val"),
    4: ("uint8", np.uint8, "int_val"),
    5: ("int16", np.int16, "int_val"),
    6: ("int8", np.int8, "int_val"),
    7: ("string", object, "string_val"),
    9: ("int64", np.int64, "int64_val"),
    10: ("bool", np.bool_, "bool_val"),
    17: ("uint16", np.uint16, "int_val"),
    19: ("float16", np.float16, "half_val"),
    22: ("uint32", np.uint32, "uint32_val"),
    23: ("uint64", np.uint64, "uint64_val"),
}
# tensorflow.serving.ModelVersionStatus.State
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def _build_messages() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields.split(";"):
            _add_field(message, *line.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message, number: str, name: str, *kind: str) -> None:
    field_proto = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number))
    field.label = field_proto.LABEL_OPTIONAL if len(kind) == 1 else field_proto.LABEL_REPEATED
    if kind[-1] in _SCALARS:
        field.type = getattr(field_proto, f"TYPE_{kind[-1].upper()}")
        return
    field.type = field_proto.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind[-1]}"
    if kind[0] == "map":  # a map is a repeated message of a key and a value, by the rules of protobuf
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "1", "key", "string")
        _add_field(entry, "2", "value", kind[-1])
        field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"


_CLASSES = _build_messages()


def message(name: str, /, **fields):
    """Makes an empty or filled message.

    Args:
        name: str, its name in the protos of TensorFlow (Serving), such as `"PredictRequest"`.
        **fields: values of its fields, as for any protobuf class.

    Returns:
        The message.

    Example:
        message("ModelSpec", name="sentiment").SerializeToString()
    """
    return _CLASSES[name](**fields)


def parse(name: str, data: bytes):
    """Returns the message of that name read from its bytes."""
    return _CLASSES[name].FromString(data)


def type_name(dtype: int) -> str:
    """Returns the name of a `tensorflow.DataType`, such as `"float32"`, or `"type 14"` if no client here knows it."""
    return _TYPES[dtype][0] if dtype in _TYPES else f"type {dtype}"


def tensor_from_array(array: np.ndarray):
    """Writes an array as a TensorProto.

    Args:
        array: numbers or bools of any shape, or an object array of bytes.

    Returns:
        A TensorProto, numbers in `tensor_content` and strings in `string_val`.

    Raises:
        ValueError: if the type has no place in a TensorProto.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    number = next((number for number, (_, kind, _) in _TYPES.items() if array.dtype == kind), None)
    if number is None:
        raise ValueError(f"Expected numbers, bools or strings; an array of {array.dtype} cannot be sent.")
    tensor = message("TensorProto", dtype=number)
    tensor.tensor_shape.SetInParent()  # a scalar has a shape too, one without dimensions
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        tensor.string_val.extend(array.ravel().tolist())
    else:
        tensor.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return tensor


def array_from_tensor(tensor) -> np.ndarray:
    """Reads a TensorProto, whether its values lie in `tensor_content` or one by one.

    Args:
        tensor: a TensorProto of this module.

    Returns:
        An array; strings come as an object array of bytes.

    Raises:
        ValueError: if the type is none of the numbers, bools and strings that a server should return.
    """
    if tensor.dtype not in _TYPES:
        raise ValueError(f"The server sent a tensor of {type_name(tensor.dtype)}, which has no NumPy type.")
    _, kind, field = _TYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, np.dtype(kind).newbyteorder("<")).astype(kind).reshape(shape)
    values = list(getattr(tensor, field))
    if field == "half_val":
        values = np.array(values, np.uint16).view(np.float16).tolist()
    if not values:
        values = [b""] if kind is object else [0]
    # Fewer values than elements: the last one fills the rest.
    size = int(np.prod(shape))
    array = np.empty(size, kind)
    array[:] = (values + values[-1:] * (size - len(values)))[:size]
    return array.reshape(shape)
