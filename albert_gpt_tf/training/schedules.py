"""The learning rate over the steps: linear warm-up, then a decay."""

import math

import keras
import tensorflow as tf

DECAYS = ("constant", "linear", "cosine", "polynomial")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0, then stays or falls towards a floor.

    The first step is taken with `peak / warmup_steps`, not with 0. The curve is continuous: at the end of the warm-up
    the rate is the peak.

    Args:
        peak: float, the largest learning rate.
        total_steps: int, steps of the run, after which the floor is reached.
        warmup_steps: int. Defaults to 0.
        decay: str, `"constant"`, `"linear"`, `"cosine"` or `"polynomial"`. Defaults to `"linear"`.
        floor: float, learning rate after the run. Defaults to 0.
        power: float, of the polynomial decay; 1 is linear. Defaults to 2.

    Raises:
        ValueError: an unknown decay, or a warm-up that is longer than the run.

    Example:
        >>> float(WarmupSchedule(1.0, total_steps=100, warmup_steps=10)(4))
        0.5
    """

    def __init__(self, peak, total_steps, warmup_steps=0, decay="linear", floor=0.0, power=2.0):
        if decay not in DECAYS:
            raise ValueError(f"decay must be one of {DECAYS}. Received: decay={decay!r}")
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(
                "warmup_steps must be between 0 and total_steps. "
                f"Received: warmup_steps={warmup_steps}, total_steps={total_steps}"
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.floor = floor
        self.power = power

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm = self.peak * (step + 1) / max(self.warmup_steps, 1)
        # 0 on the last step of the warm-up, 1 on the step after the run: no step is taken at the floor itself.
        done = (step + 1 - self.warmup_steps) / (self.total_steps + 1 - self.warmup_steps)
        done = tf.clip_by_value(done, 0.0, 1.0)
        remaining = {
            "constant": tf.ones_like(done),
            "linear": 1 - done,
            "cosine": (1 + tf.cos(math.pi * done)) / 2,
            "polynomial": (1 - done) ** self.power,
        }[self.decay]
        decayed = self.floor + (self.peak - self.floor) * remaining
        return tf.where(step < self.warmup_steps, warm, decayed)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "floor": self.floor,
            "power": self.power,
        }
