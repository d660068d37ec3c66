"""Counts by formula against counts of built backbones and heads, and against every published figure."""

import numpy as np
import pytest

from albert_gpt_tf.models.masked_lm_head import MaskedLMHead
from albert_gpt_tf.models.parameter_counts import (
    albert_head_parameters,
    albert_parameters,
    gpt_head_parameters,
    gpt_parameters,
)
from albert_gpt_tf.models.sizes import GPT3_SIZES, NAMED_SIZES

BASE = NAMED_SIZES["albert-base"]


def total(counts):
    return sum(counts.values())


# === Built ===


def draw_albert(random):
    """Arguments of some small ALBERT."""
    layers, heads = int(random.choice([2, 4, 6])), int(random.choice([1, 2, 3]))
    sharing = str(random.choice(["all", "all", "attention", "ffn", "none"]))
    hidden = heads * int(random.choice([4, 6]))
    projects = bool(random.randint(3))
    return dict(
        vocabulary_size=int(random.randint(5, 40)),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=hidden,
        intermediate_dim=int(random.randint(3, 30)),
        embedding_dim=int(random.randint(2, 12)) if projects else hidden,
        use_embedding_projection=projects,
        num_groups=int(random.choice([1, 2, layers])) if sharing == "all" else 1,
        num_inner_repetitions=int(random.choice([1, 1, 2])),
        cross_layer_sharing=sharing,
        adapter_dim=[None, None, 1, 5][random.randint(4)],
        layer_gates=bool(random.randint(2)),
        max_sequence_length=int(random.randint(4, 20)),
        num_segments=int(random.randint(1, 4)),
    )


def draw_gpt(random):
    """Arguments of some small GPT."""
    heads, head_dim = int(random.choice([1, 2, 3])), [None, None, 1, 5][random.randint(4)]
    return dict(
        vocabulary_size=int(random.randint(5, 40)),
        num_layers=int(random.randint(1, 4)),
        num_heads=heads,
        hidden_dim=heads * int(random.choice([4, 6])) if head_dim is None else int(random.randint(4, 15)),
        head_dim=head_dim,
        intermediate_dim=[None, 7][random.randint(2)],
        max_sequence_length=int(random.randint(4, 20)),
        norm_first=bool(random.randint(2)),
        use_bias=bool(random.randint(2)),
        attention_window=[None, 3][random.randint(2)],
    )


@pytest.mark.parametrize("seed", range(12))
def test_albert_counts_equal_those_of_the_built_backbone(make_albert, seed):
    arguments = draw_albert(np.random.RandomState(seed))
    backbone, counts = make_albert(**arguments), albert_parameters(**arguments)
    assert total(counts) == backbone.count_params(), arguments
    kinds = backbone.parameter_counts()
    assert (counts["adapters"], counts["gates"]) == (kinds["adapters"], kinds["gates"]), arguments


@pytest.mark.parametrize("seed", range(12))
def test_gpt_counts_equal_those_of_the_built_backbone(make_gpt, seed):
    arguments = draw_gpt(np.random.RandomState(seed))
    assert total(gpt_parameters(**arguments)) == make_gpt(**arguments).count_params(), arguments


def test_blocks_are_those_of_the_built_backbones(make_albert, make_gpt):
    sizes = dict(num_layers=3, hidden_dim=8, intermediate_dim=20)
    albert = make_albert(**sizes, cross_layer_sharing="ffn")
    counts = albert_parameters(**albert.get_config())
    layers = [layer for group in albert.groups for layer in group]
    own = [layer.attention.count_params() + layer.attention_norm.count_params() for layer in layers]
    assert counts["attention"] == sum(own)
    assert counts["feed-forward"] == sum(
        part.count_params() for part in (layers[0].feed_forward, layers[0].feed_forward_norm)
    )
    assert counts["embedding projection"] == albert.embedding_projection.count_params()
    assert counts["pooler"] == albert.pooler.count_params()
    gpt = make_gpt(**sizes)
    counts = gpt_parameters(**gpt.get_config())
    assert counts["token embedding"] == gpt.token_embedding.count_params()
    assert counts["final norm"] == gpt.final_norm.count_params()
    assert counts["attention"] + counts["feed-forward"] == sum(one.count_params() for one in gpt.transformer_layers)


@pytest.mark.parametrize("seed", range(6))
def test_what_albert_computes_with_is_what_it_would_store_without_sharing(seed):
    arguments = draw_albert(np.random.RandomState(seed))
    unshared = {**arguments, "cross_layer_sharing": "none", "num_groups": 1}
    assert albert_parameters(**arguments, per_use=True) == albert_parameters(**unshared)


def test_the_count_of_the_masked_language_model_equals_the_built_head(make_albert):
    backbone = make_albert()
    head = MaskedLMHead(backbone.embedding_dim, "gelu_new", 1e-12, 0.02, token_embedding=backbone.token_embedding)
    head(np.zeros([1, 2, backbone.hidden_dim], "float32"))
    assert albert_head_parameters(**backbone.get_config())["masked language model"] == head.count_params()


def test_an_unknown_sharing_mode_is_refused():
    with pytest.raises(ValueError, match=r"cross_layer_sharing among \['all', .*Received: 'some'"):
        albert_parameters(**{**BASE, "cross_layer_sharing": "some"})


# === Published: summed from the shapes in the released graphs ===


@pytest.mark.parametrize(
    ("size", "projection", "attention", "feed_forward", "pooler", "backbone"),
    [
        ("base", 99_072, 2_363_904, 4_723_968, 590_592, 11_683_584),
        ("large", 132_096, 4_200_448, 8_395_776, 1_049_600, 17_683_968),
        ("xlarge", 264_192, 16_789_504, 33_568_768, 4_196_352, 58_724_864),
        ("xxlarge", 528_384, 67_133_440, 134_246_400, 16_781_312, 222_595_584),
    ],
)
def test_albert_has_the_released_counts(size, projection, attention, feed_forward, pooler, backbone):
    counts = albert_parameters(**NAMED_SIZES[f"albert-{size}"])
    embeddings = [counts[name] for name in counts if name.endswith("embedding") or name == "embedding norm"]
    assert sum(embeddings) == 3_906_048
    assert counts["embedding projection"] == projection
    assert (counts["attention"], counts["feed-forward"], counts["pooler"]) == (attention, feed_forward, pooler)
    assert total(counts) == backbone


@pytest.mark.parametrize(
    ("size", "masked_lm", "sentence_order", "pretrainer"),
    [
        ("base", 128_688, 1_538, 11_813_810),
        ("large", 161_456, 2_050, 17_847_474),
        ("xlarge", 292_528, 4_098, 59_021_490),
        ("xxlarge", 554_672, 8_194, 223_158_450),
    ],
)
def test_albert_heads_have_the_released_counts(size, masked_lm, sentence_order, pretrainer):
    arguments = NAMED_SIZES[f"albert-{size}"]
    heads = albert_head_parameters(**arguments)
    assert (heads["masked language model"], heads["sentence order"]) == (masked_lm, sentence_order)
    assert total(albert_parameters(**arguments)) + masked_lm + sentence_order == pretrainer


@pytest.mark.parametrize(
    ("sharing", "narrow", "wide_unprojected", "wide_projected"),
    [
        ("all", 11_683_584, 31_114_752, 31_705_344),
        ("attention", 63_647_232, 83_078_400, 83_668_992),
        ("ffn", 37_686_528, 57_117_696, 57_708_288),
        ("none", 89_650_176, 109_081_344, 109_671_936),
    ],
)
def test_sharing_modes_have_the_counts_of_the_papers_table_4(sharing, narrow, wide_unprojected, wide_projected):
    arguments = {**BASE, "cross_layer_sharing": sharing}
    assert total(albert_parameters(**arguments)) == narrow
    wide = {**arguments, "embedding_dim": 768}
    assert total(albert_parameters(**wide, use_embedding_projection=False)) == wide_unprojected
    assert total(albert_parameters(**wide)) == wide_projected


@pytest.mark.parametrize(("width", "count"), [(64, 9_681_408), (128, 11_683_584), (256, 15_687_936), (768, 31_114_752)])
def test_embedding_widths_have_the_counts_of_the_papers_table_3(width, count):
    arguments = {**BASE, "embedding_dim": width, "use_embedding_projection": width != 768}
    assert total(albert_parameters(**arguments)) == count


def test_gpt1_has_the_released_count():
    assert total(gpt_parameters(**NAMED_SIZES["gpt1"])) == 116_534_784


@pytest.mark.parametrize(
    ("size", "parameters", "without_positions", "without_embeddings"),
    [
        ("124M", 124_439_808, 123_653_376, 85_056_000),
        ("355M", 354_823_168, 353_774_592, 302_311_424),
        ("774M", 774_030_080, 772_719_360, 708_390_400),
        ("1558M", 1_557_611_200, 1_555_972_800, 1_475_561_600),
    ],
)
def test_gpt2_has_the_released_counts(size, parameters, without_positions, without_embeddings):
    counts = gpt_parameters(**NAMED_SIZES[f"gpt2-{size}"])
    assert total(counts) == parameters
    assert total(counts) - counts["position embedding"] == without_positions
    assert without_positions - counts["token embedding"] == without_embeddings


# The paper prints no exact counts: these follow from its Table 2.1 by GPT-2's graph, with heads as wide as the hidden
# width together, and as printed.
@pytest.mark.parametrize(
    ("size", "square", "printed"),
    [
        ("125M", 125_226_240, 125_226_240),
        ("350M", 355_871_744, 355_871_744),
        ("760M", 760_300_032, 760_300_032),
        ("1.3B", 1_315_723_264, 1_517_123_584),
        ("2.7B", 2_651_553_280, 2_651_553_280),
        ("6.7B", 6_658_404_352, 6_658_404_352),
        ("13B", 12_952_938_780, 12_936_488_380),
        ("175B", 174_604_259_328, 174_604_259_328),
    ],
)
def test_gpt3_has_the_counts_of_both_readings_of_the_paper(size, square, printed):
    arguments = NAMED_SIZES[f"gpt3-{size}"]
    assert total(gpt_parameters(**arguments)) == printed
    heads_fill_hidden = {**arguments, "num_heads": 1, "head_dim": arguments["hidden_dim"]}
    assert total(gpt_parameters(**heads_fill_hidden)) == square


def test_names_of_gpt3_are_near_their_counts_but_for_the_row_that_contradicts_itself():
    for name in GPT3_SIZES:
        said = float(name[:-1]) * {"M": 1e6, "B": 1e9}[name[-1]]
        counted = total(gpt_parameters(**NAMED_SIZES[f"gpt3-{name}"]))
        assert (abs(counted / said - 1) < 0.025) == (name != "1.3B"), name


def test_gpt_heads_count_the_output_layer_only_where_it_is_untied():
    heads = gpt_head_parameters(**NAMED_SIZES["gpt2-124M"], num_classes=3)
    assert heads["language model, tied"] == 0
    assert heads["language model, tied, with bias"] == 50257
    assert heads["language model, untied"] == 50257 * 768
    assert heads["language model, untied, with bias"] == 50257 * 769
    assert heads["text classifier"] == 3 * 768 + 3
