"""A small backbone with spread-out logits, and decoding as plain as it gets."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.generation.generate import generate
from albert_gpt_tf.generation.sampling import Sampling, uniform_draws
from albert_gpt_tf.models.gpt_backbone import GPTBackbone

VOCABULARY_SIZE = 40
CONTEXT = 24


@pytest.fixture(scope="session")
def backbone():
    backbone = GPTBackbone(
        vocabulary_size=VOCABULARY_SIZE, num_layers=2, num_heads=2, hidden_dim=16, max_sequence_length=CONTEXT
    )
    random = np.random.RandomState(5)
    for weight in backbone.weights:
        is_gain = "gamma" in weight.name
        weight.assign(random.standard_normal(weight.shape) * (0.1 if len(weight.shape) == 1 else 0.5) + is_gain)
    return backbone


def make_sampling(rows, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=0):
    """A `Sampling` of constants or of one value a row."""
    return Sampling(
        *(tf.constant(np.broadcast_to(value, [rows]), dtype) for value, dtype in (
            (temperature, tf.float32), (top_k, tf.int32), (top_p, tf.float32), (repetition_penalty, tf.float32),
            (seed, tf.int32),
        ))
    )  # fmt: skip


@pytest.fixture(scope="session")
def sampling_of():
    return make_sampling


def choose_in_numpy(logits, draw, temperature, top_k, top_p):
    """One choice, in float64: sort, cut, normalise, walk along the distribution until the draw is used up."""
    if temperature <= 0:
        return int(np.argmax(logits))
    kept = kept_in_numpy(logits, temperature, top_k, top_p)
    mass = draw * sum(kept.values())
    for token, probability in kept.items():
        mass -= probability
        if mass < 0:
            return token
    return token


def kept_in_numpy(logits, temperature, top_k, top_p):
    """Token -> probability of what top-k and then top-p leave, most probable first."""
    scaled = np.asarray(logits, "float64") / temperature
    order = np.argsort(-scaled, kind="stable")[: top_k if top_k > 0 else None]
    probabilities = np.exp(scaled[order] - scaled[order[0]])
    probabilities /= probabilities.sum()
    kept, before = {}, 0.0
    for token, probability in zip(order.tolist(), probabilities.tolist(), strict=True):
        if kept and before >= top_p:
            break
        kept[token] = probability
        before += probability
    return kept


@pytest.fixture(scope="session")
def kept():
    return kept_in_numpy


@pytest.fixture(scope="session")
def decode_without_cache(backbone):
    """The naive loop: one row, the whole model on the whole text for every token, the choice in NumPy.

    (prompt, max_new_tokens, end_id, temperature, ...) -> tokens, log-probability.
    """

    def decode(
        prompt, max_new_tokens, end_id=None, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=0
    ):
        draws = uniform_draws(tf.constant([seed]), CONTEXT)[0].numpy()
        ids, log_probability = list(prompt), 0.0
        for step in range(max_new_tokens):
            inputs = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), bool)}
            hidden = backbone(inputs)[:, -1]
            logits = backbone.token_embedding(hidden, reverse=True).numpy()[0].astype("float64")
            penalized = logits.copy()
            for token in set(ids):
                penalized[token] *= repetition_penalty if logits[token] <= 0 else 1 / repetition_penalty
            token = choose_in_numpy(penalized, draws[step], temperature, top_k, top_p)
            log_probability += logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            if token == end_id:
                break
            ids.append(token)
        return ids[len(prompt) :], log_probability

    return decode


@pytest.fixture(scope="session")
def decode(backbone):
    """`generate` on lists of ids, as a graph or eagerly: list of (tokens, log-probability)."""

    def run(ids, lengths, max_new_tokens, sampling, end_id):
        return generate(
            backbone, lambda hidden: backbone.token_embedding(hidden, reverse=True), ids, lengths, max_new_tokens,
            sampling, end_id,
        )  # fmt: skip

    row = tf.TensorSpec([None], tf.int32)
    real = tf.TensorSpec([None], tf.float32)
    graphs = {}

    def decode(prompts, max_new_tokens, end_id=None, eagerly=False, **sampling):
        if end_id not in graphs:
            graphs[end_id] = tf.function(
                lambda *arguments: run(*arguments, end_id),
                input_signature=[tf.TensorSpec([None, None], tf.int32), row, row, Sampling(real, row, real, real, row)],
            )
        rows = len(prompts)
        arguments = (
            tf.ragged.constant(prompts, ragged_rank=1, dtype=tf.int32).to_tensor(0),
            tf.constant([len(prompt) for prompt in prompts], tf.int32),
            tf.constant(np.broadcast_to(max_new_tokens, [rows]), tf.int32),
            make_sampling(rows, **sampling),
        )
        result = run(*arguments, end_id) if eagerly else graphs[end_id](*arguments)
        ids, counts, log_probabilities = (value.numpy() for value in result)
        assert ids.dtype == counts.dtype == np.int32
        assert ids.shape == (rows, max(counts, default=0)) or end_id is not None
        filler = 0 if end_id is None else end_id
        assert all((row[count:] == filler).all() for row, count in zip(ids, counts, strict=True))
        return [
            (row[:count].tolist(), log_probability)
            for row, count, log_probability in zip(ids, counts, log_probabilities, strict=True)
        ]

    return decode
