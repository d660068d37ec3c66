"""How much memory a backbone takes, in inference and in training, from its arguments alone.

Keras keeps variables, gradients and optimizer slots in float32 under every precision policy; a mixed policy adds a
cast copy of the weights and halves most activations. Sums of what must be there at once: allocators and workspaces of
kernels come on top.
"""

# Bytes of a number that layers compute with.
COMPUTE_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}

# Numbers that an optimizer keeps for each weight.
OPTIMIZER_SLOTS = {"SGD": 0, "AdamW": 2, "LAMB": 2}


def layer_activation_bytes(
    length: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int | None = None,
    head_dim: int | None = None,
    dropout: float = 0.0,
    attention_dropout: float | None = None,
    policy: str = "float32",
    **_,
) -> int:
    """Bytes that one layer keeps for the backward pass, per token.

    With c bytes a number of the policy, A heads of width D, hidden width H, inner width I and length T:

        c (4 A D + 2 H + 5 I) + 16 H + 8 + A T (4 + (c if c < 4))

    query, key, value and their mix; the inputs of both blocks; five inner tensors of the tanh GELU (other activations
    keep fewer); in float32 two tensors and a scale of each layer norm, and the attention probabilities, which a mixed
    policy keeps cast, too. Dropout adds its masks, a byte each: 2 H, and A T with, in float32, what it left of the
    probabilities. Adapters and gates are left out.

    Args:
        length: int, tokens in a row.
        num_heads, hidden_dim, ..., attention_dropout: see the backbones.
        policy: str, a key of `COMPUTE_BYTES`. Defaults to `"float32"`.

    Returns:
        int.

    Example:
        >>> layer_activation_bytes(1024, num_heads=12, hidden_dim=768, intermediate_dim=3072)
        141320

    Reference:
        The tensors that TensorFlow 2.21's gradients take from the forward pass; compare Korthikanti et al., 2022,
        arXiv:2205.05198, section 4.1, which counts fused kernels of PyTorch: 34 H + 5 A T in half precision.
    """
    size = COMPUTE_BYTES[policy]
    inner = intermediate_dim or 4 * hidden_dim
    width = num_heads * (head_dim or hidden_dim // num_heads)
    scores = num_heads * length
    total = size * (4 * width + 2 * hidden_dim + 5 * inner) + 16 * hidden_dim + 8 + 4 * scores
    if size < 4:
        total += size * scores
    if dropout:
        total += 2 * hidden_dim
    if dropout if attention_dropout is None else attention_dropout:
        total += scores if size < 4 else scores + 4 * scores
    return total


def activation_bytes(batch: int, length: int, recompute: bool = False, policy: str = "float32", **arguments) -> int:
    """Bytes that all layers keep for the backward pass of a batch.

    Sharing weights saves none of it. With recomputation each layer keeps its input alone, and one layer at a time is
    computed once more: `layers * c * H` and one layer's, instead of `layers` times one layer's.

    Args:
        batch: int, rows.
        length: int, tokens in a row.
        recompute: bool, whether layers are computed again in the backward pass. Defaults to `False`.
        policy: str, a key of `COMPUTE_BYTES`. Defaults to `"float32"`.
        arguments: those of the backbone.

    Returns:
        int.

    Example:
        >>> activation_bytes(8, 1024, num_layers=12, num_heads=12, hidden_dim=768) // 2**20
        13248
    """
    layers = arguments["num_layers"] * arguments.get("num_inner_repetitions", 1)
    layer = layer_activation_bytes(length, policy=policy, **arguments)
    per_token = layers * COMPUTE_BYTES[policy] * arguments["hidden_dim"] + layer if recompute else layers * layer
    return batch * length * per_token


def logits_bytes(batch: int, length: int, vocabulary_size: int, policy: str = "float32", **_) -> int:
    """Bytes of a language model's logits on all positions and of the gradient of their loss, which is float32.

    Args:
        batch: int, rows.
        length: int, tokens in a row.
        vocabulary_size: int.
        policy: str, a key of `COMPUTE_BYTES`; a mixed one has logits of its own and a float32 copy. Defaults to
            `"float32"`.

    Returns:
        int.

    Example:
        >>> logits_bytes(8, 1024, vocabulary_size=50257) // 2**20
        3141
    """
    size = COMPUTE_BYTES[policy]
    return batch * length * vocabulary_size * (8 + (size if size < 4 else 0))


def cache_bytes_per_token(
    num_layers: int, num_heads: int, hidden_dim: int, head_dim: int | None = None, policy: str = "float32", **_
) -> int:
    """Bytes of the keys and values that generation keeps of a token, in all layers of a `GPTBackbone`.

    Args:
        num_layers, num_heads, hidden_dim, head_dim: see `GPTBackbone`.
        policy: str, a key of `COMPUTE_BYTES`. Defaults to `"float32"`.

    Returns:
        int.

    Example:
        >>> cache_bytes_per_token(num_layers=12, num_heads=12, hidden_dim=768)
        73728
    """
    return 2 * num_layers * num_heads * (head_dim or hidden_dim // num_heads) * COMPUTE_BYTES[policy]


def weight_bytes(parameters: int, policy: str = "float32", trainable: int | None = None) -> dict[str, int]:
    """Bytes of what there is one of for each weight.

    Args:
        parameters: int, weights.
        policy: str, a key of `COMPUTE_BYTES`. Defaults to `"float32"`.
        trainable: int, those that are trained. Defaults to all.

    Returns:
        A dict of `weights`; `cast copy`, at most what a mixed policy adds while it computes; `gradients`; and
        `SGD`, `AdamW` and `LAMB`, the slots of these optimizers.

    Example:
        >>> weight_bytes(1000)["AdamW"]
        8000
    """
    trained = 4 * (parameters if trainable is None else trainable)
    size = COMPUTE_BYTES[policy]
    return {
        "weights": 4 * parameters,
        "cast copy": size * parameters if size < 4 else 0,
        "gradients": trained,
        **{name: slots * trained for name, slots in OPTIMIZER_SLOTS.items()},
    }
