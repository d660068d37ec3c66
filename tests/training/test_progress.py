import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from albert_gpt_tf.training import progress
from albert_gpt_tf.training.progress import RunLog

FIELDS = {
    "step", "loss", "gradient_norm", "learning_rate", "tokens_per_second", "model_flops_utilisation",
    "peak_memory_mb", "seconds_left",
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until it is told to go on."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock.now)
    return clock


@pytest.fixture
def simulate(tmp_path, clock):
    """The function (losses, seconds of each step, ...) -> the lines of the file, as Keras would call the callback."""

    def run(losses, seconds, validate_after=(), **arguments):
        path = tmp_path / "metrics.jsonl"
        path.unlink(missing_ok=True)
        log = RunLog(path, len(losses), tokens_per_step=100, **arguments)
        mean, norm = keras.metrics.Mean("loss"), keras.metrics.Mean("gradient_norm")
        optimizer = SimpleNamespace(learning_rate=keras.Variable(0.5))
        log.set_model(SimpleNamespace(optimizer=optimizer, metrics=[mean, norm]))
        log.on_train_begin()
        for index, (loss, duration) in enumerate(zip(losses, seconds, strict=True)):
            clock.now += duration
            mean.update_state(loss)
            norm.update_state(10 * loss)
            log.on_train_batch_end(index, {"loss": mean.result(), "gradient_norm": np.array([norm.result()])})
            if index + 1 in validate_after:
                clock.now += 1000  # a long validation
                log.on_epoch_end(0, {"loss": 0.0, "val_loss": 7.0, "val_accuracy": np.array([0.25])})
        log.on_train_end()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines == log.lines
        return lines

    return run


def test_every_line_has_every_field_and_steps_rise(simulate):
    lines = simulate([1.0] * 7, [1.0] * 7, log_every=2)
    assert all(set(line) == FIELDS for line in lines)
    assert [line["step"] for line in lines] == [2, 4, 6, 7]  # the last step always has one
    assert all(line["learning_rate"] == 0.5 and line["peak_memory_mb"] > 1 for line in lines)


def test_losses_are_means_since_the_line_before(simulate):
    lines = simulate([1.0, 2, 3, 5, 8, 13, 21], [1.0] * 7, log_every=3)
    assert [line["loss"] for line in lines] == pytest.approx([2, 26 / 3, 21], abs=1e-5)
    assert [line["gradient_norm"] for line in lines] == pytest.approx([20, 260 / 3, 210], abs=1e-4)


def test_the_rate_leaves_out_the_first_step_and_validation(simulate):
    lines = simulate([1.0] * 6, [60.0, 2, 2, 4, 4, 4], validate_after=[3, 6], log_every=3)
    training = [line for line in lines if "loss" in line]
    assert [line["tokens_per_second"] for line in training] == [50, 25]
    assert [line["seconds_left"] for line in training] == [6, 0]


def test_a_line_after_the_first_step_counts_that_step(simulate):
    lines = simulate([1.0] * 3, [50.0, 2, 4], log_every=1)
    assert [line["tokens_per_second"] for line in lines] == [2, 50, 25]


def test_utilisation_is_flops_over_peak_or_null(simulate):
    [*_, line] = simulate([1.0] * 4, [1.0] * 4, log_every=2, flops_per_token=30.0, peak_flops=1e4)
    assert line["model_flops_utilisation"] == 0.3
    [*_, line] = simulate([1.0] * 4, [1.0] * 4, log_every=2, flops_per_token=30.0)
    assert line["model_flops_utilisation"] is None


def test_a_line_with_validation_metrics_follows(simulate):
    lines = simulate([1.0] * 4, [1.0] * 4, validate_after=[2, 4], log_every=2)
    assert [line for line in lines if "val_loss" in line] == [
        {"step": step, "val_loss": 7.0, "val_accuracy": 0.25} for step in (2, 4)
    ]


def test_the_bar_can_be_stopped_before_training_began():
    RunLog(None, 1, 1).bar.stop()
