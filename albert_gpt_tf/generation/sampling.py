"""Choosing the next token: greedy, temperature, top-k, top-p, repetition penalty, a seed a row.

Every parameter is a `[batch]` tensor, because TF Serving merges requests into one batch, and a row's choice depends on
nothing but that row.
"""

from typing import NamedTuple

import tensorflow as tf


class Sampling(NamedTuple):
    """How each row of a batch chooses its tokens.

    Fields:
        temperature: float32 [batch], divides the logits; 0 or less means greedy.
        top_k: int32 [batch], keeps the k most probable tokens; 0 or less keeps all.
        top_p: float32 [batch], keeps the most probable tokens until their probability reaches p; 1 or more keeps all.
        repetition_penalty: float32 [batch], divides the positive and multiplies the negative logits of tokens that
            the row already holds; 1 changes nothing.
        seed: int32 [batch]; equal rows with equal seeds give equal text.

    Reference:
        top-p: Holtzman et al., 2019, arXiv:1904.09751; repetition penalty: Keskar et al., 2019, arXiv:1909.05858.
    """

    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    repetition_penalty: tf.Tensor
    seed: tf.Tensor


def uniform_draws(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Draws that depend on a row's seed alone: int32 [batch], count -> float32 [batch, count] in [0, 1)."""
    return tf.map_fn(
        lambda row_seed: tf.random.stateless_uniform([count], seed=tf.stack([row_seed, 0])),
        seed,
        fn_output_signature=tf.TensorSpec([count], tf.float32),
    )


def penalize_repetition(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Makes seen tokens less likely: float [batch, vocabulary], bool [batch, vocabulary], float [batch] -> logits."""
    penalty = penalty[:, None]
    return tf.where(seen, tf.where(logits > 0, logits / penalty, logits * penalty), logits)


def choose(logits: tf.Tensor, uniform: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """Chooses one token a row.

    Args:
        logits: float32 [batch, vocabulary].
        uniform: float32 [batch], one draw a row.
        sampling: see `Sampling`; the repetition penalty is already applied.

    Returns:
        int32 [batch], token ids.
    """
    greedy = tf.argmax(logits, -1, output_type=tf.int32)

    def sample():
        is_greedy = sampling.temperature <= 0
        temperature = tf.where(is_greedy, 1.0, sampling.temperature)[:, None]
        vocabulary_size = tf.shape(logits)[-1]
        scaled, order = tf.math.top_k(logits / temperature, k=vocabulary_size)  # most probable first
        keep_k = tf.where(sampling.top_k > 0, sampling.top_k, vocabulary_size)[:, None]
        scaled = tf.where(tf.range(vocabulary_size)[None] < keep_k, scaled, -float("inf"))
        probabilities = tf.nn.softmax(scaled)
        # A token stays if the more probable ones do not reach p without it; the first one always stays.
        before = tf.cumsum(probabilities, axis=-1, exclusive=True)
        keep_p = (before < sampling.top_p[:, None]) | (tf.range(vocabulary_size)[None] == 0)
        cumulative = tf.cumsum(tf.where(keep_p, probabilities, 0.0), axis=-1)
        # Inverse of the distribution function: one uniform draw picks the token.
        threshold = uniform[:, None] * cumulative[:, -1:]
        rank = tf.reduce_sum(tf.cast(cumulative <= threshold, tf.int32), -1)
        kept = tf.reduce_sum(tf.cast(keep_p & (probabilities > 0), tf.int32), -1)
        rank = tf.minimum(rank, kept - 1)  # rounding may put the threshold at the very end
        sampled = tf.gather(order, rank, batch_dims=1)
        return tf.where(is_greedy, greedy, sampled)

    return tf.cond(tf.reduce_any(sampling.temperature > 0), sample, lambda: greedy)
