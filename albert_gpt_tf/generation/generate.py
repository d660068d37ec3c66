"""The decoding loop: a prompt's ids in, its continuation's ids out, in one graph.

First the whole prompt at once (prefill), then one token a step for all rows, until every row has ended. The same
function runs in Python and in exported graphs.
"""

from typing import NamedTuple

import tensorflow as tf

from albert_gpt_tf.generation.cache import PromptCache, StepCache
from albert_gpt_tf.generation.sampling import Sampling, choose, penalize_repetition, uniform_draws
from albert_gpt_tf.models.transformer_layers import MASKED, causal_bias


class Continuation(NamedTuple):
    """What was generated.

    Fields:
        token_ids: int32 [batch, longest], rows padded with the end id (0 without one); the
            end-of-text token itself is left out.
        token_count: int32 [batch], tokens in each row.
        log_probability: float32 [batch], sum of the model's log-probabilities of the row's tokens, the end-of-text
            token included, before temperature and filters.
    """

    token_ids: tf.Tensor
    token_count: tf.Tensor
    log_probability: tf.Tensor


def generate(backbone, compute_logits, token_ids, lengths, max_new_tokens, sampling: Sampling, end_id) -> Continuation:
    """Continues each row.

    Args:
        backbone: a `GPTBackbone`.
        compute_logits: function from hidden states [batch, hidden_dim] to logits [batch, vocabulary].
        token_ids: int32 [batch, length], prompts padded on the right.
        lengths: int32 [batch], real tokens of each prompt, at least 1; with `max_new_tokens` at most
            `backbone.max_sequence_length`.
        max_new_tokens: int32 [batch], 0 or more.
        sampling: see `Sampling`.
        end_id: int, the token that ends a row, or `None` if none does.

    Returns:
        A `Continuation`.
    """
    batch, length = tf.unstack(tf.shape(token_ids))
    steps = tf.reduce_max(tf.concat([max_new_tokens, [0]], 0))
    capacity = length + steps
    num_layers, vocabulary_size = backbone.num_layers, backbone.vocabulary_size
    filler = 0 if end_id is None else end_id  # what stands behind the end of a row

    # === Prefill ===
    # Padding stands to the right of every real token, so the causal bias hides it from them.
    prompt_caches = [PromptCache(capacity) for _ in range(num_layers)]
    positions = tf.broadcast_to(tf.range(length)[None], [batch, length])
    hidden = backbone.call_with_caches(token_ids, positions, causal_bias(length), prompt_caches)
    last_hidden = tf.gather(hidden, lengths - 1, batch_dims=1)  # [batch, hidden_dim]
    buffers = [cache.buffers for cache in prompt_caches]

    is_prompt = tf.sequence_mask(lengths, length)
    places = tf.stack([tf.where(is_prompt)[:, 0], tf.cast(tf.boolean_mask(token_ids, is_prompt), tf.int64)], -1)
    seen = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1], tf.int32), tf.cast([batch, vocabulary_size], tf.int64))
    uniform = uniform_draws(sampling.seed, backbone.max_sequence_length)

    # === One token a step ===
    def choose_next(index, last_hidden, seen, ended, counts, log_probability):
        """The token of step `index`, from the hidden state [batch, hidden_dim] of the one before it."""
        logits = tf.cast(compute_logits(last_hidden), tf.float32)  # [batch, vocabulary]
        penalized = penalize_repetition(logits, seen > 0, sampling.repetition_penalty)
        chosen = choose(penalized, uniform[:, index], sampling)
        chosen_log_probability = tf.gather(tf.nn.log_softmax(logits), chosen, batch_dims=1)
        log_probability += tf.where(ended, 0.0, chosen_log_probability)
        is_token = ~ended if end_id is None else ~ended & (chosen != end_id)
        chosen = tf.where(is_token, chosen, filler)
        seen = tf.maximum(seen, tf.one_hot(chosen, vocabulary_size, dtype=tf.int32))
        counts += tf.cast(is_token, tf.int32)
        ended = ~is_token | (counts >= max_new_tokens)
        return chosen, seen, ended, counts, log_probability

    def step(index, chosen, seen, ended, counts, log_probability, written, buffers):
        # The token chosen last follows the row's prompt and what was generated before it. Rows that have ended run
        # along, in a slot that is theirs and that no one reads.
        position = lengths + index - 1  # [batch]
        visible = tf.range(capacity)[None] <= position[:, None]
        bias = tf.where(visible, 0.0, MASKED)[:, None, None, :]  # [batch, 1, 1, capacity]
        caches = [StepCache(pair, position, capacity) for pair in buffers]
        place = tf.minimum(position, backbone.max_sequence_length - 1)
        hidden = backbone.call_with_caches(chosen[:, None], place[:, None], bias, caches)
        chosen, *state = choose_next(index, hidden[:, 0], seen, ended, counts, log_probability)
        written = tf.tensor_scatter_nd_update(written, [[index]], chosen[None])
        return index + 1, chosen, *state, written, [cache.buffers for cache in caches]

    # The first choice needs no step, and so the last one is followed by none.
    chosen, *state = choose_next(
        0, last_hidden, seen, max_new_tokens <= 0, tf.zeros([batch], tf.int32), tf.zeros([batch])
    )
    # A tensor and not a TensorArray, which cannot give back zero rows.
    written = tf.concat([chosen[None], tf.fill([tf.maximum(steps - 1, 0), batch], filler)], 0)  # [steps, batch]
    index, _, _, _, counts, log_probability, written, _ = tf.while_loop(
        lambda index, chosen, seen, ended, *_: (index < steps) & ~tf.reduce_all(ended),
        step,
        (1, chosen, *state, written, buffers),
    )
    written = written[: tf.minimum(index, steps)]  # without steps the first choice was for nothing
    return Continuation(tf.transpose(written), counts, log_probability)  # [steps, batch] -> [batch, longest]
