"""GPTCausalLM: training on text, continuing prompts, scoring texts."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM, GPTCausalLMPreprocessor

CONTEXT = 24


def log_softmax(logits):
    logits = np.asarray(logits, "float64")
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def logits_of(causal_lm, ids):
    """The functional model on one row: [length, vocabulary]."""
    return causal_lm({"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), bool)}).numpy()[0]


def continue_greedily(causal_lm, ids, count):
    """The naive loop, which no end stops."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(logits_of(causal_lm, ids)[-1].argmax()))
    return ids[-count:] if count else []


@pytest.fixture(scope="module")
def on_ids(make_causal_lm):
    """The same weights without a preprocessor."""
    return make_causal_lm(tokenizer=None)


# === Training ===


def test_fit_gives_the_same_weights_from_every_form_of_the_data(make_causal_lm, texts, assert_same_weights, moved):
    lines = texts[:8]
    ids = tf.nest.map_structure(lambda t: t.numpy(), make_causal_lm().preprocessor(lines))
    forms = {
        "strings": (lines,),
        "ids": ids,
        "dataset of strings": (tf.data.Dataset.from_tensor_slices(lines).batch(4),),
    }
    trained = {}
    for form, data in forms.items():
        trained[form] = make_causal_lm()
        trained[form].compile(keras.optimizers.SGD(0.1))
        names = dict(zip(("x", "y", "sample_weight"), data, strict=False))
        batch_size = {} if form.startswith("dataset") else {"batch_size": 4}
        trained[form].fit(**names, **batch_size, epochs=2, shuffle=False, verbose=0)
        assert_same_weights(trained["strings"], trained[form], atol=1e-6)
    assert moved(trained["strings"], make_causal_lm()) > 0.01


def test_evaluate_gives_the_same_from_every_form_of_the_data(make_causal_lm, texts):
    causal_lm, lines = make_causal_lm(), texts[:5]
    causal_lm.compile()
    x, y, weights = tf.nest.map_structure(lambda t: t.numpy(), causal_lm.preprocessor(lines))
    results = [
        causal_lm.evaluate(lines, verbose=0, return_dict=True),
        causal_lm.evaluate(x, y, sample_weight=weights, batch_size=2, verbose=0, return_dict=True),
        causal_lm.evaluate(tf.data.Dataset.from_tensor_slices(lines).batch(2), verbose=0, return_dict=True),
    ]
    for result in results:
        assert result == pytest.approx(results[0], abs=1e-5)


def test_predict_gives_logits_from_every_form_of_the_data(causal_lm, texts):
    ids, _, _ = causal_lm.preprocessor(texts[:5])
    dataset = tf.data.Dataset.from_tensor_slices(texts[:5]).batch(2)
    expected = tf.function(causal_lm)(
        ids
    ).numpy()  # a graph as in `predict`: its fused kernels round otherwise than eager
    for form in (texts[:5], dataset, {name: value.numpy() for name, value in ids.items()}):
        np.testing.assert_allclose(causal_lm.predict(form, verbose=0), expected, atol=1e-5)


def test_training_learns_a_text_by_heart(make_causal_lm):
    causal_lm = make_causal_lm()
    causal_lm.compile(keras.optimizers.Adam(0.02))
    causal_lm.fit(["Return the number of items."] * 240, batch_size=4, verbose=0)
    assert causal_lm.generate("", max_new_tokens=20) == "Return the number of items."


def test_targets_are_refused(make_causal_lm, texts):
    with pytest.raises(ValueError, match="targets are the text's own tokens"):
        make_causal_lm().preprocessor(texts[:2], np.array([1, 2]))


def test_preprocessor_frames_shifts_and_weighs(gpt_tokenizer):
    preprocessor = GPTCausalLMPreprocessor(gpt_tokenizer, sequence_length=8)
    end = gpt_tokenizer.end_of_text_id
    inputs, targets, weights = (tf.nest.map_structure(lambda t: t.numpy(), part)
                                for part in preprocessor(["to be", ""], sample_weight=[2.0, 3.0]))  # fmt: skip
    ids = gpt_tokenizer.tokenize("to be").numpy().tolist()
    for row, (line, weight) in enumerate([(ids, 2.0), ([], 3.0)]):
        whole, real = [end, *line, end], len(line) + 1
        assert inputs["token_ids"][row, :real].tolist() == whole[:-1]
        assert targets[row, :real].tolist() == whole[1:]
        assert weights[row].tolist() == [weight] * real + [0] * (8 - real)


def test_a_cut_text_has_no_end(gpt_tokenizer, texts):
    _, targets, weights = GPTCausalLMPreprocessor(gpt_tokenizer, sequence_length=4)([texts[0]])
    assert targets[0].numpy().tolist() == gpt_tokenizer.tokenize(texts[0]).numpy().tolist()[:4]
    assert weights[0].numpy().tolist() == [1] * 4


# === Generation ===


@pytest.mark.parametrize("add_start_token", [True, False])
def test_generate_gives_the_text_of_the_naive_loop(causal_lm, gpt_tokenizer, add_start_token):
    prompts = ["Return the", "a", "class of objects that"]
    preprocessor = GPTCausalLMPreprocessor(gpt_tokenizer, add_start_token=add_start_token)
    task = GPTCausalLM(causal_lm.backbone, preprocessor=preprocessor)
    start = [gpt_tokenizer.end_of_text_id] * add_start_token
    for prompt, text in zip(prompts, task.generate(prompts, max_new_tokens=6), strict=True):
        ids = continue_greedily(task, start + gpt_tokenizer.tokenize(prompt).numpy().tolist(), 6)
        if gpt_tokenizer.end_of_text_id in ids:
            ids = ids[: ids.index(gpt_tokenizer.end_of_text_id)]
        assert text == gpt_tokenizer.detokenize(ids).numpy().decode()


def test_without_a_start_token_training_and_scoring_leave_the_first_token_out(causal_lm, gpt_tokenizer):
    texts = ["Return the", "", "a"]
    lengths = [int(tf.size(gpt_tokenizer.tokenize(text))) for text in texts]
    preprocessor = GPTCausalLMPreprocessor(gpt_tokenizer, sequence_length=8, add_start_token=False)
    _, targets, weights = preprocessor(texts)
    assert targets[0].numpy()[0] == gpt_tokenizer.tokenize(texts[0]).numpy()[1]
    assert tf.reduce_sum(weights, 1).numpy().tolist() == lengths  # all but the first, and the end
    task = GPTCausalLM(causal_lm.backbone, preprocessor=preprocessor)
    assert task.score(texts)["token_count"] == [max(n - 1, 0) for n in lengths]
    assert GPTCausalLMPreprocessor.from_config(preprocessor.get_config()).add_start_token is False


def test_an_empty_prompt_starts_after_an_end_of_text(causal_lm, gpt_tokenizer):
    ids = continue_greedily(causal_lm, [gpt_tokenizer.end_of_text_id], 5)
    assert gpt_tokenizer.end_of_text_id not in ids
    assert causal_lm.generate("", max_new_tokens=5) == gpt_tokenizer.detokenize(ids).numpy().decode()


def test_a_string_gives_a_string_and_a_list_a_list(causal_lm):
    single = causal_lm.generate("Return", max_new_tokens=4)
    assert isinstance(single, str)
    assert causal_lm.generate(["Return"], max_new_tokens=4) == [single]
    assert causal_lm.generate(b"Return", max_new_tokens=4) == single
    assert causal_lm.generate([], max_new_tokens=4) == []
    assert causal_lm.generate("Return", max_new_tokens=0) == ""


def test_row_i_uses_seed_plus_i_and_does_not_see_its_neighbours(causal_lm):
    prompts = ["Return", "class", "", "Return"]
    options = dict(max_new_tokens=8, temperature=2.0, top_k=50, top_p=0.95, repetition_penalty=1.1)
    texts = causal_lm.generate(prompts, seed=7, **options)
    assert texts == [causal_lm.generate(prompt, seed=7 + i, **options) for i, prompt in enumerate(prompts)]
    assert texts == causal_lm.generate(prompts, seed=7, **options)
    assert texts[0] != texts[3]


def test_one_token_of_top_k_and_a_tiny_top_p_are_greedy(causal_lm):
    greedy = causal_lm.generate("Return", max_new_tokens=8)
    assert causal_lm.generate("Return", max_new_tokens=8, temperature=2.0, top_k=1, seed=3) == greedy
    assert causal_lm.generate("Return", max_new_tokens=8, temperature=2.0, top_p=1e-9, seed=3) == greedy


def test_the_last_tokens_of_a_long_prompt_are_kept(on_ids):
    prompt = np.random.RandomState(0).randint(300, size=60).tolist()
    expected = continue_greedily(on_ids, prompt[-(CONTEXT - 6) :], 6)
    assert on_ids.generate(prompt, max_new_tokens=6) == expected
    assert on_ids.generate(prompt[-(CONTEXT - 6) :], max_new_tokens=6) == expected


def test_more_new_tokens_than_the_context_holds_fill_it(on_ids):
    assert on_ids.generate([5, 6, 7], max_new_tokens=1000) == continue_greedily(on_ids, [7], CONTEXT - 1)


def test_generate_on_ids_without_a_preprocessor(on_ids):
    prompts = [[3, 14, 15], [9], [26, 5, 35, 8, 9]]
    expected = [continue_greedily(on_ids, prompt, 5) for prompt in prompts]
    assert on_ids.generate(prompts, max_new_tokens=5) == expected
    assert on_ids.generate(prompts[0], max_new_tokens=5) == expected[0]
    assert on_ids.generate([np.array(prompt) for prompt in prompts], max_new_tokens=5) == expected
    assert on_ids.generate(np.array(prompts[0]), max_new_tokens=5) == expected[0]
    assert on_ids.generate(prompts, max_new_tokens=0) == [[], [], []]


def test_bad_prompts_go_through_and_change_no_neighbour(causal_lm, bad_texts):
    texts = causal_lm.generate([*bad_texts, b"Return"], max_new_tokens=5)
    assert all(isinstance(text, str) for text in texts)
    assert texts[-1] == causal_lm.generate("Return", max_new_tokens=5)


@pytest.mark.parametrize(
    "parameters", [dict(max_new_tokens=-1), dict(top_p=0), dict(top_p=-0.5), dict(repetition_penalty=0)], ids=str
)
def test_parameters_out_of_range_are_refused(causal_lm, parameters):
    name, value = next(iter(parameters.items()))
    with pytest.raises(ValueError, match=rf"max_new_tokens must be 0 or more.*Received: .*{name}={value}"):
        causal_lm.generate("Return", **parameters)


def test_text_without_a_preprocessor_is_refused(on_ids):
    with pytest.raises(ValueError, match=r"lists of ids for one without. Received: preprocessor=None, .*Return"):
        on_ids.generate(["Return"])
    with pytest.raises(ValueError, match="score needs text"):
        on_ids.score(["Return"])


def test_ids_with_a_preprocessor_are_refused(causal_lm):
    for prompts in ([1, 2, 3], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="must be strings for a task with a preprocessor"):
            causal_lm.generate(prompts)


def test_a_preprocessor_and_a_tokenizer_together_are_refused(make_causal_lm, gpt_tokenizer):
    with pytest.raises(ValueError, match="not both"):
        make_causal_lm(preprocessor=GPTCausalLMPreprocessor(gpt_tokenizer))


def test_answer_is_the_same_eagerly_and_in_a_graph(causal_lm):
    rows = 3
    arguments = (
        tf.constant(["Return", "", "class"]), tf.constant([4, 0, 7]), tf.constant([0.0, 1.0, 1.5]),
        tf.constant([0, 5, 0]), tf.constant([1.0, 1.0, 0.9]), tf.ones([rows]), tf.constant([1, 2, 3]),
    )  # fmt: skip
    eager, graph = causal_lm.answer(*arguments), causal_lm.compiled_answer(*arguments)
    for name in ("text", "text_bytes", "token_count"):
        assert eager[name].numpy().tolist() == graph[name].numpy().tolist()
    np.testing.assert_allclose(eager["log_probability"], graph["log_probability"], atol=1e-4)
    assert eager["token_count"][1] == 0 and eager["text"][1] == b""


def test_mixed_bfloat16_generates_and_scores(make_causal_lm, causal_lm):
    mixed = make_causal_lm(dtype="mixed_bfloat16")
    assert isinstance(mixed.generate("Return", max_new_tokens=8), str)
    full, half = causal_lm.score(["Return the"]), mixed.score(["Return the"])
    assert half["log_likelihood"] == pytest.approx(full["log_likelihood"], rel=0.05)


# === Scoring ===


def test_score_is_the_sum_of_log_softmax(causal_lm, gpt_tokenizer):
    lines = ["Return the number", "a", "class of objects"]
    result = causal_lm.score(lines)
    for row, line in enumerate(lines):
        ids = [gpt_tokenizer.end_of_text_id, *gpt_tokenizer.tokenize(line).numpy().tolist()]
        steps = log_softmax(logits_of(causal_lm, ids[:-1]))
        expected = steps[np.arange(len(ids) - 1), ids[1:]].sum()
        assert result["log_likelihood"][row] == pytest.approx(expected, abs=1e-4)
        assert result["token_count"][row] == len(ids) - 1
        assert result["perplexity"][row] == pytest.approx(np.exp(-expected / (len(ids) - 1)), rel=1e-5)


def test_score_of_a_continuation_is_the_log_probability_that_generate_gives(causal_lm, gpt_tokenizer):
    rows = tf.ones([1])
    none = tf.constant([0])
    answer = causal_lm.answer(tf.constant([""]), tf.constant([5]), 0 * rows, none, rows, rows, none)
    assert answer["token_count"] == [5]
    ids = gpt_tokenizer.tokenize(answer["text_bytes"]).to_list()[0]
    if len(ids) == 5:  # the text may be written with fewer tokens than it was generated with
        score = causal_lm.score([answer["text_bytes"].numpy()[0]])["log_likelihood"][0]
        assert score == pytest.approx(float(answer["log_probability"][0]), abs=1e-4)


def test_an_empty_text_scores_zero_and_no_texts_score_nothing(causal_lm):
    assert causal_lm.score([""]) == {"log_likelihood": [0], "token_count": [0], "perplexity": [1]}
    assert causal_lm.score([]) == {"log_likelihood": [], "token_count": [], "perplexity": []}


def test_a_text_alone_scores_as_among_others_and_bad_texts_go_through(causal_lm, bad_texts):
    lines = [*bad_texts, b"Return the number"]
    together = causal_lm.score(lines)
    for row, line in enumerate(lines):
        alone = causal_lm.score([line])
        assert alone["token_count"] == [together["token_count"][row]]
        assert alone["log_likelihood"][0] == pytest.approx(together["log_likelihood"][row], abs=1e-4)
    assert np.isfinite(together["perplexity"]).all()
    assert max(together["token_count"]) == CONTEXT  # of a megabyte, the context is scored


def test_the_head_is_the_token_embedding(make_causal_lm):
    causal_lm = make_causal_lm()
    assert isinstance(causal_lm.backbone, GPTBackbone) and isinstance(causal_lm, GPTCausalLM)
    assert causal_lm.count_params() == causal_lm.backbone.count_params()


# === Output layers ===

HEADS = {
    "tied": {},
    "tied_with_bias": dict(head_bias=True),
    "untied": dict(tie_word_embeddings=False),
    "untied_with_bias": dict(tie_word_embeddings=False, head_bias=True),
}


@pytest.mark.parametrize("head", HEADS)
def test_every_output_layer_gives_the_logits_of_its_formula(head, make_causal_lm):
    causal_lm = make_causal_lm(**HEADS[head])
    backbone, lm_head = causal_lm.backbone, causal_lm.lm_head
    assert (lm_head is None) == (head == "tied")
    kernel = getattr(lm_head, "kernel", None)
    assert (kernel is None) == head.startswith("tied")
    kernel = backbone.token_embedding.embeddings.numpy().T if kernel is None else kernel.numpy()
    assert kernel.shape == (16, backbone.vocabulary_size)
    bias = getattr(lm_head, "bias", None)
    assert (bias is not None) == head.endswith("bias")
    bias = np.zeros(backbone.vocabulary_size) if bias is None else bias.numpy()
    ids = np.arange(6, dtype="int32")[None]
    hidden = backbone({"token_ids": ids, "padding_mask": ids >= 0}).numpy()[0]
    np.testing.assert_allclose(logits_of(causal_lm, ids[0]), hidden @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_generate_and_score_use_the_output_layer(head, make_causal_lm, gpt_tokenizer):
    causal_lm = make_causal_lm(**HEADS[head])
    ids = [gpt_tokenizer.end_of_text_id, *gpt_tokenizer.tokenize("Return the").numpy().tolist()]
    expected = continue_greedily(causal_lm, ids, 6)
    if gpt_tokenizer.end_of_text_id in expected:
        expected = expected[: expected.index(gpt_tokenizer.end_of_text_id)]
    assert causal_lm.generate("Return the", max_new_tokens=6) == gpt_tokenizer.detokenize(expected).numpy().decode()
    steps = log_softmax(logits_of(causal_lm, ids[:-1]))
    score = causal_lm.score(["Return the"])["log_likelihood"][0]
    assert score == pytest.approx(steps[np.arange(len(ids) - 1), ids[1:]].sum(), abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_an_output_layer_is_trained_and_comes_back_from_a_preset(head, make_causal_lm, texts, tmp_path):
    causal_lm, before = make_causal_lm(**HEADS[head]), make_causal_lm(**HEADS[head])
    causal_lm.compile(keras.optimizers.SGD(0.1))
    causal_lm.fit(texts[:4], verbose=0)
    for new, old in zip(causal_lm.trainable_weights, before.trainable_weights, strict=True):
        assert "key/bias" in new.path or abs(new.numpy() - old.numpy()).max() > 1e-7, new.path
    causal_lm.save_to_preset(str(tmp_path / "preset"))
    again = GPTCausalLM.from_preset(str(tmp_path / "preset"))
    assert (again.tie_word_embeddings, again.head_bias) == (causal_lm.tie_word_embeddings, causal_lm.head_bias)
    np.testing.assert_array_equal(logits_of(again, [1, 2, 3]), logits_of(causal_lm, [1, 2, 3]))


def test_an_untied_kernel_starts_with_the_spread_of_the_backbone(gpt_tokenizer):
    backbone = GPTBackbone(vocabulary_size=400, num_layers=1, num_heads=2, hidden_dim=64, initializer_range=0.05)
    kernel = GPTCausalLM(backbone, tie_word_embeddings=False).lm_head.kernel.numpy()
    assert kernel.std() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("head", ["tied_with_bias", "untied_with_bias"])
def test_mixed_bfloat16_keeps_the_output_layer_in_float32(head, make_causal_lm):
    mixed, full = make_causal_lm(dtype="mixed_bfloat16", **HEADS[head]), make_causal_lm(**HEADS[head])
    assert mixed.lm_head.bias.dtype == "float32"
    np.testing.assert_allclose(logits_of(mixed, [1, 2, 3]).astype("float32"), logits_of(full, [1, 2, 3]), atol=0.5)


def test_fit_with_recomputation_gives_the_same_weights(make_causal_lm, texts, gpt_tokenizer, assert_same_weights):
    trained = []
    for recompute in (False, True):
        task = make_causal_lm()
        random.seed(5)  # of the dropout layers
        config = {**task.backbone.get_config(), "dropout": 0.2, "recompute": recompute, "name": "gpt"}
        again = GPTCausalLM(GPTBackbone.from_config(config), tokenizer=gpt_tokenizer)
        for weight, value in zip(again.weights, task.weights, strict=True):
            weight.assign(value)
        again.compile(keras.optimizers.SGD(0.1), micro_batches=2)
        again.fit(texts[:8], batch_size=4, shuffle=False, verbose=0)
        trained.append(again)
    assert_same_weights(*trained, atol=1e-6)
