"""GPTBackbone: what holds for any weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.generation.cache import PromptCache, StepCache
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.models.transformer_layers import MASKED, causal_bias

FORMS = {
    "gpt2": {},
    "gpt1": dict(norm_first=False),
    "banded": dict(num_layers=4, attention_window=3),
    "free_head_dim": dict(num_heads=3, head_dim=5),
    "no_bias": dict(use_bias=False),
    "scaled_by_layer": dict(num_layers=3, scale_attention_by_layer=True),
    "all": dict(norm_first=False, num_layers=3, num_heads=3, head_dim=7, use_bias=False, attention_window=2,
                scale_attention_by_layer=True, activation="gelu", intermediate_dim=24),
}  # fmt: skip
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_changing_a_token_never_changes_earlier_outputs(form, make_gpt, gpt_inputs, make_ids):
    backbone, ids = make_gpt(**FORMS[form]), make_ids(2, 8)
    before = backbone(gpt_inputs(ids)).numpy()
    for place in range(8):
        changed = ids.copy()
        changed[:, place] = (ids[:, place] + 3) % 50
        after = backbone(gpt_inputs(changed)).numpy()
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (abs(after[:, place:] - before[:, place:]).max(-1) > 1e-5).all()


@every_form
def test_a_row_alone_equals_the_row_padded_among_others(form, make_gpt, gpt_inputs, make_ids):
    backbone, ids = make_gpt(**FORMS[form]), make_ids(3, 9)
    together = backbone(gpt_inputs(ids, [9, 4, 1]))
    for row, length in enumerate([9, 4, 1]):
        alone = backbone(gpt_inputs(ids[row : row + 1, :length]))
        np.testing.assert_allclose(together[row, :length], alone[0], atol=4e-6)


def test_padding_on_the_left_is_not_seen(make_gpt, make_ids):
    backbone, ids = make_gpt(), make_ids(1, 6)
    mask = np.array([[False, False, True, True, True, True]])
    changed = ids.copy()
    changed[0, :2] = (ids[0, :2] + 3) % 50
    first = backbone({"token_ids": ids, "padding_mask": mask})
    second = backbone({"token_ids": changed, "padding_mask": mask})
    np.testing.assert_array_equal(first[:, 2:], second[:, 2:])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_row_of_padding_alone_gives_finite_numbers(make_gpt, gpt_inputs, make_ids, dtype):
    hidden = make_gpt(dtype=dtype)(gpt_inputs(make_ids(2, 5), [0, 5]))
    assert np.isfinite(hidden.numpy().astype("float32")).all()


def test_dropout_is_active_only_in_training(make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(dropout=0.5), gpt_inputs(make_ids(2, 8))
    inference = backbone(inputs, training=False).numpy()
    np.testing.assert_array_equal(inference, backbone(inputs))
    first, second = (backbone(inputs, training=True).numpy() for _ in range(2))
    assert abs(first - second).max() > 0.01
    assert abs(first - inference).max() > 0.01


def test_without_dropout_training_changes_nothing(make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(), gpt_inputs(make_ids(2, 8))
    np.testing.assert_array_equal(backbone(inputs, training=True), backbone(inputs, training=False))


@every_form
def test_a_graph_gives_what_eager_gives(form, make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(**FORMS[form]), gpt_inputs(make_ids(2, 8), [8, 3])
    np.testing.assert_allclose(tf.function(backbone)(inputs), backbone(inputs), atol=4e-6)


@every_form
def test_a_prompt_and_then_single_tokens_through_caches_give_what_the_model_gives(form, make_gpt, gpt_inputs, make_ids):
    backbone, ids, lengths = make_gpt(**FORMS[form]), make_ids(2, 12), np.array([4, 2])
    expected = backbone(gpt_inputs(ids)).numpy()
    caches = [PromptCache(12) for _ in range(backbone.num_layers)]
    positions = tf.broadcast_to(tf.range(4)[None], [2, 4])
    hidden = backbone.call_with_caches(ids[:, :4], positions, causal_bias(4), caches)
    np.testing.assert_allclose(hidden, expected[:, :4], atol=1e-5)
    for step in range(8):  # the rows are at different positions
        place = lengths + step
        bias = np.where(np.arange(12)[None] <= place[:, None], 0, MASKED).astype("float32")[:, None, None]
        caches = [StepCache(cache.buffers, tf.constant(place, tf.int32), 12) for cache in caches]
        hidden = backbone.call_with_caches(ids[[0, 1], place][:, None], place[:, None], tf.constant(bias), caches)
        np.testing.assert_allclose(hidden[:, 0], expected[[0, 1], place], atol=1e-5)


# === Forms ===


def test_gpt_1_normalises_after_each_addition_and_has_no_norm_at_the_end(make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(norm_first=False), gpt_inputs(make_ids(2, 8))
    assert backbone.final_norm is None
    assert backbone.count_params() == make_gpt().count_params() - 2 * 16
    for hidden in backbone.inspect(inputs)["hidden_states"][1:]:  # gains are 1 and shifts 0 in a new backbone
        np.testing.assert_allclose(hidden.numpy().mean(-1), 0, atol=1e-6)
        np.testing.assert_allclose(hidden.numpy().var(-1), 1, atol=1e-3)
    # One layer by hand, from the layers' parts.
    layer = backbone.transformer_layers[0]
    hidden = backbone.inspect(inputs)["hidden_states"][0]
    middle = layer.attention_norm(hidden + layer.attention(hidden, causal_bias(8)))
    expected = layer.feed_forward_norm(middle + layer.feed_forward(middle))
    np.testing.assert_allclose(backbone.inspect(inputs)["hidden_states"][1], expected, atol=2e-6)


def test_every_second_layer_sees_only_the_window(make_gpt, gpt_inputs, make_ids):
    backbone = make_gpt(num_layers=4, attention_window=3)
    query, key = np.arange(10)[:, None], np.arange(10)[None]
    for index, probabilities in enumerate(backbone.inspect(gpt_inputs(make_ids(2, 10)))["attentions"]):
        visible = (key <= query) & ((query - key < 3) | (index % 2 == 0))
        probabilities = probabilities.numpy()
        assert (probabilities[:, :, visible] > 0).all()
        assert (probabilities[:, :, ~visible] == 0).all()


def test_a_window_as_long_as_the_text_changes_nothing(make_gpt, gpt_inputs, make_ids):
    full, banded = make_gpt(), make_gpt(attention_window=8)
    banded.set_weights(full.get_weights())
    for length, is_equal in ((8, True), (9, False)):
        inputs = gpt_inputs(make_ids(2, length))
        assert np.array_equal(full(inputs), banded(inputs)) == is_equal


def test_a_window_of_one_position_and_of_none(make_gpt, gpt_inputs, make_ids):
    probabilities = make_gpt(attention_window=1).inspect(gpt_inputs(make_ids(1, 5)))["attentions"][1]
    np.testing.assert_array_equal(probabilities[0], np.broadcast_to(np.eye(5), (2, 5, 5)))
    with pytest.raises(ValueError, match=r"Expected attention_window of 1 or more, or None. Received: .*=0"):
        make_gpt(attention_window=0)


def test_the_head_width_is_free(make_gpt):
    backbone = make_gpt(num_heads=3, head_dim=5)
    attention = backbone.transformer_layers[0].attention
    assert attention.query.kernel.shape == (16, 15) and attention.output_dense.kernel.shape == (15, 16)
    assert attention.scale == pytest.approx(5**-0.5)
    assert make_gpt().head_dim == 8


def test_scores_are_divided_by_the_number_of_the_layer(make_gpt, gpt_inputs, make_ids):
    scaled, plain, inputs = (
        make_gpt(num_layers=3, scale_attention_by_layer=True),
        make_gpt(num_layers=3),
        make_ids(2, 8),
    )
    plain.set_weights(scaled.get_weights())
    for index, layer in enumerate(plain.transformer_layers):
        layer.attention.query.kernel.assign(layer.attention.query.kernel / (index + 1))
    np.testing.assert_allclose(scaled(gpt_inputs(inputs)), plain(gpt_inputs(inputs)), atol=4e-6)


def test_without_bias_only_the_norms_have_vectors(make_gpt):
    paths = {weight.path for weight in make_gpt(use_bias=False).weights if len(weight.shape) == 1}
    assert all(path.endswith(("gamma", "beta")) for path in paths)
    assert len(paths) == 2 * 5


@pytest.mark.parametrize("rates", [dict(dropout=0.5), dict(embedding_dropout=0.5), dict(attention_dropout=0.5)])
def test_each_dropout_has_its_place(rates, make_gpt):
    backbone = make_gpt(**rates)
    layer = backbone.transformer_layers[1]
    found = {
        "dropout": {layer.attended_dropout.rate, layer.transformed_dropout.rate},
        "embedding_dropout": {backbone.embedded_dropout.rate},
        "attention_dropout": {layer.attention.probability_dropout.rate},
    }
    everywhere = rates.get("dropout", 0.0)  # the other two follow it
    assert found == {name: {rates.get(name, everywhere)} for name in found}


# === Inspection ===


@every_form
def test_inspection_gives_the_output_and_all_that_leads_to_it(form, make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(**FORMS[form], dropout=0.3), gpt_inputs(make_ids(2, 8), [8, 3])
    inspected = backbone.inspect(inputs)
    np.testing.assert_array_equal(inspected["sequence_output"], backbone(inputs))
    np.testing.assert_array_equal(inspected["hidden_states"][-1], inspected["sequence_output"])
    assert [h.shape for h in inspected["hidden_states"]] == [(2, 8, 16)] * (backbone.num_layers + 1)
    assert [a.shape for a in inspected["attentions"]] == [(2, backbone.num_heads, 8, 8)] * backbone.num_layers
    for probabilities in inspected["attentions"]:
        np.testing.assert_allclose(probabilities.numpy().sum(-1), 1, atol=1e-6)
        assert (probabilities[1, :, :3, 3:].numpy() == 0).all()
    tokens = backbone.token_embedding.embeddings.numpy()[inputs["token_ids"]]
    embedded = tokens + backbone.position_embedding.position_embeddings.numpy()[:8]
    np.testing.assert_allclose(inspected["hidden_states"][0], embedded, atol=1e-6)


# === Saving ===


def test_config_round_trip_keeps_every_argument():
    arguments = dict(
        vocabulary_size=31, num_layers=3, num_heads=3, hidden_dim=12, intermediate_dim=20, head_dim=5, dropout=0.1,
        embedding_dropout=0.2, attention_dropout=0.3, max_sequence_length=9, activation="relu",
        layer_norm_epsilon=1e-6, norm_first=False, use_bias=False, scale_attention_by_layer=True, attention_window=4,
        recompute=True, initializer_range=0.05,
    )  # fmt: skip
    config = GPTBackbone(**arguments).get_config()
    assert {name: config[name] for name in arguments} == arguments
    again = GPTBackbone.from_config(config)
    assert again.get_config() == config
    assert [w.shape for w in again.weights] == [w.shape for w in GPTBackbone(**arguments).weights]


def test_dtype_policy_survives_the_config_round_trip(make_gpt):
    again = GPTBackbone.from_config(make_gpt(dtype="mixed_bfloat16").get_config())
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.final_norm.dtype_policy.name == "mixed_bfloat16"


def test_the_inner_width_is_four_times_the_hidden_one_by_default(make_gpt):
    assert make_gpt().intermediate_dim == 64


def test_weights_round_trip(make_gpt, gpt_inputs, make_ids, tmp_path):
    first, second = make_gpt(num_layers=3), make_gpt(num_layers=3)
    inputs = gpt_inputs(make_ids(2, 8))
    assert abs(first(inputs).numpy() - second(inputs).numpy()).max() > 0.01
    first.save_weights(tmp_path / "gpt.weights.h5")
    second.load_weights(tmp_path / "gpt.weights.h5")
    np.testing.assert_array_equal(first(inputs), second(inputs))


@every_form
def test_preset_round_trip(form, make_gpt, gpt_inputs, make_ids, tmp_path):
    backbone, inputs = make_gpt(**FORMS[form]), gpt_inputs(make_ids(2, 8))
    backbone.save_to_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(backbone(inputs), GPTBackbone.from_preset(str(tmp_path / "preset"))(inputs))


def test_dropout_given_to_a_preset_reaches_all_places(make_gpt, tmp_path):
    make_gpt(dropout=0.1).save_to_preset(str(tmp_path / "preset"))
    backbone = GPTBackbone.from_preset(str(tmp_path / "preset"), dropout=0.0)
    assert backbone.embedded_dropout.rate == 0
    assert backbone.transformer_layers[0].attention.probability_dropout.rate == 0


@every_form
def test_mixed_bfloat16_keeps_float32_variables_and_stays_near(form, make_gpt, gpt_inputs, make_ids):
    full, mixed = make_gpt(**FORMS[form]), make_gpt(**FORMS[form], dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    inputs = gpt_inputs(make_ids(2, 8), [8, 5])
    hidden = mixed(inputs)
    assert hidden.dtype == "bfloat16"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in mixed.weights} == {"float32"}
    assert 0 < abs(hidden.numpy().astype("float32") - full(inputs).numpy()).max() < 0.2
    inspected = mixed.inspect(inputs)
    assert {h.dtype for h in inspected["hidden_states"]} == {tf.bfloat16}
    assert {a.dtype for a in inspected["attentions"]} == {tf.float32}


def test_initial_weights_have_the_documented_spread():
    backbone = GPTBackbone(vocabulary_size=500, num_layers=8, num_heads=2, hidden_dim=64)
    layer = backbone.transformer_layers[3]
    residual = 0.02 / 16**0.5  # two residual additions a layer
    for variable, spread in (
        (backbone.token_embedding.embeddings, 0.02),
        (backbone.position_embedding.position_embeddings, 0.01),
        (layer.attention.query.kernel, 0.02),
        (layer.feed_forward.intermediate_dense.kernel, 0.02),
        (layer.attention.output_dense.kernel, residual),
        (layer.feed_forward.output_dense.kernel, residual),
    ):
        assert variable.numpy().std() == pytest.approx(spread, rel=0.05), variable.path


def test_heads_that_do_not_divide_the_width_are_refused(make_gpt):
    with pytest.raises(ValueError, match=r"Expected hidden_dim divisible by num_heads.*hidden_dim=16, num_heads=3"):
        make_gpt(num_heads=3)
