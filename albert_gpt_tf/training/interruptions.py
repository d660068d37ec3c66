"""Ctrl-C and SIGTERM end a run after the step that is being computed, not inside it."""

import signal
import sys
import threading

import tensorflow as tf


class Terminated(SystemExit):
    """A run was ended by SIGTERM, after its checkpoint: the process exits with the status 143."""

    def __init__(self):
        super().__init__(128 + signal.SIGTERM)


class Interruptions:
    """Notes Ctrl-C and SIGTERM while its block runs; the second one of them acts at once.

    Example:
        >>> with Interruptions() as interruptions:
        ...     train_step()
        ...     interruptions.received
    """

    def __init__(self):
        self.received = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python lets no other set handlers
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number, frame):
        if self.received is not None:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self.received = number

    def end(self, step: int, has_checkpoint: bool) -> None:
        """Says how to go on, and raises `Terminated` or KeyboardInterrupt."""
        after = "the same command goes on from there" if has_checkpoint else "this worker wrote nothing"
        print(f"Stopped after step {step} by {signal.Signals(self.received).name}: {after}.", file=sys.stderr)
        raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt


def signal_of_any_worker(strategy: tf.distribute.Strategy, received: int | None) -> int | None:
    """The signal that this process or, of several workers, any of them has received.

    Every worker has to call it after the same step.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return received
    return round(largest_of_workers(strategy, received or 0)) or None


def largest_of_workers(strategy: tf.distribute.Strategy, number: float) -> float:
    """The largest of the numbers of all workers, at most 2**24."""

    def largest():
        context = tf.distribute.get_replica_context()
        index = context.replica_id_in_sync_group
        places = tf.one_hot(index, context.num_replicas_in_sync) * tf.constant(number, tf.float32)
        return tf.reduce_max(context.all_reduce("SUM", places))

    return float(strategy.experimental_local_results(strategy.run(tf.function(largest)))[0])
