"""`albert-gpt-tf convert`: between presets of ours and directories of Hugging Face."""

import numpy as np
import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.load import load_task


@pytest.mark.parametrize("name", ["classifier", "causal_lm"])
def test_a_preset_goes_to_hugging_face_and_comes_back(run, presets, tmp_path, name):
    source, theirs, back = getattr(presets, name), tmp_path / "theirs", tmp_path / "back"
    result = run("convert", f"--from={source}", f"--to={theirs}", "--format=hugging_face")
    assert result.status == 0, result.errors
    assert (theirs / "model.safetensors").is_file()
    result = run("convert", f"--from={theirs}", f"--to={back}")
    assert result.status == 0, result.errors
    first, second = load_task(source), load_task(back)
    assert type(first).__name__ in result.output
    assert f"{first.count_params():,} parameters" in result.output
    for ours, weight in zip(second.weights, first.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)
    text = "red green"
    tokenizers = (first.preprocessor.tokenizer, second.preprocessor.tokenizer)
    np.testing.assert_array_equal(*(tokenizer.tokenize(text) for tokenizer in tokenizers))


def test_the_class_can_be_chosen_and_a_backbone_keeps_its_tokenizer(run, presets, tmp_path):
    theirs, encoder = tmp_path / "theirs", tmp_path / "encoder"
    run("convert", f"--from={presets.classifier}", f"--to={theirs}", "--format=hugging_face")
    result = run("convert", f"--from={theirs}", f"--to={encoder}", "--task=AlbertBackbone")
    assert result.status == 0, result.errors
    loaded, expected = AlbertBackbone.from_preset(encoder), load_task(presets.classifier).backbone
    for ours, weight in zip(loaded.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)
    assert (encoder / "tokenizer.json").is_file()
    result = run(
        "convert", f"--from={theirs}", f"--to={tmp_path / 'enc'}", "--task=AlbertBackbone", "--format=hugging_face"
    )
    assert result.status == 0, result.errors
    assert (tmp_path / "enc" / "spiece.model").is_file()


def test_labels_are_given_where_the_source_has_none(run, presets, tmp_path):
    theirs = tmp_path / "theirs"
    run("convert", f"--from={presets.classifier}", f"--to={theirs}", "--format=hugging_face")
    arguments = ["convert", f"--from={theirs}", "--task=AlbertTokenClassifier"]
    result = run(*arguments, f"--to={tmp_path / 'one'}")
    assert result.status == 1
    assert "Give labels=[...]" in result.errors
    result = run(*arguments, f"--to={tmp_path / 'two'}", "--labels=O,B,I")
    assert result.status == 0, result.errors
    assert load_task(tmp_path / "two").labels == ["O", "B", "I"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--to={full}"], "Expected a new or empty directory in --to"),
        (["--task=AlbertForMaskedLM"], "Expected a class among"),
        (["--from={tmp}/nothing"], "nothing"),
        (["--task=GPTCausalLM", "--from={theirs}"], "Expected a checkpoint of GPTBackbone"),
    ],
)
def test_a_mistake_is_one_line(run, presets, tmp_path, changes, message):
    theirs = tmp_path / "theirs"
    run("convert", f"--from={presets.classifier}", f"--to={theirs}", "--format=hugging_face")
    arguments = {"--from": str(presets.classifier), "--to": str(tmp_path / "new")}
    for change in changes:
        flag, _, value = change.format(full=presets.causal_lm, tmp=tmp_path, theirs=theirs).partition("=")
        arguments[flag] = value
    result = run("convert", *(f"{flag}={value}" for flag, value in arguments.items()))
    assert result.status == 1
    assert message in result.errors
    assert len(result.errors.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()
