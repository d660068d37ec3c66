"""How many parameters a backbone or a head has, from its arguments alone.

Nothing is built: GPT-3's 175 billion are counted as fast as ALBERT's 12 million. All functions take the constructor's
arguments and pass over those that change no shape.
"""


def albert_parameters(
    vocabulary_size: int,
    num_layers: int,
    hidden_dim: int,
    intermediate_dim: int,
    embedding_dim: int = 128,
    num_groups: int = 1,
    num_inner_repetitions: int = 1,
    cross_layer_sharing: str = "all",
    use_embedding_projection: bool = True,
    adapter_dim: int | None = None,
    layer_gates: bool = False,
    max_sequence_length: int = 512,
    num_segments: int = 2,
    per_use: bool = False,
    **_,
) -> dict[str, int]:
    """Parameters of an `AlbertBackbone` by block.

    Args:
        vocabulary_size, num_layers, ..., num_segments: see `AlbertBackbone`.
        per_use: bool, counts the weights that a pass computes with: a shared layer once for each use. Defaults to
            `False`, each weight once.

    Returns:
        A dict from the name of a block to int. Layer norms belong to the block that they follow.

    Raises:
        ValueError: `cross_layer_sharing` is not a known mode.

    Example:
        >>> base = dict(vocabulary_size=30000, num_layers=12, hidden_dim=768, intermediate_dim=3072)
        >>> sum(albert_parameters(**base).values()), sum(albert_parameters(**base, per_use=True).values())
        (11683584, 89650176)

    Reference:
        Lan et al., 2019, arXiv:1909.11942, Tables 1, 3 and 4.
    """
    copies = {  # of attention and feed-forward
        "all": (num_groups, num_groups),
        "attention": (1, num_layers),
        "ffn": (num_layers, 1),
        "none": (num_layers, num_layers),
    }
    if cross_layer_sharing not in copies:
        raise ValueError(
            f"Expected cross_layer_sharing among {list(copies)}. Received: {cross_layer_sharing!r}. Choose one of them."
        )
    attentions, feed_forwards = (num_layers, num_layers) if per_use else copies[cross_layer_sharing]
    hidden = hidden_dim
    attention = 4 * (hidden * hidden + hidden) + 2 * hidden
    feed_forward = 2 * hidden * intermediate_dim + intermediate_dim + hidden + 2 * hidden
    return {
        "token embedding": vocabulary_size * embedding_dim,
        "position embedding": max_sequence_length * embedding_dim,
        "segment embedding": num_segments * embedding_dim,
        "embedding norm": 2 * embedding_dim,
        "embedding projection": (embedding_dim * hidden + hidden) * use_embedding_projection,
        "attention": attentions * num_inner_repetitions * attention,
        "feed-forward": feed_forwards * num_inner_repetitions * feed_forward,
        "pooler": hidden * hidden + hidden,
        "adapters": num_layers * (2 * hidden * adapter_dim + adapter_dim + hidden) if adapter_dim else 0,
        "gates": num_layers * hidden * layer_gates,
    }


def gpt_parameters(
    vocabulary_size: int,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int | None = None,
    head_dim: int | None = None,
    max_sequence_length: int = 1024,
    norm_first: bool = True,
    use_bias: bool = True,
    **_,
) -> dict[str, int]:
    """Parameters of a `GPTBackbone` by block; a pass computes with each of them once.

    Args:
        vocabulary_size, num_layers, ..., use_bias: see `GPTBackbone`.

    Returns:
        A dict from the name of a block to int. A layer's norms belong to the block that they come with.

    Example:
        >>> sum(gpt_parameters(vocabulary_size=50257, num_layers=12, num_heads=12, hidden_dim=768).values())
        124439808

    Reference:
        Radford et al., 2019, Table 2; Brown et al., 2020, arXiv:2005.14165, Table 2.1.
    """
    hidden, inner = hidden_dim, intermediate_dim or 4 * hidden_dim
    width = num_heads * (head_dim or hidden_dim // num_heads)
    attention = 4 * hidden * width + (3 * width + hidden) * use_bias + 2 * hidden
    feed_forward = 2 * hidden * inner + (inner + hidden) * use_bias + 2 * hidden
    return {
        "token embedding": vocabulary_size * hidden,
        "position embedding": max_sequence_length * hidden,
        "attention": num_layers * attention,
        "feed-forward": num_layers * feed_forward,
        "final norm": 2 * hidden * norm_first,
    }


def albert_head_parameters(
    vocabulary_size: int, hidden_dim: int, embedding_dim: int = 128, num_classes: int = 2, **_
) -> dict[str, int]:
    """Parameters of the heads that stand on an `AlbertBackbone`, without the backbone's.

    Args:
        vocabulary_size, hidden_dim, embedding_dim: see `AlbertBackbone`.
        num_classes: int, outputs of a classifier. Defaults to 2.

    Returns:
        A dict from the name of a head to int. The masked language model's has the token embedding as output layer.

    Example:
        >>> albert_head_parameters(vocabulary_size=30000, hidden_dim=768)["masked language model"]
        128688

    Reference:
        google-research/albert `run_pretraining.py`, `classifier_utils.py`, `squad_utils.py`.
    """
    return {
        "masked language model": hidden_dim * embedding_dim + 3 * embedding_dim + vocabulary_size,
        "sentence order": 2 * (hidden_dim + 1),
        "text or token classifier": num_classes * (hidden_dim + 1),
        "question answerer": 2 * (hidden_dim + 1),
        "multiple choice": hidden_dim + 1,
    }


def gpt_head_parameters(vocabulary_size: int, hidden_dim: int, num_classes: int = 2, **_) -> dict[str, int]:
    """Parameters of the heads that stand on a `GPTBackbone`, without the backbone's.

    Args:
        vocabulary_size, hidden_dim: see `GPTBackbone`.
        num_classes: int, outputs of a classifier. Defaults to 2.

    Returns:
        A dict from the name of a head to int.

    Example:
        >>> gpt_head_parameters(vocabulary_size=50257, hidden_dim=768)["language model, untied"]
        38597376
    """
    return {
        "language model, tied": 0,
        "language model, tied, with bias": vocabulary_size,
        "language model, untied": vocabulary_size * hidden_dim,
        "language model, untied, with bias": vocabulary_size * (hidden_dim + 1),
        "text classifier": num_classes * (hidden_dim + 1),
    }
