"""The key-value cache: buffers of a fixed size, written in place.

A buffer is `[batch * heads * capacity, head_dim]`, so that `InplaceUpdate`, which replaces whole rows, writes one
position of every batch row and head at once, and a free reshape gives `[batch, heads, capacity, head_dim]` for the
matrix product. The slot of a token is its position in its row, so rows may have prompts of different lengths.

Both classes are `remember` functions of `models.transformer_layers.SelfAttention`.
"""

import tensorflow as tf


class PromptCache:
    """Keeps the keys and values of a whole prompt as it passes through a layer.

    Args:
        capacity: int tensor, number of positions that the buffers will hold.
    """

    def __init__(self, capacity):
        self.capacity = capacity

    def __call__(self, key, value):
        """key, value: float [batch, heads, length, head_dim], returned as they are."""
        self.buffers = [self._widen(key), self._widen(value)]
        return key, value

    def _widen(self, x):
        # [batch, heads, length, head_dim] -> [batch * heads * capacity, head_dim]
        padding = [[0, 0], [0, 0], [0, self.capacity - tf.shape(x)[2]], [0, 0]]
        return tf.reshape(tf.pad(x, padding), [-1, x.shape[-1]])


class StepCache:
    """Writes the key and value of one new token a row, and gives back all of the row's.

    The buffers are changed in place: take `buffers` afterwards and forget the ones put in.

    Args:
        buffers: two float tensors [batch * heads * capacity, head_dim].
        positions: int32 [batch], the slot to write in each row.
        capacity: int tensor.
    """

    def __init__(self, buffers, positions, capacity):
        self.buffers = buffers
        self.positions = positions
        self.capacity = capacity

    def __call__(self, key, value):
        """key, value: float [batch, heads, 1, head_dim] -> [batch, heads, capacity, head_dim]."""
        batch, heads, _, head_dim = tf.unstack(tf.shape(key))
        first = tf.reshape(tf.range(batch * heads), [batch, heads]) * self.capacity  # slot 0 of each row and head
        slots = tf.reshape(first + self.positions[:, None], [-1])  # [batch * heads]
        self.buffers = [
            tf.raw_ops.InplaceUpdate(x=buffer, i=slots, v=tf.reshape(new, [-1, new.shape[-1]]))
            for buffer, new in zip(self.buffers, (key, value), strict=True)
        ]
        shape = [batch, heads, self.capacity, head_dim]
        return tuple(tf.reshape(buffer, shape) for buffer in self.buffers)
