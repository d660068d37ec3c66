"""What a run says while it runs: a progress bar, and one line of JSON every few steps."""

import json
import resource
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RunLog(keras.callbacks.Callback):
    """Shows a progress bar and appends to a JSONL file.

    Every line has step, loss, learning rate, gradient norm, tokens/s, model FLOPs utilisation, peak memory and time
    left; losses and norms are means since the line before, the learning rate is that of the step to come. Steps that
    were skipped, as their gradient was not finite, are counted as `skipped_steps` if there were any. After a validation
    a line with the `val_` metrics follows.

    Args:
        path: where the lines go, or `None` for no file.
        total_steps: int, steps of the whole run.
        tokens_per_step: int, tokens of a global batch, padding included. Used if the model does not count the real
            ones (`Task.step_counts`).
        flops_per_token: float or `None`.
        peak_flops: float or `None`, of all devices together; without it the utilisation is null.
        log_every: int, steps between lines. Defaults to 20.
        title: str, stands before the bar.
        first_step: int, steps that were done before, in a run that is resumed. Defaults to 0.
        metrics_bytes: int, length of the file after those steps; what stands behind was written by steps that are
            done again, and is removed. Defaults to 0: the file is made anew.
        tensorboard: folder for TensorBoard's events, or `None` for none. Needs the package tensorboard.
    """

    def __init__(
        self,
        path,
        total_steps,
        tokens_per_step,
        flops_per_token=None,
        peak_flops=None,
        log_every=20,
        title="",
        first_step=0,
        metrics_bytes=0,
        tensorboard=None,
    ):
        super().__init__()
        self.path = Path(path) if path else None
        self.total_steps = total_steps
        self.tokens_per_step = tokens_per_step
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.log_every = log_every
        self.title = title
        self.first_step = first_step
        self.metrics_bytes = metrics_bytes
        self.events = tf.summary.create_file_writer(str(tensorboard)) if tensorboard else None
        self.lines = []

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def on_train_begin(self, logs=None):
        self.step = self.first_step
        self.last_time, self.last_step = time.perf_counter(), self.step
        if self.path:
            with self.path.open("ab") as file:
                file.truncate(self.metrics_bytes)
        self.bar.start()
        self.bar_task = self.bar.add_task(self.title, total=self.total_steps, completed=self.step, status="")

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.bar.advance(self.bar_task)
        if self.step % self.log_every == 0 or self.step == self.total_steps:
            self.write(self.training_line(logs))
        elif self.step == self.first_step + 1:
            # The first step has traced the graph: time and rate count from the second on.
            self.last_time, self.last_step = time.perf_counter(), self.step

    def training_line(self, logs):
        now = time.perf_counter()
        seconds_per_step = (now - self.last_time) / (self.step - self.last_step)
        self.last_time, self.last_step = now, self.step
        counts = self.read_counts()
        rate = counts["tokens"] / counts["steps"] / seconds_per_step
        utilisation = None
        if self.flops_per_token and self.peak_flops:
            utilisation = round(rate * self.flops_per_token / self.peak_flops, 4)
        line = {"step": self.step}
        line |= {name: round(float(np.ravel(value)[0]), 6) for name, value in logs.items()}
        line |= {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "tokens_per_second": round(rate),
            "model_flops_utilisation": utilisation,
            "peak_memory_mb": peak_memory_mb(),
            "seconds_left": round((self.total_steps - self.step) * seconds_per_step),
        }
        if counts["skipped"]:
            line["skipped_steps"] = counts["skipped"]
        for metric in self.model.metrics:
            metric.reset_state()
        status = f"loss {line['loss']:.3f}  {line['tokens_per_second']:,} tokens/s"
        self.bar.update(self.bar_task, status=status)
        return line

    def read_counts(self):
        """Counts since the line before, see `StepCounts.read`."""
        step_counts = getattr(self.model, "step_counts", None)
        counts = step_counts.read(self.model.distribute_strategy.num_replicas_in_sync) if step_counts else {}
        return counts if counts.get("tokens") else {"skipped": 0, **counts, "tokens": self.tokens_per_step, "steps": 1}

    def on_epoch_end(self, epoch, logs=None):
        self.write_validation({name[4:]: value for name, value in (logs or {}).items() if name.startswith("val_")})

    def write_validation(self, metrics):
        """Writes a line with the metrics of a validation, named `val_...`."""
        if metrics:
            numbers = {f"val_{name}": round(float(np.ravel(value)[0]), 6) for name, value in metrics.items()}
            self.write({"step": self.step} | numbers)
        self.last_time, self.last_step = time.perf_counter(), self.step  # validation time is not training time

    def on_train_end(self, logs=None):
        self.bar.stop()

    def write(self, line):
        self.lines.append(line)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.events:
            with self.events.as_default(line["step"]):
                for name, value in line.items():
                    if name != "step" and value is not None:
                        tf.summary.scalar(name, value)
            self.events.flush()

    def write_text(self, name, text):
        """Shows a text in TensorBoard."""
        if self.events:
            with self.events.as_default(self.step):
                tf.summary.text(name, text)

    def bytes_written(self) -> int:
        """The length of the file."""
        return self.path.stat().st_size if self.path and self.path.exists() else 0


def peak_memory_mb() -> int:
    """The largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))
