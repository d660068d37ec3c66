"""What TF Serving demands of the answers of a SavedModel, found by running every signature.

A server merges requests into batches and fills them up, so a row must get the answer that it gets alone; and callers
send whatever they like, so no string may make a batch fail or turn its reply into something that is not UTF-8.
"""

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops that the graph may hold)
from tensorflow.core.protobuf import meta_graph_pb2

from albert_gpt_tf.exporters.signature_rules import serving_signatures

ORDINARY_STRINGS = [
    b"hello world",
    b"The quick brown fox jumps over the lazy dog, twice.",
    "naïve 日本語 🙂".encode(),
    b"42",
]
HOSTILE_STRINGS = {
    "an empty string": b"",
    "invalid UTF-8": b"caf\xc3 \xff\xfe\x80 \xed\xa0\x80 \xf0\x9f\x98",
    "a NUL byte": b"before\x00after",
    # Of characters of 4 bytes that begin at odd places: text cut after 64, 100 or 1,024 bytes is cut inside of one.
    "a string of 1 MB": b"a" + "🙂🙂🙂    🙂🙂🙂🙂".encode() * 2**15,
}
ROW_COUNT = len(ORDINARY_STRINGS) + len(HOSTILE_STRINGS)  # 8, so that a row meets every kind of neighbour
# Length of every axis but the first that a signature leaves open, for instance the choices of [B, K].
INNER_LENGTH = 3
TOLERANCE = 1e-5  # matmuls of different batch sizes round differently


def serialized_examples(features: dict) -> np.ndarray:
    """Packs columns into the serialized tf.Examples that `classify` and `regress` take.

    Args:
        features: dict of feature name to an array or list of shape [B, ...], strings, integers or floats.

    Returns:
        An object array of B serialized tf.train.Example.

    Raises:
        ValueError: The columns differ in their number of rows.

    Example:
        >>> serialized_examples({"text": ["good", "bad"]}).shape
        (2,)
    """
    columns = {name: np.asarray(values) for name, values in features.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Expected features with the same number of rows. Received: {lengths}. Pass one value a row.")
    rows = range(next(iter(lengths.values())))
    examples = [{name: _feature(column[row]) for name, column in columns.items()} for row in rows]
    packed = [tf.train.Example(features=tf.train.Features(feature=row)).SerializeToString() for row in examples]
    return np.array(packed, object)


def _feature(value) -> tf.train.Feature:
    values = np.ravel(value)
    if values.dtype.kind in "biu":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
    encoded = [item.encode() if isinstance(item, str) else item for item in values.tolist()]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def run_problems(path, meta_graph: meta_graph_pb2.MetaGraphDef, examples: dict | None = None) -> list[str]:
    """Runs every signature with ordinary and hostile rows, alone and in batches of 8, 3 and 0.

    Args:
        path: str or Path, the SavedModel directory.
        meta_graph: MetaGraphDef, as `read_meta_graph` returned it; its signatures must obey the rules for shapes.
        examples: dict of signature name to dict of input name to list of per-row values, or None.

    Returns:
        A list of sentences, empty if no rule is broken.

    Raises:
        ValueError: `examples` names a signature or an input that the SavedModel does not have.
    """
    signatures = serving_signatures(meta_graph)
    examples = examples or {}
    _check_names("signatures", examples, signatures)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        return [f"The SavedModel cannot be loaded: {_first_line(error)}"]
    problems = []
    for name, signature in signatures.items():
        if set(signature.inputs) == {"inputs"} and name in ("classify", "regress") and name not in examples:
            if "serving_default" not in signatures:
                problems.append(f"signature {name!r} takes tf.Examples, but no serving_default names their features.")
                continue
            columns = make_rows(signatures["serving_default"], examples.get("serving_default"))
            rows = {
                "inputs": tf.constant(serialized_examples({key: column.numpy() for key, column in columns.items()}))
            }
        else:
            rows = make_rows(signature, examples.get(name))
        problems += [f"signature {name!r}: {problem}" for problem in _row_problems(loaded.signatures[name], rows)]
    return problems


def make_rows(signature: meta_graph_pb2.SignatureDef, examples: dict | None = None) -> dict[str, tf.Tensor]:
    """Makes 8 rows for a signature: 4 with ordinary strings and 4 with a hostile one in every string input.

    Args:
        signature: SignatureDef whose inputs have a known rank.
        examples: dict of input name to list of per-row values, cycled; ordinary strings, numbers from 1 to 4 and 1.0
            stand in for the inputs it leaves out.

    Returns:
        A dict of input name to tensor of shape [8, ...].

    Raises:
        ValueError: `examples` names an input that the signature does not have, or gives it no values.
    """
    examples = examples or {}
    _check_names("inputs", examples, signature.inputs)
    rows = {}
    for place, name in enumerate(sorted(signature.inputs)):
        info = signature.inputs[name]
        dtype = tf.dtypes.as_dtype(info.dtype)
        shape = [INNER_LENGTH if axis.size < 0 else axis.size for axis in info.tensor_shape.dim[1:]]
        values = list(examples[name]) if name in examples else _default_values(dtype)
        if not values:
            raise ValueError(f"Expected at least one value for input {name!r}. Received: none. Leave it out instead.")
        count = len(ORDINARY_STRINGS) if dtype == tf.string else ROW_COUNT
        values = [values[row % len(values)] for row in range(count)]
        if dtype == tf.string:
            # Turned by one from input to input: an empty question meets a context that is not.
            hostile = list(HOSTILE_STRINGS.values())
            values += hostile[place % len(hostile) :] + hostile[: place % len(hostile)]
        if name in examples:  # one given row may have its own inner shape, such as 5 choices
            shape = list(np.shape(values[0])) or shape
        rows[name] = tf.stack([tf.broadcast_to(tf.constant(value, dtype), shape) for value in values])
    return rows


def _default_values(dtype: tf.DType) -> list:
    if dtype == tf.string:
        return ORDINARY_STRINGS
    if dtype == tf.bool:
        return [True, False]
    return [1, 2, 3, 4] if dtype.is_integer else [1.0]


def _check_names(what: str, examples: dict, known) -> None:
    unknown = sorted(set(examples) - set(known))
    if unknown:
        raise ValueError(f"Expected examples for {what} among {sorted(known)}. Received: {unknown}. Correct the name.")


def _row_problems(run, rows: dict[str, tf.Tensor]) -> list[str]:
    alone, problems = [], []
    for row in range(ROW_COUNT):
        hostile = row - len(ORDINARY_STRINGS)
        what = list(HOSTILE_STRINGS)[hostile] if hostile >= 0 else f"ordinary row {row}"
        outputs, failures = _run(run, rows, row, row + 1, f"one row, {what}")
        problems += failures
        alone.append(outputs)
    if problems:
        return problems  # a row that fails alone fails in every batch
    for start, stop in ((0, ROW_COUNT), (1, 4), (0, 0)):
        outputs, failures = _run(run, rows, start, stop, f"a batch of {stop - start} rows")
        problems += failures
        if outputs is None:
            continue
        for name, value in outputs.items():
            for row in range(start, stop):
                difference = _difference(value[row - start : row - start + 1], alone[row][name])
                if difference:
                    problems.append(f"output {name!r} of row {row} {difference} in a batch of {stop - start} rows.")
    return problems


def _run(run, rows: dict, start: int, stop: int, what: str) -> tuple[dict[str, np.ndarray] | None, list[str]]:
    try:
        outputs = {name: value.numpy() for name, value in run(**{k: v[start:stop] for k, v in rows.items()}).items()}
    except Exception as error:
        return None, [f"fails for {what}: {_first_line(error)}"]
    problems = []
    for name, value in sorted(outputs.items()):
        if value.ndim == 0 or len(value) != stop - start:
            problems.append(
                f"output {name!r} has shape {list(value.shape)} for {what}: its first axis must be the batch."
            )
        if value.dtype == object and not name.endswith("_bytes") and not all(map(_is_utf8, value.ravel())):
            problems.append(
                f"output {name!r} is not valid UTF-8 for {what}: use tf.strings.unicode_transcode, "
                f"or name it {name}_bytes."
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            problems.append(f"output {name!r} is NaN or infinite for {what}, which is not valid JSON.")
    return (None if problems else outputs), problems


def _difference(among: np.ndarray, alone: np.ndarray) -> str:
    """Says how a row among others differs from the row alone; padding up to a longer neighbour is no difference.

    Both have shape [1, ...].
    """
    if any(longer < own for longer, own in zip(among.shape, alone.shape, strict=True)):
        return f"has shape {list(alone.shape[1:])} alone and {list(among.shape[1:])}"
    inside = tuple(slice(own) for own in alone.shape)
    if alone.dtype.kind == "f":
        same = np.allclose(among[inside], alone, rtol=TOLERANCE, atol=TOLERANCE)
    else:
        same = np.array_equal(among[inside], alone)
    if not same:
        return "differs from the row alone"
    padding = np.ones(among.shape, bool)
    padding[inside] = False
    if len(set(among[padding].tolist())) > 1:
        return "has more than padding beyond the row alone"
    return ""


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip() and "Detected at node" not in line]
    return f"{type(error).__name__}: {(lines or [''])[0]}"[:300]
