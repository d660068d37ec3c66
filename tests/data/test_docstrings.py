"""The embedded data: what is read, that nothing runs, and that the labelled task is fair."""

import ast
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from albert_gpt_tf.data import docstrings as room
from albert_gpt_tf.data.docstrings import (
    Docstring,
    language_model_documents,
    library_classification,
    read_docstrings,
    read_folders,
    split_of_module,
)
from albert_gpt_tf.data.library_names import mask_library_names

LONG = "A text that is long enough to be used, so that the test need not count its characters at all. It is so. "

SOURCE = '''"""Module."""
raise SystemExit("this file was run")

class A:
    """Class.

    Indented.
    """
    async def b(self):
        "Method."

def c():
    return "no docstring"

add_newdoc("numpy.core", "array", """
    Written in C.
    """)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A sixth of the installed documentation, so that a test without a cache is quick; folders are real."""
    patch = pytest.MonkeyPatch()
    source_files = room._source_files
    patch.setattr(room, "_source_files", lambda folder: source_files(folder)[::6])
    folders = {library: room._library_folder(library) for library in room.LIBRARIES}
    yield read_folders(folders)
    patch.undo()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "package" / "tests").mkdir(parents=True)
    (tmp_path / "package" / "b.py").write_text(SOURCE)
    (tmp_path / "package" / "a.py").write_text('"""First."""\n')
    (tmp_path / "package" / "tests" / "test_a.py").write_text('"""A test."""\n')
    return tmp_path / "package"


def test_docstrings_are_parsed_cleaned_and_ordered_and_nothing_runs(folder):
    assert read_folders({"mine": folder}) == [
        Docstring("First.", "mine", "a.py"),
        Docstring("Module.", "mine", "b.py"),
        Docstring("Class.\n\nIndented.", "mine", "b.py"),
        Docstring("Method.", "mine", "b.py"),
        Docstring("Written in C.", "mine", "b.py"),
    ]


@pytest.mark.parametrize("content", [b'print "Python 2"', b'"""\xff"""', b"\0", b"(" * 5000])
def test_files_that_cannot_be_parsed_are_left_out_and_logged(folder, content, monkeypatch):
    (folder / "broken.py").write_bytes(content)
    messages = []
    monkeypatch.setattr(room.logging, "info", lambda message, *values: messages.append(message % values))
    assert len(read_folders({"mine": folder})) == 5
    assert len(messages) == 1 and "1 of 3 files" in messages[0] and "broken.py" in messages[0]


def test_reading_imports_none_of_the_libraries():
    code = (
        "import sys\nfrom albert_gpt_tf.data import docstrings as room\n"
        "before = {'numpy', 'keras', 'tensorflow', 'this'} & set(sys.modules)\n"
        "folders = {name: room._library_folder(name) for name in room.LIBRARIES}\n"
        "files = room._source_files\nroom._source_files = lambda folder: files(folder)[::100]\n"
        "assert all(folders.values()) and room.read_folders(folders)\n"
        "assert before == {'numpy', 'keras', 'tensorflow', 'this'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("name", ["docstrings", "files", "library_names"])
def test_readers_do_not_need_tensorflow(name):
    source = Path(room.__file__).with_name(f"{name}.py").read_text()
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.name for node in imports for name in node.names} | {getattr(node, "module", None) for node in imports}
    assert not names & {"numpy", "keras", "tensorflow", "albert_gpt_tf.data.language_model"}


def test_language_reference_is_read_from_a_table_or_from_assignments(tmp_path):
    for name, source in {"old": "topics = {'if': 'One\\n' 'two.'}", "new": "topics['if'] = r'''One\ntwo.'''"}.items():
        (tmp_path / name / "pydoc_data").mkdir(parents=True)
        (tmp_path / name / "pydoc_data" / "topics.py").write_text(source)
        assert read_folders({name: tmp_path / name}) == [Docstring("One\ntwo.", name, "pydoc_data/topics.py")]


def test_result_is_cached_and_a_damaged_or_unwritable_cache_is_made_up_for(folder, tmp_path, monkeypatch):
    reads = []
    read = room.read_folders
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(room, "_library_folder", lambda library: folder if library == "numpy" else None)
    monkeypatch.setattr(room, "read_folders", lambda folders: reads.append(1) or read(folders))
    expected = read_docstrings()
    assert read_docstrings() == expected and len(expected) == 5 and len(reads) == 1

    (cache,) = (tmp_path / "cache" / "albert_gpt_tf").iterdir()
    for damage in (b"", b"\xff", cache.read_bytes()[:-5], cache.read_bytes().replace(b"First", b"Forst")):
        cache.write_bytes(damage)
        reads.clear()
        assert read_docstrings() == expected and len(reads) == 1
        assert read_docstrings() == expected and len(reads) == 1
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]

    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert read_docstrings() == expected


def test_cache_is_of_one_set_of_versions():
    assert room._cache_file({"numpy": "2.0"}) == room._cache_file({"numpy": "2.0"})
    assert room._cache_file({"numpy": "2.0"}) != room._cache_file({"numpy": "2.1"})


def test_splits_are_the_same_on_every_run_and_about_80_10_10():
    modules = [f"folder/module_{i}.py" for i in range(5000)]
    assert [split_of_module("python", module) for module in modules[:3]] == ["validation", "train", "train"]
    shares = Counter(split_of_module("python", module) for module in modules)
    assert {split: round(count / 5000, 1) for split, count in shares.items()} == dict(
        zip(room.SPLITS, (0.8, 0.1, 0.1), strict=True)
    )


def test_both_tasks_are_the_same_in_a_process_with_other_hashes(folder):
    code = (
        "import pathlib, sys\nfrom albert_gpt_tf.data.docstrings import *\n"
        "docstrings = read_folders({'mine': pathlib.Path(sys.argv[1]), 'other': pathlib.Path(sys.argv[1]).parent})\n"
        "print(docstrings, library_classification(1, docstrings), language_model_documents(docstrings))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            check=True,
            capture_output=True,
            timeout=120,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and b"First." in outputs.pop()


def test_no_file_gives_texts_to_two_splits(installed):
    unmasked = {mask_library_names(docstring.text): docstring for docstring in reversed(installed)}
    files = {
        split: {unmasked[text][1:] for text in texts}
        for split, (texts, _) in library_classification(docstrings=installed).items()
    }
    assert all(files.values())
    for one, other in [("train", "validation"), ("train", "test"), ("validation", "test")]:
        assert not files[one] & files[other]


def test_labelled_texts_are_unique_and_long_enough_and_all_labels_occur(installed):
    splits = library_classification(min_characters=200, docstrings=installed)
    texts = [text for split_texts, _ in splits.values() for text in split_texts]
    assert len(texts) == len(set(texts)) and min(map(len, texts)) >= 200
    assert set(splits["train"][1]) == set(room.LIBRARIES)
    assert all(len(texts) == len(labels) for texts, labels in splits.values())


def test_no_name_of_a_library_is_left_in_the_labelled_texts(installed):
    name = re.compile(r"(?i)tensor ?flow|numpy|keras|python|(?<![a-z])(?:tf(?![-_ ]idf)|np)(?![a-z])|https?://|\.org\b")
    for texts, _ in library_classification(docstrings=installed).values():
        assert [text for text in texts if name.search(text)] == []


def test_texts_are_used_once_dropped_when_two_libraries_share_them_and_vendored_keras_is_left_out():
    docstrings = [
        Docstring(f"{LONG} {word}", library, module)
        for word, library, module in [
            ("once  in Keras", "keras", "a.py"),
            ("once in keras", "keras", "b.py"),
            ("shared by NumPy", "numpy", "a.py"),
            ("shared by Python", "python", "a.py"),
            ("vendored", "tensorflow", "python/keras/layers.py"),
        ]
    ]
    docstrings.append(Docstring("short", "numpy", "a.py"))
    splits = library_classification(docstrings=docstrings)
    assert [text for texts, _ in splits.values() for text in texts] == [f"{LONG}once in library"]
    assert [label for _, labels in splits.values() for label in labels] == ["keras"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("import numpy as np; np.add(x)", "import library as library; library.add(x)"),
        (
            "`tf.function`, tf_type, tf2, isTF, TFRecord",
            "`library.function`, library_type, library2, is library, library Record",
        ),
        ("tflite and TensorFlow Lite", "library lite and library Lite"),
        ("is_keras_tensor(KerasTensor)", "is_library_tensor(library Tensor)"),
        ("from keras import backend as K; K.dot", "from library import backend as library; library.dot"),
        ("CPython, PYTHON3, pythonic", "library, library3, library"),
        ("see docs.python.org/3/x, https://numpy.org/a(b)", "see link link)"),
        ("utf-8, tf-idf, NP-hard? inputs, tftp, k.x", "utf-8, tf-idf, library-hard? inputs, tftp, k.x"),
        ("One.\nCopyright (C) 2001 A. Name\nAuthor: B. Name <b@c.org>\nTwo.", "One. Two."),
    ],
)
def test_names_are_masked_in_prose_code_and_identifiers(text, masked):
    assert mask_library_names(text) == masked


def test_corpus_holds_every_text_once_as_written(installed):
    documents = language_model_documents(installed)
    assert list(documents) == ["train", "validation", "test"] and all(documents.values())
    texts = [text for split in documents.values() for text in split]
    assert len(texts) == len(set(texts)) and set(texts) == {docstring.text for docstring in installed}


def test_corpus_keeps_in_train_what_several_splits_hold():
    modules = {split_of_module("python", f"{i}.py"): f"{i}.py" for i in range(200)}
    docstrings = [Docstring("same", "python", modules[split]) for split in ("test", "validation", "train")]
    docstrings += [Docstring("later", "python", modules[split]) for split in ("test", "validation")]
    random.Random(0).shuffle(docstrings)
    assert language_model_documents(docstrings) == {"train": ["same"], "validation": ["later"], "test": []}
