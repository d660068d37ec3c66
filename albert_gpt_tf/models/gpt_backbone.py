"""GPT: a decoder-only transformer language model, in the forms of GPT-1, GPT-2 and GPT-3.

Full definition of the decoder, from token ids to hidden states; the head is in `tasks`, the decoding loop in
`generation`. References: Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training" (GPT-1);
Radford et al., 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2), openai/gpt-2 `src/model.py`;
Brown et al., 2020, arXiv:2005.14165 (GPT-3).
"""

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.transformer_layers import (
    MASKED,
    FeedForward,
    LayerNorm,
    SelfAttention,
    TokenEmbedding,
    causal_bias,
    key_padding_bias,
)


class GPTLayer(keras.layers.Layer):
    """One decoder layer: self-attention and feed-forward, each added to the residual.

    Args:
        num_heads, ..., use_bias: those of `GPTBackbone`.
        attention_scale: float, factor of the attention scores.
        recompute: bool, whether training computes the layer once more in the backward pass instead of keeping it.
        initializer_range: float, standard deviation of the kernels.
        residual_initializer_range: float, standard deviation of the two kernels that write the residual.
    """

    def __init__(self, num_heads, head_dim, intermediate_dim, activation, dropout, attention_dropout,
                 layer_norm_epsilon, norm_first, use_bias, attention_scale, recompute, initializer_range,
                 residual_initializer_range, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.norm_first = norm_first
        self.recompute = recompute
        kernel_initializer = keras.initializers.RandomNormal(stddev=initializer_range)
        residual_initializer = keras.initializers.RandomNormal(stddev=residual_initializer_range)
        dtype = self.dtype_policy
        self.attention = SelfAttention(
            num_heads, head_dim, kernel_initializer, residual_initializer, dropout=attention_dropout,
            use_bias=use_bias, scale=attention_scale, dtype=dtype, name="attention",
        )  # fmt: skip
        self.attention_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=dtype, name="attention_norm")
        self.feed_forward = FeedForward(
            intermediate_dim, activation, kernel_initializer, residual_initializer, use_bias=use_bias, dtype=dtype,
            name="feed_forward",
        )  # fmt: skip
        self.feed_forward_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=dtype, name="feed_forward_norm")
        # Two, so that each draws one mask a call.
        self.attended_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="attended_dropout")
        self.transformed_dropout = keras.layers.Dropout(dropout, dtype=dtype, name="transformed_dropout")

    def build(self, hidden_shape, attention_bias_shape=None):
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(hidden_shape)

    def call(self, hidden, attention_bias, remember=None, return_probabilities=False, training=None):
        """float [batch, length, hidden_dim] -> the same shape; the other arguments are those of `SelfAttention`."""
        if self.recompute and training:
            return self._call_and_recompute(hidden, attention_bias)
        return self._call(hidden, attention_bias, remember, return_probabilities, training)

    def _call(self, hidden, attention_bias, remember=None, return_probabilities=False, training=None):
        attended = self.attention(
            self.attention_norm(hidden) if self.norm_first else hidden,
            attention_bias,
            remember=remember,
            return_probabilities=return_probabilities,
            training=training,
        )
        attended, *probabilities = attended if return_probabilities else [attended]
        hidden = hidden + self.attended_dropout(attended, training=training)
        if not self.norm_first:
            hidden = self.attention_norm(hidden)
        transformed = self.feed_forward(self.feed_forward_norm(hidden) if self.norm_first else hidden)
        hidden = hidden + self.transformed_dropout(transformed, training=training)
        if not self.norm_first:
            hidden = self.feed_forward_norm(hidden)
        return (hidden, *probabilities) if return_probabilities else hidden

    def _call_and_recompute(self, hidden, attention_bias):
        """The training call, of which the backward pass gets the arguments alone and computes the rest once more.

        Dropout must draw the same masks then: their seeds are drawn here and given to both computations.
        """
        dropouts = (self.attention.probability_dropout, self.attended_dropout, self.transformed_dropout)
        generators = [dropout.seed_generator for dropout in dropouts if dropout.rate > 0]

        def call_with_seeds(hidden, attention_bias, *seeds):
            states = [generator.state for generator in generators]
            with keras.StatelessScope([(s, tf.cast(seed, s.dtype)) for s, seed in zip(states, seeds, strict=True)]):
                return self._call(hidden, attention_bias, training=True)

        # As arguments they are tied to the backward pass, so that no optimiser of graphs makes one computation of the
        # two; as float64, which holds them exactly, because TensorFlow warns of integers whose gradient is asked for.
        seeds = [tf.cast(generator.next(), "float64") for generator in generators]
        return tf.recompute_grad(call_with_seeds)(hidden, attention_bias, *seeds)

    def compute_output_shape(self, hidden_shape, attention_bias_shape=None):
        return hidden_shape


class CausalBias(keras.layers.Layer):
    """Hides padding and the future: bool [batch, length] -> float32 [batch, 1, query, key].

    Args:
        window: int, with it a query sees only so many positions, itself the last of them. Defaults to `None`.
    """

    def __init__(self, window=None, **kwargs):
        super().__init__(**kwargs)
        self.window = window

    def call(self, padding_mask):
        length = tf.shape(padding_mask)[1]
        bias = causal_bias(length) + key_padding_bias(padding_mask)
        return bias if self.window is None else bias + window_bias(tf.range(length)[None], length, self.window)

    def compute_output_spec(self, padding_mask):
        batch, length = padding_mask.shape
        return keras.KerasTensor((batch, 1, length, length), dtype="float32")


def window_bias(positions, num_keys, window):
    """Hides what is `window` or more positions back: int32 [batch, query] -> float32 [batch, 1, query, key]."""
    distance = positions[:, :, None] - tf.range(num_keys)  # [batch, query, key]
    return tf.where(distance < window, 0.0, MASKED)[:, None]


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTBackbone(keras_nlp.models.Backbone):
    """The GPT decoder. The defaults are GPT-2's form.

    Inputs are a dict of `token_ids` (int32) and `padding_mask` (bool, true for real tokens), each `[batch, length]`.
    The output is the final layer norm's (GPT-1: the last layer's), `[batch, length, hidden_dim]`.

    Args:
        vocabulary_size: int, number of token ids.
        num_layers: int, number of layers.
        num_heads: int, number of attention heads; must divide `hidden_dim` if `head_dim` is not given.
        hidden_dim: int, width of the decoder.
        intermediate_dim: int, inner width of the feed-forward network. Defaults to `4 * hidden_dim`.
        head_dim: int, width of a head. Defaults to `hidden_dim / num_heads`; two sizes of GPT-3 have another one.
        dropout: float, dropout rate of what is added to the residual. Defaults to 0.
        embedding_dropout: float, dropout rate of the embeddings. Defaults to `dropout`.
        attention_dropout: float, dropout rate of attention probabilities. Defaults to `dropout`.
        max_sequence_length: int, number of positions. Defaults to 1024.
        activation: str, `"gelu_new"`, `"gelu"` or `"relu"`. Defaults to `"gelu_new"`.
        layer_norm_epsilon: float. Defaults to 1e-5.
        norm_first: bool, layer norm before each branch and at the end; `False` for GPT-1: after each addition, and
            none at the end. Defaults to `True`.
        use_bias: bool, whether the dense layers have a bias. Defaults to `True`.
        scale_attention_by_layer: bool, whether the scores of layer i are divided by i + 1, too. Defaults to `False`.
        attention_window: int, with it every second layer, the first not among them, sees only so many positions, the
            query's own included (GPT-3's locally banded layers). Defaults to `None`: all layers see all.
        recompute: bool, whether training keeps only the inputs of the layers and computes the layers once more in the
            backward pass: a third more work for much less memory, and the same gradients. Defaults to `False`.
        initializer_range: float, standard deviation of kernels and token embedding. Defaults to 0.02; positions have
            half of it, and kernels that write the residual `initializer_range / sqrt(2 * num_layers)`.
        dtype: str or keras dtype policy of the computations. Defaults to the global policy.

    Raises:
        ValueError: `hidden_dim` is not divisible by `num_heads` and there is no `head_dim`; or `attention_window` is
            below 1.

    Example:
        >>> backbone = GPTBackbone(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=8)
        >>> ids = np.ones((1, 5), "int32")
        >>> backbone({"token_ids": ids, "padding_mask": ids > 0}).shape
        TensorShape([1, 5, 8])

    Reference:
        Radford et al., 2018, section 4.1; Radford et al., 2019, section 2.3, position embedding 0.01 as in the
        released code; Brown et al., 2020, section 2.1, and Child et al., 2019, arXiv:1904.10509, for the windows.
    """

    def __init__(self, vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim=None, head_dim=None,
                 dropout=0.0, embedding_dropout=None, attention_dropout=None, max_sequence_length=1024,
                 activation="gelu_new", layer_norm_epsilon=1e-5, norm_first=True, use_bias=True,
                 scale_attention_by_layer=False, attention_window=None, recompute=False, initializer_range=0.02,
                 dtype=None, **kwargs):  # fmt: skip
        if head_dim is None and hidden_dim % num_heads:
            raise ValueError(
                "Expected hidden_dim divisible by num_heads, or head_dim. "
                f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}, head_dim=None. Change one of them."
            )
        if attention_window is not None and attention_window < 1:
            raise ValueError(
                "Expected attention_window of 1 or more, or None. "
                f"Received: attention_window={attention_window}. None lets all layers see all positions."
            )
        head_dim = head_dim or hidden_dim // num_heads
        intermediate_dim = intermediate_dim or 4 * hidden_dim

        # === Layers ===
        self.token_embedding = TokenEmbedding(
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
        self.embedded_dropout = keras.layers.Dropout(
            dropout if embedding_dropout is None else embedding_dropout, dtype=dtype, name="embedding_dropout"
        )
        # One for all layers, or two that take turns.
        self.attention_biases = [CausalBias(dtype=dtype, name="attention_bias")]
        if attention_window is not None:
            self.attention_biases.append(CausalBias(attention_window, dtype=dtype, name="banded_attention_bias"))
        self.transformer_layers = [
            GPTLayer(
                num_heads=num_heads,
                head_dim=head_dim,
                intermediate_dim=intermediate_dim,
                activation=activation,
                dropout=dropout,
                attention_dropout=dropout if attention_dropout is None else attention_dropout,
                layer_norm_epsilon=layer_norm_epsilon,
                norm_first=norm_first,
                use_bias=use_bias,
                attention_scale=head_dim**-0.5 / (index + 1 if scale_attention_by_layer else 1),
                recompute=recompute,
                initializer_range=initializer_range,
                residual_initializer_range=initializer_range / (2 * num_layers) ** 0.5,
                dtype=dtype,
                name=f"transformer_layer_{index}",
            )
            for index in range(num_layers)
        ]
        self.final_norm = None
        if norm_first:
            self.final_norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=dtype, name="final_norm")

        # === Functional Model ===
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
        # Embed tokens and positions.
        tokens = self.token_embedding(token_ids)  # [batch, length, hidden_dim]
        hidden = self.embedded_dropout(tokens + self.position_embedding(tokens))
        # Apply the layers.
        biases = [bias(padding_mask) for bias in self.attention_biases]
        for index, layer in enumerate(self.transformer_layers):
            hidden = layer(hidden, biases[index % len(biases)])
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=self.final_norm(hidden) if norm_first else hidden,
            dtype=dtype,
            **kwargs,
        )

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.head_dim = head_dim
        self.dropout = dropout
        self.embedding_dropout = embedding_dropout
        self.attention_dropout = attention_dropout
        self.max_sequence_length = max_sequence_length
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.norm_first = norm_first
        self.use_bias = use_bias
        self.scale_attention_by_layer = scale_attention_by_layer
        self.attention_window = attention_window
        self.recompute = recompute
        self.initializer_range = initializer_range

    def inspect(self, inputs):
        """Runs the decoder, without dropout, and keeps what is inside.

        Args:
            inputs: dict as for calling the backbone.

        Returns:
            A dict of `sequence_output`, float [batch, length, hidden_dim], what calling the backbone gives;
            `hidden_states`, a tuple of `num_layers + 1` such tensors: the embeddings, then the output of each layer,
            the last one after the final norm; `attentions`, a tuple of one float32 [batch, heads, query, key] a layer.

        Example:
            >>> inspected = backbone.inspect({"token_ids": ids, "padding_mask": ids > 0})
            >>> len(inspected["hidden_states"]), inspected["attentions"][0].shape
            (3, TensorShape([1, 2, 5, 5]))

        Reference:
            Transformers' `output_hidden_states` and `output_attentions`.
        """
        tokens = self.token_embedding(inputs["token_ids"])
        hidden = tokens + self.position_embedding(tokens)
        biases = [bias(inputs["padding_mask"]) for bias in self.attention_biases]
        hidden_states, attentions = [hidden], []
        for index, layer in enumerate(self.transformer_layers):
            bias = biases[index % len(biases)]
            hidden, probabilities = layer(hidden, bias, return_probabilities=True, training=False)
            hidden_states.append(hidden)
            attentions.append(probabilities)
        if self.final_norm is not None:
            hidden_states[-1] = self.final_norm(hidden)
        hidden_states, attentions = tuple(hidden_states), tuple(attentions)
        return {"sequence_output": hidden_states[-1], "hidden_states": hidden_states, "attentions": attentions}

    def call_with_caches(self, token_ids, positions, attention_bias, caches):
        """Runs the decoder on tokens whose predecessors are in caches.

        Args:
            token_ids: int32 [batch, length].
            positions: int32 [batch, length], the position of each token in its row.
            attention_bias: float32, broadcast over [batch, heads, query, key]; key i is at position i of its row.
            caches: list of one `remember` function a layer, see `SelfAttention`.

        Returns:
            float [batch, length, hidden_dim], what calling the backbone on the whole rows would give.
        """
        # A gather from the variable beside the tied logits would copy the whole table at every step; a gather from
        # its value does not (8 to 10 ms a step at GPT-2's size).
        table = keras.ops.convert_to_tensor(self.token_embedding.embeddings)
        places = keras.ops.convert_to_tensor(self.position_embedding.position_embeddings)
        hidden = keras.ops.take(table, token_ids, axis=0) + keras.ops.take(places, positions, axis=0)
        hidden = keras.ops.cast(hidden, self.token_embedding.compute_dtype)
        biases = [attention_bias]
        if self.attention_window is not None:
            num_keys = tf.shape(attention_bias)[-1]
            biases.append(attention_bias + window_bias(positions, num_keys, self.attention_window))
        for index, (layer, cache) in enumerate(zip(self.transformer_layers, caches, strict=True)):
            hidden = layer(hidden, biases[index % len(biases)], remember=cache, training=False)
        return hidden if self.final_norm is None else self.final_norm(hidden)

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Loads one of our presets, or a checkpoint of another library: see `checkpoints.load.load_backbone`."""
        from albert_gpt_tf.checkpoints.load import load_backbone  # that folder imports this one

        loaded = load_backbone(cls, preset, load_weights, **kwargs)
        return loaded if loaded is not None else super().from_preset(str(preset), load_weights, **kwargs)

    def save_to_hugging_face(self, directory):
        """Writes a directory that Transformers loads: see `checkpoints.save_hugging_face`."""
        from albert_gpt_tf.checkpoints.save_hugging_face import save_to_hugging_face  # as above

        save_to_hugging_face(self, directory)

    def get_config(self):
        names = (
            "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "head_dim", "dropout",
            "embedding_dropout", "attention_dropout", "max_sequence_length", "activation", "layer_norm_epsilon",
            "norm_first", "use_bias", "scale_attention_by_layer", "attention_window", "recompute", "initializer_range",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
