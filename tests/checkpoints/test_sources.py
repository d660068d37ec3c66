"""Directories and repositories of the hub are found, and their kind is told."""

import json
import sys
from pathlib import Path

import pytest

from albert_gpt_tf.checkpoints.sources import kind_of, local_directory

REPOSITORY = "someone/small-albert"
SOURCE = f"hf://{REPOSITORY}"
FILES = {"config.json": b'{"model_type": "albert"}', "model.safetensors": b"weights", "spiece.model": b"pieces"}


def names_in(directory):
    return {path.relative_to(directory).as_posix() for path in Path(directory).rglob("*") if path.is_file()}


# === Directories ===


def test_a_directory_is_itself(tmp_path):
    assert local_directory(tmp_path) == tmp_path
    assert local_directory(str(tmp_path)) == tmp_path


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"Expected the directory of a preset or .*hf://owner/name. Received: .*nowhere"
    ):
        local_directory(tmp_path / "nowhere")


# === The hub ===


def test_a_repository_is_downloaded(hub, download):
    commit = hub.add(REPOSITORY, FILES)
    directory = Path(download(SOURCE))
    assert directory.name == commit
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES


def test_pickles_and_programs_are_not_downloaded(hub, download):
    others = {
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"print()",
        "training_args.pt": b"pickle",
        "flax.msgpack": b"",
    }
    hub.add(REPOSITORY, FILES | others)
    assert names_in(download(SOURCE)) == set(FILES)
    assert not [line for line in hub.requests if line.endswith((".bin", ".py", ".pt", ".msgpack"))]


def test_an_old_tensorflow_file_is_downloaded_only_where_there_is_no_other(hub, download):
    hub.add(REPOSITORY, FILES | {"tf_model.h5": b"old"})
    hub.add("someone/old", {"config.json": b"{}", "tf_model.h5": b"old"})
    assert "tf_model.h5" not in names_in(download(SOURCE))
    assert "tf_model.h5" in names_in(download("hf://someone/old"))


def test_files_of_a_keras_hub_preset_are_downloaded(hub, download):
    files = {"config.json": b"{}", "model.weights.h5": b"w", "assets/tokenizer/vocabulary.spm": b"v"}
    hub.add(REPOSITORY, files)
    assert names_in(download(SOURCE)) == set(files)


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, download):
    first = hub.add(REPOSITORY, FILES, revision="v1")
    second = hub.add(REPOSITORY, FILES | {"model.safetensors": b"better"})
    assert Path(download(f"{SOURCE}@v1"), "model.safetensors").read_bytes() == b"weights"
    assert Path(download(f"{SOURCE}@{first}")).name == first
    assert Path(download(SOURCE)).name == second
    assert Path(download(f"{SOURCE}@main"), "model.safetensors").read_bytes() == b"better"


def test_what_was_downloaded_is_there_offline(hub, download):
    hub.add(REPOSITORY, FILES)
    directory = download(SOURCE)
    seen = len(hub.requests)
    assert download(SOURCE, HF_HUB_OFFLINE="1") == directory
    assert len(hub.requests) == seen


def test_what_was_not_downloaded_is_not_there_offline(hub, download):
    hub.add(REPOSITORY, FILES)
    message = download(SOURCE, HF_HUB_OFFLINE="1")
    assert message.startswith(f"ValueError: Expected {SOURCE} in the cache, or a connection to the hub.")


def test_a_hub_that_does_not_answer_is_as_good_as_offline(hub, download):
    hub.add(REPOSITORY, FILES)
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert download(SOURCE, **nobody).startswith(f"ValueError: Expected {SOURCE} in the cache, or a connection")
    directory = download(SOURCE)
    assert download(SOURCE, **nobody) == directory


def test_an_unknown_repository_is_named(hub, download):
    message = download("hf://someone/misspelt")
    assert message.startswith("ValueError: Expected a repository at hf://someone/misspelt. Received: not found")


def test_an_unknown_revision_is_named(hub, download):
    hub.add(REPOSITORY, FILES)
    message = download(f"{SOURCE}@v9")
    assert message.startswith(
        f"ValueError: Expected a branch, tag or commit of {REPOSITORY} after the @. Received: 'v9'"
    )


def test_the_token_of_the_environment_is_used(hub, download):
    hub.add(REPOSITORY, FILES)
    hub.token = "right"
    assert names_in(download(SOURCE, HF_TOKEN="right")) == set(FILES)


@pytest.mark.parametrize("environment", [{}, {"HF_TOKEN": "wrong"}])
def test_a_refused_token_is_an_error_that_names_the_variable(hub, download, environment):
    hub.add(REPOSITORY, FILES)
    hub.token = "right"
    message = download(SOURCE, **environment)
    assert message.startswith("ValueError: Expected ")
    assert "HF_TOKEN" in message


@pytest.mark.parametrize("source", ["hf://albert", "hf://", "hf://a/b/c", "hf://a/b@", "hf://../secrets@x y"])
def test_a_source_that_is_no_repository_is_refused(source):
    with pytest.raises(ValueError, match="Expected hf://owner/name or hf://owner/name@revision"):
        local_directory(source)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'albert-gpt-tf\[hub\]'"):
        local_directory(SOURCE)


# === Kinds ===


@pytest.mark.parametrize(
    ("file", "fields", "kind"),
    [
        ("config.json", {"registered_name": "albert_gpt_tf>AlbertBackbone"}, "preset"),
        ("config.json", {"registered_name": "keras_hub>GPT2Backbone"}, "keras_hub"),
        ("config.json", {"model_type": "gpt2"}, "hugging_face"),
        ("albert_config.json", {"hidden_size": 8}, "google_albert"),
        ("hparams.json", {"n_embd": 8}, "openai_gpt2"),
        ("params_shapes.json", [[512, 768]], "openai_gpt1"),
    ],
)
def test_the_kind_is_told_by_the_files(tmp_path, file, fields, kind):
    (tmp_path / file).write_text(json.dumps(fields))
    assert kind_of(tmp_path) == kind


def test_a_config_of_another_library_does_not_hide_an_original_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text('{"something": "else"}')
    (tmp_path / "albert_config.json").write_text("{}")
    assert kind_of(tmp_path) == "google_albert"


@pytest.mark.parametrize(
    ("file", "text"), [(None, ""), ("config.json", '{"registered_name": "other>Model"}'), ("config.json", "[1]")]
)
def test_a_directory_without_a_checkpoint_is_refused_with_what_is_in_it(tmp_path, file, text):
    (tmp_path / (file or "notes.txt")).write_text(text)
    with pytest.raises(ValueError, match=f"Expected a checkpoint in .* Received: {file or 'notes.txt'}"):
        kind_of(tmp_path)


def test_a_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "alb')
    with pytest.raises(ValueError, match=r"Expected JSON in .*config\.json"):
        kind_of(tmp_path)
