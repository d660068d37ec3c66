"""Special tokens in text: which strings may be one, and where they occur, as graph ops.

A place where several special tokens begin gives the longest; matches do not overlap, and the leftmost comes first. That
is what tiktoken and `tokenizers` do.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# States of the walk below.
_DEAD, _ROOT = 0, 1
# So many comparisons of a batch with one byte are faster than looking up each of its bytes.
_FEW = 4


def check_special_tokens(tokens: Any) -> list[str]:
    """The special tokens that a user gave, as a list of their own.

    Args:
        tokens: list of str, or None for no tokens.

    Returns:
        list of str.

    Raises:
        ValueError: `tokens` is not a list of strings, or holds an empty string, the same twice, or half a character.

    Example:
        >>> check_special_tokens(["<|user|>"])
        ['<|user|>']
    """
    if tokens is None:
        return []
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Sequence):
        raise ValueError(
            f"Expected special_tokens as a list of strings. Received: {tokens!r}. Give a list, also for one token."
        )
    for token in tokens:
        if not isinstance(token, str) or not token or any("\ud800" <= char <= "\udfff" for char in token):
            raise ValueError(
                f"Expected special_tokens that are strings of whole characters, none empty. Received: {token!r}. Take "
                "it out."
            )
    twice = [token for token in dict.fromkeys(tokens) if tokens.count(token) > 1]
    if twice:
        raise ValueError(f"Expected each special token once. Received: {twice[0]!r} twice. Take one out.")
    return list(tokens)


class SpecialTokenFinder(tf.Module):
    """Finds special tokens in bytes.

    Args:
        tokens: list of str, at least one.

    Example:
        >>> starts, ends = SpecialTokenFinder(["<a>", "<a>b"]).find(tf.io.decode_raw("x<a>b", tf.uint8))
        >>> int(starts[0]), int(ends[0])
        (1, 5)
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        super().__init__()
        columns, steps, is_end = _trie([token.encode() for token in tokens])
        begins = steps[_ROOT, columns] != _DEAD
        self._first_bytes = np.flatnonzero(begins).astype(np.uint8)
        with tf.init_scope(), tf.device("cpu"):
            self._begins = tf.constant(begins)  # [256]
            self._columns = tf.constant(columns)  # [256]
            self._num_columns = tf.constant(steps.shape[1])
            self._steps = tf.constant(steps.reshape(-1))  # [states * columns]
            self._is_end = tf.constant(is_end)  # [states]

    def find(self, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the special tokens, leftmost first, the longest at each place, without overlap.

        Args:
            data: uint8 of shape `[N]`.

        Returns:
            starts, ends: int32 of shape `[K]`, in order.
        """
        if len(self._first_bytes) <= _FEW:
            may_begin = functools.reduce(tf.logical_or, [data == byte for byte in self._first_bytes])
        else:
            may_begin = tf.gather(self._begins, tf.cast(data, tf.int32))
        places = tf.cast(tf.where(may_begin)[:, 0], tf.int32)  # [C]
        none = tf.zeros([0], tf.int32)
        return tf.cond(
            tf.size(places) > 0,
            lambda: _without_overlap(*self._longest(data, places)),
            lambda: (none, none),
        )

    def _longest(self, data: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The longest token at each of the places: starts and ends, int32 `[K]`, for the places that have one."""

        def step(length, walking, states, ends):
            # [A]: the places whose bytes so far begin a token, and the state of each.
            at = tf.gather(places, walking) + length
            inside = at < tf.size(data)
            byte = tf.cast(tf.gather(data, tf.minimum(at, tf.size(data) - 1)), tf.int32)
            states = tf.gather(self._steps, states * self._num_columns + tf.gather(self._columns, byte))
            alive = inside & (states != _DEAD)
            walking, states = tf.boolean_mask(walking, alive), tf.boolean_mask(states, alive)
            found = tf.boolean_mask(walking, tf.gather(self._is_end, states))
            ends = tf.tensor_scatter_nd_update(ends, found[:, tf.newaxis], tf.gather(places, found) + length + 1)
            return length + 1, walking, states, ends

        count = tf.size(places)
        unknown, whole = tf.TensorShape([None]), tf.TensorShape([])
        _, _, _, ends = tf.while_loop(
            lambda length, walking, states, ends: tf.size(walking) > 0,
            step,
            [tf.constant(0), tf.range(count), tf.fill([count], _ROOT), tf.zeros([count], tf.int32)],
            shape_invariants=[whole, unknown, unknown, unknown],
        )
        return tf.boolean_mask(places, ends > 0), tf.boolean_mask(ends, ends > 0)


def _without_overlap(starts: tf.Tensor, ends: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Leaves out what begins inside a match that was taken before: int32 `[K]` to `[K']`."""

    def leave_out():
        # Taken are the first match and, after each that is taken, the first that begins at its end or later. The chain
        # is followed in strides that double, so that a million overlapping matches take 20 rounds.
        count = tf.size(starts)
        stride = tf.concat([tf.searchsorted(starts, ends), [count]], 0)  # [K + 1], the last stands for the end

        def follow(stride, taken):
            reached = tf.boolean_mask(stride, taken)
            taken = tf.tensor_scatter_nd_update(taken, reached[:, tf.newaxis], tf.ones_like(reached, tf.bool))
            return tf.gather(stride, stride), taken

        _, taken = tf.while_loop(
            lambda stride, taken: stride[0] < count,
            follow,
            [stride, tf.range(count + 1) == 0],
            shape_invariants=[tf.TensorShape([None])] * 2,
        )
        return tf.boolean_mask(starts, taken[:-1]), tf.boolean_mask(ends, taken[:-1])

    return tf.cond(tf.reduce_any(starts[1:] < ends[:-1]), leave_out, lambda: (starts, ends))


def _trie(tokens: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How to walk through the tokens byte by byte.

    Returns:
        columns: int32 `[256]`: the column of each byte below; 0 for bytes that are in no token.
        steps: int32 `[states, columns]`: the state after such a byte.
        is_end: bool `[states]`: whether a token ends with this state.
    """
    used = sorted({byte for token in tokens for byte in token})
    columns = np.zeros(256, np.int32)
    columns[used] = np.arange(1, len(used) + 1)
    children: list[dict[int, int]] = [{}, {}]
    ends = set()
    for token in tokens:
        state = _ROOT
        for byte in token:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        ends.add(state)
    steps = np.full((len(children), len(used) + 1), _DEAD, np.int32)
    for state, following in enumerate(children):
        for byte, child in following.items():
            steps[state, columns[byte]] = child
    return columns, steps, np.array([state in ends for state in range(len(children))])
