"""Parameter counts: by formula for every published size, by building for the small ones."""

import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.models.sizes import ALBERT_SIZES, GPT2_SIZES

# Encoder and pooler, with the 30,000 pieces of the released vocabulary. Summed from the shapes in the released graph.
ALBERT_COUNTS = {"base": 11_683_584, "large": 17_683_968, "xlarge": 58_724_864, "xxlarge": 222_595_584}
GPT2_COUNTS = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}


def count_albert(hidden_dim, intermediate_dim, vocabulary_size=30000, embedding_dim=128, positions=512, copies=1, **_):
    embeddings = (vocabulary_size + positions + 2) * embedding_dim + 2 * embedding_dim
    projection = embedding_dim * hidden_dim + hidden_dim
    attention = 4 * (hidden_dim**2 + hidden_dim) + 2 * hidden_dim
    feed_forward = 2 * hidden_dim * intermediate_dim + intermediate_dim + hidden_dim + 2 * hidden_dim
    pooler = hidden_dim**2 + hidden_dim
    return embeddings + projection + copies * (attention + feed_forward) + pooler


def count_gpt(num_layers, hidden_dim, vocabulary_size=50257, positions=1024, **_):
    attention = 4 * (hidden_dim**2 + hidden_dim) + 2 * hidden_dim
    feed_forward = 8 * hidden_dim**2 + 5 * hidden_dim + 2 * hidden_dim
    return (vocabulary_size + positions) * hidden_dim + num_layers * (attention + feed_forward) + 2 * hidden_dim


@pytest.mark.parametrize("size", ALBERT_COUNTS)
def test_albert_sizes_have_the_released_parameter_counts(size):
    assert count_albert(**ALBERT_SIZES[size]) == ALBERT_COUNTS[size]


@pytest.mark.parametrize("size", GPT2_COUNTS)
def test_gpt2_sizes_have_the_released_parameter_counts(size):
    assert count_gpt(**GPT2_SIZES[size]) == GPT2_COUNTS[size]


def test_no_published_size_is_without_a_count():
    assert list(ALBERT_SIZES) == list(ALBERT_COUNTS)
    assert list(GPT2_SIZES) == list(GPT2_COUNTS)


def test_heads_are_as_published():
    # A count cannot tell: the number of heads does not change it.
    assert {size: table["num_heads"] for size, table in ALBERT_SIZES.items()} == {
        "base": 12, "large": 16, "xlarge": 16, "xxlarge": 64,
    }  # fmt: skip
    assert {table["hidden_dim"] // table["num_heads"] for table in GPT2_SIZES.values()} == {64}


@pytest.mark.parametrize("size", ["base", "large"])
def test_albert_built_has_the_released_parameter_count(size):
    assert AlbertBackbone(vocabulary_size=30000, **ALBERT_SIZES[size]).count_params() == ALBERT_COUNTS[size]


def test_gpt2_124m_built_has_the_released_parameter_count():
    assert GPTBackbone(vocabulary_size=50257, **GPT2_SIZES["124M"]).count_params() == GPT2_COUNTS["124M"]


def test_every_group_and_inner_repetition_adds_one_copy_of_the_layer(make_albert):
    counted = count_albert(16, 32, vocabulary_size=50, embedding_dim=8, positions=12, copies=6)
    assert make_albert(num_layers=4, num_groups=2, num_inner_repetitions=3).count_params() == counted


def test_layers_that_share_weights_add_no_parameters(make_albert):
    assert make_albert(num_layers=1).count_params() == make_albert(num_layers=12).count_params()
