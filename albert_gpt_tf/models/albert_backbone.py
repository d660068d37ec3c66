"""ALBERT: a BERT encoder with a factorized embedding and one set of layer weights used many times.

Full definition of the encoder, from token ids to hidden states; the heads are in `tasks`. Post-norm: the layer norm
comes after each residual addition. Reference: Lan et al., 2019, "ALBERT: A Lite BERT", arXiv:1909.11942.
"""

import keras
import keras_nlp

from albert_gpt_tf.models.transformer_layers import FeedForward, LayerNorm, SelfAttention, key_padding_bias


class AlbertLayer(keras.layers.Layer):
    """One encoder layer: self-attention and feed-forward, each followed by residual and layer norm.

    Its weights are used `num_layers / num_groups` times.

    Args:
        num_heads: int, number of attention heads.
        intermediate_dim: int, inner width of the feed-forward network.
        activation: str, see `get_activation`.
        dropout: float, dropout rate of what is added to the residual.
        attention_dropout: float, dropout rate of the attention probabilities.
        layer_norm_epsilon: float.
        initializer_range: float, standard deviation of the kernels.
    """

    def __init__(self, num_heads, intermediate_dim, activation, dropout, attention_dropout, layer_norm_epsilon,
                 initializer_range, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.kernel_initializer = keras.initializers.TruncatedNormal(stddev=initializer_range)
        self.attention_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="attention_norm")
        self.feed_forward = FeedForward(
            intermediate_dim, activation, self.kernel_initializer, dtype=self.dtype_policy, name="feed_forward"
        )
        self.feed_forward_norm = LayerNorm(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="feed_forward_norm"
        )
        self.residual_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, hidden_shape, attention_bias_shape=None):
        self.attention = SelfAttention(
            self.num_heads,
            hidden_shape[-1] // self.num_heads,
            self.kernel_initializer,
            dropout=self.attention_dropout,
            dtype=self.dtype_policy,
            name="attention",
        )
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(hidden_shape)

    def call(self, hidden, attention_bias, training=None):
        """float [batch, length, hidden_dim], float32 [batch, 1, 1, key] -> [batch, length, hidden_dim]."""
        attended = self.attention(hidden, attention_bias, training=training)
        hidden = self.attention_norm(hidden + self.residual_dropout(attended, training=training))
        transformed = self.residual_dropout(self.feed_forward(hidden), training=training)
        return self.feed_forward_norm(hidden + transformed)

    def compute_output_shape(self, hidden_shape, attention_bias_shape=None):
        return hidden_shape


class KeyPaddingBias(keras.layers.Layer):
    """`key_padding_bias` as a layer: [batch, key] -> float32 [batch, 1, 1, key]."""

    def call(self, padding_mask):
        return key_padding_bias(padding_mask)

    def compute_output_shape(self, mask_shape):
        return (mask_shape[0], 1, 1, mask_shape[1])

    def compute_output_spec(self, padding_mask):
        return keras.KerasTensor(self.compute_output_shape(padding_mask.shape), dtype="float32")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertBackbone(keras_nlp.models.Backbone):
    """The ALBERT encoder.

    Inputs are a dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool, true for real tokens), each
    `[batch, length]`. Outputs are a dict of `sequence_output` `[batch, length, hidden_dim]` and `pooled_output`
    `[batch, hidden_dim]` (tanh of a dense layer on the first position).

    Args:
        vocabulary_size: int, number of token ids.
        num_layers: int, number of times a layer is applied; must be divisible by `num_groups`.
        num_heads: int, number of attention heads; must divide `hidden_dim`.
        hidden_dim: int, width of the encoder.
        intermediate_dim: int, inner width of the feed-forward network.
        embedding_dim: int, width of the embedding tables. Defaults to 128.
        num_groups: int, number of sets of layer weights. Defaults to 1: all layers share one.
        num_inner_repetitions: int, number of layers with own weights inside a group. Defaults to 1.
        dropout: float, dropout rate of embeddings and residual branches. Defaults to 0, as in the v2 models.
        attention_dropout: float, dropout rate of attention probabilities. Defaults to 0.
        max_sequence_length: int, number of positions. Defaults to 512.
        num_segments: int, number of segment types. Defaults to 2.
        activation: str, `"gelu_new"`, `"gelu"` or `"relu"`. Defaults to `"gelu_new"`, as in the v2 models.
        layer_norm_epsilon: float. Defaults to 1e-12.
        initializer_range: float, standard deviation of the truncated normal. Defaults to 0.02.
        dtype: str or keras dtype policy of the computations. Defaults to the global policy.

    Raises:
        ValueError: sizes do not divide as stated above.

    Example:
        >>> backbone = AlbertBackbone(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> ids = np.ones((1, 5), "int32")
        >>> outputs = backbone({"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids > 0})
        >>> outputs["sequence_output"].shape
        TensorShape([1, 5, 8])

    Reference:
        arXiv:1909.11942, section 3; google-research/albert `modeling.py`.
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        embedding_dim=128,
        num_groups=1,
        num_inner_repetitions=1,
        dropout=0.0,
        attention_dropout=0.0,
        max_sequence_length=512,
        num_segments=2,
        activation="gelu_new",
        layer_norm_epsilon=1e-12,
        initializer_range=0.02,
        dtype=None,
        **kwargs,
    ):
        if num_layers % num_groups:
            raise ValueError(
                "num_layers must be divisible by num_groups. "
                f"Received: num_layers={num_layers}, num_groups={num_groups}"
            )
        if hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads. Received: hidden_dim={hidden_dim}, num_heads={num_heads}"
            )

        # === Layers ===
        def initializer():
            return keras.initializers.TruncatedNormal(stddev=initializer_range)

        self.token_embedding = keras_nlp.layers.ReversibleEmbedding(
            vocabulary_size, embedding_dim, embeddings_initializer=initializer(), dtype=dtype, name="token_embedding"
        )
        self.position_embedding = keras_nlp.layers.PositionEmbedding(
            max_sequence_length, initializer=initializer(), dtype=dtype, name="position_embedding"
        )
        self.segment_embedding = keras.layers.Embedding(
            num_segments, embedding_dim, embeddings_initializer=initializer(), dtype=dtype, name="segment_embedding"
        )
        self.embedding_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=dtype, name="embedding_norm")
        self.embedding_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="embedding_dropout")
        self.embedding_projection = keras.layers.Dense(
            hidden_dim, kernel_initializer=initializer(), dtype=dtype, name="embedding_projection"
        )
        self.groups = [
            [
                AlbertLayer(
                    num_heads=num_heads,
                    intermediate_dim=intermediate_dim,
                    activation=activation,
                    dropout=dropout,
                    attention_dropout=attention_dropout,
                    layer_norm_epsilon=layer_norm_epsilon,
                    initializer_range=initializer_range,
                    dtype=dtype,
                    name=f"group_{group}_inner_layer_{inner}",
                )
                for inner in range(num_inner_repetitions)
            ]
            for group in range(num_groups)
        ]
        self.pooler = keras.layers.Dense(
            hidden_dim, activation="tanh", kernel_initializer=initializer(), dtype=dtype, name="pooler"
        )

        # === Functional Model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        segment_ids = keras.Input((None,), dtype="int32", name="segment_ids")
        padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
        # Embed tokens, positions and segments in the narrow width, then widen.
        tokens = self.token_embedding(token_ids)  # [batch, length, embedding_dim]
        embedded = tokens + self.position_embedding(tokens) + self.segment_embedding(segment_ids)
        embedded = self.embedding_dropout(self.embedding_norm(embedded))
        hidden = self.embedding_projection(embedded)  # [batch, length, hidden_dim]
        # Apply each group's layers again and again.
        attention_bias = KeyPaddingBias(dtype=dtype, name="attention_bias")(padding_mask)
        for layer_index in range(num_layers):
            for layer in self.groups[layer_index * num_groups // num_layers]:
                hidden = layer(hidden, attention_bias)
        pooled = self.pooler(hidden[:, 0])  # [batch, hidden_dim]
        super().__init__(
            inputs={"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask},
            outputs={"sequence_output": hidden, "pooled_output": pooled},
            dtype=dtype,
            **kwargs,
        )

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.embedding_dim = embedding_dim
        self.num_groups = num_groups
        self.num_inner_repetitions = num_inner_repetitions
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range

    def get_config(self):
        names = (
            "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim",
            "num_groups", "num_inner_repetitions", "dropout", "attention_dropout", "max_sequence_length",
            "num_segments", "activation", "layer_norm_epsilon", "initializer_range",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
