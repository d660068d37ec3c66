"""AlbertBackbone: what holds for any weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.sizes import ALBERT_SIZES

OUTPUTS = ("sequence_output", "pooled_output")
MODES = ("all", "attention", "ffn", "none")


def draw_weights(backbone):
    """Gives a backbone other values everywhere, biases, norms and gates included."""
    random = np.random.RandomState(0)
    for weight in backbone.weights:
        weight.assign(0.3 * random.standard_normal(weight.shape) + ("gamma" in weight.path))
    return backbone


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
        cross_layer_sharing="all", use_embedding_projection=True, adapter_dim=5, layer_gates=True,
    )  # fmt: skip
    config = AlbertBackbone(**arguments).get_config()
    assert {name: config[name] for name in arguments} == arguments
    again = AlbertBackbone.from_config(config)
    assert again.get_config() == config
    assert [w.shape for w in again.weights] == [w.shape for w in AlbertBackbone(**arguments).weights]


@pytest.mark.parametrize("mode", MODES[1:])
def test_config_round_trip_keeps_sharing_and_the_missing_projection(make_albert, mode):
    arguments = dict(cross_layer_sharing=mode, use_embedding_projection=False, embedding_dim=16)
    backbone = make_albert(**arguments)
    again = AlbertBackbone.from_config(backbone.get_config())
    assert {name: again.get_config()[name] for name in arguments} == arguments
    assert [w.shape for w in again.weights] == [w.shape for w in backbone.weights]


def test_dtype_policy_survives_the_config_round_trip(make_albert):
    again = AlbertBackbone.from_config(make_albert(dtype="mixed_bfloat16").get_config())
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.pooler.dtype_policy.name == "mixed_bfloat16"


# Weights must not be swapped between layers of equal shape, and what layers share must come back once.
VARIANTS = [
    dict(num_groups=2, num_inner_repetitions=2),
    *(dict(num_inner_repetitions=2, cross_layer_sharing=mode) for mode in MODES[1:]),
    dict(use_embedding_projection=False, embedding_dim=16),
    dict(cross_layer_sharing="ffn", adapter_dim=3, layer_gates=True),
]


@pytest.mark.parametrize("changes", VARIANTS[:2], ids=str)
def test_weights_round_trip(make_albert, albert_inputs, make_ids, tmp_path, changes):
    first, second = draw_weights(make_albert(**changes)), make_albert(**changes)
    inputs = albert_inputs(make_ids(2, 8))
    assert abs(first(inputs)["pooled_output"].numpy() - second(inputs)["pooled_output"].numpy()).max() > 0.01
    first.save_weights(tmp_path / "albert.weights.h5")
    second.load_weights(tmp_path / "albert.weights.h5")
    assert_same(first(inputs), second(inputs), atol=0)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_preset_round_trip(make_albert, albert_inputs, make_ids, tmp_path, changes):
    backbone, inputs = draw_weights(make_albert(**changes)), albert_inputs(make_ids(2, 8))
    backbone.save_to_preset(str(tmp_path / "preset"))
    again = AlbertBackbone.from_preset(str(tmp_path / "preset"))
    assert_same(backbone(inputs), again(inputs), atol=0)
    assert again.count_params() == backbone.count_params()


def test_the_order_of_a_layers_weights_is_that_of_saved_optimizer_states(make_albert):
    paths = [weight.path.split("/", 1)[1] for weight in make_albert().groups[0][0].weights]
    parts = list(dict.fromkeys(path.rsplit("/", 1)[0] for path in paths))
    assert parts == [
        "attention_norm", "feed_forward/intermediate", "feed_forward/output", "feed_forward_norm", "attention/query",
        "attention/key", "attention/value", "attention/output",
    ]  # fmt: skip


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


# === What layers share ===


def test_attention_or_feed_forward_or_both_or_neither_are_one_object_in_all_layers(make_albert):
    for mode in MODES:
        backbone = make_albert(num_layers=3, num_inner_repetitions=2, cross_layer_sharing=mode)
        assert len(backbone.groups) == (1 if mode == "all" else 3)
        first = backbone.groups[0]
        for later in backbone.groups[1:]:
            for ours, theirs in zip(later, first, strict=True):
                assert ours is not theirs
                assert (ours.attention is theirs.attention) == (mode == "attention")
                assert (ours.attention_norm is theirs.attention_norm) == (mode == "attention")
                assert (ours.feed_forward is theirs.feed_forward) == (mode == "ffn")
                assert (ours.feed_forward_norm is theirs.feed_forward_norm) == (mode == "ffn")
        assert first[0].attention is not first[1].attention


# Of the base size, encoder and pooler, as summed from shapes; the paper (Table 4) prints 12, 64, 38 and 89 million with
# 128 wide embeddings and 31, 83, 57 and 108 million with 768. Transformers projects from 768 to 768, the original not.
COUNTS = {
    "all": (11_683_584, 31_114_752, 31_705_344),
    "attention": (63_647_232, 83_078_400, 83_668_992),
    "ffn": (37_686_528, 57_117_696, 57_708_288),
    "none": (89_650_176, 109_081_344, 109_671_936),
}


@pytest.mark.parametrize("mode", MODES)
def test_sharing_modes_of_the_base_size_have_the_published_parameter_counts(monkeypatch, mode):
    # Memory without values, since drawing a hundred million numbers takes seconds.
    monkeypatch.setattr(
        keras.initializers.TruncatedNormal,
        "__call__",
        lambda _, shape, dtype=None: tf.raw_ops.Empty(shape=shape, dtype=tf.float32),
    )
    for expected, (embedding_dim, projects) in zip(COUNTS[mode], [(128, True), (768, False), (768, True)], strict=True):
        backbone = AlbertBackbone(
            30000, **ALBERT_SIZES["base"], embedding_dim=embedding_dim, use_embedding_projection=projects,
            cross_layer_sharing=mode,
        )  # fmt: skip
        assert backbone.count_params() == expected


def test_a_gradient_of_a_shared_part_is_the_sum_over_its_layers(make_albert, albert_inputs, make_ids):
    # The same numbers without sharing: the gradients of the copies must add up to that of the shared one.
    inputs = albert_inputs(make_ids(2, 8), [8, 5])
    shared = draw_weights(make_albert(num_layers=3, cross_layer_sharing="attention"))
    copies = copy_weights(shared, make_albert(num_layers=3, cross_layer_sharing="none"))
    gradients = []
    for backbone in (shared, copies):
        kernels = [group[0].attention.query.kernel for group in backbone.groups]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(backbone(inputs)["pooled_output"])
        gradients.append(tape.gradient(loss, [kernel.value for kernel in kernels]))
    assert abs(gradients[0][0]).numpy().max() > 0.1
    np.testing.assert_allclose(gradients[0][0], sum(gradients[1]), atol=1e-4, rtol=1e-4)


def copy_weights(source, target):
    """From a backbone with fewer own weights into one with a group a layer; gives the latter."""
    for name in ("token_embedding", "position_embedding", "segment_embedding", "embedding_norm", "pooler"):
        getattr(target, name).set_weights(getattr(source, name).get_weights())
    if source.embedding_projection is not None:
        target.embedding_projection.set_weights(source.embedding_projection.get_weights())
    for index, layers in enumerate(target.groups):
        for ours, theirs in zip(layers, source.groups[index * len(source.groups) // len(target.groups)], strict=True):
            for part in ("attention", "attention_norm", "feed_forward", "feed_forward_norm"):
                getattr(ours, part).set_weights(getattr(theirs, part).get_weights())
    return target


@pytest.mark.parametrize("mode", MODES)
def test_sharing_gives_the_numbers_of_copies(make_albert, albert_inputs, make_ids, mode):
    changes = dict(num_layers=3, num_inner_repetitions=2)
    shared = draw_weights(make_albert(cross_layer_sharing=mode, **changes))
    copies = copy_weights(shared, make_albert(num_groups=3, **changes))
    inputs = albert_inputs(make_ids(2, 8), [8, 5])
    assert_same(shared(inputs), copies(inputs))


def test_without_a_projection_the_embedding_goes_into_the_first_layer(make_albert):
    backbone = make_albert(embedding_dim=16, use_embedding_projection=False)
    assert backbone.embedding_projection is None
    assert backbone.count_params() == make_albert(embedding_dim=16).count_params() - 16 * 17


def test_arguments_that_do_not_go_together_are_refused(make_albert):
    with pytest.raises(ValueError, match=r"one of \['all', .*'none'\]\. Received: cross_layer_sharing='some'"):
        make_albert(cross_layer_sharing="some")
    for mode in MODES[1:]:
        with pytest.raises(ValueError, match=rf"Expected num_groups=1.*cross_layer_sharing='{mode}', num_groups=2"):
            make_albert(cross_layer_sharing=mode, num_groups=2)
    with pytest.raises(
        ValueError, match=r"to be equal without an embedding projection.*embedding_dim=8, hidden_dim=16"
    ):
        make_albert(use_embedding_projection=False)
    with pytest.raises(ValueError, match=r"adapter_dim to be None or 1 or more\. Received: adapter_dim=0"):
        make_albert(adapter_dim=0)
