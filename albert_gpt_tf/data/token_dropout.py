"""Token dropout: in training a share of a text's tokens is replaced by [MASK], so that no few words decide."""

import tensorflow as tf


def drop_tokens(token_ids: tf.Tensor, rate: float, tokenizer, seed: tf.Tensor) -> tf.Tensor:
    """Replaces random tokens by the mask token; padding, [CLS] and [SEP] stay.

    Args:
        token_ids: int32 [batch, length].
        rate: float from 0 to 1, the share of tokens to replace.
        tokenizer: has `pad_id`, `cls_id`, `sep_id` and `mask_id`.
        seed: int [2]; the same seed replaces the same places.

    Returns:
        int32 [batch, length].

    Example:

    >>> drop_tokens(tf.constant([[2, 7, 8, 9, 3, 0]]), 1.0, tokenizer, [0, 0]).numpy().tolist()
    [[2, 4, 4, 4, 3, 0]]

    Reference: word dropout, Iyyer et al., 2015, "Deep Unordered Composition Rivals Syntactic Methods".
    """
    is_special = tf.reduce_any(
        [tf.equal(token_ids, special) for special in (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id)], 0
    )
    is_dropped = tf.random.stateless_uniform(tf.shape(token_ids), seed) < rate
    return tf.where(is_dropped & ~is_special, tokenizer.mask_id, token_ids)
