"""`albert-gpt-tf calibrate`: what it prints, what it writes, and that exports have the new scores."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.commands.calibrate_preset import logits_of, write_temperature
from albert_gpt_tf.exporters import export_saved_model
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training.calibration import fit_temperature

pytest.importorskip("scipy", reason="scipy is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def preset(presets, tmp_path):
    """A classifier of its own whose scores are far too sure."""
    task = load_task(presets.classifier)
    task.output_dense.kernel.assign(2000 * task.output_dense.kernel)
    task.save_to_preset(str(tmp_path / "preset"))
    return tmp_path / "preset"


@pytest.fixture
def rows(preset, tmp_path):
    """Texts and labels, four of five as the model has them; and their file."""
    task = load_task(preset)
    texts = [f"{one} {other}" for one in ("red", "green", "blue") for other in ("one", "two", "three", "four", "five")]
    best = task.classify(texts)
    labels = [("dog" if label == "cat" else "cat") if i % 5 == 0 else label for i, label in enumerate(best)]
    path = tmp_path / "rows.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in [("message", "kind"), *zip(texts, labels, strict=True)]))
    return texts, labels, path


def test_it_writes_the_fitted_temperature_and_every_answer_has_it(run, preset, rows, tmp_path):
    texts, labels, path = rows
    task = load_task(preset)
    logits = task.logits(task.preprocessor(tf.constant(texts))).numpy()
    expected = fit_temperature(logits, np.array([task.labels.index(label) for label in labels]))
    files = {file.name for file in preset.iterdir()}
    result = run(
        "calibrate", f"--preset={preset}", f"--file={path}", "--text=message", "--label=kind", "--batch_size=4"
    )
    assert result.status == 0, result.errors
    figures = {line[:28].strip(): tuple(map(float, line[28:].split())) for line in result.output.splitlines()[1:6]}
    assert figures["temperature"] == (1.0, pytest.approx(expected, abs=1e-3))
    assert figures["accuracy"] == (0.8, 0.8)
    for name in ("negative log likelihood", "expected calibration error", "brier score"):
        assert figures[name][1] < figures[name][0]
    assert {file.name for file in preset.iterdir()} == files | {"reliability.png"}
    assert (preset / "reliability.png").read_bytes().startswith(b"\x89PNG")

    calibrated = load_task(preset)
    assert calibrated.temperature == pytest.approx(expected, rel=1e-4)
    scores = tf.nn.softmax(logits / calibrated.temperature).numpy()
    np.testing.assert_allclose(calibrated.predict(texts, verbose=0), scores, atol=1e-4)
    version = export_saved_model(calibrated, tmp_path / "exported" / "animals", check=False)
    exported = tf.saved_model.load(str(version)).signatures
    np.testing.assert_allclose(exported["serving_default"](text=tf.constant(texts))["scores"], scores, atol=1e-4)


def test_texts_of_pairs_are_read_as_pairs(presets):
    task = load_task(presets.classifier)
    columns = (["red", "green"], ["one two", "three"])
    expected = task.logits(task.preprocessor(tuple(map(tf.constant, columns))))
    np.testing.assert_allclose(logits_of(task, columns, batch_size=1), expected, atol=1e-5)


def test_a_temperature_replaces_the_one_before_and_nothing_else(presets, tmp_path):
    preset = shutil.copytree(presets.classifier, tmp_path / "preset")
    before = json.loads((preset / "task.json").read_text())
    for temperature in (3.0, 1.5):
        write_temperature(preset, temperature)
    after = json.loads((preset / "task.json").read_text())
    assert after["config"].pop("temperature") == 1.5
    before["config"].pop("temperature")
    assert after == before
    assert load_task(preset).temperature == 1.5


def test_what_cannot_be_calibrated_is_one_sentence_and_the_preset_stays(run, presets, preset, rows, tmp_path):
    _, _, path = rows
    before = (preset / "task.json").read_bytes()
    unknown = tmp_path / "unknown.tsv"
    unknown.write_text("text\tlabel\na\tparrot\n")
    result = run("calibrate", f"--preset={preset}", f"--file={unknown}")
    assert result.status == 1 and "Received: ['parrot'] as well" in result.errors
    result = run("calibrate", f"--preset={presets.causal_lm}", f"--file={path}")
    assert (
        result.status == 1 and "calibrate needs a text classifier with labels. Received: a GPTCausalLM" in result.errors
    )
    assert (preset / "task.json").read_bytes() == before
