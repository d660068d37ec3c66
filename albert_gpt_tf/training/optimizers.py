"""AdamW that gives the same update on one device and on many."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AdamW(keras.optimizers.AdamW):
    """Keras' AdamW, but clipped after the all-reduce, and with no weight decay on biases and norms.

    Keras clips each replica's part of the gradient before the parts are summed, which is not the norm of the
    gradient. The two overridden hooks are private: Keras' version range in `setup.cfg` is pinned for them, and tests
    hold them.

    Args:
        learning_rate: float or keras learning rate schedule. Defaults to 1e-3.
        weight_decay: float, decoupled decay of every variable of rank 2 or more. Defaults to 0.01.
        global_clipnorm: float, largest norm of the whole gradient, or `None`. Defaults to 1.
        beta_1, beta_2, epsilon: see `keras.optimizers.AdamW`. Default to 0.9, 0.999 and 1e-8. As in Keras, epsilon is
            added before the bias correction, where the paper adds it after.

    Raises:
        ValueError: another kind of clipping is asked for.

    Example:
        >>> task.compile(AdamW(3e-4, global_clipnorm=1.0))

    Reference:
        Loshchilov and Hutter, 2017, arXiv:1711.05101, algorithm 2.
    """

    clips_after_reduction = True

    def __init__(self, learning_rate=1e-3, weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-8, **kwargs):
        super().__init__(
            learning_rate, weight_decay=weight_decay, global_clipnorm=global_clipnorm, epsilon=epsilon, **kwargs
        )
        if self.clipnorm or self.clipvalue:
            raise ValueError(
                "This AdamW clips by the norm of the whole gradient; use global_clipnorm. Received: "
                f"clipnorm={self.clipnorm}, clipvalue={self.clipvalue}"
            )
        # Norm of the last step's gradient, before clipping: a tensor of the step's graph, read by `train_step`.
        self.gradient_norm = None

    def _clip_gradients(self, grads):
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars):
        gradients, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        self.gradient_norm = tf.linalg.global_norm(gradients)
        if self.global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.global_clipnorm, use_norm=self.gradient_norm)
        return list(zip(gradients, variables, strict=True))

    def _use_weight_decay(self, variable):
        # By structure, not by name: biases, gains and shifts have rank 1. It needs no list that a reload would lose.
        return len(variable.shape) >= 2
