"""A run that was killed and resumed ends as one that was not: every bit of weights, optimizer and log."""

import json
import os
import random
import signal

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.training import run
from albert_gpt_tf.training.checkpoints import whole_checkpoints
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.strategies import make_strategy

STEPS = 60
# Neither divides the other, nor the steps of an epoch: a checkpoint may come in the middle of anything.
EVERY = {"steps": STEPS, "log_every": 1, "validate_every": 20, "checkpoint_every": 7, "warmup_steps": 10}
ONE_DEVICE = make_strategy("one_device")


@pytest.fixture(scope="module")
def configs(tiny, files):
    """A classifier with dropout of tokens and activations, a language model with dropout, a pretrainer."""
    return {
        "classifier": tiny.albert_config(
            **{"data.train": files.train, "data.validation": files.validation, "micro_batch_size": 4}, **EVERY
        ),
        "causal_lm": tiny.gpt_config(
            **{"data.train": files.train_text, "data.validation": files.test_text, "backbone.dropout": 0.2}, **EVERY
        ),
        "pretraining": tiny.pretraining_config(
            **{"data.train": files.train_sentences, "data.validation": files.test_sentences}, **EVERY
        ),
    }


def variables(checkpoint):
    reader = tf.train.load_checkpoint(str(checkpoint / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE")]
    return {name: reader.get_tensor(name) for name in names}


def log_lines(workdir):
    """The log without what a clock says."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    of_a_clock = {"tokens_per_second", "model_flops_utilisation", "peak_memory_mb", "seconds_left"}
    return [{name: value for name, value in line.items() if name not in of_a_clock} for line in lines]


def assert_same_end(one, other):
    assert log_lines(one) == log_lines(other)
    first, second = (whole_checkpoints(workdir / "checkpoints")[-1] for workdir in (one, other))
    assert first.name == second.name
    left, right = variables(first), variables(second)
    assert set(left) == set(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    assert json.loads((first / "run.json").read_text())["best_step"] > 0
    assert (one / "results.json").read_text() == (other / "results.json").read_text()


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(configs, tmp_path, signal_at):
    """A process is killed at a random moment; this one goes on."""
    config, log = configs["causal_lm"], tmp_path / "killed" / "metrics.jsonl"
    step = random.randint(8, STEPS - 15)
    status, errors = signal_at(
        [f"--config={config.to_json()}", f"--workdir={tmp_path / 'killed'}"],
        signal.SIGKILL,
        lambda: log.exists() and log.read_bytes().count(b"\n") >= step,
    )
    assert status == -signal.SIGKILL, (step, errors[-2000:])
    assert (
        whole_checkpoints(tmp_path / "killed" / "checkpoints") and not (tmp_path / "killed" / "results.json").exists()
    )
    train(config, tmp_path / "killed", ONE_DEVICE)
    train(config, tmp_path / "whole", ONE_DEVICE)
    assert_same_end(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "pretraining"])
def test_stopped_and_resumed_equals_uninterrupted(configs, tmp_path, stop_at, name):
    stop_at(random.randint(8, STEPS - 1), configs[name], tmp_path / "stopped")
    train(configs[name], tmp_path / "stopped", ONE_DEVICE)
    train(configs[name], tmp_path / "whole", ONE_DEVICE)
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")


def test_sigterm_writes_a_checkpoint_and_says_how_to_go_on(tiny, files, tmp_path, monkeypatch, capsys):
    def send(self, batch, logs=None, original=run.RunLog.on_train_batch_end):
        original(self, batch, logs)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run.RunLog, "on_train_batch_end", send)
    before = signal.getsignal(signal.SIGTERM)
    config = tiny.gpt_config(**{"data.train": files.train_text}, validate_every=0)
    with pytest.raises(SystemExit) as end:
        train(config, tmp_path, ONE_DEVICE)
    assert end.value.code == 143
    [checkpoint] = whole_checkpoints(tmp_path / "checkpoints")
    assert json.loads((checkpoint / "run.json").read_text())["step"] == 3
    assert "Stopped after step 3 by SIGTERM: the same command goes on from there." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def stop_at(monkeypatch):
    """The function (step, config, workdir, strategy): trains until the step, and fails there."""

    def stop(step, config, workdir, strategy=ONE_DEVICE):
        class Failure(Exception):
            pass

        def after_step(self, batch, logs=None, original=run.RunLog.on_train_batch_end):
            original(self, batch, logs)
            if self.step == step:
                raise Failure

        with monkeypatch.context() as patch, pytest.raises(Failure):
            patch.setattr(run.RunLog, "on_train_batch_end", after_step)
            train(config, workdir, strategy)

    return stop


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_run_in_half_precision_resumes_exactly(tiny, files, tmp_path, stop_at, precision):
    """The scale of the losses of float16 is a part of the state."""
    splits = {"data.train": files.train_text, "data.validation": files.test_text}
    config = tiny.gpt_config(**splits, steps=9, validate_every=3, checkpoint_every=2, precision=precision, log_every=3)
    try:
        train(config, tmp_path / "whole", ONE_DEVICE)
        stop_at(8, config, tmp_path / "stopped")
        train(config, tmp_path / "stopped", ONE_DEVICE)
    finally:
        run.keras.config.set_dtype_policy("float32")
    assert_same_end(tmp_path / "whole", tmp_path / "stopped")
    losses = [line["loss"] for line in log_lines(tmp_path / "whole") if "loss" in line]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()


def test_another_configuration_is_refused_and_resume_false_starts_over(tiny, files, tmp_path, stop_at):
    config = tiny.gpt_config(**{"data.train": files.train_text}, checkpoint_every=1, validate_every=0)
    stop_at(3, config, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    other = config.copy_and_resolve_references()
    other.learning_rate = 1e-4
    with pytest.raises(ValueError, match=r"config.learning_rate=0.0001 where it had 0.005. Take the values from befo"):
        train(other, tmp_path, ONE_DEVICE)
    assert (tmp_path / "metrics.jsonl").read_text() == before

    other.resume = False
    train(other, tmp_path, ONE_DEVICE)
    assert [line["step"] for line in log_lines(tmp_path)] == [2, 4]
    assert json.loads((tmp_path / "config.json").read_text())["learning_rate"] == 1e-4


def test_what_changes_no_number_may_change(tiny, files, tmp_path, stop_at):
    config = tiny.gpt_config(**{"data.train": files.train_text}, checkpoint_every=1, validate_every=0)
    stop_at(3, config, tmp_path)
    config.checkpoint_every, config.keep_checkpoints = 2, 1
    train(config, tmp_path, ONE_DEVICE)
    assert [path.name for path in whole_checkpoints(tmp_path / "checkpoints")] == ["step-00000004"]


def test_a_finished_run_says_so_and_computes_nothing(tiny, files, tmp_path, monkeypatch, capsys):
    config = tiny.gpt_config(**{"data.train": files.train_text, "data.test": files.test_text}, validate_every=0)
    results = train(config, tmp_path, ONE_DEVICE)
    monkeypatch.setattr(run, "prepare_task", None)
    assert train(config, tmp_path, ONE_DEVICE) == results
    assert f"The run in {tmp_path} is finished." in capsys.readouterr().err


def test_a_run_that_was_killed_in_its_last_evaluation_only_evaluates(tiny, files, tmp_path, monkeypatch):
    config = tiny.gpt_config(**{"data.train": files.train_text, "data.test": files.test_text}, validate_every=0)
    results = train(config, tmp_path, ONE_DEVICE)
    (tmp_path / "results.json").unlink()
    monkeypatch.setattr(run, "run_steps", None)
    assert train(config, tmp_path, ONE_DEVICE) == pytest.approx(results, abs=1e-6)
