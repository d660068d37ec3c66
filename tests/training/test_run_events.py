"""What happens in a run beside its steps: pretraining's two heads, gradients that are not finite, an early end."""

import json

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training import batches, callbacks, run
from albert_gpt_tf.training.callbacks import NonFiniteError
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


# === Pretraining ===


@pytest.mark.parametrize("source", ["files", "docstrings"])
def test_a_pretraining_run_measures_both_heads_and_its_preset_keeps_the_tokenizer(
    tiny, files, tmp_path, monkeypatch, source
):
    documents = {"train": ["It rained. It rains. It will rain."] * 20, "validation": ["Red is one. Green is two."] * 9}
    monkeypatch.setattr(batches, "language_model_documents", lambda: documents)
    paths = {"data.source": source, "vocabulary_size": 40}
    if source == "files":
        # A pattern, of one file here.
        paths |= {"data.train": files.train_sentences.replace(".txt", ".tx*"), "data.validation": files.test_sentences}
    config = tiny.pretraining_config(**paths)
    results = train(config, tmp_path, ONE_DEVICE)
    heads = {f"{head}_{what}" for head in ("masked_lm", "sentence_order") for what in ("loss", "accuracy")}
    assert set(results) == {f"validation_{name}" for name in {"loss", *heads}}
    losses = [results[f"validation_{head}_loss"] for head in ("masked_lm", "sentence_order")]
    assert results["validation_loss"] == pytest.approx(sum(losses), abs=1e-5)
    training = [line for line in metrics(tmp_path) if "loss" in line]
    assert {"masked_lm_accuracy", "sentence_order_accuracy", "gradient_norm"} <= set(training[0])
    task = load_task(tmp_path / "preset")
    assert type(task).__name__ == "AlbertPretrainer"
    assert task.preprocessor.tokenizer.vocabulary_size() == task.backbone.vocabulary_size <= 40


# === Gradients that are not finite ===

BAD_STEP = 4


@pytest.fixture
def bad_batch(monkeypatch):
    """Makes the weights of the batch of step `BAD_STEP` NaN."""

    def make_plan(config, strategy, original=run.make_plan):
        plan = original(config, strategy)

        def batches(first_step):
            def spoil(step, batch):
                x, y = batch
                weights = tf.where(tf.equal(step, BAD_STEP - 1), float("nan"), 1.0) * tf.ones(tf.shape(y))
                return x, y, weights

            return plan.batches(first_step).enumerate(first_step).map(spoil)

        return plan._replace(batches=batches)

    monkeypatch.setattr(run, "make_plan", make_plan)


def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_its_batch(tiny, files, tmp_path, bad_batch):
    config = tiny.gpt_config(**{"data.train": files.train_text}, steps=9, log_every=3, validate_every=0)
    message = r"finite gradient. Received: one that is not, at step 4;.*non_finite_batch"
    with pytest.raises(NonFiniteError, match=message):
        train(config, tmp_path, ONE_DEVICE)
    with np.load(tmp_path / "non_finite_batch.npz") as batch:
        assert set(batch) == {"x/token_ids", "x/padding_mask", "y", "sample_weight"}
        assert np.isnan(batch["sample_weight"]).all()
        np.testing.assert_array_equal(batch["x/token_ids"][:, 1:], batch["y"][:, :-1])
    assert [line["step"] for line in metrics(tmp_path)] == [3]  # the line of step 6 would be of steps without effect


def test_skipped_steps_are_left_out_of_the_log_and_counted(tiny, files, tmp_path, bad_batch):
    config = tiny.gpt_config(**{"data.train": files.train_text}, steps=9, log_every=3, validate_every=0)
    config.non_finite = "skip"
    train(config, tmp_path, ONE_DEVICE)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 9]
    assert [line.get("skipped_steps") for line in lines] == [None, 1, None]
    assert all(np.isfinite([line["loss"], line["gradient_norm"]]).all() for line in lines)


# === The best weights, and an early end ===


def test_a_run_ends_early_when_validation_gets_no_better_and_keeps_the_best_weights(tiny, files, tmp_path, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.5, 1.0])

    def evaluate(task, batches):
        return {"loss": next(losses)}

    monkeypatch.setattr(callbacks, "evaluate", evaluate)
    splits = {"data.train": files.train_text, "data.validation": files.test_text}
    config = tiny.gpt_config(**splits, steps=10, validate_every=2, patience=2, log_every=2, keep_checkpoints=1)
    train(config, tmp_path, ONE_DEVICE)
    lines = metrics(tmp_path)
    assert [line["val_loss"] for line in lines if "val_loss" in line] == [3.0, 2.0, 2.5, 2.5]
    assert lines[-1]["step"] == 8
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000008"]  # the best one, and the newest
    saved = load_task(tmp_path / "preset")
    values = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "step-00000004" / "variables"))
    numbers = {values.get_tensor(name).tobytes() for name in values.get_variable_to_shape_map() if name[0] != "_"}
    assert all(weight.numpy().tobytes() in numbers for weight in saved.backbone.trainable_weights)
