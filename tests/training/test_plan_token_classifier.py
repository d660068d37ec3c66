"""The plan of a token classifier: runs by recipe, targets of words, and gold tags that come back as entities."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from seqeval.metrics.sequence_labeling import get_entities

from albert_gpt_tf.configs import conll_ner, ud_pos
from albert_gpt_tf.data.tagging import TaggedSentence, read_tagged_file, sentence_texts
from albert_gpt_tf.tasks.entities import IGNORED, find_spans, label_scheme, piece_kinds, piece_windows, unit_starts
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training import plans, run
from albert_gpt_tf.training.entity_scores import evaluate_token_classifier
from albert_gpt_tf.training.plan_token_classifier import tag_names, tagged_splits, tagged_windows, token_classifier
from albert_gpt_tf.training.strategies import make_strategy

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ONE_DEVICE = make_strategy("one_device")
TINY = {
    "sequence_length": 16, "vocabulary_size": 60, "batch_size": 4, "steps": 5, "warmup_steps": 1, "log_every": 5,
    "data.limit": 20, "backbone.num_layers": 1, "backbone.num_heads": 2, "backbone.hidden_dim": 16,
    "backbone.intermediate_dim": 32, "backbone.embedding_dim": 8, "backbone.max_sequence_length": 16, "preset": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def known_plan(monkeypatch):
    monkeypatch.setitem(plans.PLANS, "token_classifier", token_classifier)
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small file of columns and one of CoNLL-U, which have more sentences than the limit."""
    folder = tmp_path_factory.mktemp("tagged")
    rng = np.random.default_rng(0)
    names, cities, verbs = ["Ada", "Bob L.", "Eve"], ["Paris", "New York", "Rome"], ["sees", "likes", "leaves"]
    columns, conllu = [], []
    for _ in range(40):
        name, city = str(rng.choice(names)).split(), str(rng.choice(cities)).split()
        words = [*name, str(rng.choice(verbs)), *city, "."]
        tags = [*["B-PER", "I-PER"][: len(name)], "O", *["B-LOC", "I-LOC"][: len(city)], "O"]
        columns.append("\n".join(f"{word} {tag}" for word, tag in zip(words, tags, strict=True)))
        kinds = ["PROPN"] * len(name) + ["VERB"] + ["PROPN"] * len(city) + ["PUNCT"]
        spaces = ["_"] * (len(words) - 2) + ["SpaceAfter=No", "_"]
        rows = enumerate(zip(words, kinds, spaces, strict=True), 1)
        conllu.append("\n".join(f"{n}\t{word}\t_\t{kind}\t_\t_\t_\t_\t_\t{space}" for n, (word, kind, space) in rows))
    (folder / "train.conll").write_text("\n\n".join(columns) + "\n")
    (folder / "train.conllu").write_text("\n\n".join(conllu) + "\n")
    return folder


def tiny(recipe, **changes):
    config = recipe.get_config()
    config.update_from_flattened_dict(TINY | changes)
    return config


# === Runs ===


def test_the_entity_recipe_measures_entities_beside_the_baseline(files, tmp_path):
    train = str(files / "train.conll")
    paths = {"data.train": train, "data.validation": train, "data.test": train}
    config = tiny(conll_ner, **paths, validate_every=5, token_dropout=0.5)
    results = run.train(config, tmp_path / "run", ONE_DEVICE)
    rows = read_tagged_file(train, limit=20)
    for split in ("validation", "test"):
        assert results[f"{split}_words"] == sum(len(row.words) for row in rows)
        assert results[f"{split}_baseline_f1"] == results[f"{split}_baseline_tag_accuracy"] == 1.0  # the same sentences
        assert {f"{split}_{name}" for name in ("loss", "accuracy", "precision", "recall", "f1_PER")} <= set(results)
    task = load_task(tmp_path / "run" / "preset")
    assert task.labels == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    again = evaluate_token_classifier(task, rows, batch_size=7)
    assert {name: results[f"test_{name}"] for name in again} == pytest.approx(again)
    assert set(task.answer(["Ada sees Rome."])) == {"entity", "label", "start", "end", "score"}


def test_the_part_of_speech_recipe_holds_out_a_share(files, tmp_path):
    config = tiny(ud_pos, **{"data.train": str(files / "train.conllu")}, validate_every=0)
    assert config.data.held_out == 0.2
    results = run.train(config, tmp_path / "run", ONE_DEVICE)
    held = read_tagged_file(files / "train.conllu", limit=20)[4::5]
    assert results["test_words"] == sum(len(row.words) for row in held)
    assert {"test_tag_accuracy", "test_baseline_tag_accuracy"} <= set(results) and "test_f1" not in results
    assert load_task(tmp_path / "run" / "preset").labels == ["PROPN", "PUNCT", "VERB"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.source": "docstrings"}, "config.data.source must be 'files' for a token classifier"),
        ({"data.train": ""}, "config.data.train must name a file"),
        ({"data.held_out": 0.5}, r"Expected config.data.test or config.data.held_out.* Set config.data.held_out=0.0"),
        ({"data.held_out": 0.1, "data.test": "", "data.limit": 3}, r"enough sentences to hold some out.*3 sentences"),
    ],
)
def test_splits_that_cannot_work_are_refused(files, changes, message):
    path = str(files / "train.conll")
    with pytest.raises(ValueError, match=message):
        tagged_splits(tiny(conll_ner, **{"data.train": path, "data.test": path} | changes).data)


def test_every_type_of_entity_has_a_label_that_goes_on():
    assert tag_names(["O", "B-X", "S-Y", "O"]) == ["B-X", "I-X", "I-Y", "O", "S-Y"]
    assert tag_names(["VERB", "NOUN"]) == ["NOUN", "VERB"]


# === Targets ===


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer(train_sentencepiece(["ada lovelace won in new york, u.s. again and again"] * 20, 50))


def test_each_word_is_a_target_once_however_long_the_sentence(tokenizer):
    labels = ["NOUN", "VERB"]
    rows = [
        TaggedSentence(["ada", "won"] * 30, ["NOUN", "VERB"] * 30),
        TaggedSentence(["ada"], ["VERB"]),
        TaggedSentence(["ada", "won"], ["NOUN", "VERB"], [False, True]),
    ]
    windows = tagged_windows(rows, labels, tokenizer, 16)
    targets = windows["targets"][windows["targets"] != IGNORED]
    assert targets.tolist() == [0, 1] * 30 + [1, 0, 1]
    assert windows["token_ids"].shape == windows["targets"].shape == (len(windows["length"]), 16)
    assert (windows["targets"][:, 0] == IGNORED).all() and max(windows["length"]) == 16


def test_a_target_stands_at_the_first_token_and_goes_on_after_punctuation(tokenizer):
    windows = tagged_windows([TaggedSentence(["U.S.", "won"], ["B-X", "O"])], ["B-X", "I-X", "O"], tokenizer, 16)
    pieces = [tokenizer.id_to_token(int(id)) for id in windows["token_ids"][0]]
    marked = [
        (piece.strip("▁"), int(n)) for piece, n in zip(pieces, windows["targets"][0], strict=True) if n != IGNORED
    ]
    assert [n for _, n in marked] == [0, 1, 1, 1, 2]
    assert [piece for piece, _ in marked[:4]] == ["u", ".", "s", "."]


def test_gold_tags_come_back_as_the_entities_of_the_file():
    """From the reader over windows and targets to the spans of an answer: 3,890 entities of WNUT 2017."""
    folder, vocabulary = DATA / "labelled" / "wnut17", DATA / "tokenizers" / "albert"
    if not folder.is_dir() or not vocabulary.is_dir():
        pytest.skip("WNUT 2017 or the released vocabulary is not beside the repository (../shared/data)")
    tokenizer = AlbertTokenizer.from_preset(vocabulary)
    total = 0
    for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"):
        rows = read_tagged_file(folder / name)
        labels = tag_names(tag for row in rows for tag in row.tags)
        texts, word_starts, word_ends = sentence_texts(rows)
        targets = tagged_windows(rows, labels, tokenizer, 64)["targets"]
        ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
        # Windows are numbered within a call of `tagged_windows`, which is of whole rows in their order.
        windows = piece_windows(ids, 64, tokenizer)
        assert len(windows.token_ids) == len(targets) and (len(targets) > len(rows) or "dev" not in name)
        of_pieces = targets[windows.window.numpy(), windows.position.numpy()]
        is_unit = unit_starts(ids, piece_kinds(tokenizer))
        assert (of_pieces[is_unit.numpy()] != IGNORED).all()
        of_pieces = tf.constant(of_pieces)
        scores = tf.ones(tf.shape(of_pieces))
        found = find_spans(tf.constant(texts), starts, ends, is_unit, of_pieces, scores, label_scheme(labels))
        found = {key: value.numpy() for key, value in found.items()}
        for index, row in enumerate(rows):
            expected = []
            for kind, first, last in get_entities(row.tags):
                data = texts[index].encode()
                before, entity = (
                    data[: word_starts[index][first]],
                    data[word_starts[index][first] : word_ends[index][last]],
                )
                # ALBERT's cleaning takes U+FEFF, which ends one word, for white space.
                entity = entity.decode().rstrip("\ufeff")
                start = len(before.decode())
                expected.append((kind, entity, start, start + len(entity)))
            columns = zip(*(found[key][index] for key in ("label", "entity", "start", "end")), strict=True)
            got = [(kind.decode(), entity.decode(), start, end) for kind, entity, start, end in columns if start >= 0]
            assert got == expected
            total += len(got)
    assert total == 3890
