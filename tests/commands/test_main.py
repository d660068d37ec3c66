import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from albert_gpt_tf.commands import main as command_line

FOLDER = Path(command_line.__file__).parent
CONFIG = """
from ml_collections import ConfigDict


def get_config():
    config = ConfigDict({"steps": 3, "learning_rate": 0.1, "data": ConfigDict({"train": ""})})
    return config.lock()
"""


def command(name):
    missing = not (FOLDER / f"{name}.py").is_file()
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"commands/{name}.py is not written yet"))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(CONFIG)
    return path


# === Help ===


def test_help_and_no_arguments_list_every_command(run):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        result = run(*arguments)
        assert result.status == 0 and result.output.startswith("usage: albert-gpt-tf COMMAND")
        assert all(f"  {name} " in result.output for name in command_line.COMMANDS)


@pytest.mark.parametrize("name", [command(name) for name in command_line.COMMANDS])
def test_help_of_a_command_shows_an_example_and_its_flags(run, name):
    result = run(name, "--help")
    assert result.status == 0
    assert f"albert-gpt-tf {name}" in result.output
    assert "  --" in result.output


def test_every_command_is_a_file_and_every_file_a_command():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "main"}
    helpers = {name for name in files if name.split("_")[0] in command_line.COMMANDS and "_" in name}
    assert files - helpers <= set(command_line.COMMANDS)


def test_help_imports_neither_tensorflow_nor_keras():
    """In one process of its own: `--help` of the whole, and of every command that is written."""
    names = [name for name in command_line.COMMANDS if (FOLDER / f"{name}.py").is_file()]
    code = """
import sys
from absl import flags
from albert_gpt_tf.commands import main
for arguments in [[], *[[name] for name in sys.argv[1:]]]:
    try:
        main.main(["albert-gpt-tf", *arguments, "--help"])
    except SystemExit as end:
        assert end.code == 0
    for name in arguments:
        for flag in list(flags.FLAGS.flags_by_module_dict()[f"albert_gpt_tf.commands.{name}"]):
            delattr(flags.FLAGS, flag.name)
heavy = {"tensorflow", "keras", "keras_nlp", "keras_hub", "tensorflow_text", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, *names], check=True, stdout=subprocess.DEVNULL)


def test_version(run):
    import albert_gpt_tf

    assert run("--version").output.strip() == albert_gpt_tf.__version__


def test_the_installed_program_is_this_one():
    program = Path(sys.executable).with_name("albert-gpt-tf")
    if not program.is_file():
        pytest.skip("the package is not installed with its program")
    result = subprocess.run([program, "trian"], capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": ""})
    assert result.returncode == 2
    assert "Did you mean 'train'?" in result.stderr


# === Wrong usage: status 2 and one line ===


def one_line(result, status):
    assert result.status == status
    assert result.errors.startswith("albert-gpt-tf: ")
    assert result.errors.count("\n") == 1, result.errors
    assert not result.output
    return result.errors


def test_an_unknown_command_names_the_nearest(run):
    assert "there is no command 'evalute'. Did you mean 'evaluate'?" in one_line(run("evalute"), 2)
    assert "Did you mean" not in one_line(run("xyzzy"), 2)


def test_an_unknown_flag_names_the_nearest(run):
    result = run("generate", "--preset=x", "--temprature=1")
    assert result.status == 2
    assert "Unknown command line flag 'temprature'. Did you mean: temperature" in result.errors
    assert "Traceback" not in result.errors


@pytest.mark.parametrize("name", ["evaluate", "predict", "generate", "export"])
def test_a_missing_required_flag_is_named(run, name):
    result = run(name)
    assert result.status == 2
    assert "--preset" in result.errors


@pytest.mark.parametrize("value", ["many", "-1"])
def test_a_wrong_value_of_a_flag(run, value):
    result = run("generate", "--preset=x", f"--max_new_tokens={value}")
    assert result.status == 2
    assert "max_new_tokens" in result.errors and value in result.errors


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.step=5", ["step", "steps"]),
        ("--config.data.trian=x.tsv", ["trian", "train"]),
        ("--config.steps=many", ["steps", "many"]),
        ("--config.learning_rate=fast", ["learning_rate", "fast"]),
        ("--config.steps.more=1", ["steps"]),
    ],
)
def test_an_unknown_key_or_a_wrong_type_of_a_configuration(run, config, tmp_path, override, expected):
    result = run("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", override)
    assert result.status == 2, result.errors
    assert all(word in result.errors for word in expected), result.errors
    assert "Traceback" not in result.errors
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_says_which_one_was_meant(run, config, tmp_path):
    result = run("train", f"--config={config}", f"--workdir={tmp_path / 'run'}", "--config.learing_rate=5")
    assert 'Did you mean "learning_rate"' in result.errors


def test_an_unknown_strategy_lists_the_known_ones(run, config):
    result = run("train", f"--config={config}", "--workdir=x", "--strategy=miror")
    assert result.status == 2
    assert "mirrored" in result.errors


# === A user's mistake: status 1 and one line ===


def test_train_without_a_configuration_lists_those_installed(run):
    errors = one_line(run("train"), 1)
    assert "docstrings_albert" in errors and "docstrings_gpt" in errors


@pytest.mark.parametrize("source", ["no_such_recipe", "no/such/file.py"])
def test_a_configuration_that_does_not_exist(run, tmp_path, source):
    result = run("train", f"--config={source}", f"--workdir={tmp_path}")
    assert result.status in (1, 2)
    assert source in result.errors
    assert "Traceback" not in result.errors


@pytest.mark.parametrize("name", ["evaluate", "predict", "generate", "info", "export"])
def test_a_missing_preset_is_one_sentence(run, tmp_path, name):
    more = {"evaluate": ["--file=x.tsv"], "generate": ["a"], "predict": ["a"], "export": [f"--path={tmp_path}/out"]}
    errors = one_line(run(name, "--preset=no/such/directory", *more.get(name, [])), 1)
    assert "no/such/directory" in errors and "preset" in errors


def test_an_error_of_ours_has_its_traceback_with_v_1(run):
    with pytest.raises(ValueError, match="preset"):
        run("info", "--preset=no/such/directory", "-v=1")


def test_a_bug_is_not_taken_for_a_users_mistake(run, monkeypatch):
    module = importlib.import_module("albert_gpt_tf.tasks.load")
    monkeypatch.setattr(module, "load_task", lambda preset: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("info", "--preset=x")


def test_ctrl_c_is_130(run, monkeypatch):
    def stop(preset):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("albert_gpt_tf.tasks.load"), "load_task", stop)
    assert "stopped" in one_line(run("info", "--preset=x"), 130)
