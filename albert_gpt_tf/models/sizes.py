"""The published sizes, as arguments of `AlbertBackbone` and `GPTBackbone`.

The tables of a family hold shapes only, for a model with a vocabulary of one's own. `NAMED_SIZES` has what was
published: the shape with its vocabulary, positions and widths, under the name that `albert-gpt-tf info` takes.
"""

# Lan et al., 2019, arXiv:1909.11942, Table 1, as released (github.com/google-research/albert).
ALBERT_SIZES = {
    "base": dict(num_layers=12, hidden_dim=768, num_heads=12, intermediate_dim=3072),  # 11,683,584 parameters
    "large": dict(num_layers=24, hidden_dim=1024, num_heads=16, intermediate_dim=4096),  # 17,683,968
    "xlarge": dict(num_layers=24, hidden_dim=2048, num_heads=16, intermediate_dim=8192),  # 58,724,864
    "xxlarge": dict(num_layers=12, hidden_dim=4096, num_heads=64, intermediate_dim=16384),  # 222,595,584
}

# The small Chinese models with the graph of google-research (github.com/brightmart/albert_zh, "google version").
ALBERT_ZH_SIZES = {
    "tiny": dict(num_layers=4, hidden_dim=312, num_heads=12, intermediate_dim=1248),  # 4,080,520 parameters
    "small": dict(num_layers=6, hidden_dim=384, num_heads=12, intermediate_dim=1536),  # 4,742,272
}

# Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training", section 4.1.
GPT1_SIZE = dict(num_layers=12, hidden_dim=768, num_heads=12)  # 116,534,784 parameters

# Radford et al., 2019, Table 2, as released (github.com/openai/gpt-2); named by the parameter count.
GPT2_SIZES = {
    "124M": dict(num_layers=12, hidden_dim=768, num_heads=12),  # 124,439,808 parameters
    "355M": dict(num_layers=24, hidden_dim=1024, num_heads=16),  # 354,823,168
    "774M": dict(num_layers=36, hidden_dim=1280, num_heads=20),  # 774,030,080
    "1558M": dict(num_layers=48, hidden_dim=1600, num_heads=25),  # 1,557,611,200
}

# Brown et al., 2020, arXiv:2005.14165, Table 2.1, named as there. Head widths are as printed: in the rows 1.3B and 13B
# they do not multiply to the hidden width, and 1.3B counts 1.5 billion parameters so.
# The paper's layers are dense and "locally banded sparse" by turns, "similar to the Sparse Transformer". How wide the
# band is it does not say (the Sparse Transformer took 128 for text, arXiv:1904.10509), so the sizes leave it open:
# all layers are dense, which is also the upper bound of memory and work. `attention_window=128` gives the band. It
# changes no weight.
GPT3_SIZES = {
    "125M": dict(num_layers=12, hidden_dim=768, num_heads=12, head_dim=64),  # 125,226,240 parameters
    "350M": dict(num_layers=24, hidden_dim=1024, num_heads=16, head_dim=64),  # 355,871,744
    "760M": dict(num_layers=24, hidden_dim=1536, num_heads=16, head_dim=96),  # 760,300,032
    "1.3B": dict(num_layers=24, hidden_dim=2048, num_heads=24, head_dim=128),  # 1,517,123,584
    "2.7B": dict(num_layers=32, hidden_dim=2560, num_heads=32, head_dim=80),  # 2,651,553,280
    "6.7B": dict(num_layers=32, hidden_dim=4096, num_heads=32, head_dim=128),  # 6,658,404,352
    "13B": dict(num_layers=40, hidden_dim=5140, num_heads=40, head_dim=128),  # 12,936,488,380
    "175B": dict(num_layers=96, hidden_dim=12288, num_heads=96, head_dim=128),  # 174,604,259,328
}

_ALBERT = dict(embedding_dim=128, max_sequence_length=512)

# Name -> constructor arguments; what starts with "albert" is an `AlbertBackbone`, the rest are `GPTBackbone`s.
NAMED_SIZES = {
    **{f"albert-{name}": dict(vocabulary_size=30000, **_ALBERT, **size) for name, size in ALBERT_SIZES.items()},
    **{f"albert-{name}-zh": dict(vocabulary_size=21128, **_ALBERT, **size) for name, size in ALBERT_ZH_SIZES.items()},
    "gpt1": dict(vocabulary_size=40478, max_sequence_length=512, norm_first=False, **GPT1_SIZE),
    **{
        f"gpt2-{name}": dict(vocabulary_size=50257, max_sequence_length=1024, **size)
        for name, size in GPT2_SIZES.items()
    },
    **{
        f"gpt3-{name}": dict(vocabulary_size=50257, max_sequence_length=2048, **size)
        for name, size in GPT3_SIZES.items()
    },
}
