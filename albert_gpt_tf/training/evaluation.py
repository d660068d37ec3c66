"""Loss and metrics of a task on a dataset."""

import tensorflow as tf

from albert_gpt_tf.training.batches import shard_by_data


def evaluate(task, batches) -> dict[str, float]:
    """Loss and metrics over all batches.

    Args:
        task: a compiled task, or one that was loaded.
        batches: a dataset that the task can be evaluated on.

    Returns:
        float by name.

    Example:
        >>> evaluate(task, labelled_dataset(texts, labels).batch(32))["accuracy"]
        0.88
    """
    metrics = task.evaluate(shard_by_data(batches), return_dict=True, verbose=0)
    return {name: float(tf.reshape(value, [-1])[0]) for name, value in metrics.items() if name in {"loss", *task.means}}
