"""Multiple choice end to end: the recipes on small files, rows as the release makes them, and a run that learns."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss

from albert_gpt_tf.configs import multiple_choice as tables_recipe
from albert_gpt_tf.configs import race as race_recipe
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.multiple_choice import ChoiceRow, choice_texts, read_choices
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training import plan_multiple_choice, plans, run
from albert_gpt_tf.training.optimizers import AdamW
from albert_gpt_tf.training.plan_multiple_choice import choice_batches, choice_columns, evaluate_multiple_choice
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.schedules import WarmupSchedule
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
WORDS = ["red", "green", "blue", "black", "one", "two", "three", "four"]


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)
    monkeypatch.setitem(plans.PLANS, "multiple_choice", plan_multiple_choice.multiple_choice)


def questions(count, seed, number_of_choices=4):
    """The choice that stands in the context is right."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        choices = [str(word) for word in rng.choice(WORDS, number_of_choices, replace=False)]
        answer = int(rng.integers(number_of_choices))
        context = " ".join(["the fox is", choices[answer], *["and old"] * rng.integers(4)])
        yield ChoiceRow(context, str(rng.choice(["the fox is _ .", "what is it?"])), tuple(choices), answer)


def write_swag(path, rows):
    count = len(rows[0].choices)
    header = ["", "startphrase", "sent1", "sent2", *(f"ending{number}" for number in range(count)), "label"]
    lines = [
        [str(i), f"{row.context} {row.question}", row.context, row.question, *row.choices, str(row.answer)]
        for i, row in enumerate(rows)
    ]
    path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n", encoding="utf-8")
    return str(path)


def write_race(folder, rows):
    for number, row in enumerate(rows):
        path = folder / ("high" if number % 2 else "middle") / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        article = {
            "article": row.context,
            "questions": [row.question],
            "options": [list(row.choices)],
            "answers": ["ABCD"[row.answer]],
        }
        path.write_text(json.dumps(article), encoding="utf-8")
    return str(folder)


def tiny_config(recipe, paths, **changes):
    config = recipe.get_config()
    config.update(
        preset="",
        vocabulary_size=60,
        sequence_length=24,
        backbone={
            "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "embedding_dim": 8,
            "max_sequence_length": 24,
        },
        batch_size=8, micro_batch_size=4, steps=5, validate_every=5, warmup_steps=1, log_every=2,
    )  # fmt: skip
    config.data.update(paths)
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    counts = {"train": 40, "dev": 11, "test": 9}
    return {
        split: write_race(folder / split, list(questions(count, i))) for i, (split, count) in enumerate(counts.items())
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swag")
    counts = {"train": 40, "validation": 11, "test": 9}
    return {
        split: write_swag(folder / f"{split}.csv", list(questions(count, i, 3 if split == "test" else 4)))
        for i, (split, count) in enumerate(counts.items())
    }


@pytest.fixture(scope="module")
def race_config(folders):
    paths = {"train": folders["train"], "validation": folders["dev"], "test": folders["test"]}
    return tiny_config(race_recipe, paths, choice_length=6)


@pytest.fixture(scope="module")
def race_run(race_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)
        patch.setitem(plans.PLANS, "multiple_choice", plan_multiple_choice.multiple_choice)
        return workdir, train(race_config, workdir, ONE_DEVICE)


# === Recipes ===


def test_the_race_recipe_has_the_published_numbers():
    config = race_recipe.get_config()
    published = {"learning_rate": 1e-5, "batch_size": 32, "steps": 12_000, "warmup_steps": 1000}
    lengths = {"sequence_length": 512, "choice_length": 128}
    for name, value in (published | lengths).items():
        assert config[name] == value


def test_five_steps_of_the_race_recipe_leave_accuracies_and_a_preset(race_run):
    workdir, results = race_run
    assert set(results) == {f"{split}_{name}" for split in ("validation", "test") for name in ("loss", "accuracy")}
    assert json.loads((workdir / "results.json").read_text()) == results
    task = load_task(workdir / "preset")
    assert task.preprocessor.sequence_length == 24 and task.preprocessor.choice_length == 6


def test_five_steps_on_tables_whose_splits_differ_in_the_number_of_choices(tables, tmp_path):
    results = train(tiny_config(tables_recipe, tables), tmp_path, ONE_DEVICE)
    rows = read_choices(tables["test"])
    assert len(rows[0].choices) == 3
    again = evaluate_multiple_choice(load_task(tmp_path / "preset"), rows, batch_size=2)
    assert again["loss"] == pytest.approx(results["test_loss"], abs=1e-5)
    assert again["accuracy"] == pytest.approx(results["test_accuracy"], abs=1e-6)


def test_a_run_starts_from_the_weights_and_the_vocabulary_of_a_preset(race_run, race_config):
    config = race_config.copy_and_resolve_references()
    config.preset = str(race_run[0] / "preset")
    before, after = load_task(config.preset), plan_multiple_choice.multiple_choice(config, ONE_DEVICE).task
    assert after.preprocessor.tokenizer.get_vocabulary() == before.preprocessor.tokenizer.get_vocabulary()
    for one, other in zip(before.backbone.get_weights(), after.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# === Metrics ===


def test_the_metrics_of_a_run_are_those_of_sklearn_on_the_predictions_of_its_preset(race_run, folders):
    workdir, results = race_run
    task, rows = load_task(workdir / "preset"), read_choices(folders["test"])
    probabilities = task.predict(([row.context for row in rows], [choice_texts(row) for row in rows]), verbose=0)
    probabilities = probabilities.astype("float64")
    probabilities /= probabilities.sum(-1, keepdims=True)  # sklearn wants a sum of 1 in float64
    answers = [row.answer for row in rows]
    expected = {
        "accuracy": accuracy_score(answers, probabilities.argmax(-1)),
        "loss": log_loss(answers, probabilities, labels=range(4)),
    }
    found = evaluate_multiple_choice(task, rows, batch_size=4)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5)
        assert results[f"test_{name}"] == pytest.approx(value, abs=1e-5)


def test_rows_without_answers_cannot_be_measured(race_run, folders):
    rows = read_choices(folders["test"], has_answers=False, limit=2)
    with pytest.raises(DataError, match=r"Expected rows with answers\. Received: none in row 1"):
        evaluate_multiple_choice(load_task(race_run[0] / "preset"), rows)


# === Batches ===


def released_row(tokenizer, context, text, max_seq_length, max_qa_length):
    """`convert_single_example` of google-research/albert, derived anew: ids, segments and mask of one choice."""
    context, text = (tokenizer.tokenize([part])[0].numpy().tolist() for part in (context, text))
    text = text[-max_qa_length:]
    context = context[: max(0, max_seq_length - 3 - len(text))]
    ids = [tokenizer.cls_id, *context, tokenizer.sep_id, *text, tokenizer.sep_id]
    segments = [0] * (len(context) + 2) + [1] * (len(text) + 1)
    padding = max_seq_length - len(ids)
    return (
        ids + [tokenizer.pad_id] * padding,
        segments + [0] * padding,
        [True] * len(ids) + [False] * padding,
    )


def test_batches_hold_the_rows_of_the_release_without_padding_that_no_row_needs(race_config, folders):
    config = race_config.copy_and_resolve_references()
    config.update(batch_size=1, micro_batch_size=0)
    plan = plan_multiple_choice.multiple_choice(config, ONE_DEVICE)
    tokenizer = plan.task.preprocessor.tokenizer
    widths, cut = set(), 0
    rows = read_choices(folders["dev"])
    for (ids, answers), row in zip(plan.evaluation["validation"], rows, strict=True):
        assert answers.numpy().tolist() == [row.answer]
        expected = [released_row(tokenizer, row.context, text, 24, 6) for text in choice_texts(row)]
        width = ids["token_ids"].shape[-1]
        widths.add(width)
        cut += sum(int(tokenizer.tokenize([text]).row_lengths()[0]) > 6 for text in choice_texts(row))
        for name, values in zip(("token_ids", "segment_ids", "padding_mask"), zip(*expected, strict=True), strict=True):
            np.testing.assert_array_equal(ids[name][0], np.array(values)[:, :width])
            assert not np.array(expected[0][2])[width:].any()
    assert widths == {16, 24} and cut  # some batches are narrower, and some choices were too long


@pytest.mark.parametrize("length_buckets", [True, False])
def test_training_batches_hold_every_question_once_an_epoch_with_its_answer(race_config, folders, length_buckets):
    config = race_config.copy_and_resolve_references()
    config.length_buckets = length_buckets
    plan = plan_multiple_choice.multiple_choice(config, ONE_DEVICE)
    assert plan.rows == 40
    preprocessor = plan.task.preprocessor
    whole, answers = next(iter(choice_batches(preprocessor, choice_columns(read_choices(folders["train"])), 40)))

    def rows_of(ids, answers):
        padded = np.zeros((len(answers), 4, 24), int)
        padded[..., : ids["token_ids"].shape[-1]] = ids["token_ids"]
        return sorted((row.tolist(), int(answer)) for row, answer in zip(padded, answers, strict=True))

    found = [row for ids, answers in plan.batches(0).take(5) for row in rows_of(ids, answers)]
    assert sorted(found) == rows_of(whole, answers)
    # A batch depends on nothing but its step.
    later, expected = next(iter(plan.batches(7))), list(plan.batches(0).take(8))[7]
    tf.nest.map_structure(np.testing.assert_array_equal, later, expected)


# === Learning ===


def animals(row, number):
    """The right choice becomes an animal, which no other is."""
    choices = list(row.choices)
    choices[row.answer] = ["fox", "owl", "ant"][number % 3]
    return row._replace(context="who is it?", question="", choices=tuple(choices))


def test_a_tiny_model_learns_64_questions_to_the_last(tmp_path):
    rows = [animals(row, number) for number, row in enumerate(questions(64, 5))]
    path = write_swag(tmp_path / "train.csv", rows)
    config = tiny_config(
        tables_recipe, {"train": path, "validation": "", "test": ""},
        **{"dropout": 0.0, "batch_size": 32, "micro_batch_size": 0},
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    plan = plan_multiple_choice.multiple_choice(config, ONE_DEVICE)
    assert evaluate_multiple_choice(plan.task, rows)["accuracy"] < 0.6
    plan.task.compile(AdamW(WarmupSchedule(1e-2, total_steps=60, warmup_steps=10), global_clipnorm=1.0))
    plan.task.fit(plan.batches(0), steps_per_epoch=60, verbose=0)
    assert evaluate_multiple_choice(plan.task, rows)["accuracy"] == 1.0


# === Mistakes ===


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test if a vocabulary is trained or a model fitted."""

    def work(*arguments, **more):
        raise AssertionError("work began")

    monkeypatch.setattr(plan_multiple_choice, "train_sentencepiece", work)
    monkeypatch.setattr(run, "fit", work)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_broken_row_of_any_split_is_told_by_file_and_line_before_any_work(tables, tmp_path, no_work, split):
    path = tmp_path / "broken.csv"
    path.write_text("context,question,choice0,choice1,answer\na,b,c,d,0\na,b,c,d,-1\n")
    config = tiny_config(tables_recipe, tables | {split: str(path)})
    with pytest.raises(DataError, match=r'broken\.csv:3: expected the index of the right choice.* received "-1"'):
        train(config, tmp_path / "run", ONE_DEVICE)


def test_a_source_that_has_no_multiple_choice_is_refused(tables, tmp_path, no_work):
    config = tiny_config(tables_recipe, tables, **{"data.source": "docstrings"})
    with pytest.raises(ValueError, match=r"Expected config.data.source='files'"):
        train(config, tmp_path / "run", ONE_DEVICE)


def test_a_negative_choice_length_is_refused(tables, tmp_path):
    with pytest.raises(ValueError, match=r"choice_length must be 1 or more, or 0 for no limit\. Received: -1"):
        train(tiny_config(tables_recipe, tables, choice_length=-1), tmp_path / "run", ONE_DEVICE)
