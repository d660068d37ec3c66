"""How much of the machine a run uses: floating-point operations of a token, and the machine's peak."""

import time


def training_flops_per_token(backbone, sequence_length: int) -> float:
    """Floating-point operations of one training step, forward and backward, per token.

    A weight in a matrix product costs 6 operations a token (2 forward, 4 backward: the forward pass is a third),
    attention scores and their mix 12 * num_layers * width * length, where width is that of all heads together. ALBERT's
    shared layer counts once per use; embedding look-ups count nothing, GPT's output layer does, tied or not. Attention
    counts in full, although half of it is masked for GPT, and more in banded layers. What recomputation repeats is left
    out, as is usual for utilisation.

    Args:
        backbone: an `AlbertBackbone` or a `GPTBackbone`, or whatever has their arguments as attributes.
        sequence_length: int, tokens in a row.

    Returns:
        float.

    Example:
        >>> round(training_flops_per_token(gpt2_124m, 1024) / 1e8, 2)
        8.54

    Reference:
        PaLM (Chowdhery et al., 2022, arXiv:2204.02311), appendix B. Biases and norms are left out, which nanoGPT's
        count (8.55e8) includes.
    """
    hidden, inner, layers = backbone.hidden_dim, backbone.intermediate_dim, backbone.num_layers
    head_dim = getattr(backbone, "head_dim", None)
    width = backbone.num_heads * head_dim if head_dim else hidden
    if hasattr(backbone, "num_inner_repetitions"):  # ALBERT
        once = backbone.embedding_dim * hidden if getattr(backbone, "use_embedding_projection", True) else 0
        once += layers * 2 * hidden * (getattr(backbone, "adapter_dim", None) or 0)
        layers *= backbone.num_inner_repetitions
    else:
        once = hidden * backbone.vocabulary_size
    weights = layers * (4 * hidden * width + 2 * hidden * inner) + once
    return 6.0 * weights + 12.0 * layers * width * sequence_length


def measured_peak_flops(dtype: str = "float32", size: int = 1536, repeats: int = 5) -> float:
    """Floating-point operations a second that a square matrix product reaches on the first device.

    Args:
        dtype: str, dtype of the matrices. Defaults to `"float32"`.
        size: int, their side. Defaults to 1536.
        repeats: int, products timed; the fastest counts. Defaults to 5.

    Returns:
        float.
    """
    import tensorflow as tf  # here, so that counting needs no TensorFlow

    matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), dtype)
    fastest = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        float(tf.matmul(matrix, matrix)[0, 0])  # waits for the result
        fastest = min(fastest, time.perf_counter() - start)
    return 2.0 * size**3 / fastest
