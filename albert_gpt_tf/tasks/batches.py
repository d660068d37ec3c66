"""What `fit`, `evaluate` and `predict` take, as batches; and weights in the shape of their targets."""

import keras
import numpy as np
import tensorflow as tf


def as_dataset(x, y=None, sample_weight=None, batch_size=None, shuffle=False) -> tf.data.Dataset:
    """Batches arrays, lists or dicts of them; a dataset passes as it is."""
    if isinstance(x, tf.data.Dataset):
        return x
    data = (_arrays(x), _arrays(y), _arrays(sample_weight))
    if sample_weight is None:  # with weights, y stays although it may be None: a language model has no other targets
        data = keras.utils.pack_x_y_sample_weight(*data)
    rows = len(tf.nest.flatten(data)[0])
    dataset = tf.data.Dataset.from_tensor_slices(data)
    if shuffle:
        dataset = dataset.shuffle(max(rows, 1))
    return dataset.batch(batch_size or 32).prefetch(tf.data.AUTOTUNE)


def weights_like(targets, weights):
    """Weights of examples or of targets -> float32 of the targets' shape; `None` is 1."""
    if weights is None:
        return tf.ones(tf.shape(targets), "float32")
    weights = tf.cast(weights, "float32")
    # Ranks are asked for when it runs: Keras forgets them if weights of two ranks were given one after the other.
    more_axes = tf.ones([tf.rank(targets) - tf.rank(weights)], tf.int32)
    weights = tf.reshape(weights, tf.concat([tf.shape(weights), more_axes], 0))
    return tf.broadcast_to(weights, tf.shape(targets))


def _arrays(x):
    """Lists (of strings or numbers, also nested) as arrays, inside dicts and tuples too."""
    if isinstance(x, dict):
        return {key: _arrays(value) for key, value in x.items()}
    if isinstance(x, tuple):
        return tuple(_arrays(value) for value in x)
    if isinstance(x, list):
        first = x
        while isinstance(first, list) and first:
            first = first[0]
        return np.array(x, object if isinstance(first, str | bytes) else None)
    return x
