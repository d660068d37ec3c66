"""The recipe for verse on tiny files: bits per character, and what is held out."""

import json
import math

import numpy as np
import pytest

from albert_gpt_tf.configs.tang_poems import get_config
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.verse import poem_document
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.training import plans
from albert_gpt_tf.training.plan_verse import poem_splits, verse, with_bits_per_character
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
CHARACTERS = "天地玄黃宇宙洪荒日月"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(plans.PLANS, "verse", verse)


@pytest.fixture
def config(tmp_path):
    """Of 100 poems of two lines, ten of them twice."""
    poems = [
        {"title": a, "author": b, "paragraphs": [f"{a}{b}{a}，", f"{b}{b}{a}。"]}
        for a in CHARACTERS
        for b in CHARACTERS
    ]
    (tmp_path / "poems.json").write_text(json.dumps([*poems, *poems[:10]]), encoding="utf-8")
    config = get_config()
    config.update(
        data={"train": str(tmp_path / "poems.json"), "held_out": 0.2},
        vocabulary_size=290,
        sequence_length=24,
        backbone={"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "max_sequence_length": 24, "dropout": 0.0},
        batch_size=4, steps=5, validate_every=5, warmup_steps=1, log_every=5, checkpoint_every=5,
    )  # fmt: skip
    return config


def test_five_steps_measure_bits_per_character_of_held_out_poems(config, tmp_path):
    config.data.limit = 60
    results = train(config, tmp_path / "run", ONE_DEVICE)
    assert set(results) == {f"validation_{name}" for name in ("loss", "accuracy", "bits_per_character")}
    # Once more with `score`, poem by poem: the first poem of the stream sees what `score` shows the model.
    task = load_task(tmp_path / "run" / "preset")
    documents = [poem_document(poem) for poem in poem_splits(config.data)["validation"]]
    scores = task.score(documents)
    tokens = sum(scores["token_count"]) + len(documents)  # `score` counts no end
    bits = results["validation_loss"] / math.log(2) * tokens / sum(map(len, documents))
    assert results["validation_bits_per_character"] == pytest.approx(bits, rel=1e-5)
    alone = -np.sum(scores["log_likelihood"]) / math.log(2) / sum(map(len, documents))
    assert alone == pytest.approx(bits, rel=0.2)  # with other poems before it, and with its end, it costs about as much


def test_a_prompt_of_title_and_author_is_continued(config, tmp_path):
    train(config, tmp_path / "run", ONE_DEVICE)
    assert isinstance(load_task(tmp_path / "run" / "preset").generate("天\n地\n", 6), str)


def test_poems_twice_count_once_and_a_share_is_held_out(config):
    splits = poem_splits(config.data)
    poems = splits["train"] + splits["validation"]
    assert len(poems) == len({poem.lines for poem in poems}) == 100
    config.data.held_out = 0.0
    assert sorted(poem_splits(config.data)["train"]) == sorted(poems)
    config.data.update(held_out=0.2, validation=config.data.train)
    assert len(poem_splits(config.data)["validation"]) == 100  # a named file takes the place of the share


@pytest.mark.parametrize(
    ("share", "message"), [(1.0, "must be a share"), (-0.5, "must be a share"), (1e-9, "can divide. Received: 100 to")]
)
def test_shares_that_leave_nothing_are_refused(config, share, message):
    config.data.held_out = share
    with pytest.raises(ValueError, match=message):
        poem_splits(config.data)


def test_other_sources_are_refused(config):
    config.data.source = "docstrings"
    with pytest.raises(ValueError, match=r"config.data.source must be 'files' for poems. Received.*docstrings"):
        poem_splits(config.data)


def test_a_broken_poem_ends_the_run_before_it_begins(config, tmp_path):
    (tmp_path / "poems.json").write_text('[\n{"title": "a"}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"poems.json:2: expected an object"):
        train(config, tmp_path / "run", ONE_DEVICE)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_line_breaks_and_other_scripts_are_characters():
    metrics = with_bits_per_character({"loss": 2 * math.log(2)}, 6, ["天\n地"])
    assert metrics == {"loss": 2 * math.log(2), "bits_per_character": pytest.approx(4.0)}
