"""The plan of a text classifier: its recipes run on small files, from scratch and from presets, with ALBERT and GPT."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from albert_gpt_tf.data.files import DataError, LabelledTexts
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import FINE_TUNING_TOKENS, GPTTextClassifier
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.training import batches, run
from albert_gpt_tf.training.batches import labelled_splits
from albert_gpt_tf.training.classification_scores import evaluate_text_classifier, predict_texts, score_answers
from albert_gpt_tf.training.plan_text_classifier import check, make_task
from albert_gpt_tf.training.run import prepare_task, train
from albert_gpt_tf.training.strategies import make_strategy

STSB = Path(__file__).parents[3] / "shared" / "data" / "labelled" / "stsb"
ONE_DEVICE = make_strategy("one_device")
TEXTS = ["red one", "green and two", "blue", "one two three", "red and blue", "two greens"]
BACKBONE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "max_sequence_length": 16}
OF_ALBERT = {"intermediate_dim": 32, "embedding_dim": 8}


@pytest.fixture(autouse=True)
def fast_peak(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders of GLUE tasks, and messages without a header."""
    folder = tmp_path_factory.mktemp("files")
    pairs = [(text, TEXTS[row * 5 % 6]) for row, text in enumerate(TEXTS * 4)]
    header = "index\tgenre\tsentence1\tsentence2"
    tables = {
        "stsb/train.tsv": [f"{header}\tscore", *(f"0\tx\t{a}\t{b}\t{i % 6}" for i, (a, b) in enumerate(pairs))],
        "stsb/dev.tsv": [f"{header}\tscore", *(f"0\tx\t{a}\t{b}\t{i % 5}" for i, (a, b) in enumerate(pairs))],
        "mrpc/train.tsv": ["Quality\t#1 String\t#2 String", *(f"{i % 2}\t{a}\t{b}" for i, (a, b) in enumerate(pairs))],
    }
    names = ["neutral", "contradiction"]
    mnli = [f"{header}\tgold_label", *(f"0\tx\t{a}\t{b}\t{names[i % 2]}" for i, (a, b) in enumerate(pairs))]
    tables |= {f"mnli/{file}.tsv": mnli for file in ("train", "dev_matched", "dev_mismatched")}
    tables["mrpc/dev.tsv"] = tables["mrpc/train.tsv"]
    tables["sms"] = [f"{['ham', 'spam'][i % 2]}\t{text} {i}" for i, text in enumerate(TEXTS * 6)]
    for name, lines in tables.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def tiny(recipe, *arguments, **changes):
    """The configuration of a recipe, made small and from scratch."""
    config = importlib.import_module(f"albert_gpt_tf.configs.{recipe}").get_config(*arguments)
    is_gpt = config.get("model", "albert") == "gpt"
    config.update(
        preset="", vocabulary_size=270 if is_gpt else 45, sequence_length=16, batch_size=8, steps=5, validate_every=0,
        warmup_steps=1, log_every=5, checkpoint_every=5, backbone=BACKBONE | ({} if is_gpt else OF_ALBERT),
    )  # fmt: skip
    config.update_from_flattened_dict(changes)
    return config


def batch_of(plan):
    [batch] = plan.batches(0).take(1)
    return batch


# === Recipes ===


@pytest.mark.parametrize(
    "recipe, argument, file, measured",
    [
        ("glue", "stsb", "stsb", {"validation": {"loss", "mean_absolute_error", "pearson", "spearman"}}),
        ("glue", "mnli", "mnli", {split: {"loss", "accuracy"} for split in ("validation", "mismatched")}),
        ("gpt1_classification", "mrpc", "mrpc", {"validation": {"loss", "label_accuracy", "accuracy", "f1"}}),
        ("sms_spam", None, "sms", {"validation": {"loss", "accuracy", "macro_f1", "matthews", "f1"}}),
    ],
)
def test_five_steps_of_a_recipe_give_its_scores_and_a_preset_that_gives_them_again(
    folder, tmp_path, recipe, argument, file, measured
):
    config = tiny(recipe, *([argument] if argument else []), **{"data.train": str(folder / file), "data.limit": 20})
    results = train(config, tmp_path, ONE_DEVICE)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 5
    is_regression = argument == "stsb"
    splits = labelled_splits(config.data, is_regression)
    assert set(splits) == {"train", *measured} and len(splits["train"][0]) <= 20
    task = load_task(tmp_path / "preset")
    for split, names in measured.items():
        assert names <= {name.removeprefix(f"{split}_") for name in results}
        again = evaluate_text_classifier(task, splits[split], batch_size=3)
        for name in names:
            # Texts are there several times, and the last bit of their predictions makes their order.
            tolerance = 0.05 if name == "spearman" else 1e-4
            assert results[f"{split}_{name}"] == pytest.approx(again[name], abs=tolerance), name
    assert task.regression == is_regression
    if argument == "mnli":
        assert task.labels == ["contradiction", "entailment", "neutral"]  # one of them is in no row
        assert "mismatched_matthews" not in results  # no metric of this task
    if recipe == "gpt1_classification":
        assert isinstance(task, GPTTextClassifier) and task.auxiliary_lm_weight == 0.5
        assert not task.backbone.norm_first


def test_recipes_of_glue_have_the_published_numbers():
    glue = importlib.import_module("albert_gpt_tf.configs.glue").get_config
    gpt1 = importlib.import_module("albert_gpt_tf.configs.gpt1_classification").get_config
    config = glue("mrpc")
    assert (config.learning_rate, config.batch_size, config.steps, config.warmup_steps) == (2e-5, 32, 800, 200)
    assert (config.bias_correction, config.epsilon, config.weight_decay) == (False, 1e-6, 0.01)
    config = gpt1("sst2")
    assert (config.learning_rate, config.batch_size, config.steps, config.warmup_steps) == (6.25e-5, 32, 6313, 13)
    assert config.auxiliary_lm_weight == 0.5
    for get_config in (glue, gpt1):
        with pytest.raises(ValueError, match=r"Expected a task among .* Received: task='squad'"):
            get_config("squad")


# === Data ===


def test_rows_are_held_out_by_their_text(folder, tmp_path):
    config = tiny("sms_spam", **{"data.train": str(folder / "sms")})
    splits = labelled_splits(config.data)
    train_texts, held_out = (splits[split][0] for split in ("train", "validation"))
    assert not set(train_texts) & set(held_out) and len(train_texts) + len(held_out) == 36
    lines = (folder / "sms").read_text(encoding="utf-8").splitlines()
    (tmp_path / "sms").write_text("\n".join([*lines[::-1], *lines[:9]]), encoding="utf-8")
    config.data.train = str(tmp_path / "sms")
    again = labelled_splits(config.data)
    assert {split: set(texts) for split, (texts, _) in again.items()} == {
        split: set(texts) for split, (texts, _) in splits.items()
    }  # another order, and rows that are there twice
    labels = dict(line.split("\t")[::-1] for line in lines)
    assert all(
        labels[text] == label for texts, names in again.values() for text, label in zip(texts, names, strict=True)
    )


def test_about_the_share_that_was_asked_for_is_held_out(tmp_path):
    (tmp_path / "many").write_text("\n".join(f"{i % 2}\ttext {i}" for i in range(2000)), encoding="utf-8")
    config = tiny("sms_spam", **{"data.train": str(tmp_path / "many")})
    assert len(labelled_splits(config.data)["validation"][0]) == pytest.approx(400, abs=4 * np.sqrt(2000 * 0.2 * 0.8))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.validation": "dev.tsv"}, r"config\.data\.held_out is .*Received: held_out=0\.2"),
        ({"data.held_out": 1.0}, r"config\.data\.held_out is .*below 1"),
        ({"data.source": "docstrings"}, r"source='docstrings'"),
        ({"data.held_out": 1e-9}, r"Expected rows to train on and rows to hold out\. Received: .*'validation': 0"),
    ],
)
def test_a_held_out_part_that_cannot_be_is_refused(folder, changes, message):
    config = tiny("sms_spam", **{"data.train": str(folder / "sms"), **changes})
    with pytest.raises(ValueError, match=message):
        labelled_splits(config.data)


def test_labels_of_a_regression_must_be_numbers(folder, tmp_path):
    (tmp_path / "numbers").write_text("1.5\ta\n-2\tb\nhigh\tc\n", encoding="utf-8")
    config = tiny("sms_spam", **{"data.train": str(tmp_path / "numbers"), "data.held_out": 0.0, "data.limit": 2})
    assert labelled_splits(config.data, regression=True)["train"][1] == [1.5, -2.0]
    config.data.limit = 0
    with pytest.raises(DataError, match=r"numbers: expected a number as the label of row 3.*received 'high'"):
        labelled_splits(config.data, regression=True)


def test_the_other_splits_of_glue_are_in_its_folder(folder):
    config = tiny("glue", "mrpc", **{"data.train": str(folder / "mrpc"), "data.test": "test.tsv"})
    with pytest.raises(ValueError, match=r"Leave config\.data\.validation and config\.data\.test empty"):
        labelled_splits(config.data)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "gpt", "token_dropout": 0.1}, r"config\.token_dropout is for config\.model='albert'"),
        ({"model": "bert"}, r"config\.model must be one of \('albert', 'gpt'\)\. Received: config\.model='bert'"),
        ({"data.source": "shards"}, r"config\.data\.source of a text classifier must be one of"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check(tiny("sms_spam", **changes))


# === Presets ===


def test_a_preset_keeps_its_head_for_the_same_labels_and_gets_a_new_one_for_others(folder, tmp_path):
    config = tiny("glue", "mrpc", **{"sequence_length": 12})
    task = make_task(config, ["0", "1"], TEXTS)
    expected = task.predict(TEXTS, verbose=0)
    task.save_to_preset(str(tmp_path / "preset"))
    config.update(preset=str(tmp_path / "preset"), sequence_length=10, dropout=0.3)
    same = make_task(config, ["0", "1"], [])
    assert (same.preprocessor.sequence_length, same.dropout) == (10, 0.3)
    np.testing.assert_allclose(same.predict(TEXTS, verbose=0), expected, atol=1e-5)
    for labels in (["1", "0"], ["a", "b", "c"], None):
        other = make_task(config, labels, [])
        assert (other.labels, other.regression) == (labels, labels is None)
        assert np.abs(other.output_dense.kernel[:, :1] - task.output_dense.kernel[:, :1]).max() > 0
        for one, two in zip(other.backbone.get_weights(), task.backbone.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        assert other.preprocessor(["red"], y=labels[:1] if labels else [0.5])[1].numpy()[0] == (0 if labels else 0.5)


def test_a_gpt1_gets_the_tokens_of_its_fine_tuning_and_keeps_the_rest(tmp_path):
    tokens = ["<unk>", *"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz"), "of</w>"]
    tokenizer = GPT1Tokenizer({token: id for id, token in enumerate(tokens)}, ["o f</w>"])
    backbone = GPTCausalLM.backbone_cls(len(tokens), norm_first=False, **BACKBONE)
    GPTCausalLM(backbone, tokenizer=tokenizer).save_to_preset(str(tmp_path / "gpt1"))
    config = tiny("gpt1_classification", "mrpc", preset=str(tmp_path / "gpt1"))
    task = make_task(config, ["0", "1"], [])
    assert task.preprocessor.tokenizer.get_vocabulary() == [*tokens, *FINE_TUNING_TOKENS]
    assert task.backbone.vocabulary_size == len(tokens) + 3
    table = task.backbone.token_embedding.get_weights()[0]
    np.testing.assert_array_equal(table[:-3], backbone.token_embedding.get_weights()[0])
    assert (table[-3:].std(-1) > 0).all() and table[-3:].std() < 0.05
    for one, two in zip(task.backbone.transformer_layers, backbone.transformer_layers, strict=True):
        for weight, expected in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
    ids = task.preprocessor((["of a"], ["b"]))["token_ids"][0].numpy()
    start, delimiter, classify = range(len(tokens), len(tokens) + 3)
    own = [tokens.index(token) for token in ("of</w>", "a</w>", "b</w>")]
    assert ids[:6].tolist() == [start, *own[:2], delimiter, own[2], classify]


def test_a_preset_without_a_tokenizer_is_refused(tmp_path):
    backbone = AlbertTextClassifier.backbone_cls(45, **BACKBONE, **OF_ALBERT)
    AlbertTextClassifier(backbone, ["0", "1"]).save_to_preset(str(tmp_path / "ids"))
    with pytest.raises(ValueError, match=r"Expected a tokenizer in config\.preset="):
        make_task(tiny("glue", "mrpc", preset=str(tmp_path / "ids")), ["0", "1"], [])


# === Batches ===


def test_batches_of_rows_of_one_length_are_short(folder):
    config = tiny("glue", "mrpc", **{"data.train": str(folder / "mrpc"), "sequence_length": 64})
    config.backbone.max_sequence_length = 64
    ids, labels = batch_of(prepare_task(config, ONE_DEVICE))
    assert ids["token_ids"].shape[1] < 64 and ids["token_ids"].shape[1] % 8 == 0
    assert labels.shape == (8,)


# === Learning ===


@pytest.mark.skipif(not STSB.is_dir(), reason="needs ../shared/data")
def test_a_tiny_regression_learns_64_pairs_by_heart(tmp_path):
    config = tiny(
        "glue", "stsb", vocabulary_size=600, sequence_length=48, batch_size=32, steps=450, warmup_steps=50,
        learning_rate=1e-3, bias_correction=True, dropout=0.0, **{"data.train": str(STSB), "data.limit": 64},
    )  # fmt: skip
    config.backbone.update(num_heads=4, hidden_dim=64, intermediate_dim=128, embedding_dim=64, max_sequence_length=48)
    plan = prepare_task(config, ONE_DEVICE)
    plan.task.fit(plan.batches(0), steps_per_epoch=config.steps, verbose=0)
    texts, scores = labelled_splits(config.data, regression=True)["train"]
    assert len(texts) == 64
    assert score_answers(plan.task, scores, predict_texts(plan.task, texts))["pearson"] > 0.99


def test_a_split_may_be_a_data_set_with_a_name(monkeypatch):
    asked = []

    def read(*arguments):
        asked.append(arguments)
        return LabelledTexts(["a", "b"], ["x", "y"], None)

    monkeypatch.setattr(batches, "read_named_dataset", read)
    data = ConfigDict({"source": "files", "train": "tfds:glue/sst2", "validation": "hf:o/n@dev", "test": ""})
    data.update({"text": "sentence", "text_pair": "", "label": "label", "limit": 7})
    assert batches.labelled_splits(data)["validation"] == (["a", "b"], ["x", "y"])
    assert asked == [
        ("tfds:glue/sst2", "train", "sentence", "label", None, 7),
        ("hf:o/n", "dev", "sentence", "label", None, 7),
    ]
