"""What happens between the steps of a run: watching for numbers that are not finite, validation, checkpoints."""

from collections.abc import Callable
from pathlib import Path

import keras

from albert_gpt_tf.training.checkpoints import RunState, read_checkpoint, write_checkpoint
from albert_gpt_tf.training.evaluation import evaluate
from albert_gpt_tf.training.interruptions import Interruptions, signal_of_any_worker
from albert_gpt_tf.training.progress import RunLog
from albert_gpt_tf.training.settings import Due


class NonFiniteError(ValueError):
    """The gradient of a step was not finite; the weights are those from before."""


class StopAtNonFinite(keras.callbacks.Callback):
    """Ends the run if a gradient was not finite. Comes before `RunLog`, which resets the counts.

    The step itself changed nothing, nor did those after it (`stop_at_non_finite` of `Task.compile`), so it is enough to
    look when something is due anyway, and no step waits for the device.

    Args:
        due: a Due.
        step: int, steps done before.
        save_batch: takes the step and returns the sentence that says where its batch is.
    """

    def __init__(self, due: Due, step: int, save_batch: Callable[[int], str]):
        super().__init__()
        self.due = due
        self.step = step
        self.save_batch = save_batch

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if not self.due.anything(self.step):
            return
        counts = self.model.step_counts.read(self.model.distribute_strategy.num_replicas_in_sync)
        if counts["first_non_finite"]:
            bad_step = self.step - counts["steps"] + counts["first_non_finite"]
            raise NonFiniteError(
                f"Expected a finite gradient. Received: one that is not, at step {bad_step}; the weights are as they "
                f"were before. {self.save_batch(bad_step)} Lower config.learning_rate, look at the batch, or leave "
                "such steps out with --config.non_finite=skip."
            )


class ValidationAndCheckpoints(keras.callbacks.Callback):
    """Validates, keeps checkpoints, and ends the run early: when validations get no better, or on a signal.

    It comes after `RunLog`, so that a checkpoint knows the lines of its own step.

    Args:
        state: a RunState, kept up to date.
        due: a Due.
        validation: dataset, or `None`.
        folder: where checkpoints go; `None` for a worker that writes nothing.
        keep: int, newest checkpoints that stay.
        patience: int, validations without a better loss after which the run ends; 0 for no such end.
        log: the RunLog.
        resume_from: path of a checkpoint, or `None`.
        interruptions: an Interruptions.
        sample: a function without arguments that returns a text for the log, or `None`.
    """

    def __init__(
        self,
        state: RunState,
        due: Due,
        validation,
        folder: Path | None,
        keep: int,
        patience: int,
        log: RunLog,
        resume_from: Path | None,
        interruptions: Interruptions,
        sample: Callable[[], str] | None = None,
    ):
        super().__init__()
        self.state = state
        self.due = due
        self.validation = validation
        self.folder = folder
        self.keep = keep
        self.patience = patience
        self.log = log
        self.resume_from = resume_from
        self.interruptions = interruptions
        self.sample = sample

    def on_epoch_begin(self, epoch, logs=None):
        # Not earlier: only now the optimizer is built, and the metrics are not reset any more.
        if self.resume_from:
            read_checkpoint(self.resume_from, self.model)

    def on_train_batch_end(self, batch, logs=None):
        state = self.state
        state.step += 1
        is_best = self.validation is not None and self.due.validation(state.step) and self.validate()
        state.is_stopped = bool(self.patience) and state.validations_since_best >= self.patience
        has_signal = self.has_signal()
        if has_signal or is_best or state.is_stopped or self.due.checkpoint(state.step):
            state.metrics_bytes = self.log.bytes_written()
            write_checkpoint(self.folder, self.model, state, self.keep)
        if has_signal:
            self.interruptions.end(state.step, self.folder is not None)
        self.model.stop_training = state.is_stopped

    def validate(self) -> bool:
        """Measures the validation split; returns whether its loss is the lowest so far."""
        state = self.state
        # `evaluate` uses the metrics that hold the means since the last line of the log.
        variables = [variable for metric in self.model.metrics for variable in metric.variables]
        values = [keras.ops.convert_to_numpy(variable) for variable in variables]
        metrics = evaluate(self.model, self.validation)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.log.write_validation(metrics)
        if self.sample:
            self.log.write_text("sample", self.sample())
        is_best = metrics["loss"] < state.best_loss
        if is_best:
            state.best_step, state.best_loss, state.validations_since_best = state.step, metrics["loss"], 0
        else:
            state.validations_since_best += 1
        return is_best

    def has_signal(self) -> bool:
        """Whether this process, or any other worker, is to end."""
        # Workers ask each other seldom, as it makes them wait.
        strategy = self.model.distribute_strategy
        if self.due.log(self.state.step):
            self.interruptions.received = signal_of_any_worker(strategy, self.interruptions.received)
        elif self.model.is_multi_worker():
            return False
        return self.interruptions.received is not None
