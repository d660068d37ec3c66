"""The documentation that is already on every user's machine, as a data set that needs no download.

The docstrings of Python's standard library, NumPy, Keras and TensorFlow, and the language reference in
`pydoc_data.topics`, are read from the installed source files with `ast`: nothing is imported or executed. They make a
labelled task (which library does this text document?) and a corpus for a language model. The texts are those of the
installed versions, so figures measured on them hold for these versions only.
"""

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging
from rich.console import Console
from rich.progress import track

from albert_gpt_tf.data.library_names import mask_library_names

LIBRARIES = ("keras", "numpy", "python", "tensorflow")
SPLITS = ("train", "validation", "test")

# Raise it when the reader changes, so that no older cache is taken for its result.
_CACHE_FORMAT = 1

# Files differ much in size, so most salts leave some library with few texts in a split: NumPy had 21 in validation
# with none. Of 0 to 399 this one comes nearest to 80/10/10 in every library (chosen by these counts alone).
_SPLIT_SALT = 300

# Tests, and what other people put into the standard library's folder.
_SKIPPED_FOLDERS = {"__pycache__", "idlelib", "site-packages", "dist-packages", "test", "tests"}


class Docstring(NamedTuple):
    """One piece of documentation: its text, the library it documents, and the file (relative to the library)."""

    text: str
    library: str
    module: str


def read_docstrings() -> list[Docstring]:
    """Reads the documentation of the standard library, NumPy, Keras and TensorFlow from their installed sources.

    The first call parses some thousands of files and takes about half a minute; the result is kept in the user's cache
    directory (`$XDG_CACHE_HOME/albert_gpt_tf`, else `~/.cache/albert_gpt_tf`) under the versions of the libraries.

    Returns:
        The docstrings of all modules, classes and functions that have one, without those of tests, in a fixed order:
        by library and file, outer definitions before inner ones. A text that the sources hold several times stands in
        the list as often.

    Example:

    >>> texts = [docstring.text for docstring in read_docstrings() if docstring.library == "keras"]
    """
    folders = {library: folder for library in LIBRARIES if (folder := _library_folder(library)) is not None}
    cache = _cache_file({library: _library_version(library, folder) for library, folder in folders.items()})
    docstrings = _read_cache(cache)
    if docstrings is None:
        docstrings = read_folders(folders)
        _write_cache(cache, docstrings)
    return docstrings


def read_folders(folders: dict[str, Path]) -> list[Docstring]:
    """Reads the docstrings of every Python file below some folders, by parsing only.

    Args:
        folders: dict from a library's name to its folder.

    Returns:
        The docstrings by library and file, outer definitions before inner ones. Files that this Python cannot
        parse are left out, and their number is logged.

    Example:

    >>> docstrings = read_folders({"mine": Path("src/my_package")})
    """
    files = [
        (library, folder, file)
        for library in sorted(folders)
        for folder in [folders[library]]
        for file in _source_files(folder)
    ]
    docstrings, unreadable = [], []
    console = Console(stderr=True)
    for library, folder, file in track(files, "Reading docstrings", console=console, disable=not sys.stderr.isatty()):
        try:
            texts = _texts_of_file(file)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
            unreadable.append(f"{file} ({error})")
            continue
        module = file.relative_to(folder).as_posix()
        docstrings.extend(Docstring(text, library, module) for text in texts)
    if unreadable:
        logging.info(
            "Left out %d of %d files that could not be parsed: %s", len(unreadable), len(files), "; ".join(unreadable)
        )
    return docstrings


def split_of_module(library: str, module: str) -> str:
    """Says which split a file belongs to: about 80 % train, 10 % validation, 10 % test, the same on every run.

    Args:
        library: str, the library's name.
        module: str, the file's path relative to the library, with forward slashes.

    Returns:
        "train", "validation" or "test".

    Example:

    >>> split_of_module("python", "json/decoder.py")
    'train'
    """
    digest = hashlib.sha256(f"{_SPLIT_SALT}/{library}/{module}".encode()).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return {8: "validation", 9: "test"}.get(tenth, "train")


def library_classification(
    min_characters: int = 100, docstrings: Sequence[Docstring] | None = None
) -> dict[str, tuple[list[str], list[str]]]:
    """Makes a labelled task: which of the four libraries does this piece of documentation belong to?

    The names of the libraries, their aliases and prefixes (`tf.`, `np_array`, `is_keras_tensor`), addresses and owners
    are masked (see `library_names.py`); their concepts and their manner of writing stay. The copy of Keras inside
    TensorFlow is left out, because its text is Keras' own. A text that occurs several times is used once; one that
    occurs in two libraries has no right answer and is dropped. No file gives texts to two splits.

    Args:
        min_characters: int, shortest text to use, in characters after masking. Defaults to 100: shorter ones
            ("Returns the name.") seldom say where they come from.
        docstrings: list of Docstring, or None for the installed libraries'. Defaults to None.

    Returns:
        Dict from "train", "validation" and "test" to the texts and their labels, each in a fixed order; the labels are
        "keras", "numpy", "python" and "tensorflow".

    Example:

    >>> texts, labels = library_classification()["train"]
    """
    docstrings = read_docstrings() if docstrings is None else docstrings
    first_seen: dict[str, Docstring] = {}
    libraries_of_text = defaultdict(set)
    for docstring in docstrings:
        if _is_vendored_keras(docstring):
            continue
        text = mask_library_names(docstring.text)
        if len(text) >= min_characters:
            first_seen.setdefault(text, docstring)
            libraries_of_text[text].add(docstring.library)
    splits: dict[str, tuple[list[str], list[str]]] = {split: ([], []) for split in SPLITS}
    for text, docstring in first_seen.items():
        if len(libraries_of_text[text]) == 1:
            texts, labels = splits[split_of_module(docstring.library, docstring.module)]
            texts.append(text)
            labels.append(docstring.library)
    return splits


def language_model_documents(docstrings: Sequence[Docstring] | None = None) -> dict[str, list[str]]:
    """Makes a corpus for a language model of all the documentation, as it was written.

    Args:
        docstrings: list of Docstring, or None for the installed libraries'. Defaults to None.

    Returns:
        Dict from "train", "validation" and "test" to texts, each text once: in train if any file of that split holds
        it, else in validation, else in test. The splits are by file, as in `library_classification`. Texts that differ
        in a word remain: a tenth of the characters of validation and test stand in lines of 40 or more characters that
        train holds too (measured with Python 3.11, TensorFlow 2.21), so compare figures within these splits only.

    Example:

    >>> documents = language_model_documents()["train"]
    """
    docstrings = read_docstrings() if docstrings is None else docstrings
    documents: dict[str, list[str]] = {split: [] for split in SPLITS}
    for docstring in docstrings:
        documents[split_of_module(docstring.library, docstring.module)].append(docstring.text)
    seen: set[str] = set()
    for split in SPLITS:
        documents[split] = [text for text in dict.fromkeys(documents[split]) if text not in seen]
        seen.update(documents[split])
    return documents


def _is_vendored_keras(docstring: Docstring) -> bool:
    return docstring.library == "tensorflow" and "keras" in docstring.module.split("/")


def _library_folder(library: str) -> Path | None:
    if library == "python":
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(library)  # a top-level name: the import system looks for it and runs nothing
    if spec is None or not spec.submodule_search_locations:
        logging.warning("%s is not installed; the data is made without its documentation.", library)
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _library_version(library: str, folder: Path) -> str:
    if library == "python":
        return sys.version
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # installed under another name, such as tensorflow-cpu
        return str(folder.stat().st_mtime_ns)


def _source_files(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        files.extend(Path(parent, name) for name in names if name.endswith(".py"))
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def _texts_of_file(file: Path) -> Iterable[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old sources hold escapes such as "\d", which is not this reader's business
        tree = ast.parse(file.read_bytes())
    is_reference = file.parts[-2:] == ("pydoc_data", "topics.py")
    texts = _long_strings(tree) if is_reference else _docstrings_of_tree(tree)
    # A lone surrogate, written as an escape in the source, is no text that UTF-8 could hold.
    cleaned = [inspect.cleandoc(text).strip().encode("utf-8", "replace").decode("utf-8") for text in texts]
    return [text for text in cleaned if text]


def _docstrings_of_tree(tree: ast.Module) -> list[str]:
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts.append(ast.get_docstring(node, clean=False) or "")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "add_newdoc":
            # NumPy documents what is written in C by calls: add_newdoc("module", "name", "text" or ("member", "text")).
            texts.extend(_long_strings(node))
    return texts


def _long_strings(tree: ast.AST) -> list[str]:
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [string for string in strings if isinstance(string, str) and "\n" in string]


def _cache_file(versions: dict[str, str]) -> Path:
    key = json.dumps([_CACHE_FORMAT, versions, sys.version], sort_keys=True)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "albert_gpt_tf", f"docstrings-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl")


def _read_cache(file: Path) -> list[Docstring] | None:
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if checksum.decode() != hashlib.sha256(body).hexdigest():
            raise ValueError("its checksum does not match")
        return [Docstring(*json.loads(line)) for line in body.splitlines()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        logging.info("The cache %s is read again from the sources: %s.", file, error)
        return None


def _write_cache(file: Path, docstrings: Sequence[Docstring]) -> None:
    body = "".join(json.dumps(docstring) + "\n" for docstring in docstrings).encode()
    temporary = file.with_suffix(f".{os.getpid()}.tmp")  # renamed when complete, so that nobody reads half of it
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        temporary.replace(file)
    except OSError as error:
        logging.info("The docstrings could not be cached and will be read again next time: %s.", error)
        with contextlib.suppress(OSError):
            temporary.unlink()
