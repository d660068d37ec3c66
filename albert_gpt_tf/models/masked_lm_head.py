"""The masked LM head of ALBERT: from hidden states to one logit for each entry of the vocabulary."""

import keras
import tensorflow as tf

from albert_gpt_tf.models.activations import get_activation
from albert_gpt_tf.models.transformer_layers import LayerNorm


class MaskedLMHead(keras.layers.Layer):
    """Narrows to the embedding width, then compares with every row of the token embedding.

    The token embedding stays the backbone's: it is not among this layer's weights, neither counted, saved nor frozen
    with them. Gradients reach it all the same.

    Args:
        embedding_dim: int, width of the token embedding.
        activation: str, see `get_activation`.
        layer_norm_epsilon: float.
        initializer_range: float, standard deviation of the truncated normal that the kernel is drawn from.
        token_embedding: keras layer, called with `reverse=True`: `backbone.token_embedding`.

    Example:
        >>> tokens = keras_nlp.layers.ReversibleEmbedding(50, 8)
        >>> tokens.build()
        >>> head = MaskedLMHead(8, "gelu_new", 1e-12, 0.02, tokens)
        >>> head(tf.zeros([1, 5, 16]), tf.constant([[0, 3]])).shape
        TensorShape([1, 2, 50])

    Reference:
        google-research/albert `run_pretraining.py`, get_masked_lm_output.
    """

    def __init__(self, embedding_dim, activation, layer_norm_epsilon, initializer_range, token_embedding, **kwargs):
        super().__init__(**kwargs)
        self.activation = get_activation(activation)
        self.dense = keras.layers.Dense(
            embedding_dim,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=initializer_range),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.norm = LayerNorm(epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.vocabulary_size = token_embedding.input_dim
        # Keras would make a layer in an attribute part of this one. It does not look into a function.
        self.compare_with_tokens = lambda x: token_embedding(x, reverse=True)

    def build(self, hidden_shape, mask_positions_shape=None):
        self.dense.build(hidden_shape)
        self.norm.build((*hidden_shape[:-1], self.dense.units))
        # The bias is added in float32, hence it is not rounded under mixed precision.
        self.bias = self.add_weight(name="bias", shape=[self.vocabulary_size], initializer="zeros", autocast=False)

    def call(self, hidden, mask_positions=None):
        """Computes the logits.

        Args:
            hidden: float [batch, length, hidden_dim], `sequence_output` of the backbone.
            mask_positions: int [batch, masks], the positions that count. Defaults to all.

        Returns:
            float32 [batch, masks or length, vocabulary].
        """
        if mask_positions is not None:
            hidden = tf.gather(hidden, mask_positions, batch_dims=1)  # [batch, masks, hidden_dim]
        narrow = self.norm(self.activation(self.dense(hidden)))  # [batch, masks, embedding_dim]
        return tf.cast(self.compare_with_tokens(narrow), "float32") + self.bias

    def compute_output_spec(self, hidden, mask_positions=None):
        places = hidden.shape[:2] if mask_positions is None else mask_positions.shape
        return keras.KerasTensor((*places, self.vocabulary_size), dtype="float32")
