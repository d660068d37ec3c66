"""Batches for pretraining: the same for one seed however they are made, and right in every share on 10,000 rows."""

import gzip
import json
import random
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data import albert_pretraining
from albert_gpt_tf.data.albert_pretraining import albert_evaluation_batches, albert_pretraining_batches
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GOLDEN = Path(__file__).parent / "reference" / "albert_pretraining.json"

LETTERS, DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"


class CharacterTokenizer:
    """Characters as pieces: by the rule of ALBERT's vocabulary a digit or a mark begins a word, a letter goes on."""

    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)

    def get_vocabulary(self):
        return ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *DIGITS, "."]

    def tokenize(self, text):
        characters = tf.strings.unicode_decode(text, "UTF-8")
        ids = [self.unk_id] * 128
        for id, piece in enumerate(self.get_vocabulary()[5:], 5):
            ids[ord(piece)] = id
        return characters.with_values(tf.gather(ids, tf.minimum(characters.values, 127)))


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer()


def random_documents(count, seed=0, most_sentences=11, most_words=13):
    """Documents of sentences of words, each of a digit and up to two letters."""
    rng = random.Random(seed)

    def sentence():
        words = range(rng.randint(1, most_words))
        return (
            "".join(rng.choice(DIGITS) + "".join(rng.choices(LETTERS, k=rng.choice((0, 0, 1, 2)))) for _ in words) + "."
        )

    return [[sentence() for _ in range(rng.randint(1, most_sentences))] for _ in range(count)]


DOCUMENTS = random_documents(80)


@pytest.fixture(scope="module")
def training(tokenizer):
    return albert_pretraining_batches(DOCUMENTS, tokenizer, 24, 8, seed=0, shuffle_buffer=64)


@pytest.fixture(scope="module")
def evaluation(tokenizer):
    return albert_evaluation_batches(DOCUMENTS, tokenizer, 24, 8)


def arrays(dataset, count=None):
    """Some batches as flat dicts of arrays."""
    return [
        {**x, **y, **{f"{name}_weights": values for name, values in weights.items()}}
        for x, y, weights in islice(dataset.as_numpy_iterator(), count)
    ]


def rows_of(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name], name)


def write_files(directory, documents):
    """Three files, one of them compressed, one that begins with a byte order mark and ends without a line break."""
    parts = [documents[:30], documents[30:31], documents[31:]]
    texts = ["\n \n".join("\n".join(document) for document in part) for part in parts]
    (directory / "a.txt").write_text(texts[0] + "\n", encoding="utf-8")
    (directory / "b.txt").write_text("\ufeff" + texts[1].replace("\n", "\r\n"), encoding="utf-8", newline="")
    (directory / "c.TXT.GZ").write_bytes(gzip.compress(texts[2].encode()))
    return [str(directory / "*.txt"), directory / "c.TXT.GZ"]


def test_batches_are_what_the_pretrainer_takes_in_static_shapes(tokenizer, training, evaluation):
    ids, padding_mask = tf.TensorSpec((8, 24), tf.int32), tf.TensorSpec((8, 24), tf.bool)
    masks = tf.TensorSpec((8, 4), tf.int32)  # 15 % of 24
    assert training.element_spec == (
        {"token_ids": ids, "segment_ids": ids, "padding_mask": padding_mask, "mask_positions": masks},
        {"masked_lm": masks, "sentence_order": tf.TensorSpec((8,), tf.int32)},
        {"masked_lm": tf.TensorSpec((8, 4), tf.float32), "sentence_order": tf.TensorSpec((8,), tf.float32)},
    )
    assert evaluation.element_spec == training.element_spec
    assert int(evaluation.cardinality()) == len(arrays(evaluation))
    assert int(training.cardinality()) == tf.data.INFINITE_CARDINALITY
    rows = rows_of(arrays(training, 20))
    ends = (rows["token_ids"] == tokenizer.sep_id).argmax(1)
    np.testing.assert_array_equal(rows["padding_mask"], rows["token_ids"] != tokenizer.pad_id)
    is_second = np.arange(24) > ends[:, np.newaxis]
    np.testing.assert_array_equal(rows["segment_ids"] == 1, rows["padding_mask"] & is_second)
    assert (rows["sentence_order_weights"] == 1).all() and set(rows["sentence_order"]) == {0, 1}


def test_the_size_of_batches_and_the_number_of_calls_at_a_time_change_no_row(tokenizer, training, monkeypatch):
    expected = {name: values[:903] for name, values in rows_of(arrays(training, 113)).items()}
    for batch_size, parallel in ((1, 1), (301, 4)):
        monkeypatch.setattr(albert_pretraining, "_PARALLEL", parallel)
        dataset = albert_pretraining_batches(DOCUMENTS, tokenizer, 24, batch_size, seed=0, shuffle_buffer=64)
        assert_same([rows_of(arrays(dataset, 903 // batch_size))], [expected])


def test_epochs_hold_the_same_text_with_other_pairs_and_masks_in_another_order(tokenizer):
    # No sentence is cut, so that an epoch is the whole text.
    documents = random_documents(300, most_sentences=4, most_words=4)
    count = len(documents)
    dataset = albert_pretraining_batches(documents, tokenizer, 128, 1, seed=0, short_sequence_probability=0.0)
    epochs = [rows_of(epoch) for epoch in (arrays(dataset, count), arrays(dataset.skip(count), count))]

    def texts(rows):
        ids = rows["token_ids"].copy()
        row, slot = np.nonzero(rows["masked_lm_weights"])
        ids[row, rows["mask_positions"][row, slot]] = rows["masked_lm"][row, slot]
        return [tuple(sorted(row[row >= 5].tolist())) for row in ids]

    first, second = map(texts, epochs)
    assert sorted(first) == sorted(second) and first != second
    same_text = {text: row for row, text in enumerate(first)}
    pairs = [(same_text[text], row) for row, text in enumerate(second)]
    same_masks = [np.array_equal(epochs[0]["mask_positions"][a], epochs[1]["mask_positions"][b]) for a, b in pairs]
    assert np.mean(same_masks) < 0.25  # by chance, where one piece of few is hidden


def test_the_seed_decides(tokenizer, training):
    first, again = arrays(training, 5), arrays(training, 5)
    other = arrays(albert_pretraining_batches(DOCUMENTS, tokenizer, 24, 8, seed=1, shuffle_buffer=64), 5)
    assert_same(first, again)
    assert all((a["token_ids"] != b["token_ids"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("source", ["documents", "files"])
def test_a_run_resumes_after_skipped_batches_and_from_a_checkpoint_of_the_iterator(
    tokenizer, training, tmp_path, source
):
    dataset = training
    if source == "files":
        dataset = albert_pretraining_batches(
            write_files(tmp_path, DOCUMENTS), tokenizer, 24, 8, seed=0, shuffle_buffer=64
        )
    expected = arrays(dataset, 120)
    for place in (13, 110):  # in the first epoch, and in the third
        assert_same(arrays(dataset.skip(place), 10), expected[place : place + 10])
        iterator = iter(dataset)
        for _ in range(place):
            next(iterator)
        path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
        resumed = iter(dataset)
        tf.train.Checkpoint(iterator=resumed).restore(path)
        for batch in expected[place : place + 10]:
            x, y, _ = next(resumed)
            assert_same([{**x, **y}], [{name: batch[name] for name in {**x, **y}}])


def test_files_and_lists_are_the_same_text(tokenizer, evaluation, tmp_path):
    assert_same(
        arrays(albert_evaluation_batches(write_files(tmp_path, DOCUMENTS), tokenizer, 24, 8)), arrays(evaluation)
    )


def test_files_and_documents_come_in_another_order_each_epoch(tokenizer, tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.txt").write_text(f"{number}\n{number}\n")
    for text in (str(tmp_path / "*.txt"), [[str(number)] * 2 for number in range(8)]):
        dataset = albert_pretraining_batches(text, tokenizer, 8, 8, seed=0, shuffle_buffer=1)
        # Every row is [CLS] digit [SEP] digit [SEP] of one of the digits, with one of the two hidden.
        orders = [batch["masked_lm"][:, 0].tolist() for batch in arrays(dataset, 3)]
        assert all(sorted(order) == sorted(orders[0]) for order in orders)
        assert all(a != b for a, b in pairwise(orders))


def test_evaluation_is_the_same_each_time_and_pads_its_last_batch_with_rows_of_no_weight(tokenizer, evaluation):
    batches = arrays(evaluation)
    assert_same(batches, arrays(evaluation))
    rows = rows_of(batches)
    single = rows_of(arrays(albert_evaluation_batches(DOCUMENTS, tokenizer, 24, 1)))
    count = len(single["sentence_order"])
    assert count % 8
    assert_same([{name: values[:count] for name, values in rows.items()}], [single])
    assert not rows["sentence_order_weights"][count:].any() and not rows["masked_lm_weights"][count:].any()
    assert rows["padding_mask"].any(axis=1).all()


# === A golden file, with genuine ops of WordPiece and a vocabulary that is written here ===

STEMS = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]
SUFFIXES = ["ing", "ed", "s"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *STEMS, *(f"##{suffix}" for suffix in SUFFIXES)]


def golden_rows(as_released):
    """20 rows. To write the golden file anew, save what this gives for False and for True as JSON."""
    tokenizer = WordPieceTokenizer(PIECES)
    words = {digit: f" {stem}" for digit, stem in zip(DIGITS, STEMS[:90:9], strict=True)}
    words = str.maketrans(words | {letter: SUFFIXES[place % 3] for place, letter in enumerate(LETTERS)})
    documents = [[sentence.translate(words) for sentence in document] for document in DOCUMENTS]
    dataset = albert_pretraining_batches(documents, tokenizer, 32, 20, seed=12345, as_released=as_released)
    assert dataset.element_spec[0]["mask_positions"].shape == (20, 20 if as_released else 5)
    (batch,) = arrays(dataset, 1)
    rows = []
    for row in range(20):
        count = int(batch["masked_lm_weights"][row].sum())
        places, targets = batch["mask_positions"][row, :count].tolist(), batch["masked_lm"][row, :count].tolist()
        rows.append(
            {
                "text": " ".join(PIECES[id] for id in batch["token_ids"][row] if id != tokenizer.pad_id),
                "hidden": {str(place): PIECES[id] for place, id in zip(places, targets, strict=True)},
                "sentence_order": int(batch["sentence_order"][row]),
            }
        )
    return rows


@pytest.mark.parametrize("as_released", [False, True])
def test_rows_are_those_of_the_golden_file(as_released):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[str(as_released)]
    assert golden_rows(as_released) == expected


# === Errors ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 4}, "sequence_length of at least 5"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"max_predictions": 0}, "max_predictions of at least 1"),
        ({"shuffle_buffer": 0}, "shuffle_buffer of at least 1"),
        ({"short_sequence_probability": 1.5}, "from 0 to 1"),
        ({"documents_or_files": []}, "empty list"),
        ({"documents_or_files": [["a"], "b.txt"]}, "a list of both"),
        ({"documents_or_files": [["1a"], ["."], ["", "\u3000 "]]}, "no pair of segments"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tokenizer, arguments, message):
    arguments = {"documents_or_files": DOCUMENTS, "sequence_length": 16, "batch_size": 2, "seed": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        albert_pretraining_batches(tokenizer=tokenizer, **arguments)


def test_a_pattern_without_files_is_refused(tokenizer, tmp_path):
    with pytest.raises(DataError, match="expected a file or a pattern"):
        albert_pretraining_batches(str(tmp_path / "*.txt"), tokenizer, 16, 2, seed=0)


def test_bad_text_is_text(tokenizer, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"1a \xff\xfe 2b\x00\n\xc3\n\xe3\x80\x80\n3. " + b"4c" * 10**5 + b"\n5 \xff")
    batches = arrays(albert_evaluation_batches(tmp_path / "bad.txt", tokenizer, 16, 2))
    assert rows_of(batches)["sentence_order_weights"].sum() >= 1
    assert arrays(albert_evaluation_batches([["1a \ud800 2", "3"]], tokenizer, 16, 1))


# === Statistics, on the genuine vocabulary where it is at hand ===


@pytest.fixture(scope="module")
def ten_thousand_rows(tokenizer):
    if (DATA / "tokenizers" / "albert" / "spiece.model").is_file():
        tokenizer = AlbertTokenizer(str(DATA / "tokenizers" / "albert" / "spiece.model"))
    dataset = albert_pretraining_batches(random_documents(4000), tokenizer, 64, 100, seed=0)
    return tokenizer, rows_of(arrays(dataset, 100))


def close(count, of, share):
    """Whether a share of independent draws is right, to 5 standard deviations: wrong once in two million tests."""
    return abs(count - of * share) <= 5 * np.sqrt(of * share * (1 - share))


def test_half_of_10_000_rows_are_swapped(ten_thousand_rows):
    _, rows = ten_thousand_rows
    assert close(rows["sentence_order"].sum(), 10_000, 0.5)


def test_the_masks_of_10_000_rows_are_80_10_10(ten_thousand_rows):
    tokenizer, rows = ten_thousand_rows
    used = rows["masked_lm_weights"] == 1
    shown = np.take_along_axis(rows["token_ids"], rows["mask_positions"], axis=1)[used]
    targets = rows["masked_lm"][used]
    chance = 0.1 / (tokenizer.vocabulary_size() - 5)  # a random piece is the same
    assert close((shown == tokenizer.mask_id).sum(), used.sum(), 0.8)
    assert close((shown == targets).sum(), used.sum(), 0.1 + chance)
    specials = {tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id}
    assert not specials & set(shown) and not (specials | {tokenizer.mask_id}) & set(targets)


def test_15_percent_of_10_000_rows_are_hidden(ten_thousand_rows):
    _, rows = ten_thousand_rows
    lengths = rows["padding_mask"].sum(1)
    hidden = rows["masked_lm_weights"].sum(1)
    budgets = np.array([min(10, max(1, round(0.15 * length))) for length in lengths.tolist()])
    assert (hidden <= budgets).all()
    # Only where the words that are left have too many pieces, in short rows above all, fewer are hidden.
    assert hidden.sum() > 0.995 * budgets.sum()
    assert (hidden[lengths == 64] == 10).mean() > 0.995


def test_the_sentence_order_of_held_out_documents_is_balanced_and_covers_all_of_them(tokenizer):
    held_out = random_documents(500, seed=1)
    rows = rows_of(arrays(albert_evaluation_batches(held_out, tokenizer, 48, 25)))
    is_row = rows["sentence_order_weights"] == 1
    assert close(rows["sentence_order"][is_row].sum(), is_row.sum(), 0.5)
    assert is_row.sum() >= 480  # all but documents of one word
