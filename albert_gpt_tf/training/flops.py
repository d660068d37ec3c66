"""How much of the machine a run uses: floating-point operations of a token, and the machine's peak."""

import time

import tensorflow as tf


def training_flops_per_token(backbone, sequence_length: int) -> float:
    """Floating-point operations of one training step, forward and backward, per token.

    A weight in a matrix product costs 6 operations a token (2 forward, 4 backward), attention scores and their mix
    12 * num_layers * hidden_dim * length. ALBERT's shared layer counts once per use; embedding look-ups count nothing,
    GPT's tied output layer does.

    Args:
        backbone: an `AlbertBackbone` or a `GPTBackbone`.
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
    hidden, inner = backbone.hidden_dim, backbone.intermediate_dim
    if hasattr(backbone, "num_inner_repetitions"):  # ALBERT
        layers = backbone.num_layers * backbone.num_inner_repetitions
        ends = backbone.embedding_dim * hidden
    else:
        layers = backbone.num_layers
        ends = hidden * backbone.vocabulary_size
    weights = layers * (4 * hidden * hidden + 2 * hidden * inner) + ends
    return 6.0 * weights + 12.0 * layers * hidden * sequence_length


def measured_peak_flops(dtype: str = "float32", size: int = 1536, repeats: int = 5) -> float:
    """Floating-point operations a second that a square matrix product reaches on the first device.

    Args:
        dtype: str, dtype of the matrices. Defaults to `"float32"`.
        size: int, their side. Defaults to 1536.
        repeats: int, products timed; the fastest counts. Defaults to 5.

    Returns:
        float.
    """
    matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), dtype)
    fastest = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        float(tf.matmul(matrix, matrix)[0, 0])  # waits for the result
        fastest = min(fastest, time.perf_counter() - start)
    return 2.0 * size**3 / fastest
