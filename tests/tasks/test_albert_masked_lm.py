"""AlbertMaskedLM: which tokens are hidden, training on text, filling in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM, AlbertMaskedLMPreprocessor, mask_tokens


@pytest.fixture(scope="module")
def masked_lm(make_albert):
    """One that no test may train."""
    return make_albert(AlbertMaskedLM)


# === Hiding ===


@pytest.fixture(scope="module")
def many():
    """Ids, which of them may be hidden, and what `mask_tokens` made of them: 2000 rows of 40, with 0 to 30 maskable."""
    rng = np.random.default_rng(0)
    ids = rng.integers(10, 1000, (2000, 40)).astype("int32")
    maskable = (np.arange(40) > 0) & (np.arange(40) <= rng.integers(0, 31, (2000, 1)))
    masked = mask_tokens(tf.constant(ids), tf.constant(maskable), 6, mask_id=4, vocabulary_size=1000, seed=[0, 7])
    return ids, maskable, {name: value.numpy() for name, value in masked.items()}


def test_fifteen_percent_of_the_tokens_are_hidden_and_one_at_least(many):
    _, maskable, masked = many
    counts = maskable.sum(1)
    expected = np.minimum(np.maximum(np.round(0.15 * counts), 1), counts)  # a row without tokens has none
    np.testing.assert_array_equal(masked["mask_weights"].sum(1), expected)


def test_positions_are_increasing_maskable_and_hold_what_stood_there(many):
    ids, maskable, masked = many
    is_used = masked["mask_weights"] > 0
    rows, slots = np.nonzero(is_used)
    places = masked["mask_positions"][rows, slots]
    assert maskable[rows, places].all()
    np.testing.assert_array_equal(masked["mask_ids"][rows, slots], ids[rows, places])
    both = is_used[:, 1:] & is_used[:, :-1]
    assert (np.diff(masked["mask_positions"], axis=1)[both] > 0).all()
    assert (masked["mask_positions"][~is_used] == 0).all()
    untouched = np.ones_like(maskable)
    untouched[rows, places] = False
    np.testing.assert_array_equal(masked["token_ids"][untouched], ids[untouched])


def test_eighty_percent_become_mask_and_ten_any_token(many):
    ids, _, masked = many
    rows, slots = np.nonzero(masked["mask_weights"])
    places = masked["mask_positions"][rows, slots]
    new, old = masked["token_ids"][rows, places], ids[rows, places]
    deviation = 4 * np.sqrt(0.8 * 0.2 / len(rows))
    assert (new == 4).mean() == pytest.approx(0.8, abs=deviation)
    assert (new == old).mean() == pytest.approx(0.1, abs=deviation)
    random = new[(new != 4) & (new != old)]
    assert len(random) / len(rows) == pytest.approx(0.1, abs=deviation)
    assert random.min() < 50 and random.max() > 950  # of the whole vocabulary


def test_every_place_is_as_likely_as_every_other(many):
    _, maskable, masked = many
    full = maskable.sum(1) >= 25
    rows, slots = np.nonzero(masked["mask_weights"] * full[:, None])
    counts = np.bincount(masked["mask_positions"][rows, slots], minlength=40)[1:26]
    assert abs(counts / counts.mean() - 1).max() < 5 / np.sqrt(counts.mean())


def test_the_same_seed_hides_the_same_tokens():
    ids = tf.constant(np.random.default_rng(0).integers(10, 99, (4, 30)), tf.int32)
    first, again, other = (mask_tokens(ids, ids > 0, 5, 4, 99, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["token_ids"].numpy() != other["token_ids"].numpy()).any()


# === Preprocessor ===


def test_special_tokens_and_padding_are_never_hidden(albert_tokenizer, texts):
    preprocessor = AlbertMaskedLMPreprocessor(albert_tokenizer, sequence_length=20)
    plain = preprocessor.pack([tf.constant(["[MASK] of [MASK]", "a", *texts[:30]])])
    inputs, mask_ids, weights = preprocessor(["[MASK] of [MASK]", "a", *texts[:30]])
    special = [albert_tokenizer.cls_id, albert_tokenizer.sep_id, albert_tokenizer.mask_id, albert_tokenizer.pad_id]
    assert not np.isin(mask_ids.numpy()[weights.numpy() > 0], special).any()
    is_special = np.isin(plain["token_ids"], special)
    np.testing.assert_array_equal(inputs["token_ids"].numpy()[is_special], plain["token_ids"].numpy()[is_special])
    assert (weights.numpy().sum(1) >= 1).all()


def test_a_scalar_and_a_pair_have_the_shapes_of_a_batch(albert_tokenizer):
    preprocessor = AlbertMaskedLMPreprocessor(albert_tokenizer, sequence_length=20)
    inputs, mask_ids, weights = preprocessor("a class of objects")
    assert inputs["token_ids"].shape == (20,) and mask_ids.shape == weights.shape == (3,)
    inputs, mask_ids, _ = preprocessor((["a class"], ["of objects"]))
    assert inputs["segment_ids"].numpy().max() == 1 and mask_ids.shape == (1, 3)


def test_every_call_hides_other_tokens_unless_there_is_a_seed(albert_tokenizer, texts):
    for seed, is_same in ((None, False), (3, True)):
        preprocessor = AlbertMaskedLMPreprocessor(albert_tokenizer, sequence_length=20, seed=seed)
        first, second = (preprocessor(texts[:9])[0]["mask_positions"].numpy() for _ in range(2))
        assert (first == second).all() == is_same


def test_targets_are_refused(albert_tokenizer):
    with pytest.raises(ValueError, match="takes text alone"):
        AlbertMaskedLMPreprocessor(albert_tokenizer)(["a"], [1])


# === The task ===


def test_logits_at_a_position_do_not_depend_on_the_other_masks(masked_lm, texts):
    ids = masked_lm.preprocessor.pack([tf.constant(texts[:4])])
    several = masked_lm({**ids, "mask_positions": tf.constant([[1, 4, 6]] * 4)}).numpy()
    one = masked_lm({**ids, "mask_positions": tf.constant([[4]] * 4)}).numpy()
    np.testing.assert_allclose(several[:, 1:2], one, atol=1e-5)


def test_the_loss_on_text_is_the_weighted_mean_over_hidden_tokens(make_albert, albert_tokenizer, texts, softmax):
    preprocessor = AlbertMaskedLMPreprocessor(albert_tokenizer, sequence_length=24, seed=1)
    task = make_albert(AlbertMaskedLM, tokenizer=None, preprocessor=preprocessor)
    row_weights = np.array([1.0, 0, 2, 0.5])
    inputs, mask_ids, weights = preprocessor(texts[:4], sample_weight=row_weights)
    probabilities = softmax(task(inputs).numpy())
    losses = -np.log(np.take_along_axis(probabilities, mask_ids.numpy()[..., None], -1)[..., 0])
    expected = (losses * weights.numpy()).sum() / weights.numpy().sum()
    result = task.evaluate(texts[:4], sample_weight=row_weights, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(expected, abs=1e-5)


def test_training_on_text_lowers_the_loss(make_albert):
    task = make_albert(AlbertMaskedLM)
    task.compile(keras.optimizers.Adam(0.01))
    history = task.fit(["return the class", "a module of functions"] * 16, batch_size=8, epochs=8, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_what_was_learned_is_filled_in(make_albert, albert_tokenizer):
    task = make_albert(AlbertMaskedLM)
    texts, answers = ["return [MASK] class", "a [MASK] of functions"], ["▁the", "▁of"]
    ids = {name: value.numpy() for name, value in task.preprocessor.pack([tf.constant(texts)]).items()}
    ids["mask_positions"] = (ids["token_ids"] == albert_tokenizer.mask_id).argmax(-1)[:, None]
    targets = np.array([[albert_tokenizer.token_to_id(token)] for token in answers])
    task.compile(keras.optimizers.Adam(0.01))
    task.fit(ids, targets, epochs=40, shuffle=False, verbose=0)
    first, second = task.fill_mask(texts, top_k=3)
    assert [first["masks"][0][0][0], second["masks"][0][0][0]] == answers
    assert first["text"] == "return the class" and second["text"] == "a of of functions"
    assert [len(pairs) for pairs in (*first["masks"], *second["masks"])] == [3, 3]


def test_fill_mask_gives_the_best_tokens_of_each_mask(masked_lm, albert_tokenizer, softmax):
    text = "the [MASK] of [MASK] [MASK]"
    result = masked_lm.fill_mask(["[MASK]", text], top_k=4)[1]
    ids = masked_lm.preprocessor.pack([tf.constant([text])])
    positions = np.nonzero(ids["token_ids"].numpy()[0] == albert_tokenizer.mask_id)[0]
    probabilities = softmax(masked_lm({**ids, "mask_positions": tf.constant(positions[None])}).numpy()[0])
    filled = ids["token_ids"].numpy()
    assert len(result["masks"]) == 3
    for position, row, pairs in zip(positions, probabilities, result["masks"], strict=True):
        best = np.argsort(-row)[:4]
        assert [token for token, _ in pairs] == [albert_tokenizer.id_to_token(id) for id in best]
        np.testing.assert_allclose([score for _, score in pairs], row[best], atol=1e-5)
        filled[0, position] = best[0]
    assert result["text"] == albert_tokenizer.detokenize(filled).numpy()[0].decode()


def test_answer_pads_rows_with_fewer_masks_and_runs_in_a_graph(masked_lm):
    texts = tf.constant(["[MASK] [MASK]", "no mask", "", "a [MASK]"])
    for answer in (masked_lm.answer, tf.function(masked_lm.answer)):
        result = answer(texts)
        assert result["token"].shape == result["score"].shape == (4, 2, 5)
        is_empty = result["token"].numpy() == b""
        np.testing.assert_array_equal(is_empty, result["score"].numpy() == -1)
        assert is_empty[..., 0].tolist() == [[False, False], [True, True], [True, True], [False, True]]
        assert result["text"].numpy()[1:3].tolist() == [b"no mask", b""]
    assert masked_lm.answer(texts[1:2])["token"].shape == (1, 0, 5)


@pytest.mark.parametrize("text", ["no mask", "", "a " * 40 + "[MASK]"])
def test_a_text_without_a_mask_is_refused(masked_lm, text):
    with pytest.raises(ValueError, match=r"Expected a text with \[MASK\] among its first 24 tokens"):
        masked_lm.fill_mask(["[MASK]", text])
