"""The signatures of a causal language model: text to continue, with and without sampling, and text to score."""

import tensorflow as tf

from albert_gpt_tf.exporters.albert_signatures import SAMPLE_TEXTS, strings
from albert_gpt_tf.tasks.gpt_causal_lm import GENERATE_INPUTS, GPTCausalLM


def causal_lm_signatures(task: GPTCausalLM, max_new_tokens: int) -> tuple[dict, dict]:
    """`serving_default`: greedy text. `generate`: sampled text. `score`: log-likelihood and perplexity.

    Args:
        task: a `GPTCausalLM` with a preprocessor.
        max_new_tokens: int, what `serving_default` generates at most.

    Returns:
        A dict of signature name to `tf.function`, and a dict of signature name to rows to try it with.
    """

    @tf.function(input_signature=[strings("prompt")])
    def serving_default(prompt):
        rows = tf.shape(prompt)
        zeros, ones = tf.zeros(rows, tf.int32), tf.ones(rows)
        answer = task.answer(prompt, zeros + max_new_tokens, 0.0 * ones, zeros, ones, ones, zeros)
        return {name: answer[name] for name in ("text", "text_bytes", "token_count")}

    @tf.function(input_signature=list(GENERATE_INPUTS.values()))
    def generate(prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed):
        return task.answer(prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed)

    @tf.function(input_signature=[strings("text")])
    def score(text):
        return task.log_likelihood(text)

    sampling = {
        "prompt": SAMPLE_TEXTS,
        "max_new_tokens": [4, 8],
        "temperature": [0.0, 0.8],
        "top_k": [0, 40],
        "top_p": [1.0, 0.95],
        "repetition_penalty": [1.0, 1.2],
        "seed": [0, 1],
    }
    return (
        {"serving_default": serving_default, "generate": generate, "score": score},
        {"serving_default": {"prompt": SAMPLE_TEXTS}, "generate": sampling, "score": {"text": SAMPLE_TEXTS}},
    )
