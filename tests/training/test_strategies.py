from types import SimpleNamespace

import pytest
import tensorflow as tf

from albert_gpt_tf.training.strategies import STRATEGIES, is_chief, make_strategy


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"strategy must be one of .*multi_worker.*Received: strategy='mirored'"):
        make_strategy("mirored")


@pytest.mark.parametrize("config", [None, "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_multi_worker_without_workers_says_what_to_set(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        make_strategy("multi_worker")


def test_one_device_is_the_only_replica_and_writes():
    strategy = make_strategy("one_device")
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


def test_mirrored_takes_every_logical_device():
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == len(devices)
    assert is_chief(strategy)


@pytest.mark.parametrize(
    ("jobs", "job", "index", "expected"),
    [
        (["worker"], "worker", 0, True),
        (["worker"], "worker", 1, False),
        (["chief", "worker"], "chief", 0, True),
        (["chief", "worker"], "worker", 0, False),
    ],
)
def test_one_worker_is_the_chief(jobs, job, index, expected):
    class FakeStrategy(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            pass  # a genuine one would wait for the others

        cluster_resolver = SimpleNamespace(
            cluster_spec=lambda: SimpleNamespace(as_dict=lambda: {name: [] for name in jobs}),
            task_type=job,
            task_id=index,
        )

    assert is_chief(FakeStrategy()) is expected


def test_the_documented_names_are_the_accepted_ones():
    assert all(f'`"{name}"`' in make_strategy.__doc__ for name in STRATEGIES)
