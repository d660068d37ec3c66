"""Checkpoints are whole or absent, hold every variable, and the newest and the best one stay."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.training.checkpoints import (
    RunState,
    checkpoint_path,
    read_checkpoint,
    read_state,
    whole_checkpoints,
    write_checkpoint,
)
from albert_gpt_tf.training.optimizers import LAMB


def make_task(strategy=None, hidden_dim=8):
    with (strategy or tf.distribute.get_strategy()).scope():
        backbone = GPTBackbone(17, num_layers=1, num_heads=2, hidden_dim=hidden_dim, dropout=0.5, max_sequence_length=5)
        task = GPTCausalLM(backbone)
        task.compile(LAMB(0.1))
        task.optimizer.build(task.trainable_variables)
    return task


def batch():
    ids = np.random.default_rng(0).integers(0, 17, (4, 6)).astype("int32")
    return {"token_ids": ids[:, :-1], "padding_mask": np.ones((4, 5), bool)}, ids[:, 1:]


def everything(task):
    return [variable.numpy() for owner in (task, *task.metrics, task.optimizer) for variable in owner.variables]


def test_a_step_after_reading_is_the_step_after_writing(tmp_path):
    """Dropout draws the same mask, and the optimizer is where it was."""
    task, other = make_task(), make_task()
    for _ in range(3):
        task.train_on_batch(*batch())
    write_checkpoint(tmp_path, task, RunState(step=3), keep=1)
    other.train_on_batch(*batch())
    read_checkpoint(checkpoint_path(tmp_path, 3), other)
    for one in (task, other):
        one.train_on_batch(*batch())
    for mine, theirs in zip(everything(task), everything(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert int(other.optimizer.iterations) == 4


def test_the_state_of_the_run_comes_back(tmp_path):
    state = RunState(step=7, metrics_bytes=99, best_step=5, best_loss=0.1 + 0.2, validations_since_best=1)
    write_checkpoint(tmp_path, make_task(), state, keep=1)
    assert read_state(checkpoint_path(tmp_path, 7)) == state
    assert RunState().best_loss == float("inf")


def test_the_newest_and_the_best_stay(tmp_path):
    task = make_task()
    for step in range(1, 7):
        write_checkpoint(tmp_path, task, RunState(step=step, best_step=2 if step > 1 else 0), keep=2)
    assert [read_state(path).step for path in whole_checkpoints(tmp_path)] == [2, 5, 6]


def test_a_checkpoint_that_is_not_whole_is_never_found_and_goes_with_the_next_one(tmp_path, monkeypatch):
    task = make_task()
    write_checkpoint(tmp_path, task, RunState(step=1), keep=3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("json.dumps", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        write_checkpoint(tmp_path, task, RunState(step=2), keep=3)
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", "step-00000002.partial"}
    assert [path.name for path in whole_checkpoints(tmp_path)] == ["step-00000001"]
    write_checkpoint(tmp_path, task, RunState(step=3), keep=3)
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", "step-00000003"}


def test_there_is_none_in_a_folder_that_does_not_exist(tmp_path):
    assert whole_checkpoints(tmp_path / "none") == []


def test_a_worker_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_checkpoint(None, make_task(), RunState(step=1), keep=1)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    write_checkpoint(tmp_path, make_task(), RunState(step=1), keep=1)
    with pytest.raises((AssertionError, ValueError)):
        read_checkpoint(checkpoint_path(tmp_path, 1), make_task(hidden_dim=16))
