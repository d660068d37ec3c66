"""Checkpoints of a run: everything that the next step depends on, each in a folder that is whole or absent.

A checkpoint is `checkpoints/step-00001000/` with the variables (weights, random state of dropout, the optimizer's
state, the metrics since the last line of the log) in TensorFlow's format, and `run.json` with the rest. The position in
the data needs no more than the step: batches are functions of the seed and the step.
"""

import dataclasses
import json
import re
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

_NAME = re.compile(r"step-(\d{8,})")
_PARTIAL = ".partial"


@dataclasses.dataclass
class RunState:
    """Where a run stands, beside its variables.

    Attributes:
        step: int, steps done.
        metrics_bytes: int, length of `metrics.jsonl` after this step.
        best_step: int, the step of the best validation so far; 0 while there was none.
        best_loss: float, its loss.
        validations_since_best: int.
        is_stopped: bool, whether no step follows, because validations got no better.
    """

    step: int = 0
    metrics_bytes: int = 0
    best_step: int = 0
    best_loss: float = float("inf")
    validations_since_best: int = 0
    is_stopped: bool = False


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of a step's checkpoint, whether it exists or not."""
    return folder / f"step-{step:08d}"


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first; those that are being written are left out.

    Example:
        >>> whole_checkpoints(Path("runs/docstrings/checkpoints"))[-1].name
        'step-00001000'
    """
    if not folder.is_dir():
        return []
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found)]


def read_state(path: Path) -> RunState:
    """The state of the run in a checkpoint."""
    return RunState(**json.loads((path / "run.json").read_text(encoding="utf-8")))


def write_checkpoint(folder: Path | None, task: keras.Model, state: RunState, keep: int) -> None:
    """Writes the checkpoint of `state.step`, and removes the oldest ones.

    Args:
        folder: where checkpoints are; None for a worker that takes part in what all workers have to compute together,
            and keeps nothing.
        task: a compiled task whose optimizer is built.
        state: a RunState.
        keep: int, so many of the newest checkpoints stay, and that of the best validation.

    Example:
        >>> write_checkpoint(Path("runs/x/checkpoints"), task, RunState(step=1000), keep=3)
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as nowhere:
            _checkpoint(task).write(f"{nowhere}/variables")
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoint_path(folder, state.step)
    partial = path.with_name(path.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _checkpoint(task).write(str(partial / "variables"))
    (partial / "run.json").write_text(json.dumps(dataclasses.asdict(state)) + "\n", encoding="utf-8")
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    kept = {path, checkpoint_path(folder, state.best_step), *whole_checkpoints(folder)[-keep:]}
    for old in [*whole_checkpoints(folder), *folder.glob(f"*{_PARTIAL}")]:
        if old not in kept:
            shutil.rmtree(old)


def read_checkpoint(path: Path, task: keras.Model) -> None:
    """Gives a compiled task, whose optimizer is built, every variable as it was.

    Args:
        path: the folder of a checkpoint.
        task: as it was when the checkpoint was written.

    Raises:
        AssertionError: the checkpoint is of another model or optimizer.

    Example:
        >>> read_checkpoint(whole_checkpoints(Path("runs/x/checkpoints"))[-1], task)
    """
    status = _checkpoint(task).read(str(path / "variables"))
    status.assert_existing_objects_matched().assert_consumed()


def _checkpoint(task):
    variables = {
        id(variable): variable.value
        for owner in (task, *task.metrics, task.optimizer)
        for variable in owner.variables  # of a task also the random states of its dropout, which are no weights
    }
    # Numbered: two layers may have variables of one name.
    return tf.train.Checkpoint(**{f"variable_{number}": value for number, value in enumerate(variables.values())})
