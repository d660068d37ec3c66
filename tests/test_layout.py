"""Holds the shape of the house: which folder may import which, how long a file may be, and that nothing points outside.

Imports are read with `ast`, also those inside functions; nothing is imported or executed.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Folders of the library by the name they are imported under.
FOLDERS = {
    **{path.name: path for path in (ROOT / "albert_gpt_tf").iterdir() if (path / "__init__.py").is_file()},
    **{name: ROOT / name for name in ("exporters", "serving", "configs")},
}

# folder: (folders of the library it may import, packages from outside it may import besides the standard library).
# Data flows one way. Between training and exporting there is only a preset directory, between exporting and serving
# only a SavedModel.
TENSORS = {"numpy", "tensorflow"}
KERAS = {"keras", "keras_nlp"}
MAY_IMPORT = {
    "text": (set(), TENSORS | KERAS | {"tensorflow_text", "sentencepiece"}),
    "data": ({"text"}, TENSORS | {"absl", "rich", "sklearn", "apache_beam", "yaml", "datasets", "tensorflow_datasets"}),
    "models": (set(), TENSORS | KERAS),
    "generation": ({"models"}, TENSORS),
    "tasks": ({"text", "models", "generation"}, TENSORS | KERAS),
    "checkpoints": (
        {"text", "models", "tasks"},
        TENSORS | KERAS | {"safetensors", "sentencepiece", "h5py", "huggingface_hub", "kagglehub"},
    ),
    "training": ({"data", "tasks", "text"}, TENSORS | KERAS | {"absl", "rich", "sklearn", "scipy", "seqeval"}),
    "exporters": ({"text", "tasks", "generation", "models"}, TENSORS | {"tensorflow_text", "tensorflow_serving"}),
    "serving": (
        set(),
        TENSORS | {"tensorflow_text", "tensorflow_serving", "google", "grpc", "starlette", "uvicorn", "ai_edge_litert"},
    ),
    "configs": (set(), {"ml_collections"}),
    # Commands only wire things together.
    "commands": (set(FOLDERS), TENSORS | {"absl", "ml_collections", "rich", "sklearn", "matplotlib"}),
}
# The clients run in programs that have neither TensorFlow nor this library's other parts.
CLIENTS = ["client", "client_values", "request_error", "wire"]
CLIENTS_MAY_IMPORT = {"numpy", "grpc", "google"}  # google: protobuf
# One exception: `X.from_preset(source)` has to find out the format of any source, and `save_to_hugging_face` to write
# one. These methods, and nothing else in the two folders, import `checkpoints`, which imports both. The import runs
# only when they are called, so that at import time data still flows one way.
LAZY_IMPORTERS, LAZY_METHODS = {"models", "tasks"}, {"from_preset", "save_to_hugging_face"}

FILES = sorted(
    [path for folder in FOLDERS.values() for path in folder.rglob("*.py")] + [ROOT / "albert_gpt_tf" / "__init__.py"]
)
LONGEST = 400


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def folder_of(path):
    return next((name for name, folder in FOLDERS.items() if folder in path.parents), None)


def module_of(path):
    """Dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "albert_gpt_tf" else ("albert_gpt_tf", *parts)
    return ".".join(parts).removesuffix(".__init__")


def imports(path):
    """Dotted names of all modules that a file imports, but for the one import that is an exception."""
    modules = {module_of(file) for file in FILES}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = lazy_imports(tree) if folder_of(path) in LAZY_IMPORTERS else []
    for node in ast.walk(tree):
        if node in lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *filter(None, [base])])
            # `from package import x` may import a module.
            members = [f"{base}.{alias.name}" for alias in node.names]
            yield from [member if member in modules else base for member in members]


def lazy_imports(tree):
    """The imports of `checkpoints` that are the first statement, after the docstring, of one of the `LAZY_METHODS`."""
    methods = [
        node
        for scope in ast.walk(tree)
        if isinstance(scope, ast.ClassDef)
        for node in scope.body
        if isinstance(node, ast.FunctionDef) and node.name in LAZY_METHODS
    ]
    firsts = [method.body[1] for method in methods if ast.get_docstring(method) and len(method.body) > 1]
    return [
        node
        for node in firsts
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("albert_gpt_tf.checkpoints.")
    ]


def library_folders(path):
    """Folders of the library that a file imports, but for its own."""
    found = {name.split(".")[1] for name in imports(path) if name.startswith("albert_gpt_tf.")}
    return found - {folder_of(path)}


def packages(path):
    """What a file imports from outside the library and the standard library."""
    return {name.split(".")[0] for name in imports(path)} - {"albert_gpt_tf"} - set(sys.stdlib_module_names)


# === Imports ===


def test_every_folder_has_its_line_in_the_table():
    assert set(FOLDERS) <= set(MAY_IMPORT)
    assert set(CLIENTS) <= {path.stem for path in FOLDERS["serving"].glob("*.py")}


def test_the_reader_finds_imports_of_every_kind():
    found = set(imports(ROOT / "albert_gpt_tf" / "commands" / "train.py"))  # some of them inside functions
    assert {"absl", "ml_collections", "albert_gpt_tf.training.run", "albert_gpt_tf.configs"} <= found
    assert {"exporters", "tasks"} <= library_folders(ROOT / "albert_gpt_tf" / "commands" / "export.py")


def test_only_the_first_statement_of_a_lazy_method_may_import_checkpoints():
    line = "from albert_gpt_tf.checkpoints.load import load_task"
    method = 'class Task:\n    def {name}(self):\n        """Loads."""\n        {body}\n'
    assert len(lazy_imports(ast.parse(method.format(name="from_preset", body=line)))) == 1
    assert not lazy_imports(ast.parse(method.format(name="fit", body=line)))
    assert not lazy_imports(ast.parse(method.format(name="from_preset", body=f"x = 1\n        {line}")))
    assert not lazy_imports(ast.parse(method.format(name="from_preset", body="import albert_gpt_tf.data")))
    assert not lazy_imports(ast.parse(line))


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_a_folder_imports_only_what_the_table_allows(folder):
    may_import, may_need = MAY_IMPORT[folder]
    for path in FILES:
        if folder_of(path) == folder:
            wrong = library_folders(path) - may_import
            assert not wrong, f"{name_of(path)} imports albert_gpt_tf.{sorted(wrong)}"
            wrong = packages(path) - may_need
            assert not wrong, f"{name_of(path)} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("text", {"models", "tasks", "data", "training"}),
        ("data", {"models", "tasks", "training"}),
        ("models", {"text", "data", "tasks", "training"}),
        ("generation", {"data", "training", "tasks"}),
        ("tasks", {"data", "training"}),
        ("checkpoints", {"data", "training"}),
        ("training", {"exporters", "serving"}),
        ("exporters", {"data", "training"}),
        ("serving", {"models", "tasks", "data", "training"}),
    ],
)
def test_the_table_forbids_what_the_design_forbids(folder, never):
    may_import, _ = MAY_IMPORT[folder]
    assert not may_import & never


def test_nothing_imports_the_commands():
    wrong = [name_of(path) for path in FILES if folder_of(path) != "commands" and "commands" in library_folders(path)]
    assert not wrong


@pytest.mark.parametrize("client", CLIENTS)
def test_serving_clients_need_neither_tensorflow_nor_the_library(client):
    path = FOLDERS["serving"] / f"{client}.py"
    assert packages(path) <= CLIENTS_MAY_IMPORT
    ours = {name for name in imports(path) if name.startswith("albert_gpt_tf")}
    assert ours <= {"albert_gpt_tf.serving", *(f"albert_gpt_tf.serving.{name}" for name in CLIENTS)}


@pytest.mark.parametrize("package", ["albert_gpt_tf", "serving", "commands", "training", "tasks"])
def test_importing_a_package_imports_nothing_heavy(package):
    """Its `__init__` runs before any of its files, the clients and the help of the commands included."""
    folder = FOLDERS.get(package, ROOT / package)
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in at_import for alias in node.names if isinstance(node, ast.Import)}
    names |= {node.module for node in at_import if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_imports_are_absolute():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), name_of(path)


# === Files ===


def test_a_file_is_read_in_one_sitting():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_every_file_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name_of(path)


def test_nothing_is_left_to_do():
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XXX)\b")
    assert not [name_of(path) for path in FILES if marks.search(path.read_text(encoding="utf-8"))]


def files_of_the_repository():
    """Everything that is written by hand: no caches, environments or build products."""
    tops = ["albert_gpt_tf", "exporters", "serving", "configs", "benchmarks", "tests", "docs", ".ci"]
    kinds = {".py", ".md", ".cfg", ".toml", ".yaml", ".yml", ".config", ".sh", ".txt", ""}
    for path in [*ROOT.glob("*"), *(file for top in tops for file in (ROOT / top).rglob("*"))]:
        if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts:
            yield path


def test_no_path_of_one_machine_is_written_anywhere():
    # A home directory (/home/me is an example of one) or a drive.
    machine = re.compile(r"/(?:home/(?!me/)|Users/|root/)[a-z]|[\"'][A-Z]:\\\\")
    for path in files_of_the_repository():
        match = machine.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not match or path == Path(__file__), f"{name_of(path)}: {match[0]}"


def test_the_library_reads_nothing_outside_the_repository():
    """Tests may look for data in ../shared, and skip without; the library has no such place."""
    outside = re.compile(r"\.\./|[\"']shared[\"'/]|\bshared/data|parents\[[2-9]\]")
    for path in FILES:
        match = outside.search(path.read_text(encoding="utf-8"))
        assert not match, f"{name_of(path)}: {match[0]}"


def test_tests_mirror_the_library():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(FOLDERS) | {"benchmarks", "end_to_end"}
