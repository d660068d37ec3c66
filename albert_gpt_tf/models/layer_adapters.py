"""What a layer has of its own beside shared weights: Theta = {W} u {A_l, G_l}.

W is the shared transformer. A_l, the adapter of layer l, and G_l, its gate, come after application l of a layer:

    adapted = A_l(layer(h)),  A_l(x) = x + up(activation(down(x)))
    h'      = adapted + G_l * (adapted - h)

Both begin at zero, so that a new model gives the numbers of the one without them.
"""

import keras

from albert_gpt_tf.models.activations import get_activation


class Adapter(keras.layers.Layer):
    """A bottleneck beside the residual stream: x + up(activation(down(x))).

    Args:
        adapter_dim: int, width of the bottleneck.
        activation: str, see `get_activation`.
        initializer_range: float, standard deviation of the truncated normal that `down` is drawn from; `up` is zero.

    Example:
        >>> adapter = Adapter(4, "gelu_new", 0.02)
        >>> adapter(keras.ops.ones([1, 5, 16])).shape
        TensorShape([1, 5, 16])

    Reference:
        Houlsby et al., 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, section 2.1.
    """

    def __init__(self, adapter_dim, activation, initializer_range, **kwargs):
        super().__init__(**kwargs)
        self.activation = get_activation(activation)
        self.down = keras.layers.Dense(
            adapter_dim,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=initializer_range),
            dtype=self.dtype_policy,
            name="down",
        )

    def build(self, hidden_shape):
        self.up = keras.layers.Dense(
            hidden_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="up"
        )  # fmt: skip
        self.down.build(hidden_shape)
        self.up.build((*hidden_shape[:-1], self.down.units))

    def call(self, hidden):
        """float [batch, length, hidden_dim] -> the same shape."""
        return hidden + self.up(self.activation(self.down(hidden)))

    def compute_output_shape(self, hidden_shape):
        return hidden_shape


class LayerGate(keras.layers.Layer):
    """One number a channel that makes a layer's step longer or shorter: after + gate * (after - before).

    A gate of 0 leaves the layer as it is, -1 takes it out of the model.

    Example:
        >>> gate = LayerGate()
        >>> before, after = keras.ops.ones([1, 5, 16]), keras.ops.zeros([1, 5, 16])
        >>> gate(before, after).shape
        TensorShape([1, 5, 16])
    """

    def build(self, before_shape, after_shape=None):
        self.gate = self.add_weight(name="gate", shape=[before_shape[-1]], initializer="zeros")

    def call(self, before, after):
        """float [batch, length, hidden_dim], the input and output of a layer -> the same shape."""
        return after + self.gate * (after - before)

    def compute_output_shape(self, before_shape, after_shape=None):
        return before_shape
