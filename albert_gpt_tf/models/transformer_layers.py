"""The layers that ALBERT and GPT share: token embedding, self-attention, feed-forward network and layer norm.

Axes: batch, length, heads, head_dim; `query` and `key` are lengths. Kernels are `[in, heads * head_dim]` and biases
flat, so that a rule such as "no weight decay on rank 1" sees a bias as a bias.
"""

from collections.abc import Callable

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.activations import get_activation

# Added to the score of a key that must not be seen. Finite, so that a row with no visible key gives no NaN, and
# within the range of bfloat16 and float16 once halved by two such masks.
MASKED = -30000.0


def key_padding_bias(padding_mask):
    """Turns a padding mask into a score bias: [batch, key] bool -> [batch, 1, 1, key] float32."""
    return tf.where(tf.cast(padding_mask, "bool"), 0.0, MASKED)[:, None, None, :]


def causal_bias(length):
    """Hides the future: length -> [1, 1, query, key] float32 with MASKED above the diagonal."""
    position = tf.range(length)
    return tf.where(position[:, None] >= position[None, :], 0.0, MASKED)[None, None]


class TokenEmbedding(keras_nlp.layers.ReversibleEmbedding):
    """Token embedding that also compares: called with `reverse=True` on hidden states it gives a logit for each token.

    Keras' layer compares in float32 whatever the policy is, because the table is. On the CPU that takes twice the time
    of bfloat16, for a third of the work of GPT-2 small.
    """

    def call(self, inputs, reverse=False):
        """int [...] -> [..., output_dim]; with `reverse` float [..., output_dim] -> [..., input_dim]."""
        if not reverse or self.quantization_mode is not None:
            return super().call(inputs, reverse=reverse)
        table = tf.cast(self._embeddings.value, self.compute_dtype)  # [input_dim, output_dim]
        rows = tf.reshape(tf.cast(inputs, self.compute_dtype), [-1, self.output_dim])
        logits = tf.matmul(rows, table, transpose_b=True)  # [rows, input_dim]
        return tf.reshape(logits, tf.concat([tf.shape(inputs)[:-1], [self.input_dim]], 0))

    def quantize(self, mode=None, type_check=True, config=None):
        """As the base class, which would refuse a subclass."""
        super().quantize(mode, type_check=False, config=config)


class SelfAttention(keras.layers.Layer):
    """Multi-head scaled dot-product self-attention.

    Args:
        num_heads: int, number of heads.
        head_dim: int, width of a head.
        kernel_initializer: keras initializer of the query, key and value kernels.
        output_initializer: keras initializer of the output kernel. Defaults to `kernel_initializer`.
        dropout: float, dropout rate of the attention probabilities. Defaults to 0.
        use_bias: bool, whether the four dense layers have a bias. Defaults to `True`.
        scale: float, factor of the scores. Defaults to `head_dim ** -0.5`.

    Reference:
        Vaswani et al., 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, num_heads, head_dim, kernel_initializer, output_initializer=None, dropout=0.0, use_bias=True,
                 scale=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.use_bias = use_bias
        self.scale = head_dim**-0.5 if scale is None else scale
        self.kernel_initializer = kernel_initializer
        self.output_initializer = output_initializer or kernel_initializer
        self.probability_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        hidden_dim, width = input_shape[-1], self.num_heads * self.head_dim
        self.query = self._dense(hidden_dim, width, self.kernel_initializer, "query")
        self.key = self._dense(hidden_dim, width, self.kernel_initializer, "key")
        self.value = self._dense(hidden_dim, width, self.kernel_initializer, "value")
        self.output_dense = self._dense(width, hidden_dim, self.output_initializer, "output")

    def _dense(self, in_dim, out_dim, initializer, name):
        return _dense(in_dim, out_dim, initializer, self.dtype_policy, name, self.use_bias)

    def call(self, x, attention_bias, remember: Callable | None = None, return_probabilities=False, training=None):
        """Mixes the positions.

        Args:
            x: float [batch, length, hidden_dim].
            attention_bias: float, broadcast over [batch, heads, query, key]; `MASKED` hides a key.
            remember: function (key, value) -> (key, value), each [batch, heads, length, head_dim]. A cache puts
                itself here: it stores the new keys and values and gives back those that the query may see.
            return_probabilities: bool, gives the attention probabilities too, before dropout. Defaults to `False`.
            training: bool, applies dropout.

        Returns:
            float [batch, length, hidden_dim]; on request also float32 [batch, heads, query, key].
        """
        # [batch, length, heads * head_dim] -> [batch, heads, length, head_dim]
        query, key, value = (self._split_heads(dense(x)) for dense in (self.query, self.key, self.value))
        if remember is not None:
            key, value = remember(key, value)
        scores = tf.matmul(query * self.scale, key, transpose_b=True)  # [batch, heads, query, key]
        # The softmax runs in float32 under every precision policy. (Keras casts the bias, too, when it calls a layer.)
        probabilities = tf.nn.softmax(tf.cast(scores, "float32") + tf.cast(attention_bias, "float32"))
        dropped = self.probability_dropout(tf.cast(probabilities, self.compute_dtype), training=training)
        mixed = tf.matmul(dropped, value)  # [batch, heads, query, head_dim]
        # [batch, heads, length, head_dim] -> [batch, length, heads * head_dim]
        mixed = tf.transpose(mixed, [0, 2, 1, 3])
        shape = tf.shape(mixed)
        mixed = self.output_dense(tf.reshape(mixed, [shape[0], shape[1], self.num_heads * self.head_dim]))
        return (mixed, probabilities) if return_probabilities else mixed

    def _split_heads(self, x):
        shape = tf.shape(x)
        return tf.transpose(tf.reshape(x, [shape[0], shape[1], self.num_heads, self.head_dim]), [0, 2, 1, 3])

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return input_shape


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class LayerNorm(keras.layers.LayerNormalization):
    """Layer norm over the last axis, in float32 under every precision policy.

    Keras' layer scales first and then subtracts the scaled mean: two large products that cancel. Here the mean is taken
    off first. On rows of mean 100 and spread 0.01 that errs by 1.1e-3 instead of 1.8e-3 (PyTorch: 1.2e-3); what is left
    is the rounding of the float32 mean.

    Reference:
        Ba et al., 2016, arXiv:1607.06450.
    """

    def call(self, x):
        """float [..., hidden_dim] -> the same shape."""
        x = tf.cast(x, "float32")
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        normed = centred * tf.math.rsqrt(variance + self.epsilon)
        gamma, beta = tf.cast(self.gamma, "float32"), tf.cast(self.beta, "float32")
        return tf.cast(normed * gamma + beta, self.compute_dtype)


class FeedForward(keras.layers.Layer):
    """The position-wise network: widen, activate, narrow.

    Args:
        intermediate_dim: int, inner width.
        activation: str, see `get_activation`.
        kernel_initializer: keras initializer of the first kernel.
        output_initializer: keras initializer of the second kernel. Defaults to `kernel_initializer`.
        use_bias: bool, whether the two dense layers have a bias. Defaults to `True`.

    Reference:
        Vaswani et al., 2017, arXiv:1706.03762, section 3.3.
    """

    def __init__(self, intermediate_dim, activation, kernel_initializer, output_initializer=None, use_bias=True,
                 **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.intermediate_dim = intermediate_dim
        self.activation = get_activation(activation)
        self.kernel_initializer = kernel_initializer
        self.output_initializer = output_initializer or kernel_initializer

    def build(self, input_shape):
        hidden_dim, width = input_shape[-1], self.intermediate_dim
        self.intermediate_dense = self._dense(hidden_dim, width, self.kernel_initializer, "intermediate")
        self.output_dense = self._dense(width, hidden_dim, self.output_initializer, "output")

    def _dense(self, in_dim, out_dim, initializer, name):
        return _dense(in_dim, out_dim, initializer, self.dtype_policy, name, self.use_bias)

    def call(self, x):
        """float [batch, length, hidden_dim] -> the same shape."""
        return self.output_dense(self.activation(self.intermediate_dense(x)))

    def compute_output_shape(self, input_shape):
        return input_shape


def _dense(in_dim, out_dim, initializer, dtype, name, use_bias):
    """A built dense layer, its kernel `[in_dim, out_dim]` drawn with a seed of its own."""
    layer = keras.layers.Dense(
        out_dim, use_bias=use_bias, kernel_initializer=initializer.clone(), dtype=dtype, name=name
    )
    layer.build((None, None, in_dim))
    return layer
