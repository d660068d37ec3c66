"""What the commands print, on tiny presets."""

import json

import numpy as np
import pytest

from albert_gpt_tf.tasks.load import load_task


@pytest.fixture(scope="module")
def classifier(presets):
    return load_task(presets.classifier)


# === predict ===


@pytest.mark.parametrize("way", ["arguments", "stdin"])
def test_predict_prints_a_line_of_json_for_each_text(run, presets, classifier, way):
    texts = ["red one", "", "blue blue blue"]
    flags = [f"--preset={presets.classifier}", "--batch_size=2"]
    if way == "arguments":
        result = run("predict", *flags, *texts)
    else:
        result = run("predict", *flags, stdin="\n".join(texts) + "\n")
    assert result.status == 0, result.errors
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [line["text"] for line in lines] == texts
    expected = classifier.predict(texts, verbose=0)
    np.testing.assert_allclose([[line["scores"][name] for name in ("cat", "dog")] for line in lines], expected, 1e-5)
    for line in lines:
        assert line["score"] == line["scores"][line["label"]] == max(line["scores"].values())


# === generate ===


def test_generate_prints_the_prompt_and_its_continuation(run, presets):
    flags = [f"--preset={presets.causal_lm}", "--max_new_tokens=3", "--temperature=1", "--seed=4"]
    task = load_task(presets.causal_lm)
    expected = [text + task.generate(text, max_new_tokens=3, temperature=1.0, seed=4) for text in ("red", "")]
    given = run("generate", *flags, "red", "")
    assert (given.status, given.output) == (0, "\n".join(expected) + "\n")
    piped = run("generate", *flags, stdin="red\n\n")
    assert (piped.status, piped.output) == (0, given.output)


def test_generate_refuses_what_is_out_of_range(run, presets):
    result = run("generate", f"--preset={presets.causal_lm}", "--top_p=0", "red")
    assert result.status == 1
    assert "top_p" in result.errors


@pytest.mark.parametrize(("name", "preset"), [("generate", "classifier"), ("predict", "causal_lm")])
def test_a_model_of_the_other_kind_is_a_clear_error(run, presets, name, preset):
    result = run(name, f"--preset={getattr(presets, preset)}", "red")
    assert result.status == 1
    assert result.errors.count("\n") == 1
    kinds = {"generate": ("GPTCausalLM", "AlbertTextClassifier"), "predict": ("text classifier", "GPTCausalLM")}
    assert all(kind in result.errors for kind in kinds[name])


# === info ===


def test_info_prints_sizes_parameters_and_labels(run, presets, classifier):
    result = run("info", f"--preset={presets.classifier}")
    assert result.status == 0, result.errors
    rows = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert rows["task"] == "AlbertTextClassifier"
    assert rows["parameters"] == f"{classifier.count_params():,}"
    assert (rows["num_layers"], rows["hidden_dim"], rows["labels"]) == ("1", "8", "cat, dog")
    assert rows["sequence_length"] == "16"


# === train and export ===


def test_train_runs_an_installed_recipe_by_name(run, table, tmp_path):
    changes = {
        "data.source": "files", "data.train": table, "data.text": "message", "data.label": "kind", "data.test": table,
        "vocabulary_size": 60, "sequence_length": 16, "backbone.num_layers": 1, "backbone.hidden_dim": 8,
        "backbone.intermediate_dim": 16, "backbone.embedding_dim": 4, "batch_size": 4, "steps": 2, "warmup_steps": 1,
    }  # fmt: skip
    overrides = [f"--config.{key}={value}" for key, value in changes.items()]
    result = run("train", "--config=docstrings_albert", f"--workdir={tmp_path}", *overrides)
    assert result.status == 0, result.errors
    assert json.loads(result.output) == json.loads((tmp_path / "results.json").read_text())
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["steps"], config["backbone"]["hidden_dim"], config["seed"]) == (2, 8, 0)
    assert load_task(tmp_path / "preset").labels == ["cat", "dog"]


def test_export_writes_the_next_version_and_says_how_to_serve_it(run, presets, tmp_path):
    result = run("export", f"--preset={presets.classifier}", f"--path={tmp_path / 'animals'}")
    assert result.status == 0, result.errors
    assert (tmp_path / "animals" / "1" / "saved_model.pb").is_file()
    assert result.output.splitlines()[0] == str(tmp_path / "animals" / "1")
    assert "albert-gpt-tf serve --model=animals=" in result.output
    assert '{"inputs": {"text": ["Some text"]}}' in result.output
