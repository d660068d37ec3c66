"""The signatures of each task: what a caller sends and what comes back.

They are fixed in the README's serving table. Every input and output has the batch as its first axis, because TF Serving
merges the rows of several requests; every input is text or a number a row, because the tokenizer is in the graph.
"""

from typing import NamedTuple

import tensorflow as tf

from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GENERATE_INPUTS, GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

SAMPLE_TEXTS = ["The quick brown fox jumps over the lazy dog.", "Return the sum of all elements of the array."]


class Signatures(NamedTuple):
    """The functions of an export and what they were tried with.

    Fields:
        functions: dict of signature name to `tf.function` with an input signature.
        examples: dict of signature name to dict of input name to a list of values, one a row.
    """

    functions: dict
    examples: dict


def holder_of(task) -> tf.Module:
    """A module that holds what the functions of a task use, its weights and its tokenizer's tables, and nothing else.

    The task itself will not do: Keras tracks its variables in a way that leaves them out of a TFLite conversion.
    """
    module = tf.Module()
    module.weights = [weight.value for weight in task.weights]
    module.tokenizer = task.preprocessor.tokenizer
    return module


def signatures_of(task, max_new_tokens: int = 64) -> Signatures:
    """Builds the signatures of a task.

    Args:
        task: an `AlbertTextClassifier`, a `GPTTextClassifier` or a `GPTCausalLM` with a preprocessor.
        max_new_tokens: int, what `serving_default` of a language model generates at most. Defaults to 64.

    Returns:
        `Signatures`.

    Raises:
        ValueError: the task has no preprocessor, or is of a kind that has no signatures.
    """
    if getattr(task, "preprocessor", None) is None:
        raise ValueError(
            f"An export takes text, so the task needs its tokenizer. Received: {type(task).__name__} with "
            "preprocessor=None. Make the task with tokenizer=... ."
        )
    if isinstance(task, AlbertTextClassifier | GPTTextClassifier):
        return regression_signatures(task) if task.regression else text_classifier_signatures(task)
    if isinstance(task, GPTCausalLM):
        return causal_lm_signatures(task, max_new_tokens)
    raise ValueError(
        f"Expected a text classifier or a GPTCausalLM to export. Received: {type(task).__name__}, for which there are "
        "no signatures yet."
    )


def text_classifier_signatures(task: AlbertTextClassifier | GPTTextClassifier) -> Signatures:
    """`serving_default`: text to label, score, scores. `classify`: tf.Examples to classes and scores."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serving_default(text):
        return task.answer(text)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(inputs):
        features = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})
        scores = task.answer(features["text"])["scores"]
        classes = tf.broadcast_to(tf.constant(task.labels)[None], tf.shape(scores))
        return {"classes": classes, "scores": scores}

    return Signatures(
        {"serving_default": serving_default, "classify": classify},
        {"serving_default": {"text": SAMPLE_TEXTS}, "classify": {"text": SAMPLE_TEXTS}},
    )


def regression_signatures(task: AlbertTextClassifier | GPTTextClassifier) -> Signatures:
    """`serving_default`: text to value. `regress`: tf.Examples to outputs."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serving_default(text):
        return task.answer(text)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(inputs):
        features = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})
        return {"outputs": task.answer(features["text"])["value"]}

    return Signatures(
        {"serving_default": serving_default, "regress": regress},
        {"serving_default": {"text": SAMPLE_TEXTS}, "regress": {"text": SAMPLE_TEXTS}},
    )


def causal_lm_signatures(task: GPTCausalLM, max_new_tokens: int) -> Signatures:
    """`serving_default`: greedy text. `generate`: sampled text. `score`: log-likelihood and perplexity."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "prompt")])
    def serving_default(prompt):
        rows = tf.shape(prompt)
        zeros, ones = tf.zeros(rows, tf.int32), tf.ones(rows)
        answer = task.answer(prompt, zeros + max_new_tokens, 0.0 * ones, zeros, ones, ones, zeros)
        return {name: answer[name] for name in ("text", "text_bytes", "token_count")}

    @tf.function(input_signature=list(GENERATE_INPUTS.values()))
    def generate(prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed):
        return task.answer(prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
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
    return Signatures(
        {"serving_default": serving_default, "generate": generate, "score": score},
        {"serving_default": {"prompt": SAMPLE_TEXTS}, "generate": sampling, "score": {"text": SAMPLE_TEXTS}},
    )
