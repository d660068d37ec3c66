"""A whole training run: data, vocabulary, model, `fit`, evaluation, and a preset directory at the end.

`train(config, workdir, strategy)` is what `albert-gpt-tf train` calls; `configs/` holds configurations. In the
working directory it leaves `config.json`, `metrics.jsonl` (a line every few steps), `checkpoints/`, `results.json` and
`preset/`. Called again after it was killed, it goes on from the newest checkpoint, and ends as if nothing had happened.
"""

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from albert_gpt_tf.tasks.trained_part import save_trained_part
from albert_gpt_tf.training.batches import shard_by_data
from albert_gpt_tf.training.callbacks import StopAtNonFinite, ValidationAndCheckpoints
from albert_gpt_tf.training.checkpoints import (
    RunState,
    checkpoint_path,
    read_checkpoint,
    read_state,
    whole_checkpoints,
)
from albert_gpt_tf.training.evaluation import evaluate
from albert_gpt_tf.training.flops import measured_peak_flops, training_flops_per_token
from albert_gpt_tf.training.interruptions import Interruptions, largest_of_workers
from albert_gpt_tf.training.plans import PLANS, Plan, make_plan
from albert_gpt_tf.training.progress import RunLog
from albert_gpt_tf.training.settings import Due, check_settings, make_optimizer, micro_batches
from albert_gpt_tf.training.strategies import is_chief

# They change nothing of what is computed, so a run may go on with others.
FREE_SETTINGS = ("resume", "checkpoint_every", "keep_checkpoints", "tensorboard")


def train(config, workdir: str | Path, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Trains, evaluates and saves what a configuration describes, or goes on with it.

    Args:
        config: an `ml_collections.ConfigDict`, see `configs/`.
        workdir: directory of the run; made if missing. Several workers need the same one.
        strategy: see `make_strategy`.

    Returns:
        The results on the validation and test splits by name, also written to `results.json`.

    Raises:
        ValueError: a setting that cannot work, or another one than the run in `workdir` began with, before the first
            step.
        DataError: a file with a broken row, before the first step.
        NonFiniteError: a gradient was not finite, and `config.non_finite` is "stop".
        Terminated: SIGTERM came; a checkpoint is written.
        KeyboardInterrupt: Ctrl-C was pressed; a checkpoint is written.

    Example:
        >>> train(get_config(), "runs/docstrings", make_strategy("one_device"))["test_accuracy"]
        0.88
    """
    check(config, strategy)
    workdir = Path(workdir)
    checkpoint = checkpoint_to_resume(config, workdir, strategy)
    if config.resume and (workdir / "results.json").is_file():
        say(f"The run in {workdir} is finished. To do it again: --config.resume=False, or another --workdir.")
        return json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    # Other workers than the chief take part in every step but write nothing.
    output = workdir if is_chief(strategy) else None
    if output:
        output.mkdir(parents=True, exist_ok=True)
    plan = prepare_task(config, strategy)
    fit(plan, config, workdir, output, strategy, checkpoint)
    results = {}
    for split, batches in plan.evaluation.items():
        metrics = plan.measured(split, evaluate(plan.task, batches))
        results |= {f"{split}_{name}": value for name, value in metrics.items()}
    if output:
        save_preset(plan.task, output / "preset", config)
        write_json(output / "results.json", results)
    return results


def check(config, strategy) -> None:
    """Raises ValueError for settings that cannot work, before anything is read."""
    if config.task not in PLANS:
        raise ValueError(f"config.task must be one of {sorted(PLANS)}. Received: config.task={config.task!r}")
    check_settings(config, strategy)


def prepare_task(config, strategy: tf.distribute.Strategy) -> Plan:
    """Everything before the first step: the settings are checked, the data is read, the task made and compiled.

    Args:
        config: an `ml_collections.ConfigDict`, see `configs/`.
        strategy: see `make_strategy`.

    Returns:
        A Plan.

    Raises:
        ValueError, DataError: see `train`.

    Example:
        >>> prepare_task(get_config(), make_strategy("one_device")).task.count_params()
        1310000
    """
    check(config, strategy)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    plan = make_plan(config, strategy)
    with strategy.scope():
        plan.task.compile(
            make_optimizer(config),
            micro_batches=micro_batches(config, strategy),
            stop_at_non_finite=config.non_finite == "stop",
            jit_compile=config.jit_compile,
        )
    return plan


def checkpoint_to_resume(config, workdir: Path, strategy) -> Path | None:
    """The newest whole checkpoint of this run, or None to start at the first step.

    Raises:
        ValueError: the run in `workdir` has another configuration, or a worker sees other checkpoints.
    """
    checkpoints = whole_checkpoints(workdir / "checkpoints") if config.resume else []
    if checkpoints or (config.resume and (workdir / "results.json").is_file()):
        path = workdir / "config.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if changes := differences(before, json.loads(config.to_json_best_effort())):
            raise ValueError(
                f"Expected the configuration of the run in {workdir}, to go on with it. Received: {', '.join(changes)}."
                " Take the values from before, another --workdir, or --config.resume=False to start over."
            )
    step = read_state(checkpoints[-1]).step if checkpoints else 0
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        newest, oldest = largest_of_workers(strategy, step), -largest_of_workers(strategy, -step)
        if newest != oldest:
            raise ValueError(
                f"Expected every worker to see the same checkpoints. Received: steps {oldest:.0f} and {newest:.0f}. "
                "Give all workers the same --workdir, on a file system that they share."
            )
    return checkpoints[-1] if checkpoints else None


def differences(before: dict, now: dict) -> list[str]:
    """What differs between two configurations, as `name=value where it had value`."""
    old, new = _flat(before), _flat(now)
    names = [name for name in sorted({*old, *new}) if name not in FREE_SETTINGS]
    return [
        f"config.{name}={new.get(name)!r} where it had {old.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _flat(values, prefix=""):
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def fit(plan: Plan, config, workdir: Path, output: Path | None, strategy, checkpoint: Path | None) -> None:
    """Trains the task of a plan to the end, from the first step or from a checkpoint, and gives it its best weights."""
    task = plan.task
    state = read_state(checkpoint) if checkpoint else RunState()
    validation = plan.evaluation.get("validation") if config.validate_every else None
    if config.patience and validation is None:
        raise ValueError(
            "Expected a validation split, as config.patience counts validations. Received: none. Name one in "
            "config.data.validation, or set config.patience=0."
        )
    steps_left = 0 if state.is_stopped else config.steps - state.step
    batches = plan.batches(state.step) if steps_left else None
    if output and not checkpoint:  # not earlier: a mistake must leave the files of an earlier run as they were
        start_over(output)
        write_json(output / "config.json", json.loads(config.to_json_best_effort()))
    if steps_left:
        run_steps(plan, config, output, strategy, checkpoint, state, batches, validation, steps_left)
    elif checkpoint:
        with strategy.scope():
            task.optimizer.build(task.trainable_variables)  # as `fit` would have done
        read_checkpoint(checkpoint, task)
    if config.keep == "best" and state.best_step not in (0, state.step):
        read_checkpoint(checkpoint_path(workdir / "checkpoints", state.best_step), task)


def run_steps(plan, config, output, strategy, checkpoint, state, batches, validation, steps_left):
    """All steps that are left, in one call of Keras' `fit`; what happens between them is in the callbacks."""
    task = plan.task
    due = Due(config.steps, config.log_every, config.validate_every, config.checkpoint_every)
    compute_dtype = keras.config.dtype_policy().compute_dtype
    log = RunLog(
        output / "metrics.jsonl" if output else None,
        total_steps=config.steps,
        tokens_per_step=config.batch_size * config.sequence_length,
        flops_per_token=training_flops_per_token(task.backbone, config.sequence_length),
        peak_flops=measured_peak_flops(compute_dtype) * strategy.num_replicas_in_sync,
        log_every=config.log_every,
        title=plan.title,
        first_step=state.step,
        metrics_bytes=state.metrics_bytes,
        tensorboard=output / "tensorboard" if config.tensorboard and output else None,
    )

    def save_batch(step):
        return save_non_finite_batch(plan.batches(step - 1), output)

    with Interruptions() as interruptions:
        callbacks = [
            log,
            ValidationAndCheckpoints(
                state,
                due,
                validation,
                output / "checkpoints" if output else None,
                config.keep_checkpoints,
                config.patience,
                log,
                checkpoint,
                interruptions,
                plan.sample if config.tensorboard and output else None,
            ),
        ]
        if config.non_finite == "stop":
            callbacks.insert(0, StopAtNonFinite(due, state.step, save_batch))
        try:
            task.fit(shard_by_data(batches), steps_per_epoch=steps_left, callbacks=callbacks, verbose=0)
        finally:
            log.bar.stop()  # an exception or Ctrl-C must leave the terminal as it was


def start_over(output: Path) -> None:
    """Removes what an earlier run left that would be taken for this one's."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in ("results.json", "non_finite_batch.npz"):
        (output / name).unlink(missing_ok=True)


def save_non_finite_batch(batches: tf.data.Dataset, output: Path | None) -> str:
    """Writes the first batch of a dataset to `non_finite_batch.npz`, and returns a sentence that says so."""
    if output is None:
        return "Its batch is saved by the first worker."
    [batch] = batches.take(1)
    parts = dict(zip(("x", "y", "sample_weight"), batch, strict=False))
    arrays = {name.replace(".", "/"): value.numpy() for name, value in _flat(parts).items()}
    np.savez(output / "non_finite_batch.npz", **arrays)
    return f"Its batch is in {output / 'non_finite_batch.npz'}."


def save_preset(task, directory: Path, config):
    """Saves a task, or what was trained of it, so that the directory is whole or absent."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if config.train_only == "all":
        task.save_to_preset(str(partial))
    else:
        save_trained_part(task, partial, config.preset)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def write_json(path: Path, content) -> None:
    """Writes a file that is whole or absent."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


def say(sentence: str) -> None:
    """Tells something to the person at the terminal."""
    print(sentence, file=sys.stderr)
