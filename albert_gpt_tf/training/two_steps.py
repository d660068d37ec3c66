"""The first two steps of a run, to see that they work and how long one takes."""

import time

import keras

from albert_gpt_tf.training.batches import shard_by_data
from albert_gpt_tf.training.plans import Plan
from albert_gpt_tf.training.progress import peak_memory_mb


def two_steps(plan: Plan) -> tuple[float, int, float]:
    """Computes two steps with a compiled task; the first one traces and is not timed.

    Args:
        plan: see `make_plan`; its task is compiled.

    Returns:
        Seconds of the second step, peak memory of the process in MB, and the loss of the second step.

    Example:
        >>> seconds, megabytes, loss = two_steps(plan)
    """
    times, losses = [], []

    def after_step(batch, logs):
        losses.append(float(logs["loss"]))  # waits for the device
        times.append(time.perf_counter())
        plan.task.reset_metrics()

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=after_step)
    plan.task.fit(shard_by_data(plan.batches(0)), steps_per_epoch=2, callbacks=[callback], verbose=0)
    return times[1] - times[0], peak_memory_mb(), losses[1]
