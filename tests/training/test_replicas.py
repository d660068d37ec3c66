"""The same numbers on 1 replica, 2 replicas and 2 workers, in 1, 2 and 4 micro-batches.

Models, data and what is uneven about them are in train_in_process.py. Measured differences are below 5e-7 everywhere:
sums of float32 in another order.
"""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TASKS = ("classifier", "causal_lm")
TOLERANCE = 1e-5

ONE_DEVICE = ["one_device:classifier:1", "one_device:classifier:2", "one_device:classifier:4"]
ONE_DEVICE += ["one_device:causal_lm:1", "one_device:causal_lm:2", "one_device:causal_lm:4"]
MIRRORED = ["mirrored:classifier:1", "mirrored:classifier:4", "mirrored:causal_lm:1", "mirrored:causal_lm:2"]
CONTROLS = ["mirrored:causal_lm:2:dropout", "mirrored:causal_lm:1:keras", "mirrored:causal_lm:1:keras_forced"]
TWO_WORKERS = ["multi_worker:classifier:1", "multi_worker:causal_lm:2"]


@pytest.fixture(scope="module")
def results(train_in_process):
    return train_in_process("--replicas=2", *ONE_DEVICE, *MIRRORED, *CONTROLS)


@pytest.fixture(scope="module")
def worker_results(train_on_two_workers, files, tiny, tmp_path_factory):
    """Both workers' results; a whole run of `train` comes last, into `workdir`."""
    workdir = tmp_path_factory.mktemp("two_workers") / "run"
    config = tiny.albert_config(
        **{"data.train": files.train, "data.validation": files.validation, "data.test": files.test}
    )
    arguments = [f"--config={config.to_json()}", f"--workdir={workdir}"]
    return train_on_two_workers(*arguments, *TWO_WORKERS), workdir


def largest_difference(one, other, kind, but=()):
    names = [name for name in one[kind] if name not in but]
    assert names and sorted(names) == sorted(name for name in other[kind] if name not in but)
    return max(np.abs(np.subtract(one[kind][name], other[kind][name])).max() for name in names)


def assert_same(one, other):
    for kind in ("history", "evaluation", "weights"):
        assert largest_difference(one, other, kind) < TOLERANCE, kind


@pytest.mark.parametrize("case", [case for case in ONE_DEVICE if not case.endswith(":1")])
def test_micro_batches_change_nothing_on_one_device(results, case):
    assert_same(results[case.rsplit(":", 1)[0] + ":1"], results[case])


@pytest.mark.parametrize("case", MIRRORED)
def test_two_replicas_equal_one(results, case):
    assert results["replicas"] == 2
    assert_same(results[f"one_device:{case.split(':')[1]}:1"], results[case])


@pytest.mark.parametrize("case", TWO_WORKERS)
def test_two_workers_equal_one_process(results, worker_results, case):
    (first, second), _ = worker_results
    assert first["replicas"] == 2
    assert first[case] == second[case]  # not one bit apart
    assert_same(results[f"one_device:{case.split(':')[1]}:1"], first[case])


@pytest.mark.parametrize("task", TASKS)
def test_what_is_compared_is_demanding(results, task):
    """Every step moved the weights, was clipped, and had another batch."""
    history = results[f"one_device:{task}:1"]["history"]
    assert min(history["gradient_norm"]) > 2 * 0.05
    assert len(set(history["loss"])) == len(history["loss"]) == 5
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "gradient_norm"} <= set(history)


def test_validation_in_fit_is_evaluate(results):
    result = results["mirrored:classifier:1"]
    assert result["history"]["val_loss"][-1] == pytest.approx(result["evaluation"]["loss"][0], abs=1e-6)


def test_dropout_runs_inside_the_loop_of_two_replicas(results):
    dropped, plain = results["mirrored:causal_lm:2:dropout"], results["one_device:causal_lm:1"]
    assert np.isfinite(dropped["history"]["loss"]).all()
    assert 1e-4 < largest_difference(plain, dropped, "history", but=("accuracy", "val_accuracy")) < 3


def test_keras_adamw_with_clipping_is_refused_under_two_replicas(results):
    message = results["mirrored:causal_lm:1:keras"]["refused"]
    assert "global_clipnorm of a Keras optimizer clips each replica's part before the all-reduce" in message
    assert "albert_gpt_tf.training.optimizers.AdamW" in message


def test_control_keras_adamw_with_clipping_would_differ(results):
    stock, ours = results["mirrored:causal_lm:1:keras_forced"], results["one_device:causal_lm:1"]
    assert largest_difference(ours, stock, "weights") > 100 * TOLERANCE


def test_a_run_on_two_workers_is_written_by_the_chief_alone(worker_results):
    (first, second), workdir = worker_results
    assert (first["is_chief"], second["is_chief"]) == (True, False)
    assert first["train"] == second["train"]
    assert json.loads((workdir / "results.json").read_text()) == first["train"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "tokens_per_second" in line] == [2, 4]
    assert (workdir / "preset" / "task.json").is_file()
