"""Where a run computes: one device, several, several machines, a TPU."""

import tensorflow as tf

from albert_gpt_tf.training.clusters import cluster_resolver

STRATEGIES = ("one_device", "mirrored", "multi_worker", "tpu")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes a strategy. Call it before any other TensorFlow operation, as `multi_worker` has to come first.

    Args:
        name: str, one of
            `"one_device"`: the first GPU, or the CPU;
            `"mirrored"`: all GPUs of this machine, or all logical CPU devices;
            `"multi_worker"`: the processes that TF_CONFIG, Slurm or Kubernetes lists, this one among them, see
                `find_cluster`;
            `"tpu"`: the TPU that the environment names (written to the documentation, not tested: no TPU at hand).

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: the name is not known, or there is no cluster for `"multi_worker"`.

    Example:
        >>> make_strategy("one_device").num_replicas_in_sync
        1
    """
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster_resolver())
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    raise ValueError(f"strategy must be one of {STRATEGIES}. Received: strategy={name!r}")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the run: the only process, or worker 0 (or the chief) of several."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    chief_exists = "chief" in resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (
        not chief_exists and resolver.task_type == "worker" and resolver.task_id == 0
    )
