"""ALBERT: a BERT encoder with a factorized embedding and one set of layer weights used many times.

Full definition of the encoder, from token ids to hidden states; the heads are in `tasks`. Post-norm: the layer norm
comes after each residual addition. Reference: Lan et al., 2019, "ALBERT: A Lite BERT", arXiv:1909.11942.

Layers share all weights, attention, feed-forward network or nothing; each may have an adapter and a gate of its own.
"""

import math

import keras
import keras_nlp

from albert_gpt_tf.models.layer_adapters import Adapter, LayerGate
from albert_gpt_tf.models.transformer_layers import (
    FeedForward,
    LayerNorm,
    SelfAttention,
    TokenEmbedding,
    key_padding_bias,
)  # fmt: skip

SHARING_MODES = ("all", "attention", "ffn", "none")


class AlbertLayer(keras.layers.Layer):
    """One encoder layer: self-attention and feed-forward, each followed by residual and layer norm.

    Args:
        num_heads: int, number of attention heads.
        head_dim: int, width of a head.
        intermediate_dim: int, inner width of the feed-forward network.
        activation: str, see `get_activation`.
        dropout: float, dropout rate of what is added to the residual.
        attention_dropout: float, dropout rate of the attention probabilities.
        layer_norm_epsilon: float.
        initializer_range: float, standard deviation of the kernels.
        attention_of: AlbertLayer whose attention, with its norm, this one uses too. Defaults to `None`: an own one.
        feed_forward_of: AlbertLayer whose feed-forward network, with its norm, this one uses too. Defaults to `None`.
    """

    def __init__(self, num_heads, head_dim, intermediate_dim, activation, dropout, attention_dropout,
                 layer_norm_epsilon, initializer_range, attention_of=None, feed_forward_of=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        initializer = keras.initializers.TruncatedNormal(stddev=initializer_range)
        arguments = dict(dtype=self.dtype_policy)
        if attention_of is None:
            attention = SelfAttention(
                num_heads, head_dim, initializer, dropout=attention_dropout, name="attention", **arguments
            )
            attention_norm = LayerNorm(epsilon=layer_norm_epsilon, name="attention_norm", **arguments)
        else:
            attention, attention_norm = attention_of.attention, attention_of.attention_norm
        if feed_forward_of is None:
            feed_forward = FeedForward(intermediate_dim, activation, initializer, name="feed_forward", **arguments)
            feed_forward_norm = LayerNorm(epsilon=layer_norm_epsilon, name="feed_forward_norm", **arguments)
        else:
            feed_forward, feed_forward_norm = feed_forward_of.feed_forward, feed_forward_of.feed_forward_norm
        # This order is that of the weights, by which saved optimizer states are matched.
        self.attention_norm = attention_norm
        self.feed_forward, self.feed_forward_norm = feed_forward, feed_forward_norm
        self.attention = attention
        self.residual_dropout = keras.layers.Dropout(dropout, **arguments)

    def build(self, hidden_shape, attention_bias_shape=None):
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            if not layer.built:  # what another layer has, it has built
                layer.build(hidden_shape)

    def call(self, hidden, attention_bias, return_probabilities=False, training=None):
        """Applies the layer.

        Args:
            hidden: float [batch, length, hidden_dim].
            attention_bias: float32 [batch, 1, 1, key].
            return_probabilities: bool, gives the attention probabilities too. Defaults to `False`.
            training: bool, applies dropout.

        Returns:
            float [batch, length, hidden_dim]; on request also float32 [batch, heads, query, key].
        """
        attended, probabilities = self.attention(hidden, attention_bias, return_probabilities=True, training=training)
        hidden = self.attention_norm(hidden + self.residual_dropout(attended, training=training))
        transformed = self.residual_dropout(self.feed_forward(hidden), training=training)
        hidden = self.feed_forward_norm(hidden + transformed)
        return (hidden, probabilities) if return_probabilities else hidden

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
    `[batch, hidden_dim]` (tanh of a dense layer on the first position). `inspect` gives hidden states and attention
    maps too.

    Args:
        vocabulary_size: int, number of token ids.
        num_layers: int, number of times a layer is applied; must be divisible by `num_groups`.
        num_heads: int, number of attention heads; must divide `hidden_dim`.
        hidden_dim: int, width of the encoder.
        intermediate_dim: int, inner width of the feed-forward network.
        embedding_dim: int, width of the embedding tables. Defaults to 128.
        num_groups: int, number of sets of layer weights; each serves a block of layers. Defaults to 1.
        num_inner_repetitions: int, number of layers with own weights inside a group. Defaults to 1.
        dropout: float, dropout rate of embeddings and residual branches. Defaults to 0, as in the v2 models.
        attention_dropout: float, dropout rate of attention probabilities. Defaults to 0.
        max_sequence_length: int, number of positions. Defaults to 512.
        num_segments: int, number of segment types. Defaults to 2.
        activation: str, `"gelu_new"`, `"gelu"` or `"relu"`. Defaults to `"gelu_new"`, as in the v2 models.
        layer_norm_epsilon: float. Defaults to 1e-12.
        initializer_range: float, standard deviation of the truncated normal. Defaults to 0.02.
        cross_layer_sharing: str, what the layers share: `"all"`, `"attention"` (each layer has its own feed-forward
            network), `"ffn"` (each has its own attention) or `"none"`. All but `"all"` make a group of every layer, and
            need `num_groups=1`. Defaults to `"all"`.
        use_embedding_projection: bool, whether a dense layer leads from the embedding to the first layer. `False` needs
            `embedding_dim == hidden_dim`, as in the released TensorFlow code. Defaults to `True`.
        adapter_dim: int, width of a bottleneck adapter after each of the `num_layers`, or `None` for no adapters.
            Defaults to `None`.
        layer_gates: bool, whether each of the `num_layers` has a gate. Defaults to `False`.
        dtype: str or keras dtype policy of the computations. Defaults to the global policy.

    Raises:
        ValueError: sizes do not divide as stated above, or arguments do not go together.

    Example:
        >>> backbone = AlbertBackbone(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> ids = np.ones((1, 5), "int32")
        >>> outputs = backbone({"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids > 0})
        >>> outputs["sequence_output"].shape
        TensorShape([1, 5, 8])

    Reference:
        arXiv:1909.11942, section 3 and Table 4 (sharing); google-research/albert `modeling.py`.
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
        cross_layer_sharing="all",
        use_embedding_projection=True,
        adapter_dim=None,
        layer_gates=False,
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
        if cross_layer_sharing not in SHARING_MODES:
            message = f"cross_layer_sharing must be one of {list(SHARING_MODES)}"
            raise ValueError(f"{message}. Received: cross_layer_sharing={cross_layer_sharing!r}")
        if cross_layer_sharing != "all" and num_groups != 1:
            raise ValueError(
                "Expected num_groups=1 where layers do not share all weights: every layer is then a group of its own. "
                f"Received: cross_layer_sharing={cross_layer_sharing!r}, num_groups={num_groups}. Leave num_groups out."
            )
        if not use_embedding_projection and embedding_dim != hidden_dim:
            raise ValueError(
                "Expected embedding_dim and hidden_dim to be equal without an embedding projection. Received: "
                f"embedding_dim={embedding_dim}, hidden_dim={hidden_dim}. Leave use_embedding_projection=True."
            )
        if adapter_dim is not None and adapter_dim < 1:
            raise ValueError(f"Expected adapter_dim to be None or 1 or more. Received: adapter_dim={adapter_dim}")

        # === Layers ===
        def initializer():
            return keras.initializers.TruncatedNormal(stddev=initializer_range)

        self.token_embedding = TokenEmbedding(
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
        self.embedding_projection = None
        if use_embedding_projection:
            self.embedding_projection = keras.layers.Dense(
                hidden_dim, kernel_initializer=initializer(), dtype=dtype, name="embedding_projection"
            )
        groups = []  # [group][inner layer]
        for group in range(num_groups if cross_layer_sharing == "all" else num_layers):
            groups.append([])
            for inner in range(num_inner_repetitions):
                layer = AlbertLayer(
                    num_heads, hidden_dim // num_heads, intermediate_dim, activation, dropout, attention_dropout,
                    layer_norm_epsilon, initializer_range,
                    attention_of=groups[0][inner] if group and cross_layer_sharing == "attention" else None,
                    feed_forward_of=groups[0][inner] if group and cross_layer_sharing == "ffn" else None,
                    dtype=dtype, name=f"group_{group}_inner_layer_{inner}",
                )  # fmt: skip
                groups[-1].append(layer)
        self.groups = groups
        self.adapters = [
            Adapter(adapter_dim, activation, initializer_range, dtype=dtype, name=f"adapter_{index}")
            for index in range(num_layers if adapter_dim is not None else 0)
        ]
        self.gates = [LayerGate(dtype=dtype, name=f"gate_{index}") for index in range(num_layers if layer_gates else 0)]
        self.attention_bias = KeyPaddingBias(dtype=dtype, name="attention_bias")
        self.pooler = keras.layers.Dense(
            hidden_dim, activation="tanh", kernel_initializer=initializer(), dtype=dtype, name="pooler"
        )

        # === Functional Model ===
        kinds = {"token_ids": "int32", "segment_ids": "int32", "padding_mask": "bool"}
        inputs = {name: keras.Input((None,), dtype=kind, name=name) for name, kind in kinds.items()}
        self.num_layers = num_layers
        super().__init__(inputs=inputs, outputs=self._encode(inputs), dtype=dtype, **kwargs)

        # === Config ===
        self.vocabulary_size = vocabulary_size
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
        self.cross_layer_sharing = cross_layer_sharing
        self.use_embedding_projection = use_embedding_projection
        self.adapter_dim = adapter_dim
        self.layer_gates = layer_gates

    def _encode(self, inputs, inspect=False):
        """From ids to outputs, with hidden states and attention maps on request; see `inspect`."""
        # Embed tokens, positions and segments in the narrow width, then widen.
        tokens = self.token_embedding(inputs["token_ids"])  # [batch, length, embedding_dim]
        embedded = tokens + self.position_embedding(tokens) + self.segment_embedding(inputs["segment_ids"])
        hidden = self.embedding_dropout(self.embedding_norm(embedded))
        if self.embedding_projection is not None:
            hidden = self.embedding_projection(hidden)  # [batch, length, hidden_dim]
        # Apply each group's layers again and again.
        attention_bias = self.attention_bias(inputs["padding_mask"])
        hidden_states, attentions = [hidden], []
        for index in range(self.num_layers):
            for layer in self.groups[index * len(self.groups) // self.num_layers]:
                if inspect:
                    hidden, probabilities = layer(hidden, attention_bias, return_probabilities=True)
                    attentions.append(probabilities)
                else:
                    hidden = layer(hidden, attention_bias)
            if self.adapters:
                hidden = self.adapters[index](hidden)
            if self.gates:
                hidden = self.gates[index](hidden_states[-1], hidden)
            hidden_states.append(hidden)
        outputs = {"sequence_output": hidden, "pooled_output": self.pooler(hidden[:, 0])}  # [batch, hidden_dim]
        if inspect:
            outputs |= {"hidden_states": tuple(hidden_states), "attentions": tuple(attentions)}
        return outputs

    def inspect(self, inputs):
        """Computes what calling the backbone gives, and what happens on the way.

        Args:
            inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, each [batch, length].

        Returns:
            A dict of `sequence_output` and `pooled_output`; `hidden_states`, a tuple of `num_layers + 1` tensors
            [batch, length, hidden_dim]: the projected embedding, then the output of every layer with its adapter and
            gate (Transformers adds those within a group); `attentions`, a tuple of one float32 [batch, heads, query,
            key] for each layer and inner layer, in order: the probabilities before dropout.

        Example:
            >>> backbone.inspect(inputs)["attentions"][0].shape
            TensorShape([1, 2, 5, 5])
        """
        return self._encode(inputs, inspect=True)

    def train_per_layer_parameters_only(self):
        """Freezes all weights but those of the adapters and gates; compile the task afterwards.

        Raises:
            ValueError: there are neither adapters nor gates.

        Example:
            >>> backbone = AlbertBackbone(50, 2, 2, hidden_dim=8, intermediate_dim=16, adapter_dim=4, layer_gates=True)
            >>> backbone.train_per_layer_parameters_only()
            >>> backbone.parameter_counts()
            {'shared_weights': 74152, 'adapters': 152, 'gates': 16, 'trainable': 168}
        """
        per_layer = [*self.adapters, *self.gates]
        if not per_layer:
            raise ValueError(
                "Expected a backbone with adapters or gates. Received: adapter_dim=None, layer_gates=False. "
                "Make it with adapter_dim=... or layer_gates=True."
            )
        self.trainable = True
        for layer in self.layers:
            layer.trainable = layer in per_layer

    def with_per_layer_parameters(self, **per_layer):
        """This backbone with other adapters or gates.

        Args:
            per_layer: `adapter_dim` (int or `None`) and `layer_gates` (bool), as for the constructor; what is left out
                stays as it is.

        Returns:
            An `AlbertBackbone` with copies of the shared weights and new adapters and gates; this one if nothing
            changes.

        Example:
            >>> backbone = AlbertBackbone.from_preset("albert-base-v2").with_per_layer_parameters(adapter_dim=64)
        """
        config = self.get_config()
        if all(config[name] == value for name, value in per_layer.items()):
            return self
        changed = type(self).from_config({**config, **per_layer})
        for old, new in zip(self._shared_weights(), changed._shared_weights(), strict=True):
            new.assign(old)
        return changed

    def _shared_weights(self):
        own = {id(weight) for layer in [*self.adapters, *self.gates] for weight in layer.weights}
        return [weight for weight in self.weights if id(weight) not in own]

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of `shared_weights` (all but what follows), `adapters`, `gates` and, across these, `trainable`."""
        adapters, gates = (sum(layer.count_params() for layer in layers) for layers in (self.adapters, self.gates))
        return {
            "shared_weights": self.count_params() - adapters - gates,
            "adapters": adapters,
            "gates": gates,
            "trainable": sum(math.prod(variable.shape) for variable in self.trainable_variables),
        }

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Loads one of our presets, or a checkpoint of another library: see `checkpoints.load.load_backbone`."""
        from albert_gpt_tf.checkpoints.load import load_backbone  # that folder imports this one

        if (loaded := load_backbone(cls, preset, load_weights, **kwargs)) is not None:
            return loaded
        per_layer = {name: kwargs.pop(name) for name in ("adapter_dim", "layer_gates") if name in kwargs}
        return super().from_preset(str(preset), load_weights, **kwargs).with_per_layer_parameters(**per_layer)

    def save_to_hugging_face(self, directory):
        """Writes a directory that Transformers loads: see `checkpoints.save_hugging_face`."""
        from albert_gpt_tf.checkpoints.save_hugging_face import save_to_hugging_face  # as above

        save_to_hugging_face(self, directory)

    def get_config(self):
        names = (
            "vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "embedding_dim",
            "num_groups", "num_inner_repetitions", "dropout", "attention_dropout", "max_sequence_length",
            "num_segments", "activation", "layer_norm_epsilon", "initializer_range", "cross_layer_sharing",
            "use_embedding_projection", "adapter_dim", "layer_gates",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
