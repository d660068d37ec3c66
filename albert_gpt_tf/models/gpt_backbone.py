"""GPT: a decoder-only transformer language model in the form of GPT-2.

Full definition of the decoder, from token ids to hidden states; the head is in `tasks`, the decoding loop in
`generation`. Pre-norm: the layer norm comes before each residual branch, and once more at the end. Reference:
Radford et al., 2019, "Language Models are Unsupervised Multitask Learners"; openai/gpt-2 `src/model.py`.
"""

import keras
import keras_nlp

from albert_gpt_tf.models.transformer_layers import FeedForward, LayerNorm, SelfAttention, causal_bias, key_padding_bias


class GPTLayer(keras.layers.Layer):
    """One decoder layer: layer norm and self-attention, layer norm and feed-forward, each added to the residual.

    Args:
        num_heads: int, number of attention heads.
        intermediate_dim: int, inner width of the feed-forward network.
        activation: str, see `get_activation`.
        dropout: float, dropout rate of attention probabilities and of what is added to the residual.
        layer_norm_epsilon: float.
        initializer_range: float, standard deviation of the kernels.
        residual_initializer_range: float, standard deviation of the two kernels that write the residual.
    """

    def __init__(self, num_heads, intermediate_dim, activation, dropout, layer_norm_epsilon, initializer_range,
                 residual_initializer_range, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.RandomNormal(stddev=initializer_range)
        self.residual_initializer = keras.initializers.RandomNormal(stddev=residual_initializer_range)
        self.attention_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="attention_norm")
        self.feed_forward_norm = LayerNorm(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="feed_forward_norm"
        )
        self.feed_forward = FeedForward(
            intermediate_dim,
            activation,
            self.kernel_initializer,
            self.residual_initializer,
            dtype=self.dtype_policy,
            name="feed_forward",
        )
        self.residual_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, hidden_shape, attention_bias_shape=None):
        self.attention = SelfAttention(
            self.num_heads,
            hidden_shape[-1] // self.num_heads,
            self.kernel_initializer,
            self.residual_initializer,
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name="attention",
        )
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(hidden_shape)

    def call(self, hidden, attention_bias, remember=None, training=None):
        """float [batch, length, hidden_dim] -> the same shape; the other arguments are those of `SelfAttention`."""
        attended = self.attention(self.attention_norm(hidden), attention_bias, remember=remember, training=training)
        hidden = hidden + self.residual_dropout(attended, training=training)
        transformed = self.feed_forward(self.feed_forward_norm(hidden))
        return hidden + self.residual_dropout(transformed, training=training)

    def compute_output_shape(self, hidden_shape, attention_bias_shape=None):
        return hidden_shape


class CausalBias(keras.layers.Layer):
    """Hides padding and the future: bool [batch, length] -> float32 [batch, 1, query, key]."""

    def call(self, padding_mask):
        return causal_bias(keras.ops.shape(padding_mask)[1]) + key_padding_bias(padding_mask)

    def compute_output_spec(self, padding_mask):
        batch, length = padding_mask.shape
        return keras.KerasTensor((batch, 1, length, length), dtype="float32")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTBackbone(keras_nlp.models.Backbone):
    """The GPT-2 decoder.

    Inputs are a dict of `token_ids` (int32) and `padding_mask` (bool, true for real tokens), each `[batch, length]`.
    The output is the final layer norm's, `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: int, number of token ids.
        num_layers: int, number of layers.
        num_heads: int, number of attention heads; must divide `hidden_dim`.
        hidden_dim: int, width of the decoder.
        intermediate_dim: int, inner width of the feed-forward network. Defaults to `4 * hidden_dim`.
        dropout: float, dropout rate of embeddings, attention probabilities and residual branches. Defaults to 0.
        max_sequence_length: int, number of positions. Defaults to 1024.
        activation: str, `"gelu_new"`, `"gelu"` or `"relu"`. Defaults to `"gelu_new"`.
        layer_norm_epsilon: float. Defaults to 1e-5.
        initializer_range: float, standard deviation of kernels and token embedding. Defaults to 0.02; positions have
            half of it, and kernels that write the residual `initializer_range / sqrt(2 * num_layers)`.
        dtype: str or keras dtype policy of the computations. Defaults to the global policy.

    Raises:
        ValueError: `hidden_dim` is not divisible by `num_heads`.

    Example:
        >>> backbone = GPTBackbone(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=8)
        >>> ids = np.ones((1, 5), "int32")
        >>> backbone({"token_ids": ids, "padding_mask": ids > 0}).shape
        TensorShape([1, 5, 8])

    Reference:
        Radford et al., 2019, section 2.3; position embedding 0.01 as in the released code.
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim=None,
        dropout=0.0,
        max_sequence_length=1024,
        activation="gelu_new",
        layer_norm_epsilon=1e-5,
        initializer_range=0.02,
        dtype=None,
        **kwargs,
    ):
        if hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads. Received: hidden_dim={hidden_dim}, num_heads={num_heads}"
            )
        intermediate_dim = intermediate_dim or 4 * hidden_dim

        # === Layers ===
        self.token_embedding = keras_nlp.layers.ReversibleEmbedding(
            vocabulary_size,
            hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=initializer_range),
            dtype=dtype,
            name="token_embedding",
        )
        self.position_embedding = keras_nlp.layers.PositionEmbedding(
            max_sequence_length,
            initializer=keras.initializers.RandomNormal(stddev=initializer_range / 2),
            dtype=dtype,
            name="position_embedding",
        )
        self.embedding_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="embedding_dropout")
        self.transformer_layers = [
            GPTLayer(
                num_heads=num_heads,
                intermediate_dim=intermediate_dim,
                activation=activation,
                dropout=dropout,
                layer_norm_epsilon=layer_norm_epsilon,
                initializer_range=initializer_range,
                residual_initializer_range=initializer_range / (2 * num_layers) ** 0.5,
                dtype=dtype,
                name=f"transformer_layer_{index}",
            )
            for index in range(num_layers)
        ]
        self.final_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=dtype, name="final_norm")

        # === Functional Model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
        # Embed tokens and positions.
        tokens = self.token_embedding(token_ids)  # [batch, length, hidden_dim]
        hidden = self.embedding_dropout(tokens + self.position_embedding(tokens))
        # Apply the layers.
        attention_bias = CausalBias(dtype=dtype, name="attention_bias")(padding_mask)
        for layer in self.transformer_layers:
            hidden = layer(hidden, attention_bias)
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=self.final_norm(hidden),
            dtype=dtype,
            **kwargs,
        )

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range

    def call_with_caches(self, token_ids, positions, attention_bias, caches):
        """Runs the decoder on tokens whose predecessors are in caches.

        Args:
            token_ids: int32 [batch, length].
            positions: int32 [batch, length], the position of each token in its row.
            attention_bias: float32, broadcast over [batch, heads, query, key].
            caches: list of one `remember` function a layer, see `SelfAttention`.

        Returns:
            float [batch, length, hidden_dim], the final layer norm's output.
        """
        # A gather from the variable beside the tied logits would copy the whole table at every step; a gather from
        # its value does not (8 to 10 ms a step at GPT-2's size).
        table = keras.ops.convert_to_tensor(self.token_embedding.embeddings)
        places = keras.ops.convert_to_tensor(self.position_embedding.position_embeddings)
        hidden = keras.ops.take(table, token_ids, axis=0) + keras.ops.take(places, positions, axis=0)
        hidden = keras.ops.cast(hidden, self.token_embedding.compute_dtype)
        for layer, cache in zip(self.transformer_layers, caches, strict=True):
            hidden = layer(hidden, attention_bias, remember=cache, training=False)
        return self.final_norm(hidden)

    def get_config(self):
        names = (
            "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "dropout",
            "max_sequence_length", "activation", "layer_norm_epsilon", "initializer_range",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
