"""GPTBackbone: what holds for any weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.generation.cache import PromptCache
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.models.transformer_layers import causal_bias


def test_changing_a_token_never_changes_earlier_outputs(make_gpt, gpt_inputs, make_ids):
    backbone, ids = make_gpt(), make_ids(2, 8)
    before = backbone(gpt_inputs(ids)).numpy()
    for place in range(8):
        changed = ids.copy()
        changed[:, place] = (ids[:, place] + 3) % 50
        after = backbone(gpt_inputs(changed)).numpy()
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (abs(after[:, place:] - before[:, place:]).max(-1) > 1e-5).all()


def test_a_row_alone_equals_the_row_padded_among_others(make_gpt, gpt_inputs, make_ids):
    backbone, ids = make_gpt(), make_ids(3, 9)
    together = backbone(gpt_inputs(ids, [9, 4, 1]))
    for row, length in enumerate([9, 4, 1]):
        alone = backbone(gpt_inputs(ids[row : row + 1, :length]))
        np.testing.assert_allclose(together[row, :length], alone[0], atol=2e-6)


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


def test_a_graph_gives_what_eager_gives(make_gpt, gpt_inputs, make_ids):
    backbone, inputs = make_gpt(), gpt_inputs(make_ids(2, 8), [8, 3])
    np.testing.assert_allclose(tf.function(backbone)(inputs), backbone(inputs), atol=2e-6)


def test_the_path_with_caches_gives_what_the_model_gives(make_gpt, gpt_inputs, make_ids):
    backbone, ids = make_gpt(), make_ids(2, 8)
    positions = tf.broadcast_to(tf.range(8)[None], [2, 8])
    hidden = backbone.call_with_caches(ids, positions, causal_bias(8), [PromptCache(8) for _ in range(2)])
    np.testing.assert_allclose(hidden, backbone(gpt_inputs(ids)), atol=2e-6)


def test_config_round_trip_keeps_every_argument():
    arguments = dict(
        vocabulary_size=31, num_layers=3, num_heads=3, hidden_dim=12, intermediate_dim=20, dropout=0.1,
        max_sequence_length=9, activation="relu", layer_norm_epsilon=1e-6, initializer_range=0.05,
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


def test_preset_round_trip(make_gpt, gpt_inputs, make_ids, tmp_path):
    backbone, inputs = make_gpt(), gpt_inputs(make_ids(2, 8))
    backbone.save_to_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(backbone(inputs), GPTBackbone.from_preset(str(tmp_path / "preset"))(inputs))


def test_mixed_bfloat16_keeps_float32_variables_and_stays_near(make_gpt, gpt_inputs, make_ids):
    full, mixed = make_gpt(), make_gpt(dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    inputs = gpt_inputs(make_ids(2, 8), [8, 5])
    hidden = mixed(inputs)
    assert hidden.dtype == "bfloat16"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in mixed.weights} == {"float32"}
    assert 0 < abs(hidden.numpy().astype("float32") - full(inputs).numpy()).max() < 0.2


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
    with pytest.raises(ValueError, match=r"hidden_dim must be divisible by num_heads.*hidden_dim=16, num_heads=3"):
        make_gpt(num_heads=3)
