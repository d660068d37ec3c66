"""A run that trains a part: small preset, same numbers when it is loaded, base untouched, exact resume."""

import json
import os

import numpy as np
import pytest

from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.strategies import make_strategy


@pytest.fixture(scope="module")
def base(tiny, files, tmp_path_factory):
    """The preset of a classifier that a run made."""
    workdir = tmp_path_factory.mktemp("base")
    train(tiny.albert_config(**{"data.train": files.train, "validate_every": 0}), workdir, make_strategy("one_device"))
    return workdir / "preset"


def config_of(tiny, files, base, **changes):
    paths = {"data.train": files.train, "data.validation": files.validation, "data.test": files.test}
    return tiny.albert_config(**{**paths, "preset": str(base), "learning_rate": 0.05, **changes})


@pytest.mark.parametrize("train_only", ["head", "adapters", "gates", "lora"])
def test_the_preset_of_a_run_is_small_and_gives_its_results(tiny, files, base, tmp_path, train_only):
    config = config_of(tiny, files, base, train_only=train_only, lora_rank=2, adapter_dim=2)
    before = {path: path.read_bytes() for path in base.iterdir() if path.is_file()}
    results = train(config, tmp_path, make_strategy("one_device"))
    assert not list((tmp_path / "preset").glob("*.h5"))
    weights = sum(os.path.getsize(path) for path in base.glob("*.h5"))
    assert os.path.getsize(tmp_path / "preset" / "trained.npz") < weights / 10
    again = train(config_of(tiny, files, tmp_path / "preset", steps=1, learning_rate=0.0), tmp_path / "again",
                  make_strategy("one_device"))  # fmt: skip
    assert again["test_loss"] == pytest.approx(results["test_loss"], abs=1e-5)
    assert {path: path.read_bytes() for path in before} == before


def test_it_goes_on_where_it_was_stopped(tiny, files, base, tmp_path):
    config = config_of(tiny, files, base, train_only="lora", checkpoint_every=2)
    whole = train(config, tmp_path / "whole", make_strategy("one_device"))

    class Stop(Exception):
        pass

    from albert_gpt_tf.training import callbacks

    write = callbacks.write_checkpoint

    def write_and_stop(*arguments, **more):
        write(*arguments, **more)
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(callbacks, "write_checkpoint", write_and_stop)
        train(config, tmp_path / "stopped", make_strategy("one_device"))
    assert train(config, tmp_path / "stopped", make_strategy("one_device")) == whole
    one, other = (load_task(tmp_path / name / "preset") for name in ("whole", "stopped"))
    for weight, same in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_the_base_is_named_in_full(tiny, files, base, tmp_path, monkeypatch):
    monkeypatch.chdir(base.parent)
    config = config_of(tiny, files, "preset", train_only="head", steps=2)
    train(config, tmp_path, make_strategy("one_device"))
    assert json.loads((tmp_path / "preset" / "base.json").read_text())["base"] == str(base)
