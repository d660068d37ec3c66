"""AdamW and LAMB that give the same update on one device and on many."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AdamW(keras.optimizers.AdamW):
    """AdamW, clipped after the all-reduce, with no weight decay on biases and norms.

    Keras clips each replica's part of the gradient before the parts are summed, which is not the norm of the
    gradient. The overridden hooks are private: Keras' version range in `setup.cfg` is pinned for them, and tests hold
    them.

    Args:
        learning_rate: float or keras learning rate schedule. Defaults to 1e-3.
        weight_decay: float, decoupled decay of every variable of rank 2 or more. Defaults to 0.01.
        global_clipnorm: float, largest norm of the whole gradient, or `None`. Defaults to 1.
        beta_1, beta_2, epsilon: see `keras.optimizers.AdamW`. Default to 0.9, 0.999 and 1e-8. As in Keras, epsilon is
            added before the bias correction, where the paper adds it after.
        bias_correction: bool. `False` is what google-research fine-tunes ALBERT with: the first steps are larger, so a
            long warm-up is needed. Defaults to `True`.
        skip_non_finite: bool, whether a step whose gradient is not finite changes nothing: neither weights nor moments.
            Defaults to `False`: it does what arithmetic says.

    Raises:
        ValueError: another kind of clipping is asked for.

    Example:
        >>> task.compile(AdamW(3e-4, global_clipnorm=1.0))

    Reference:
        Loshchilov and Hutter, 2017, arXiv:1711.05101, algorithm 2; google-research/albert `optimization.py`.
    """

    clips_after_reduction = True

    def __init__(
        self,
        learning_rate=1e-3,
        weight_decay=0.01,
        global_clipnorm=1.0,
        epsilon=1e-8,
        bias_correction=True,
        skip_non_finite=False,
        **kwargs,
    ):
        super().__init__(
            learning_rate, weight_decay=weight_decay, global_clipnorm=global_clipnorm, epsilon=epsilon, **kwargs
        )
        if self.clipnorm or self.clipvalue:
            raise ValueError(
                f"This {type(self).__name__} clips by the norm of the whole gradient; use global_clipnorm. Received: "
                f"clipnorm={self.clipnorm}, clipvalue={self.clipvalue}"
            )
        self.bias_correction = bias_correction
        self.skip_non_finite = skip_non_finite
        # Norm of the last step's gradient, before clipping: a tensor of the step's graph, read by `train_step`.
        self.gradient_norm = None

    def _clip_gradients(self, grads):
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars):
        gradients, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        self.gradient_norm = tf.linalg.global_norm(gradients)
        if self.global_clipnorm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.global_clipnorm, use_norm=self.gradient_norm)
        if self.skip_non_finite:
            is_finite = tf.math.is_finite(self.gradient_norm)
            # NaN stands for "skip" in every element, so that `update_step` knows without another tensor.
            gradients = [tf.where(is_finite, g, tf.cast(float("nan"), g.dtype)) for g in gradients]
        return list(zip(gradients, variables, strict=True))

    def _apply_weight_decay(self, variables):
        """Nothing: Keras would decay here, ahead of the step; `update_step` does it in one go."""

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step, in one pass over its memory: TensorFlow's fused kernel after the decoupled decay."""
        dtype = variable.dtype
        gradient, rate = tf.cast(gradient, dtype), tf.cast(learning_rate, dtype)
        beta_1, beta_2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
        beta_1_power = beta_2_power = tf.zeros([], dtype)  # no correction
        if self.bias_correction:
            step = tf.cast(self.iterations + 1, dtype)
            beta_1_power, beta_2_power = beta_1**step, beta_2**step
        if self.skip_non_finite:  # with these numbers the kernel changes nothing
            is_skipped = is_marked_as_skipped(gradient)
            gradient = tf.where(is_skipped, tf.zeros_like(gradient), gradient)
            rate = tf.where(is_skipped, tf.zeros_like(rate), rate)
            beta_1, beta_2 = (tf.where(is_skipped, tf.ones_like(beta), beta) for beta in (beta_1, beta_2))
        if decay := self.decay_of(variable):
            alpha = rate * tf.constant(decay, dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=resource_of(variable), alpha=alpha, delta=variable)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=resource_of(variable),
            m=resource_of(self._momentums[index]),
            v=resource_of(self._velocities[index]),
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )

    def decay_of(self, variable) -> float:
        """The weight decay of a variable: 0 for biases, gains and shifts, which have rank 1.

        By structure, not by name: it needs no list that a reload would lose.
        """
        return (self.weight_decay or 0.0) if len(variable.shape) >= 2 else 0.0

    def get_config(self):
        own = {"bias_correction": self.bias_correction, "skip_non_finite": self.skip_non_finite}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class LAMB(AdamW):
    """LAMB in the form that ALBERT was trained with: the step of each variable is as long as its norm says.

    The direction is Adam's with the decay in it; its length becomes the norm of the variable. Biases and norms (rank
    1) have neither decay nor adaptation. `keras.optimizers.Lamb` is another algorithm: its decay is outside of the
    trust ratio, and it adapts every variable.

    Args:
        learning_rate: float or keras learning rate schedule. Defaults to 1.76e-3.
        weight_decay, global_clipnorm, beta_1, beta_2, skip_non_finite: see `AdamW`.
        epsilon: float. Defaults to 1e-6.
        bias_correction: bool, `True` is the paper's form. Defaults to `False`, as released with ALBERT.

    Example:
        >>> task.compile(LAMB(1.76e-3))

    Reference:
        You et al., 2019, arXiv:1904.00962, algorithm 2; google-research/albert `lamb_optimizer.py`.
    """

    def __init__(self, learning_rate=1.76e-3, epsilon=1e-6, bias_correction=False, **kwargs):
        super().__init__(learning_rate, epsilon=epsilon, bias_correction=bias_correction, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        """One variable's step: both moments follow the gradient, the variable follows `direction`."""
        gradient = tf.cast(gradient, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        towards_gradient, towards_square = gradient - momentum, tf.square(gradient) - velocity
        if self.skip_non_finite:
            is_skipped = is_marked_as_skipped(gradient)
            rate = tf.where(is_skipped, tf.zeros_like(rate), rate)
            towards_gradient, towards_square = (
                tf.where(is_skipped, tf.zeros_like(x), x) for x in (towards_gradient, towards_square)
            )
        self.assign_add(momentum, towards_gradient * (1 - self.beta_1))
        self.assign_add(velocity, towards_square * (1 - self.beta_2))
        self.assign_sub(variable, rate * self.direction(variable, momentum, velocity))

    def direction(self, variable, momentum, velocity):
        """What is subtracted from a variable, but for the learning rate; the shape of the variable."""
        direction = self.adam_ratio(momentum, velocity) + self.decay_of(variable) * variable
        if len(variable.shape) < 2:
            return direction
        length, step_length = tf.norm(variable), tf.norm(direction)
        trust_ratio = tf.where((length > 0) & (step_length > 0), tf.math.divide_no_nan(length, step_length), 1.0)
        return trust_ratio * direction

    def adam_ratio(self, momentum, velocity):
        """m / (sqrt(v) + epsilon), with the bias of the young moments made good if asked for."""
        ratio = momentum / (tf.sqrt(velocity) + self.epsilon)
        if not self.bias_correction:
            return ratio
        step = tf.cast(self.iterations + 1, ratio.dtype)
        beta_1_power, beta_2_power = (
            tf.cast(self.beta_1, ratio.dtype) ** step,
            tf.cast(self.beta_2, ratio.dtype) ** step,
        )
        return ratio * (tf.sqrt(1 - beta_2_power) / (1 - beta_1_power))


def is_marked_as_skipped(gradient):
    """Whether `skip_non_finite` made every element of a gradient NaN: bool scalar."""
    return tf.math.is_nan(tf.reshape(gradient, [-1])[0])


def resource_of(variable):
    """The handle of a variable, of Keras or TensorFlow; inside a replica's update, that of the replica's copy."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
