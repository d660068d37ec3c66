"""`train(config, workdir, strategy)` end to end on small files."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from albert_gpt_tf.commands.train_plan import plan_rows
from albert_gpt_tf.data.files import DataError, read_labelled_file, read_text_file
from albert_gpt_tf.data.language_model import count_bytes, evaluation_windows
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training import plan_causal_lm, plan_text_classifier, run
from albert_gpt_tf.training.batches import labelled_dataset
from albert_gpt_tf.training.evaluation import evaluate
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.settings import learning_rate
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
TRAINING_FIELDS = {
    "step", "loss", "accuracy", "gradient_norm", "learning_rate", "tokens_per_second", "model_flops_utilisation",
    "peak_memory_mb", "seconds_left",
}  # fmt: skip
LEFT = {"config.json", "metrics.jsonl", "checkpoints", "results.json", "preset"}


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


@pytest.fixture(scope="module")
def classifier_config(tiny, files):
    return tiny.albert_config(
        **{
            "data.train": files.train,
            "data.validation": files.validation,
            "data.test": files.test,
            "micro_batch_size": 4,
        }
    )


@pytest.fixture(scope="module")
def classifier_run(classifier_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("classifier") / "made" / "by_train"
    return workdir, train(classifier_config, workdir, ONE_DEVICE)


@pytest.fixture(scope="module")
def gpt_config(tiny, files):
    return tiny.gpt_config(**{"data.train": files.train_text, "data.test": files.test_text})


@pytest.fixture(scope="module")
def gpt_run(gpt_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("gpt")
    return workdir, train(gpt_config, workdir, ONE_DEVICE)


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


# === Whole runs ===


def test_a_classifier_run_leaves_its_configuration_metrics_results_and_preset(classifier_run, classifier_config):
    workdir, results = classifier_run
    assert {path.name for path in workdir.iterdir()} == LEFT
    assert json.loads((workdir / "results.json").read_text()) == results
    names = ("loss", "accuracy", "macro_f1", "f1", "matthews")
    assert set(results) == {f"{split}_{name}" for split in ("validation", "test") for name in names}
    assert json.loads((workdir / "config.json").read_text()) == classifier_config.to_dict()


def test_tensorboard_has_the_losses_on_request(tiny, files, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    splits = {"data.train": files.train_text, "data.validation": files.test_text}
    config = tiny.gpt_config(**splits, tensorboard=True)
    train(config, tmp_path, ONE_DEVICE)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "learning_rate", "val_loss", "sample"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("loss")] == [2, 4]


def test_metrics_of_a_run_have_every_field(classifier_run, classifier_config):
    workdir, results = classifier_run
    lines = metrics(workdir)
    training = [line for line in lines if "loss" in line]
    assert all(set(line) == TRAINING_FIELDS for line in training)
    assert [line["step"] for line in lines] == [2, 2, 4, 4]  # a line of validation after one of training
    best = min(line["val_loss"] for line in lines if "val_loss" in line)
    assert best == pytest.approx(results["validation_loss"], abs=1e-5)
    assert training[-1]["learning_rate"] == 0 and training[-1]["seconds_left"] == 0
    assert training[0]["learning_rate"] == pytest.approx(learning_rate(classifier_config)(2).numpy())
    assert all(line["model_flops_utilisation"] > 0 for line in training)


def test_the_saved_classifier_gives_the_results_of_the_run(classifier_run, files):
    workdir, results = classifier_run
    task = load_task(workdir / "preset")
    assert task.labels == ["cat", "dog"]
    rows = read_labelled_file(files.test)
    again = evaluate(task, labelled_dataset(rows.texts, rows.labels).batch(3))
    assert again["loss"] == pytest.approx(results["test_loss"], abs=1e-5)
    assert again["accuracy"] == pytest.approx(results["test_accuracy"], abs=1e-6)


def test_the_same_configuration_gives_the_same_numbers(classifier_run, classifier_config, tmp_path):
    _, results = classifier_run
    assert train(classifier_config, tmp_path, ONE_DEVICE) == pytest.approx(results, abs=1e-5)


def test_pairs_of_texts_with_columns_of_their_own_names(tiny, files, tmp_path):
    config = tiny.albert_config(
        **{"data.train": files.train_pairs, "data.test": files.test_pairs, "data.text": "question"},
        **{"data.text_pair": "answer", "data.label": "kind", "validate_every": 0},
    )
    results = train(config, tmp_path, ONE_DEVICE)
    assert set(results) == {"test_loss", "test_accuracy", "test_macro_f1", "test_f1", "test_matthews"}
    rows = read_labelled_file(files.test_pairs, "question", "kind", "answer")
    task = load_task(tmp_path / "preset")
    pairs = list(zip(rows.texts, rows.pairs, strict=True))
    again = evaluate(task, labelled_dataset(pairs, rows.labels).batch(8))
    assert again["loss"] == pytest.approx(results["test_loss"], abs=1e-5)
    # The second text is seen: another one gives other scores.
    first, second = (np.array(column[:2]) for column in (rows.texts, rows.pairs))
    assert np.abs(task.answer(first, second)["scores"] - task.answer(first, second[::-1])["scores"]).max() > 0


def test_a_language_model_run_gives_bits_per_byte_of_its_preset(gpt_run, files):
    workdir, results = gpt_run
    assert {path.name for path in workdir.iterdir()} == LEFT
    assert set(results) == {"test_loss", "test_accuracy", "test_bits_per_byte"}
    assert 0 < results["test_bits_per_byte"] < 9
    task = load_task(workdir / "preset")
    documents = read_text_file(files.test_text)
    windows = evaluation_windows(documents, task.preprocessor.tokenizer, sequence_length=16, batch_size=4)
    nats = 0.0
    for ids, targets, weights in windows:
        logits = task({"token_ids": ids.numpy(), "padding_mask": np.ones(ids.shape, bool)}).numpy().astype("float64")
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = np.take_along_axis(log_probabilities, targets.numpy()[..., None], -1)[..., 0]
        nats -= (chosen * weights.numpy()).sum()
    bits_per_byte = nats / np.log(2) / count_bytes(documents)
    assert results["test_bits_per_byte"] == pytest.approx(bits_per_byte, rel=1e-5)


def test_two_loads_of_a_preset_continue_alike(gpt_run):
    workdir, _ = gpt_run
    one, other = (load_task(workdir / "preset").generate("red green", max_new_tokens=4) for _ in range(2))
    assert one == other


def test_starting_from_a_preset_keeps_its_weights_and_vocabulary(classifier_run, classifier_config, tmp_path):
    workdir, _ = classifier_run
    config = classifier_config.copy_and_resolve_references()
    config.update(preset=str(workdir / "preset"), learning_rate=0.0)
    train(config, tmp_path, ONE_DEVICE)
    before, after = load_task(workdir / "preset"), load_task(tmp_path / "preset")
    assert after.preprocessor.tokenizer.vocabulary_size() == before.preprocessor.tokenizer.vocabulary_size()
    for one, other in zip(before.backbone.get_weights(), after.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_language_model_goes_on_from_a_preset(gpt_run, gpt_config, tmp_path):
    workdir, results = gpt_run
    config = gpt_config.copy_and_resolve_references()
    config.update(preset=str(workdir / "preset"), learning_rate=0.0)
    assert train(config, tmp_path, ONE_DEVICE) == pytest.approx(results, abs=1e-5)


# === The plan ===


def test_two_steps_of_a_plan_write_nothing(classifier_config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = plan_rows(classifier_config, ONE_DEVICE)
    assert rows["epochs"] == "0.80 of 40 rows" and rows["replicas and micro-batches"].startswith("1 × 2 of 4 rows")
    assert rows["steps"] == "4, 512 tokens with padding"
    assert "memory, together" in rows and float(rows["loss of the second step"]) < 1
    assert not list(tmp_path.iterdir())


# === Mistakes: an error before any work ===


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test if a vocabulary is trained or a model fitted."""

    def work(*arguments, **more):
        raise AssertionError("work began")

    monkeypatch.setattr(plan_text_classifier, "train_sentencepiece", work)
    monkeypatch.setattr(plan_causal_lm, "train_byte_level_bpe", work)
    monkeypatch.setattr(run, "fit", work)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("txt\tlabel\na\tb\n", 1, "expected a column 'text'.*did you mean 'txt'"),
        ("text\tlabel\na b\tcat\nc d\t\n", 3, "expected a label in 'label'"),
        ("text\tlabel\na b\tcat\nc d\n", 3, "expected 2 fields as in the header, received 1"),
        ("text\tlabel\n", 1, "expected at least one row"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_broken_table_is_told_by_file_and_line(tiny, files, tmp_path, no_work, content, line, message, split):
    path = tmp_path / "broken.tsv"
    path.write_text(content)
    paths = {"data.train": files.train, f"data.{split}": str(path)}
    with pytest.raises(DataError, match=f"broken.tsv:{line}: {message}"):
        train(tiny.albert_config(**paths), tmp_path / "run", ONE_DEVICE)


def test_a_missing_text_file_is_told_by_name(tiny, tmp_path, no_work):
    with pytest.raises(DataError, match=r"none.txt: expected a file"):
        train(tiny.gpt_config(**{"data.train": str(tmp_path / "none.txt")}), tmp_path / "run", ONE_DEVICE)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_labels_that_training_does_not_know_are_an_error(tiny, files, tmp_path, no_work, split):
    path = tiny.write_tsv(tmp_path / "other.tsv", ["text", "label"], [["a b", "cat"], ["c d", "parrot"]])
    config = tiny.albert_config(**{"data.train": files.train, f"data.{split}": path})
    with pytest.raises(ValueError, match=rf"\['cat', 'dog'\], in the {split} split. Received: \['parrot'\] as well"):
        train(config, tmp_path / "run", ONE_DEVICE)


def test_a_single_label_is_an_error_before_the_first_step(tiny, tmp_path):
    path = tiny.write_tsv(tmp_path / "one.tsv", ["text", "label"], [["red green", "cat"]] * 9)
    with pytest.raises(ValueError, match=r"labels must be two or more different names.*\['cat'\]"):
        train(tiny.albert_config(**{"data.train": path, "vocabulary_size": 30}), tmp_path / "run", ONE_DEVICE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "texts"}, r"config.task must be one of \['albert_pretraining', .*\]. Received.*'texts'"),
        ({"micro_batch_size": 3}, "batch_size must be divisible by .* batch_size=8, replicas=1, micro_batch_size=3"),
        ({"micro_batch_size": -1}, "config.micro_batch_size must be 0 or more. Received: micro_batch_size=-1"),
        ({"optimizer": "adam"}, r"config.optimizer must be one of \('adamw', 'lamb'\). Received.*'adam'"),
        ({"precision": "float16"}, "config.precision must be one of"),
        ({"non_finite": "ignore"}, "config.non_finite must be one of"),
        ({"patience": 2, "validate_every": 0}, "config.patience counts validations"),
        ({"checkpoint_every": 0}, "config.checkpoint_every must be 1 or more"),
        ({"batch_size": 0}, "config.batch_size must be 1 or more"),
        ({"log_every": 0}, "config.log_every must be 1 or more"),
        ({"validate_every": 3}, "steps must be a multiple of config.validate_every. Received: steps=4"),
        ({"warmup_steps": 9}, "warmup_steps must be between 0 and total_steps"),
        ({"decay": "square"}, "decay must be one of"),
        ({"data.train": ""}, "config.data.train must name a file when config.data.source is 'files'"),
        ({"data.source": "file"}, r"config.data.source must be one of \('docstrings', 'files', .*\). Received.*'file'"),
    ],
)
def test_settings_that_cannot_work_are_refused(tiny, files, tmp_path, no_work, changes, message):
    with pytest.raises(ValueError, match=message):
        train(tiny.albert_config(**{"data.train": files.train} | changes), tmp_path / "run", ONE_DEVICE)


def test_a_sequence_longer_than_the_positions_is_refused(classifier_config, tmp_path):
    config = classifier_config.copy_and_resolve_references()
    config.sequence_length = 17
    with pytest.raises(ValueError, match=r"config.sequence_length must be at most .* 16.*Received: sequence_length=17"):
        train(config, tmp_path, ONE_DEVICE)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_preset_with_too_few_positions_is_refused(gpt_run, gpt_config, tmp_path):
    config = gpt_config.copy_and_resolve_references()
    config.update(preset=str(gpt_run[0] / "preset"), sequence_length=32)
    with pytest.raises(ValueError, match=r"config.sequence_length must be at most .* 24.*Received: sequence_length=32"):
        train(config, tmp_path, ONE_DEVICE)


def test_too_little_text_for_one_batch_is_an_error(tiny, tmp_path):
    (tmp_path / "short.txt").write_text("A few words.")
    config = tiny.gpt_config(**{"data.train": str(tmp_path / "short.txt")})
    with pytest.raises(ValueError, match=r"Expected at least .* tokens, received"):
        train(config, tmp_path / "run", ONE_DEVICE)


def test_a_mistake_leaves_an_earlier_run_as_it_was(classifier_run, classifier_config, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(classifier_run[0], workdir)
    before = (workdir / "metrics.jsonl").read_text()
    config = classifier_config.copy_and_resolve_references()
    config.data.train = str(tmp_path / "none.tsv")
    config.resume = False
    with pytest.raises(DataError):
        train(config, workdir, ONE_DEVICE)
    assert (workdir / "metrics.jsonl").read_text() == before
    assert (workdir / "preset" / "task.json").is_file()


# === Interruption ===


def test_a_failed_save_leaves_the_earlier_preset_whole(classifier_config, tmp_path):
    class Task:
        def __init__(self, content, fails=False):
            self.content, self.fails = content, fails

        def save_to_preset(self, directory):
            Path(directory).mkdir()
            (Path(directory) / "task.json").write_text(self.content)
            if self.fails:
                raise KeyboardInterrupt

    run.save_preset(Task("first"), tmp_path / "preset", classifier_config)
    with pytest.raises(KeyboardInterrupt):
        run.save_preset(Task("second", fails=True), tmp_path / "preset", classifier_config)
    assert (tmp_path / "preset" / "task.json").read_text() == "first"
    run.save_preset(Task("third"), tmp_path / "preset", classifier_config)
    assert (tmp_path / "preset" / "task.json").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_an_error_in_fit_is_not_hidden_by_the_progress_bar(classifier_config, tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise RuntimeError("the actual reason")

    monkeypatch.setattr(keras.Model, "fit", fail)
    with pytest.raises(RuntimeError, match="the actual reason"):
        train(classifier_config, tmp_path, ONE_DEVICE)


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_130_and_no_preset(tiny, files, tmp_path, interrupt_once):
    config = tmp_path / "endless.py"
    settings = tiny.albert_config(
        **{"data.train": files.train, "steps": 10**6, "checkpoint_every": 10**6, "validate_every": 0}
    ).to_json()
    config.write_text(
        "import json\nfrom ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict(json.loads({settings!r})).lock()\n"
    )
    workdir = tmp_path / "run"
    log = workdir / "metrics.jsonl"
    status, errors = interrupt_once(
        ["-m", "albert_gpt_tf.commands.main", "train", f"--config={config}", f"--workdir={workdir}"],
        ready=lambda: log.is_file() and log.stat().st_size > 0,
    )
    assert status == 130, errors
    assert errors.splitlines()[-1] == "albert-gpt-tf: stopped"
    assert "Traceback" not in errors
    assert {path.name for path in workdir.iterdir()} == LEFT - {"results.json", "preset"}
    [checkpoint] = (workdir / "checkpoints").iterdir()
    assert f"Stopped after step {int(checkpoint.name[5:])} by SIGINT: the same command goes on from there." in errors
