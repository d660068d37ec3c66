"""A language model's batches: from text and from token shards, and again from any step."""

import math

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.configs import gpt2_wikitext
from albert_gpt_tf.data.files import read_text_file
from albert_gpt_tf.data.language_model import count_bytes, token_stream
from albert_gpt_tf.data.shard_manifest import read_manifest
from albert_gpt_tf.data.token_shards import open_token_shards
from albert_gpt_tf.data.write_token_shards import write_token_shards
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training import run
from albert_gpt_tf.training.plan_causal_lm import causal_lm
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
ROWS, LENGTH = 4, 16


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


@pytest.fixture(scope="module")
def vocabulary(files, tmp_path_factory):
    """A directory of tokenizer files."""
    folder = tmp_path_factory.mktemp("vocabulary")
    GPT2Tokenizer(*train_byte_level_bpe(read_text_file(files.train_text), 270)).save_to_preset(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def shards(files, vocabulary, tmp_path_factory):
    """Directories of token shards by split, several shards in that of `train`."""
    folder = tmp_path_factory.mktemp("shards")
    for split, path in {"train": files.train_text, "test": files.test_text}.items():
        write_token_shards(path, lambda: GPT2Tokenizer.from_preset(vocabulary), folder / split, shard_size_mb=4e-4)
    assert len(read_manifest(folder / "train")["shards"]) > 2
    return {split: str(folder / split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def shards_config(tiny, shards, vocabulary):
    changes = {f"data.{split}": directory for split, directory in shards.items()}
    return tiny.gpt_config(**changes, **{"data.source": "shards", "vocabulary": vocabulary})


@pytest.fixture(scope="module")
def plan(shards_config):
    return causal_lm(shards_config, ONE_DEVICE)


def ids_of(dataset, count):
    """Ids and targets of batches, int [count, rows, length] each."""
    batches = list(dataset.take(count))
    return np.stack([x["token_ids"] for x, _ in batches]), np.stack([y for _, y in batches])


def test_batches_of_shards_are_the_text_tokenized_in_the_order_of_seed_and_epoch(plan, shards_config, files):
    tokenizer = plan.task.preprocessor.tokenizer
    texts = read_text_file(files.train_text)
    steps = 6
    while steps * ROWS * LENGTH < 1.5 * len(token_stream(texts, tokenizer)):
        steps += 6  # into the second epoch
    shuffled = open_token_shards(shards_config.data.train, seed=shards_config.seed, repeat=True)
    batches = shuffled.take(3)  # an epoch each, as there are fewer documents than a batch holds
    order = [text.decode() for ids in batches for text in tokenizer.detokenize(ids).numpy()]
    first, second = order[: len(texts)], order[len(texts) : 2 * len(texts)]
    assert sorted(first) == sorted(second) == sorted(texts) and first != second and first != texts
    stream = token_stream(order, tokenizer)
    ids, targets = ids_of(plan.batches(0), steps)
    assert ids.shape == (steps, ROWS, LENGTH)
    assert len(texts) < len(order) and ids.size > len(token_stream(texts, tokenizer))
    np.testing.assert_array_equal(ids.ravel(), stream[: ids.size])
    np.testing.assert_array_equal(targets.ravel(), stream[1 : ids.size + 1])


@pytest.mark.parametrize("source", ["shards", "files"])
def test_batches_from_step_three_on_are_those_of_the_whole_run(plan, tiny, files, vocabulary, source):
    if source == "files":
        config = tiny.gpt_config(**{"data.train": files.train_text, "vocabulary": vocabulary})
        plan = causal_lm(config, ONE_DEVICE)
    for whole, rest in zip(ids_of(plan.batches(0), 6), ids_of(plan.batches(3), 3), strict=True):
        np.testing.assert_array_equal(whole[3:], rest)


def test_shards_are_evaluated_in_bits_of_the_bytes_of_their_text(plan, tiny, files, vocabulary):
    config = tiny.gpt_config(**{"data.train": files.train_text, "data.test": files.test_text, "vocabulary": vocabulary})
    of_text = causal_lm(config, ONE_DEVICE)
    for one, other in zip(plan.evaluation["test"], of_text.evaluation["test"], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    texts = read_text_file(files.test_text)
    tokens = len(token_stream(texts, plan.task.preprocessor.tokenizer)) - 1
    expected = pytest.approx(2.0 / math.log(2) * tokens / count_bytes(texts), rel=1e-9)
    assert plan.measured("test", {"loss": 2.0})["bits_per_byte"] == expected
    assert of_text.measured("test", {"loss": 2.0})["bits_per_byte"] == expected


def test_a_vocabulary_of_ones_own_is_not_trained_again(plan, vocabulary):
    tokenizer = GPT2Tokenizer.from_preset(vocabulary)
    assert plan.task.preprocessor.tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    assert plan.task.backbone.vocabulary_size == tokenizer.vocabulary_size()


def test_a_run_from_shards_ends_with_results_and_a_preset(shards_config, tmp_path):
    results = train(shards_config, tmp_path, ONE_DEVICE)
    assert set(results) == {"test_loss", "test_accuracy", "test_bits_per_byte"}
    assert GPTCausalLM.from_preset(tmp_path / "preset").generate("red", max_new_tokens=2) is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": ""}, "Expected config.preset or config.vocabulary"),
        ({"data.limit": 3}, "Expected config.data.limit=0"),
        ({"data.train": ""}, "config.data.train must name a file"),
        ({"sequence_length": 100_000}, "Expected at least sequence_length = 100000 tokens"),
    ],
)
def test_settings_that_cannot_work_with_shards_are_told(shards_config, changes, message):
    config = shards_config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        causal_lm(config, ONE_DEVICE)


def test_shards_of_another_tokenizer_or_of_sentences_are_told(shards_config, files, tmp_path):
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(["other"], 258))
    tokenizer.save_to_preset(str(tmp_path / "vocabulary"))
    config = shards_config.copy_and_resolve_references()
    config.vocabulary = str(tmp_path / "vocabulary")
    with pytest.raises(ValueError, match="Expected the tokenizer that the ids in"):
        causal_lm(config, ONE_DEVICE)
    write_token_shards(files.test_sentences, lambda: tokenizer, tmp_path / "sentences", format="sentences")
    config.data.train = str(tmp_path / "sentences")
    with pytest.raises(ValueError, match=r"Expected shards of --format=documents in config\.data\.train"):
        causal_lm(config, ONE_DEVICE)


# === Recipes ===


def test_the_recipe_of_wikitext_fine_tunes_on_its_articles(plan, tmp_path):
    plan.task.save_to_preset(str(tmp_path / "start"))
    article = (
        " = Red = \n \n The red @-@ green one , a <unk> , is blue . \n \n = = Green = = \n \n Two " + "three " * 40
    )
    (tmp_path / "wiki.txt").write_text(" \n" + (article + "\n \n") * 6, encoding="utf-8")
    config = gpt2_wikitext.get_config()
    splits = {f"data.{split}": str(tmp_path / "wiki.txt") for split in ("train", "validation")}
    config.update_from_flattened_dict({"preset": str(tmp_path / "start"), **splits})
    config.update(precision="float32", sequence_length=LENGTH, batch_size=2, steps=5, validate_every=5)
    results = train(config, tmp_path / "run", ONE_DEVICE)
    assert set(results) == {"validation_loss", "validation_accuracy", "validation_bits_per_byte"}
    assert all(math.isfinite(value) for value in results.values())
