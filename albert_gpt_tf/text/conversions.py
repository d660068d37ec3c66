"""What tokenizers accept: text as a scalar or a batch, ids as ragged, dense or single rows."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def as_one_graph(function: Callable[[tf.Tensor], Any]) -> Callable[[tf.Tensor], Any]:
    """Makes eager calls of a function of text run as one graph, for the cost of one op instead of a hundred.

    Args:
        function: takes strings of shape `[R]`.

    Returns:
        A function that does the same, also inside of another graph, where it adds its ops.

    Example:
        >>> as_one_graph(tf.strings.upper)(tf.constant(["a"])).numpy().tolist()
        [b'A']
    """
    graph = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])
    return lambda rows: graph(rows) if tf.executing_eagerly() else function(rows)


def to_rows(text: Any) -> tuple[tf.Tensor, bool]:
    """Turns text into a batch of strings.

    Args:
        text: str, bytes, list, array or string tensor, a scalar or of shape `[B]`.

    Returns:
        A string tensor of shape `[B]`, and whether the text was a scalar (then `B` is 1).

    Raises:
        ValueError: the text has more dimensions, or a number of them that is not known while tracing.

    Example:
        >>> to_rows("one text")[1]
        True
    """
    rows = tf.convert_to_tensor(text, tf.string)
    if rows.shape.rank == 0:
        return rows[tf.newaxis], True
    if rows.shape.rank == 1:
        return rows, False
    raise ValueError(
        f"Expected text as one string or a batch of strings of shape [B]. Received: shape={rows.shape}. "
        "Flatten the batch first (or tokenize `ragged.flat_values`)."
    )


def to_ragged(ids: Any) -> tuple[tf.RaggedTensor, bool]:
    """Turns ids into a ragged batch.

    Args:
        ids: integers: ragged `[B, None]`, dense `[B, T]`, one row `[T]`, or (nested) lists of them.

    Returns:
        A `RaggedTensor` `[B, None]` of the same integer type with int64 row splits, and whether the ids were
        one row `[T]` (then `B` is 1).

    Raises:
        ValueError: another number of dimensions.

    Example:
        >>> to_ragged([[1, 2], [3]])[0].to_list()
        [[1, 2], [3]]
    """
    if isinstance(ids, (list, tuple)):
        ids = tf.ragged.constant(ids, dtype=tf.int64)
    if isinstance(ids, tf.RaggedTensor) and ids.shape.rank == 2:
        return ids.with_row_splits_dtype(tf.int64), False
    if not isinstance(ids, tf.RaggedTensor):
        ids = tf.convert_to_tensor(ids)
        if ids.shape.rank == 1:
            return tf.RaggedTensor.from_tensor(ids[tf.newaxis]), True
        if ids.shape.rank == 2:
            return tf.RaggedTensor.from_tensor(ids), False
    raise ValueError(f"Expected ids as a ragged [B, None], a dense [B, T] or one row [T]. Received: shape={ids.shape}.")
