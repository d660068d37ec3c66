"""Every recipe loads, is locked, says what it is, and has every key that `train` reads."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

import albert_gpt_tf.configs
from albert_gpt_tf import training
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.training import (
    batches,
    parameter_efficient,
    plan_albert_pretraining,
    plan_causal_lm,
    plan_dialogue,
    plan_multiple_choice,
    plan_question_answerer,
    plan_text_classifier,
    plan_token_classifier,
    plan_verse,
    plans,
    run,
    settings,
)
from albert_gpt_tf.training.schedules import DECAYS

# Every recipe has what these read; what the functions of a task read, its own recipes.
OF_EVERY_RUN = [run, settings, parameter_efficient]
OF_A_TASK = {
    "albert_pretraining": [plan_albert_pretraining, plans.make_plan, batches.document_splits],
    "causal_lm": [plan_causal_lm, plans.make_plan, batches.document_splits],
    "dialogue": [plan_dialogue, plans.make_plan, batches.named_files, batches.training_batches],
    "multiple_choice": [plan_multiple_choice, plans.make_plan, batches.named_files, batches.training_batches],
    "question_answerer": [plan_question_answerer, plans.make_plan, batches.named_files, batches.training_batches],
    "text_classifier": [plan_text_classifier, plans.make_plan, batches.labelled_splits, batches.training_batches],
    "token_classifier": [plan_token_classifier, plans.make_plan, batches.named_files, batches.training_batches],
    "verse": [plan_verse, plans.make_plan, batches.named_files],
}


def backbone_class(config):
    if config.task == "text_classifier":
        return plan_text_classifier.MODELS[config.get("model", "albert")].backbone_cls
    is_albert = config.task in ("albert_pretraining", "multiple_choice", "question_answerer", "token_classifier")
    return AlbertBackbone if is_albert else GPTBackbone


RECIPES = sorted(Path(albert_gpt_tf.configs.__file__).parent.glob("[!_]*.py"))


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    spec = importlib.util.spec_from_file_location(request.param.stem, request.param)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys_read(sources):
    """Dotted names of everything that modules or functions read from `config`, and from `data` as its part."""
    keys = {*settings.CHOICES, *settings.AT_LEAST_ONE, *settings.AT_LEAST_ZERO}  # `check_settings` reads them by name
    for source in sources:
        for node in ast.walk(ast.parse(inspect.getsource(source))):
            dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if match := re.fullmatch(r"(config|data)((?:\.[a-z_0-9]+)+)", dotted):
                keys.add((("data" if match[1] == "data" else "") + match[2]).removeprefix("."))
    return {key for key in keys if not key.endswith((".to_json_best_effort", ".to_dict"))}


def test_every_task_has_a_recipe_and_every_plan_is_checked():
    assert set(OF_A_TASK) == set(plans.PLANS)
    files = "".join(path.read_text(encoding="utf-8") for path in RECIPES)
    assert all(f'config.task = "{name}"' in files for name in plans.PLANS)


def test_the_docstring_gives_command_expected_result_and_time(recipe):
    lines = dict(re.findall(r"^(Command|Expected|Time): +(.+)$", recipe.__doc__, re.MULTILINE))
    assert set(lines) == {"Command", "Expected", "Time"}
    assert re.match(rf"albert-gpt-tf train --config={recipe.__name__}(:\w+)? --workdir=", lines["Command"])
    assert re.search(r"\d", lines["Expected"]) and re.search(r"\d", lines["Time"])


def test_the_configuration_is_locked(recipe):
    config = recipe.get_config()
    assert isinstance(config, ConfigDict) and config.is_locked and config.data.is_locked
    with pytest.raises(AttributeError, match='Did you mean "steps"'):
        config.step = 1
    with pytest.raises(TypeError):
        config.steps = "many"


def test_two_calls_share_nothing(recipe):
    one, other = recipe.get_config(), recipe.get_config()
    one.steps = 1
    one.data.limit = 1
    assert other.steps != 1 and other.data.limit != 1


def test_every_key_that_training_reads_exists(recipe):
    config = recipe.get_config()
    read = keys_read([*OF_EVERY_RUN, *OF_A_TASK[config.task]])
    assert {"steps", "batch_size", "data.source", "checkpoint_every"} <= read  # the search finds what it should
    for key in read - {"data"}:
        value = config
        for part in key.split("."):
            assert hasattr(value, part), f"training reads config.{key}"
            value = getattr(value, part)
    assert all(split in config.data for split in batches.SPLITS)


def test_every_key_of_a_recipe_is_read(recipe):
    """A setting without effect misleads."""
    folder = Path(training.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    config = recipe.get_config()
    for name in config:
        assert f"config.{name}" in source or f'"{name}"' in source, name
    for name in config.data:
        assert f"data.{name}" in source or name in batches.SPLITS, name


def test_the_numbers_go_together(recipe):
    config = recipe.get_config()
    assert config.decay in DECAYS
    assert config.sequence_length <= config.backbone.max_sequence_length
    assert config.backbone.hidden_dim % config.backbone.num_heads == 0
    settings.check_settings(config, type("Strategy", (), {"num_replicas_in_sync": 1}))


def test_the_backbone_takes_every_size(recipe):
    config = recipe.get_config()
    assert set(config.backbone) <= set(inspect.signature(backbone_class(config).__init__).parameters)
