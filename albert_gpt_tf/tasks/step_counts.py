"""What every train step counts, read only when a line of the log is due: tokens, and steps that went wrong."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class StepCounts(keras.metrics.Metric):
    """Counts since the last reset: steps, tokens that are not padding, and steps whose gradient was not finite.

    Everything stays on the device until `read`, so a step waits for nothing.

    Example:
        >>> counts = StepCounts()
        >>> counts.update_state(tokens=7, is_finite=True)
        >>> counts.read()
        {'steps': 1, 'tokens': 7, 'skipped': 0, 'first_non_finite': 0}
    """

    def __init__(self, name="step_counts", dtype="float32"):
        super().__init__(name=name, dtype=dtype)
        self.steps = self.add_variable((), "zeros", name="steps")
        self.tokens = self.add_variable((), "zeros", name="tokens")
        self.skipped = self.add_variable((), "zeros", name="skipped")
        # Counted from 1; 0 while there was none.
        self.first_non_finite = self.add_variable((), "zeros", name="first_non_finite")

    def update_state(self, tokens, is_finite):
        """Counts a step.

        Args:
            tokens: int scalar, tokens of this replica's part of the batch.
            is_finite: bool scalar, the same on every replica.
        """
        is_bad = tf.cast(tf.logical_not(is_finite), self.dtype)
        self.steps.assign_add(1.0)
        self.tokens.assign_add(tf.cast(tokens, self.dtype))
        self.skipped.assign_add(is_bad)
        is_first = is_bad * tf.cast(tf.equal(self.first_non_finite, 0.0), self.dtype)
        self.first_non_finite.assign_add(is_first * self.steps)

    def one_or_nan(self):
        """float32 scalar: 1, or NaN from the first step on whose gradient was not finite."""
        return tf.where(tf.equal(self.first_non_finite, 0.0), 1.0, float("nan"))

    def result(self):
        """float32 scalar: the number of steps whose gradient was not finite."""
        return self.skipped / tf.distribute.get_strategy().num_replicas_in_sync

    def read(self, replicas=1):
        """Waits for the device, and returns the counts as a dict of int.

        Args:
            replicas: int; each of them has counted every step, and its own tokens. Defaults to 1.
        """
        counts = {
            name: round(float(keras.ops.convert_to_numpy(getattr(self, name))))
            for name in ("steps", "tokens", "skipped", "first_non_finite")
        }
        return {name: count if name == "tokens" else count // replicas for name, count in counts.items()}
