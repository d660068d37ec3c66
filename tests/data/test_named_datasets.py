"""Data sets by name: with the packages themselves where they are installed, and with stand-ins everywhere."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.files import DataError, LabelledTexts
from albert_gpt_tf.data.named_datasets import read_named_dataset

TEXTS = ["A fine film.", "Dull, and lông.", "", "So so."]
PAIRS = ["one", "two", "three", "four"]
CLASSES = ["negative", "positive"]
LABELS = [1, 0, 1, 0]
SCORES = [0.5, 1.0, 2.25, 5.0]


# === Stand-ins ===


class FakeHuggingFaceDataset:
    """As much of `datasets.Dataset` as is used."""

    def __init__(self, columns, features):
        self.columns, self.features = columns, features

    def select_columns(self, names):
        assert len(set(names)) == len(names)
        return [dict(zip(names, row, strict=True)) for row in zip(*(self.columns[name] for name in names), strict=True)]


@pytest.fixture
def stand_in(monkeypatch):
    """The function (columns, names of the classes) -> calls; both libraries then hold this data set."""

    def install(columns, class_names=CLASSES):
        calls = []
        features = {name: SimpleNamespace() for name in columns}
        if class_names and "label" in features:
            features["label"] = SimpleNamespace(names=class_names)

        def load_dataset(*arguments, split):
            calls.append((*arguments, split))
            return FakeHuggingFaceDataset(columns, features)

        def builder(name):
            def as_dataset(split, shuffle_files):
                assert not shuffle_files
                calls.append((name, split))
                return tf.data.Dataset.from_tensor_slices(columns)

            return SimpleNamespace(
                download_and_prepare=lambda: calls.append("prepared"),
                as_dataset=as_dataset,
                info=SimpleNamespace(features=features),
            )

        errors = SimpleNamespace(DatasetsError=type("DatasetsError", (Exception,), {}))
        hugging_face = SimpleNamespace(load_dataset=load_dataset, exceptions=errors)
        tfds = SimpleNamespace(
            builder=builder,
            as_numpy=lambda rows: rows.as_numpy_iterator(),
            list_builders=lambda: ["glue", "imdb_reviews"],
        )
        monkeypatch.setitem(sys.modules, "datasets", hugging_face)
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)
        return calls

    return install


BOTH = pytest.mark.parametrize("name", ["tfds:glue/sst2", "hf:nyu-mll/glue/sst2"])


@BOTH
def test_class_numbers_become_names(stand_in, name):
    calls = stand_in({"text": TEXTS, "label": LABELS, "other": PAIRS})
    rows = read_named_dataset(name, "validation")
    assert rows == LabelledTexts(TEXTS, ["positive", "negative", "positive", "negative"], None)
    expected = ["prepared", ("glue/sst2", "validation")] if name[0] == "t" else [("nyu-mll/glue", "sst2", "validation")]
    assert calls == expected


@BOTH
def test_columns_of_other_names_pairs_and_no_labels(stand_in, name):
    stand_in({"question": TEXTS, "answer": PAIRS})
    rows = read_named_dataset(name, text="question", label=None, text_pair="answer")
    assert rows == LabelledTexts(TEXTS, None, PAIRS)


@BOTH
def test_a_text_may_stand_for_both_of_a_pair(stand_in, name):
    stand_in({"text": TEXTS})
    assert read_named_dataset(name, label=None, text_pair="text").pairs == TEXTS


@BOTH
@pytest.mark.parametrize(
    ("values", "expected"),
    [(SCORES, ["0.5", "1.0", "2.25", "5.0"]), (LABELS, ["1", "0", "1", "0"]), (PAIRS, PAIRS)],
)
def test_labels_that_are_no_classes_are_written_as_they_are(stand_in, name, values, expected):
    stand_in({"text": TEXTS, "label": values}, class_names=None)
    assert read_named_dataset(name).labels == expected


@BOTH
def test_limit_takes_the_first_rows(stand_in, name):
    stand_in({"text": TEXTS, "label": [1, 0, -1, -1]})
    assert read_named_dataset(name, limit=2).labels == ["positive", "negative"]
    with pytest.raises(ValueError, match="at least 1"):
        read_named_dataset(name, limit=0)


@BOTH
@pytest.mark.parametrize("arguments", [{"text": "texd"}, {"label": "texd"}, {"text_pair": "texd"}])
def test_an_unknown_column_is_told_with_the_nearest_one(stand_in, name, arguments):
    stand_in({"text": TEXTS, "label": LABELS})
    with pytest.raises(DataError, match=rf"{name}, split test: expected a column 'texd'.*did you mean 'text'"):
        read_named_dataset(name, "test", **arguments)


@BOTH
@pytest.mark.parametrize(
    ("columns", "class_names", "message"),
    [
        ({"text": TEXTS, "label": [0, 1, -1, 0]}, CLASSES, "row 2: expected a label in 'label', received -1"),
        ({"text": TEXTS, "label": [0, 2, 0, 0]}, CLASSES, "row 1: expected a label in 'label', received 2"),
        ({"text": TEXTS, "label": ["a", " ", "b", "c"]}, None, "row 1: expected a label in 'label', received"),
        ({"text": LABELS, "label": LABELS}, CLASSES, "row 0: expected a text in 'text', received int"),
        ({"text": np.array([], str), "label": np.array([], int)}, CLASSES, "expected at least one row"),
    ],
)
def test_rows_that_are_no_texts_with_labels_are_told_by_their_number(stand_in, name, columns, class_names, message):
    stand_in(columns, class_names)
    with pytest.raises(DataError, match=message):
        read_named_dataset(name)


def test_a_missing_text_and_bytes_that_are_not_utf8_are_told(stand_in):
    stand_in({"text": ["a", None], "label": [0, 1]})
    with pytest.raises(DataError, match="row 1: expected a text in 'text', received NoneType"):
        read_named_dataset("hf:owner/name")
    stand_in({"text": [b"\xff", b"a"], "label": [0, 1]})
    with pytest.raises(DataError, match="row 0: expected UTF-8 in 'text'"):
        read_named_dataset("tfds:name")


@pytest.mark.parametrize("name", ["glue/sst2", "hf:", "hub:owner/name", "hf:imdb", "hf:a/b/c/d", "tfds:"])
def test_a_name_of_another_form_is_refused(stand_in, name):
    stand_in({"text": TEXTS})
    with pytest.raises(ValueError, match=r"Expected the name of a data set as tfds:NAME.*Received: "):
        read_named_dataset(name)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("tfds:glue/sst2", "tensorflow_datasets", "tfds"), ("hf:a/b", "datasets", "hub")]
)
def test_a_package_that_is_not_installed_is_told_with_its_extra(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"reads {name}.*pip install 'albert-gpt-tf\[{extra}\]'"):
        read_named_dataset(name)


# === The packages themselves ===


@pytest.fixture
def hugging_face_folder(tmp_path, monkeypatch):
    """A folder as on the hub: one table a split, and a card that says which numbers are which classes."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    features = datasets.Features(
        text=datasets.Value("string"), pair=datasets.Value("string"), score=datasets.Value("float64"),
        label=datasets.ClassLabel(names=CLASSES),
    )  # fmt: skip
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, labels in {"train": LABELS, "test": [-1] * 4}.items():
        columns = {"text": TEXTS, "pair": PAIRS, "score": SCORES, "label": labels}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / f"{split}.parquet"))
    return folder


def test_hugging_face_gives_what_the_files_hold(hugging_face_folder):
    name = f"hf:{hugging_face_folder}"
    rows = read_named_dataset(name, text_pair="pair")
    assert rows == LabelledTexts(TEXTS, ["positive", "negative", "positive", "negative"], PAIRS)
    assert read_named_dataset(name, "train[1:3]", label="score").labels == ["1.0", "2.25"]
    assert read_named_dataset(name, "test", label=None).texts == TEXTS
    with pytest.raises(DataError, match="row 0: expected a label in 'label', received -1"):
        read_named_dataset(name, "test")
    with pytest.raises(DataError, match=r"with the split 'tests', received: .*tests.*Check the name"):
        read_named_dataset(name, "tests")
    with pytest.raises(DataError, match="hf:no-such-owner/reviews: expected a data set that can be read"):
        read_named_dataset("hf:no-such-owner/reviews")


def test_hugging_face_reads_folders_with_tables_of_text(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(lines))
    rows = read_named_dataset(f"hf:{tmp_path / 'data'}", limit=3)
    assert rows == LabelledTexts(TEXTS[:3], ["1", "0", "1"], None)


@pytest.fixture
def tfds_name(tmp_path, monkeypatch):
    """A data set of TensorFlow Datasets that is made here."""
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))

    class SmallReviews(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        __module__ = "__main__"  # the library looks for files beside the module, which is none that can be imported

        def _info(self):
            features = {
                "text": tfds.features.Text(), "pair": tfds.features.Text(), "score": tf.float32,
                "label": tfds.features.ClassLabel(names=CLASSES), "words": tfds.features.Sequence(tf.string),
            }  # fmt: skip
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(LABELS), "test": self._generate_examples([-1] * 4)}

        def _generate_examples(self, labels):
            for key, row in enumerate(zip(TEXTS, PAIRS, SCORES, labels, strict=True)):
                yield key, {**dict(zip(["text", "pair", "score", "label"], row, strict=True)), "words": ["a"] * key}

    builder = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name: builder(name, data_dir=str(tmp_path)))
    return "tfds:small_reviews"


def test_tensorflow_datasets_gives_what_the_builder_made(tfds_name):
    rows = read_named_dataset(tfds_name, text_pair="pair")
    expected = {(text, CLASSES[label], pair) for text, label, pair in zip(TEXTS, LABELS, PAIRS, strict=True)}
    assert set(zip(*rows, strict=True)) == expected and len(rows.texts) == 4  # the library shuffles once, as it writes
    assert read_named_dataset(f"{tfds_name}:1.0.0", limit=2).texts == rows.texts[:2]
    assert read_named_dataset(tfds_name, "train[:50%]").texts == rows.texts[:2]
    assert set(read_named_dataset(tfds_name, label="score").labels) == {"0.5", "1.0", "2.25", "5.0"}
    assert read_named_dataset(tfds_name, "test", label=None).labels is None
    with pytest.raises(DataError, match="row 0: expected a label in 'label', received -1"):
        read_named_dataset(tfds_name, "test")
    with pytest.raises(DataError, match="row 0: expected a text in 'words', received ndarray"):
        read_named_dataset(tfds_name, text="words")
    with pytest.raises(DataError, match=r"with the split 'tests', received: .*\['train', 'test'\]"):
        read_named_dataset(tfds_name, "tests")
    with pytest.raises(DataError, match="did you mean 'small_reviews'"):
        read_named_dataset("tfds:small_review")
    with pytest.raises(DataError, match="tfds:small_reviews/plain: expected a data set that can be read"):
        read_named_dataset("tfds:small_reviews/plain")
