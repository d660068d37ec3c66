"""AlbertPretrainer: its two heads and their losses against NumPy."""

import numpy as np
import pytest

from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer


@pytest.fixture(scope="module")
def pretrainer(make_albert):
    """One that no test may train."""
    return make_albert(AlbertPretrainer)


@pytest.fixture(scope="module")
def batch(pretrainer, texts):
    """Ids, targets and weights of five rows, of which each has another number of masks."""
    ids = {key: value.numpy() for key, value in pretrainer.preprocessor((texts[:5], texts[5:10])).items()}
    ids["mask_positions"] = np.array([[1, 3, 7], [2, 0, 0], [4, 9, 0], [1, 2, 3], [5, 0, 0]])
    targets = {
        "masked_lm": np.random.default_rng(0).integers(5, 300, (5, 3)),
        "sentence_order": np.array([0, 1, 1, 0, 1]),
    }
    weights = {"masked_lm": (ids["mask_positions"] > 0).astype("float32"), "sentence_order": np.ones(5, "float32")}
    return ids, targets, weights


def losses(probabilities, targets):
    return -np.log(np.take_along_axis(probabilities, targets[..., None], -1)[..., 0])


def test_logits_are_those_of_the_two_heads_of_the_released_code(pretrainer, batch):
    ids, _, _ = batch
    outputs = pretrainer(ids)
    backbone = pretrainer.backbone({name: ids[name] for name in ("token_ids", "segment_ids", "padding_mask")})
    hidden = np.take_along_axis(backbone["sequence_output"].numpy(), ids["mask_positions"][..., None], 1)
    head = pretrainer.masked_lm_head
    narrow = hidden @ head.dense.kernel.numpy() + head.dense.bias.numpy()
    narrow = 0.5 * narrow * (1 + np.tanh(np.sqrt(2 / np.pi) * (narrow + 0.044715 * narrow**3)))
    centred = narrow - narrow.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    normed = normed * head.norm.gamma.numpy() + head.norm.beta.numpy()
    expected = normed @ pretrainer.backbone.token_embedding.embeddings.numpy().T + head.bias.numpy()
    np.testing.assert_allclose(outputs["masked_lm"], expected, atol=1e-5)
    order = pretrainer.sentence_order_dense
    expected = backbone["pooled_output"].numpy() @ order.kernel.numpy() + order.bias.numpy()
    np.testing.assert_allclose(outputs["sentence_order"], expected, atol=1e-5)


def test_the_loss_is_the_mean_over_masks_plus_the_mean_over_rows(pretrainer, batch, softmax):
    ids, targets, weights = batch
    outputs = {name: softmax(logits.numpy()) for name, logits in pretrainer(ids).items()}
    masked_lm = (losses(outputs["masked_lm"], targets["masked_lm"]) * weights["masked_lm"]).sum() / 10
    order = losses(outputs["sentence_order"], targets["sentence_order"]).mean()
    hits = (outputs["masked_lm"].argmax(-1) == targets["masked_lm"]) * weights["masked_lm"]
    # Batches of two have 4, 5 and 1 masks: each mask counts the same, whatever the batch.
    for batch_size in (5, 2):
        result = pretrainer.evaluate(
            ids, targets, sample_weight=weights, batch_size=batch_size, verbose=0, return_dict=True
        )
        assert result["masked_lm_loss"] == pytest.approx(masked_lm, abs=1e-5)
        assert result["sentence_order_loss"] == pytest.approx(order, abs=1e-5)
        assert result["loss"] == pytest.approx(masked_lm + order, abs=1e-5)
        assert result["masked_lm_accuracy"] == pytest.approx(hits.sum() / 10, abs=1e-6)
        expected = (outputs["sentence_order"].argmax(-1) == targets["sentence_order"]).mean()
        assert result["sentence_order_accuracy"] == pytest.approx(expected, abs=1e-6)


def test_a_list_of_results_begins_with_the_loss(pretrainer, batch):
    ids, targets, weights = batch
    results = pretrainer.evaluate(ids, targets, sample_weight=weights, verbose=0)
    named = pretrainer.evaluate(ids, targets, sample_weight=weights, verbose=0, return_dict=True)
    assert results == [named["loss"], *(named[name] for name in pretrainer.means)]


def test_weights_of_rows_count_for_both_outputs(pretrainer, batch):
    ids, targets, _ = batch
    rows = np.array([1.0, 0, 2, 0, 0])
    spread = {"masked_lm": np.repeat(rows[:, None], 3, 1), "sentence_order": rows}
    results = [
        pretrainer.evaluate(ids, targets, sample_weight=weights, verbose=0, return_dict=True)
        for weights in (rows, spread)
    ]
    assert results[0] == results[1]


def test_predict_gives_probabilities(pretrainer, batch, softmax):
    outputs = pretrainer.predict(batch[0], verbose=0)
    for name, logits in pretrainer(batch[0]).items():
        np.testing.assert_allclose(outputs[name], softmax(logits.numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "weights", "message"),
    [
        (np.zeros(5, int), None, r"targets as a dict with the keys \['masked_lm', 'sentence_order'\]"),
        ({"sentence_order": np.zeros(5, int)}, None, r"Received: \['sentence_order'\]"),
        (None, {"masked_lms": np.ones((5, 3))}, r"sample_weight with keys among .* Received: \['masked_lms'\]"),
    ],
)
def test_targets_and_weights_that_do_not_fit_the_outputs_are_refused(pretrainer, batch, targets, weights, message):
    ids, right_targets, _ = batch
    with pytest.raises(ValueError, match=message):
        pretrainer.evaluate(ids, right_targets if targets is None else targets, sample_weight=weights, verbose=0)
