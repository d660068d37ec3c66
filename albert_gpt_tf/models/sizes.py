"""The published sizes, as arguments of `AlbertBackbone` and `GPTBackbone`."""

# Lan et al., 2019, arXiv:1909.11942, Table 1, as released (github.com/google-research/albert).
ALBERT_SIZES = {
    "base": dict(num_layers=12, hidden_dim=768, num_heads=12, intermediate_dim=3072),  # 11,683,584 parameters
    "large": dict(num_layers=24, hidden_dim=1024, num_heads=16, intermediate_dim=4096),  # 17,683,968
    "xlarge": dict(num_layers=24, hidden_dim=2048, num_heads=16, intermediate_dim=8192),  # 58,724,864
    "xxlarge": dict(num_layers=12, hidden_dim=4096, num_heads=64, intermediate_dim=16384),  # 222,595,584
}

# Radford et al., 2019, Table 2, as released (github.com/openai/gpt-2); named by the parameter count.
GPT2_SIZES = {
    "124M": dict(num_layers=12, hidden_dim=768, num_heads=12),  # 124,439,808 parameters
    "355M": dict(num_layers=24, hidden_dim=1024, num_heads=16),  # 354,823,168
    "774M": dict(num_layers=36, hidden_dim=1280, num_heads=20),  # 774,030,080
    "1558M": dict(num_layers=48, hidden_dim=1600, num_heads=25),  # 1,557,611,200
}
