"""Operations per token against figures worked out by hand from the published sizes."""

from types import SimpleNamespace

import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.training.flops import measured_peak_flops, training_flops_per_token


def gpt2(layers, hidden):
    # The function reads sizes only, so no weights need to be made.
    return SimpleNamespace(num_layers=layers, hidden_dim=hidden, intermediate_dim=4 * hidden, vocabulary_size=50257)


ALBERT_BASE = SimpleNamespace(
    num_layers=12, hidden_dim=768, intermediate_dim=3072, embedding_dim=128, num_inner_repetitions=1
)


@pytest.mark.parametrize(
    ("layers", "hidden", "published"), [(12, 768, 8.55e8), (24, 1024, 2.42e9), (36, 1280, 5.20e9), (48, 1600, 1.03e10)]
)
def test_gpt2_equals_nanogpt_but_for_biases_and_norms(layers, hidden, published):
    count = training_flops_per_token(gpt2(layers, hidden), 1024)
    # 6 N + 12 L H T, N without positions: nanoGPT's N has the biases (9 H a layer), and the norms (4 H and 2 H).
    biases_and_norms = layers * (9 + 4) * hidden + 2 * hidden
    assert count + 6 * biases_and_norms == pytest.approx(published, rel=5e-3)
    assert 0 < 6 * biases_and_norms / count < 1e-3


def test_gpt2_124m_to_the_last_digit():
    tokens_to_tokens = 12 * (4 * 768**2 + 2 * 768 * 3072) + 50257 * 768
    assert training_flops_per_token(gpt2(12, 768), 1024) == 6 * tokens_to_tokens + 12 * 12 * 768 * 1024 == 854_438_400


def test_albert_base_equals_the_published_count_but_for_the_heads():
    """5.678e8 with 20 masked positions of 512: ours leaves out the heads, which a backbone does not have."""
    length, masked, hidden, embedding, vocabulary = 512, 20, 768, 128, 30000
    encoder = 85_032_960  # weights used per token, the layer 12 times
    masked_lm = masked / length * (hidden * embedding + embedding * vocabulary)
    pooler_and_sentence_order = (hidden**2 + 2 * hidden) / length
    count = training_flops_per_token(ALBERT_BASE, length)
    assert count == 6 * encoder + 12 * 12 * hidden * length
    assert count + 6 * (masked_lm + pooler_and_sentence_order) == pytest.approx(5.678e8, rel=1e-4)


def test_a_shared_layer_counts_once_per_use():
    once = training_flops_per_token(SimpleNamespace(**vars(ALBERT_BASE) | {"num_layers": 1}), 512)
    look_up_and_widen = 6 * 768 * 128
    assert training_flops_per_token(ALBERT_BASE, 512) - look_up_and_widen == 12 * (once - look_up_and_widen)


def test_inner_repetitions_are_layers_like_others():
    def sizes(num_layers, num_inner_repetitions):
        return SimpleNamespace(
            **vars(ALBERT_BASE) | {"num_layers": num_layers, "num_inner_repetitions": num_inner_repetitions}
        )

    assert training_flops_per_token(sizes(6, 2), 512) == training_flops_per_token(sizes(12, 1), 512)


def test_backbones_have_the_sizes_that_are_read():
    sizes = {"vocabulary_size": 30, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    albert = training_flops_per_token(AlbertBackbone(**sizes, embedding_dim=4), 10)
    assert albert == 6 * (2 * (4 * 64 + 2 * 8 * 16) + 4 * 8) + 12 * 2 * 8 * 10
    gpt = training_flops_per_token(GPTBackbone(**sizes), 10)
    assert gpt == 6 * (2 * (4 * 64 + 2 * 8 * 16) + 30 * 8) + 12 * 2 * 8 * 10


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_measured_peak_is_that_of_some_machine(dtype):
    assert 1e7 < measured_peak_flops(dtype, size=128, repeats=2) < 1e16
