"""The dialogue recipe on tiny files: what is measured, what is held out, and what is refused."""

import json
import math

import numpy as np
import pytest

from albert_gpt_tf.configs.dialogue import get_config
from albert_gpt_tf.data.dialogue import answer_rows, pack_answers, read_conversations
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.training import plans
from albert_gpt_tf.training.plan_dialogue import conversation_splits, dialogue, evaluate_dialogue
from albert_gpt_tf.training.run import prepare_task, train
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
WORDS = ["red", "green", "blue", "one", "two", "three"]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(plans.PLANS, "dialogue", dialogue)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A .yml of 36 conversations, some of several turns and some twice, and a .jsonl of 6."""
    folder = tmp_path_factory.mktemp("talks")
    talks = [[f"what is {a} {b}?", f"{b} {a}", *([f"and {a}?", a] if a < b else [])] for a in WORDS for b in WORDS]
    rows = "".join("- - " + "\n  - ".join(talk) + "\n" for talk in talks + talks[:5])
    (folder / "train.yml").write_text(f"conversations:\n{rows}")
    held_out = [json.dumps({"turns": [f"who is {a}?", f"{a} is {a}"]}) for a in WORDS]
    (folder / "validation.jsonl").write_text("\n".join(held_out))
    return folder


def tiny_config(files, **data):
    config = get_config()
    config.update(
        data={"train": str(files / "train.yml"), **data},
        vocabulary_size=280,
        sequence_length=48,
        backbone={"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "max_sequence_length": 64, "dropout": 0.0},
        batch_size=4, steps=5, validate_every=5, warmup_steps=1, log_every=5, checkpoint_every=5,
    )  # fmt: skip
    return config


@pytest.fixture
def config(files):
    return tiny_config(files)


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """The working directory of a run of 5 steps with a limit, and its results."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(plans.PLANS, "dialogue", dialogue)
        config = tiny_config(files, limit=20, validation=str(files / "validation.jsonl"))
        return workdir, train(config, workdir, ONE_DEVICE)


def test_five_steps_measure_the_perplexity_of_held_out_answers(finished):
    _, results = finished
    assert set(results) == {"validation_loss", "validation_accuracy", "validation_perplexity"}
    assert results["validation_perplexity"] == pytest.approx(math.exp(results["validation_loss"]))
    assert results["validation_loss"] < math.log(280)  # five steps from nothing


def test_the_loss_is_the_mean_over_the_tokens_of_answers(finished, files):
    """Token by token in NumPy, one row at a time."""
    workdir, results = finished
    task = load_task(workdir / "preset")
    assert task.preprocessor.sequence_length == 48
    rows = answer_rows(read_conversations(files / "validation.jsonl"))
    inputs, targets, weights = pack_answers(rows, task.preprocessor, 48)
    logits = np.float64(task.predict(inputs, verbose=0))
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = []
    for row in range(len(WORDS)):
        answer = task.preprocessor.tokenizer.tokenize(f" {WORDS[row]} is {WORDS[row]}").numpy().tolist()
        answer.append(task.preprocessor.end_id)
        places = np.flatnonzero(weights[row])
        assert targets[row].numpy()[places].tolist() == answer
        losses += [-log_probabilities[row, place, token] for place, token in zip(places, answer, strict=True)]
    assert np.mean(losses) == pytest.approx(results["validation_loss"], rel=1e-4)
    task.compile("sgd")
    for batch_size in (2, 5):
        measured = evaluate_dialogue(task, rows, batch_size)
        expected = {name.removeprefix("validation_"): value for name, value in results.items()}
        assert measured == pytest.approx(expected, rel=1e-4)


def test_a_run_goes_on_from_a_preset(finished, files, tmp_path):
    workdir, results = finished
    config = tiny_config(files, limit=20, validation=str(files / "validation.jsonl"))
    config.update(preset=str(workdir / "preset"), learning_rate=0.0)
    assert train(config, tmp_path, ONE_DEVICE) == pytest.approx(results, rel=1e-4)


def test_batches_depend_on_the_step_alone_and_teach_answers(config):
    plan = prepare_task(config, ONE_DEVICE)
    tokenizer, end = plan.task.preprocessor.tokenizer, plan.task.preprocessor.end_id
    batches = list(plan.batches(0).take(14))
    [again] = plan.batches(13).take(1)
    for one, other in zip(batches[13][1:], again[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    learnt = {
        tokenizer.detokenize(row[mask > 0][:-1]).numpy().decode()
        for _, targets, weights in batches
        for row, mask in zip(targets.numpy(), weights.numpy(), strict=True)
        if row[mask > 0][-1] == end
    }
    answers = {turn.text for turns in read_conversations(config.data.train) for turn in turns if turn.role[0] == "a"}
    assert learnt and learnt <= {f" {answer}" for answer in answers}
    assert isinstance(plan.sample(), str)


def test_the_same_conversation_twice_counts_once_and_a_share_is_held_out(config):
    everything = conversation_splits(with_share(config, 0.0))
    assert set(everything) == {"train"} and len(everything["train"]) == 36
    splits = conversation_splits(with_share(config, 0.3))
    assert set(splits) == {"train", "validation"}
    assert sorted(splits["train"] + splits["validation"]) == sorted(everything["train"])


def with_share(config, share):
    config.data.held_out = share
    return config.data


def test_a_named_validation_file_takes_the_place_of_the_share(config, files):
    config.data.validation = str(files / "validation.jsonl")
    splits = conversation_splits(config.data)
    assert len(splits["train"]) == 36 and len(splits["validation"]) == 6


@pytest.mark.parametrize(
    ("share", "message"), [(1.0, "must be a share"), (-0.5, "must be a share"), (1e-9, "can divide. Received: 36 to")]
)
def test_shares_that_leave_nothing_are_refused(config, share, message):
    with pytest.raises(ValueError, match=message):
        conversation_splits(with_share(config, share))


def test_other_sources_are_refused(config):
    config.data.source = "docstrings"
    with pytest.raises(ValueError, match=r"config.data.source must be 'files' for conversations. Received.*docstrings"):
        conversation_splits(config.data)


def test_a_broken_conversation_ends_the_run_before_it_begins(config, tmp_path):
    (tmp_path / "broken.yml").write_text("conversations:\n- - a\n  - b: c\n")
    config.data.train = str(tmp_path / "*.yml")
    with pytest.raises(DataError, match=r"broken.yml:3: expected a text as turn"):
        train(config, tmp_path / "run", ONE_DEVICE)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_vocabulary_without_an_end_of_text_is_refused(config, tmp_path):
    tokenizer = GPT1Tokenizer({"a</w>": 0, "<unk>": 1, "a": 2}, [])
    GPTCausalLM(GPTBackbone(3, 1, 2, 8, max_sequence_length=64), tokenizer=tokenizer).save_to_preset(
        str(tmp_path / "p")
    )
    config.preset = str(tmp_path / "p")
    with pytest.raises(ValueError, match=r"vocabulary has an end of text.*Received: a GPTCausalLM in"):
        train(config, tmp_path / "run", ONE_DEVICE)


def test_the_sample_answers_in_the_form_of_training(config, monkeypatch):
    plan = prepare_task(config, ONE_DEVICE)
    asked = []
    monkeypatch.setattr(plan.task, "generate", lambda prompt, *arguments: asked.append(prompt) or " I am. ")
    assert plan.sample() == "I am."
    assert asked == ["User: Who are you?\nAssistant:"]
