"""The decoding loop with its cache against the naive loop without one, and a row against its neighbours."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.generation.generate import generate
from albert_gpt_tf.models.gpt_backbone import GPTBackbone

# Lengths from one token to most of the context of 24, in no order.
PROMPTS = [[3, 14, 15, 9, 26], [7], [1, 8, 2, 8, 18, 2, 8, 4, 5, 9, 0, 4, 5], [31, 31], [0, 0, 0]]
STEPS = [6, 11, 3, 9, 1]
SAMPLED = dict(
    temperature=[1.0, 0.0, 0.7, 1.5, 1.0],
    top_k=[0, 0, 5, 0, 3],
    top_p=[1.0, 1.0, 1.0, 0.8, 0.6],
    repetition_penalty=[1.0, 1.3, 1.0, 2.0, 1.1],
    seed=[11, 12, 13, 14, 15],
)
MODES = {"greedy": {}, "sampled": SAMPLED}


def row_of(parameters, row):
    return {name: values[row] for name, values in parameters.items()}


def assert_same(ours, theirs):
    assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in theirs]
    np.testing.assert_allclose([p for _, p in ours], [p for _, p in theirs], atol=1e-4)


@pytest.fixture(scope="module")
def end_id(decode_without_cache):
    """A token that the greedy continuations of some rows, not of all, contain."""
    texts = [decode_without_cache(prompt, steps)[0] for prompt, steps in zip(PROMPTS, STEPS, strict=True)]
    counts = {token: sum(token in text for text in texts) for text in texts for token in text}
    return next(token for token, count in counts.items() if 0 < count < len(texts) and texts[0][0] != token)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stops", [False, True])
def test_the_cache_gives_the_tokens_and_log_probabilities_of_the_naive_loop(
    mode, stops, decode, decode_without_cache, end_id
):
    stop = end_id if stops else None
    naive = [
        decode_without_cache(prompt, steps, end_id=stop, **row_of(MODES[mode], row))
        for row, (prompt, steps) in enumerate(zip(PROMPTS, STEPS, strict=True))
    ]
    if not stops:
        assert [len(tokens) for tokens, _ in naive] == STEPS
    elif mode == "greedy":
        assert any(len(tokens) < steps for (tokens, _), steps in zip(naive, STEPS, strict=True))
    assert_same(decode(PROMPTS, STEPS, end_id=stop, **MODES[mode]), naive)


def test_eager_gives_what_the_graph_gives(decode):
    assert_same(decode(PROMPTS, STEPS, eagerly=True, **SAMPLED), decode(PROMPTS, STEPS, **SAMPLED))


@pytest.mark.parametrize("mode", MODES)
def test_a_row_alone_equals_the_row_among_any_neighbours(mode, decode, end_id):
    together = decode(PROMPTS, STEPS, end_id=end_id, **MODES[mode])
    for row in range(len(PROMPTS)):
        alone = decode([PROMPTS[row]], [STEPS[row]], end_id=end_id, **row_of(MODES[mode], row))
        assert_same(alone, together[row : row + 1])
    order = [4, 2, 0, 3, 1, 1]
    parameters = {name: [values[row] for row in order] for name, values in MODES[mode].items()}
    moved = decode([PROMPTS[row] for row in order], [STEPS[row] for row in order], end_id=end_id, **parameters)
    assert_same(moved, [together[row] for row in order])


def test_neighbours_that_sample_do_not_change_a_greedy_row(decode):
    greedy = decode(PROMPTS, STEPS)
    mixed = decode(PROMPTS, STEPS, temperature=[0, 1, 0, 1, 0], seed=[1, 2, 3, 4, 5])
    assert_same(mixed[::2], greedy[::2])


def test_equal_seeds_give_equal_texts_and_others_differ(decode):
    prompts = [[3, 14]] * 12
    first = decode(prompts, 12, temperature=3.0, seed=range(12))
    assert_same(first, decode(prompts, 12, temperature=3.0, seed=range(12)))
    assert len({tuple(tokens) for tokens, _ in first}) == 12
    same = decode(prompts, 12, temperature=3.0, seed=5)
    assert len({tuple(tokens) for tokens, _ in same}) == 1


def test_no_new_tokens_give_empty_rows_and_do_not_stop_the_others(decode, decode_without_cache):
    assert decode(PROMPTS, 0) == [([], 0.0)] * len(PROMPTS)
    some = decode(PROMPTS, [0, 5, 0, 2, 0])
    naive = [decode_without_cache(p, n) for p, n in zip(PROMPTS, [0, 5, 0, 2, 0], strict=True)]
    assert_same(some, naive)


@pytest.mark.parametrize("eagerly", [False, True])
def test_zero_rows_give_zero_rows(decode, eagerly):
    assert decode([], [], eagerly=eagerly) == []


def test_the_end_token_is_left_out_but_counts_in_the_log_probability(decode, decode_without_cache):
    prompt = PROMPTS[0]
    tokens, _ = decode_without_cache(prompt, 6)
    stopped, log_probability = decode([prompt], 6, end_id=tokens[0])[0]
    assert stopped == []
    assert log_probability == pytest.approx(decode_without_cache(prompt, 1)[1], abs=1e-4)
    assert log_probability < 0


def test_prompt_and_new_tokens_may_fill_the_context(decode, decode_without_cache):
    prompt = [int(token) for token in np.random.RandomState(0).randint(40, size=16)]
    assert_same(decode([prompt, [5]], [8, 23]), [decode_without_cache(prompt, 8), decode_without_cache([5], 23)])


def test_a_repetition_penalty_forbids_what_is_seen_when_it_is_huge(decode):
    tokens, _ = decode([[3, 14]], 20, repetition_penalty=1e6)[0]
    # Logits above 0 are divided to nothing, so an unseen token with a positive logit always wins.
    assert len(set(tokens)) == len(tokens) and not {3, 14} & set(tokens)


# === Forms of the decoder ===

FORMS = {
    "gpt1": dict(norm_first=False),
    "banded": dict(num_layers=4, attention_window=3),
    "free_head_dim": dict(num_heads=3, head_dim=5),
    "no_bias": dict(use_bias=False, scale_attention_by_layer=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_tokens_and_log_probabilities_of_the_whole_sequence_anew(form, sampling_of):
    sizes = dict(vocabulary_size=40, num_layers=2, num_heads=2, hidden_dim=16, max_sequence_length=24)
    backbone = GPTBackbone(**{**sizes, **FORMS[form]}, initializer_range=0.5)
    seen = []  # the logits [batch, vocabulary] of every step

    def compute_logits(hidden):
        seen.append(backbone.token_embedding(hidden, reverse=True))
        return seen[-1]

    lengths = [len(prompt) for prompt in PROMPTS]
    ids = tf.ragged.constant(PROMPTS, dtype=tf.int32).to_tensor()
    steps = tf.fill([len(PROMPTS)], 9)
    tokens, _, log_probabilities = generate(
        backbone, compute_logits, ids, tf.constant(lengths), steps, sampling_of(len(PROMPTS)), None
    )
    logits = np.stack(seen, 1)  # [batch, steps, vocabulary]
    for row, (prompt, length) in enumerate(zip(PROMPTS, lengths, strict=True)):
        whole = np.array([[*prompt, *tokens[row].numpy()]], "int32")
        hidden = backbone({"token_ids": whole, "padding_mask": np.ones(whole.shape, bool)})
        expected = backbone.token_embedding(hidden, reverse=True).numpy()[0, length - 1 : -1]  # [steps, vocabulary]
        np.testing.assert_allclose(logits[row], expected, atol=1e-5 * max(1, abs(expected).max()))
        np.testing.assert_array_equal(tokens[row], expected.argmax(-1))
        probabilities = tf.nn.log_softmax(expected).numpy()[np.arange(9), tokens[row]]
        assert float(log_probabilities[row]) == pytest.approx(probabilities.sum(), abs=1e-4)


@pytest.mark.parametrize(("steps", "passes"), [([0, 0], 1), ([1, 1], 1), ([5, 2], 5)])
def test_nothing_is_computed_after_the_last_token(steps, passes, backbone, sampling_of, monkeypatch):
    calls, run = [], backbone.call_with_caches
    monkeypatch.setattr(backbone, "call_with_caches", lambda *arguments: calls.append(1) or run(*arguments))
    generate(
        backbone, lambda hidden: backbone.token_embedding(hidden, reverse=True), tf.constant([[3, 1], [4, 1]]),
        tf.constant([2, 2]), tf.constant(steps), sampling_of(2), None,
    )  # fmt: skip
    assert len(calls) == passes  # the prompt is one


def test_a_row_that_ends_with_its_first_token_needs_only_the_prompt(backbone, sampling_of, monkeypatch):
    def run(end_id):
        logits = lambda hidden: backbone.token_embedding(hidden, reverse=True)  # noqa: E731
        return generate(
            backbone, logits, tf.constant([[3, 1]]), tf.constant([2]), tf.constant([6]), sampling_of(1), end_id
        )

    end_id, calls, call = int(run(None).token_ids[0, 0]), [], backbone.call_with_caches
    monkeypatch.setattr(backbone, "call_with_caches", lambda *arguments: calls.append(1) or call(*arguments))
    assert run(end_id).token_count.numpy().tolist() == [0]
    assert len(calls) == 1
