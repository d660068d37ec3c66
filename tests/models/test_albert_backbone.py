"""AlbertBackbone: what holds for any weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone

OUTPUTS = ("sequence_output", "pooled_output")


def assert_same(a, b, atol=1e-6):
    for name in OUTPUTS:
        np.testing.assert_allclose(a[name], b[name], atol=atol, rtol=0)


def test_a_row_alone_equals_the_row_padded_among_others(make_albert, albert_inputs, make_ids):
    backbone, ids = make_albert(), make_ids(3, 9)
    together = backbone(albert_inputs(ids, [9, 4, 1]))
    for row, length in enumerate([9, 4, 1]):
        alone = backbone(albert_inputs(ids[row : row + 1, :length]))
        np.testing.assert_allclose(together["sequence_output"][row, :length], alone["sequence_output"][0], atol=2e-6)
        np.testing.assert_allclose(together["pooled_output"][row], alone["pooled_output"][0], atol=2e-6)


def test_ids_under_padding_change_nothing(make_albert, albert_inputs, make_ids):
    backbone, ids = make_albert(), make_ids(2, 9)
    other = np.where(np.arange(9) < 4, ids, (ids + 7) % 50)
    first, second = backbone(albert_inputs(ids, [4, 4])), backbone(albert_inputs(other, [4, 4]))
    np.testing.assert_array_equal(first["sequence_output"][:, :4], second["sequence_output"][:, :4])
    np.testing.assert_array_equal(first["pooled_output"], second["pooled_output"])


def test_every_token_sees_every_other(make_albert, albert_inputs, make_ids):
    backbone, ids = make_albert(), make_ids(1, 6)
    before = backbone(albert_inputs(ids))["sequence_output"].numpy()
    for place in (0, 5):
        changed = ids.copy()
        changed[0, place] = (ids[0, place] + 2) % 50
        after = backbone(albert_inputs(changed))["sequence_output"].numpy()
        assert (abs(after - before).max(-1) > 1e-4).all()


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_row_of_padding_alone_gives_finite_numbers(make_albert, albert_inputs, make_ids, dtype):
    # mixed_float16 has 1e-12 as layer norm epsilon all the same: the norm runs in float32.
    outputs = make_albert(dtype=dtype)(albert_inputs(make_ids(2, 5), [0, 5]))
    assert all(np.isfinite(outputs[name].numpy().astype("float32")).all() for name in OUTPUTS)


@pytest.mark.parametrize("rates", [dict(dropout=0.5), dict(attention_dropout=0.5)])
def test_dropout_is_active_only_in_training(make_albert, albert_inputs, make_ids, rates):
    backbone, inputs = make_albert(**rates), albert_inputs(make_ids(2, 8))
    inference = backbone(inputs, training=False)
    assert_same(inference, backbone(inputs, training=False), atol=0)
    assert_same(inference, backbone(inputs), atol=0)
    first, second = (backbone(inputs, training=True)["sequence_output"].numpy() for _ in range(2))
    assert abs(first - second).max() > 0.01
    assert abs(first - inference["sequence_output"].numpy()).max() > 0.01


def test_without_dropout_training_changes_nothing(make_albert, albert_inputs, make_ids):
    backbone, inputs = make_albert(), albert_inputs(make_ids(2, 8))
    assert_same(backbone(inputs, training=True), backbone(inputs, training=False), atol=0)


def test_a_graph_gives_what_eager_gives(make_albert, albert_inputs, make_ids):
    backbone, inputs = make_albert(), albert_inputs(make_ids(2, 8), [8, 3])
    assert_same(tf.function(backbone)(inputs), backbone(inputs), atol=2e-6)


def test_layers_are_routed_to_groups_in_blocks(make_albert, albert_inputs, make_ids):
    # Four layers in two groups: 0, 0, 1, 1. The same weights as four groups must give the same numbers.
    shared, unshared = make_albert(num_layers=4, num_groups=2), make_albert(num_layers=4, num_groups=4)
    for index, group in enumerate([0, 0, 1, 1]):
        unshared.groups[index][0].set_weights(shared.groups[group][0].get_weights())
    for name in ("token_embedding", "position_embedding", "segment_embedding", "embedding_norm",
                 "embedding_projection", "pooler"):  # fmt: skip
        getattr(unshared, name).set_weights(getattr(shared, name).get_weights())
    inputs = albert_inputs(make_ids(2, 8), [8, 5])
    assert_same(shared(inputs), unshared(inputs))


def test_config_round_trip_keeps_every_argument(make_albert):
    arguments = dict(
        vocabulary_size=31, num_layers=4, num_heads=3, hidden_dim=12, intermediate_dim=20, embedding_dim=6,
        num_groups=2, num_inner_repetitions=2, dropout=0.1, attention_dropout=0.2, max_sequence_length=9,
        num_segments=3, activation="gelu", layer_norm_epsilon=1e-6, initializer_range=0.05,
    )  # fmt: skip
    config = AlbertBackbone(**arguments).get_config()
    assert {name: config[name] for name in arguments} == arguments
    again = AlbertBackbone.from_config(config)
    assert again.get_config() == config
    assert [w.shape for w in again.weights] == [w.shape for w in AlbertBackbone(**arguments).weights]


def test_dtype_policy_survives_the_config_round_trip(make_albert):
    again = AlbertBackbone.from_config(make_albert(dtype="mixed_bfloat16").get_config())
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.pooler.dtype_policy.name == "mixed_bfloat16"


def test_weights_round_trip(make_albert, albert_inputs, make_ids, tmp_path):
    # Two groups: weights must not be swapped between layers of equal shape.
    first, second = (make_albert(num_groups=2, num_inner_repetitions=2) for _ in range(2))
    inputs = albert_inputs(make_ids(2, 8))
    assert abs(first(inputs)["pooled_output"].numpy() - second(inputs)["pooled_output"].numpy()).max() > 0.01
    first.save_weights(tmp_path / "albert.weights.h5")
    second.load_weights(tmp_path / "albert.weights.h5")
    assert_same(first(inputs), second(inputs), atol=0)


def test_preset_round_trip(make_albert, albert_inputs, make_ids, tmp_path):
    backbone, inputs = make_albert(num_groups=2), albert_inputs(make_ids(2, 8))
    backbone.save_to_preset(str(tmp_path / "preset"))
    again = AlbertBackbone.from_preset(str(tmp_path / "preset"))
    assert_same(backbone(inputs), again(inputs), atol=0)


def test_mixed_bfloat16_keeps_float32_variables_and_stays_near(make_albert, albert_inputs, make_ids):
    full, mixed = make_albert(), make_albert(dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    inputs = albert_inputs(make_ids(2, 8), [8, 5])
    outputs = mixed(inputs)
    assert outputs["sequence_output"].dtype == "bfloat16"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in mixed.weights} == {"float32"}
    difference = abs(outputs["sequence_output"].numpy().astype("float32") - full(inputs)["sequence_output"].numpy())
    assert 0 < difference.max() < 0.2


def test_kernels_are_drawn_from_a_truncated_normal_and_differ(make_albert):
    layer = make_albert(hidden_dim=64, initializer_range=0.02).groups[0][0]
    kernels = [layer.attention.query.kernel, layer.attention.key.kernel, layer.attention.value.kernel]
    query, key, value = (kernel.numpy() for kernel in kernels)
    assert abs(query).max() <= 0.04 + 1e-6  # cut at two standard deviations
    assert query.std() == pytest.approx(0.0176, rel=0.05)
    assert abs(query - key).max() > 0.01 and abs(query - value).max() > 0.01


def test_sizes_that_do_not_divide_are_refused(make_albert):
    with pytest.raises(ValueError, match=r"num_layers must be divisible by num_groups.*num_layers=2, num_groups=3"):
        make_albert(num_groups=3)
    with pytest.raises(ValueError, match=r"hidden_dim must be divisible by num_heads.*hidden_dim=16, num_heads=3"):
        make_albert(num_heads=3)
    with pytest.raises(ValueError, match=r"activation must be one of .*'gelu_new'.*activation='swoosh'"):
        make_albert(activation="swoosh")
