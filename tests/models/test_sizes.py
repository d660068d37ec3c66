"""The published sizes: as in the papers, and built where that is cheap. Counts are in test_parameter_counts.py."""

import inspect
import json
from pathlib import Path

import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.models.sizes import ALBERT_SIZES, GPT2_SIZES, GPT3_SIZES, NAMED_SIZES

# Beside the repository, where a machine of the project has them.
CHINESE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tokenizers" / "albert_zh"


def backbone_of(name):
    return AlbertBackbone if name.startswith("albert") else GPTBackbone


@pytest.mark.parametrize("name", NAMED_SIZES)
def test_a_named_size_is_arguments_of_its_backbone(name):
    parameters = inspect.signature(backbone_of(name)).parameters
    needed = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty and key != "kwargs"}
    assert needed <= set(NAMED_SIZES[name]) <= set(parameters)


def test_every_size_of_a_family_is_named():
    families = {"albert-": ALBERT_SIZES, "gpt2-": GPT2_SIZES, "gpt3-": GPT3_SIZES}
    for prefix, sizes in families.items():
        for name, shape in sizes.items():
            assert shape.items() <= NAMED_SIZES[prefix + name].items()


def test_heads_are_as_published():
    # A count cannot tell: the number of heads does not change it.
    assert {size: table["num_heads"] for size, table in ALBERT_SIZES.items()} == {
        "base": 12, "large": 16, "xlarge": 16, "xxlarge": 64,
    }  # fmt: skip
    assert {table["hidden_dim"] // table["num_heads"] for table in GPT2_SIZES.values()} == {64}


def test_heads_of_gpt3_are_as_printed_where_they_do_not_fill_the_hidden_width_too():
    printed = {name: (size["num_heads"], size["head_dim"], size["hidden_dim"]) for name, size in GPT3_SIZES.items()}
    assert {name: row for name, row in printed.items() if row[0] * row[1] != row[2]} == {
        "1.3B": (24, 128, 2048), "13B": (40, 128, 5140),
    }  # fmt: skip
    assert printed["760M"] == (16, 96, 1536) and printed["175B"] == (96, 128, 12288)


def test_the_small_chinese_model_is_as_its_released_configuration():
    file = CHINESE / "albert_config_tiny.json"
    if not file.is_file():
        pytest.skip("the Chinese configurations are not beside the repository (../shared/data/tokenizers/albert_zh)")
    config = json.loads(file.read_text(encoding="utf-8"))
    names = {
        "vocabulary_size": "vocab_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads",
        "hidden_dim": "hidden_size", "intermediate_dim": "intermediate_size", "embedding_dim": "embedding_size",
        "max_sequence_length": "max_position_embeddings",
    }  # fmt: skip
    assert NAMED_SIZES["albert-tiny-zh"] == {ours: config[theirs] for ours, theirs in names.items()}


@pytest.mark.parametrize(
    ("name", "count"),
    [("albert-base", 11_683_584), ("albert-large", 17_683_968), ("albert-small-zh", 4_742_272),
     ("gpt1", 116_534_784), ("gpt2-124M", 124_439_808)],
)  # fmt: skip
def test_a_size_built_has_the_released_parameter_count(name, count):
    assert backbone_of(name)(**NAMED_SIZES[name]).count_params() == count


def test_a_shape_goes_with_another_vocabulary():
    assert AlbertBackbone(vocabulary_size=100, **ALBERT_SIZES["base"]).vocabulary_size == 100


def test_layers_that_share_weights_add_no_parameters(make_albert):
    assert make_albert(num_layers=1).count_params() == make_albert(num_layers=12).count_params()
