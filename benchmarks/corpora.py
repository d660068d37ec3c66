"""The texts and vocabularies that the benchmarks read, from a folder that the user names."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ALBERT_GPT_TF_DATA"
LAYOUT = (
    "corpora/{wikitext2/valid.txt, tinyshakespeare/input.txt, chinese_poetry/*.json} and "
    "tokenizers/{gpt2/encoder.json, gpt2/vocab.bpe, gpt2/tokenizer.json, albert/spiece.model}"
)
NEEDED = (
    "corpora/wikitext2/valid.txt",
    "corpora/tinyshakespeare/input.txt",
    "corpora/chinese_poetry",
    "tokenizers/gpt2/encoder.json",
    "tokenizers/gpt2/vocab.bpe",
    "tokenizers/gpt2/tokenizer.json",
    "tokenizers/albert/spiece.model",
)


def add_data_flag(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        default=os.environ.get(VARIABLE),
        help=f"folder with {LAYOUT}. Default: the environment variable {VARIABLE}.",
    )


def data_folder(parser: argparse.ArgumentParser, data: str | None) -> Path:
    """The folder given by `--data`, if it holds what is needed; ends the program with a sentence if not."""
    if not data:
        parser.error(
            f"Expected --data=DIR or the environment variable {VARIABLE}. Received: neither. DIR has {LAYOUT}."
        )
    missing = [name for name in NEEDED if not Path(data, name).exists()]
    if missing:
        parser.error(f"Expected in {data}: {LAYOUT}. Received: a folder without {', '.join(missing)}. Add them.")
    return Path(data)


def benchmark_texts(data: Path) -> dict[str, list[str]]:
    """Name -> lines that are not blank: English prose, English verse, Chinese verse (a poem is a line)."""
    english = {
        "WikiText-2": data / "corpora" / "wikitext2" / "valid.txt",
        "tinyshakespeare": data / "corpora" / "tinyshakespeare" / "input.txt",
    }
    texts = {name: path.read_text(encoding="utf-8").split("\n") for name, path in english.items()}
    texts["Chinese poems"] = [poem for path in _poem_files(data) for poem in _poems(path)]
    return {name: [line for line in lines if line.strip()] for name, lines in texts.items()}


def all_lines(data: Path) -> list[str]:
    """Every line of every corpus, blank ones included; of JSON every string, and each poem as a line."""
    lines = []
    for path in sorted((data / "corpora").rglob("*")):
        if path.suffix in {".txt", ".yml", ".md"}:
            lines += path.read_text(encoding="utf-8").split("\n")
        elif path.suffix == ".jsonl":
            rows = path.read_text(encoding="utf-8").split("\n")
            lines += [string for row in rows if row for string in _strings(json.loads(row))]
        elif path.suffix == ".json":
            lines += _strings(json.loads(path.read_text(encoding="utf-8")))
    return lines + [poem for path in _poem_files(data) for poem in _poems(path)]


def golden_texts(data: Path, model: str) -> list[str]:
    """The texts of other projects' tests of this model.

    Args:
        data: folder of `data_folder`. Without a subfolder `golden` there are no such texts.
        model: `"gpt2"` or `"albert"`.

    Returns:
        list of str.
    """
    texts = []
    path = data / "golden" / f"transformers_js_{model}_tokenization.json"
    if path.is_file():
        for name, cases in json.loads(path.read_text(encoding="utf-8")).items():
            if name.split("/")[-1].startswith(("albert", "gpt2")):
                texts += [case["text"] for case in cases.values()]
    path = data / "golden" / "hf_tokenization.json"
    if path.is_file():
        cases = json.loads(path.read_text(encoding="utf-8"))
        texts.append(cases["integration_2025"]["input"])
        if model == "albert":
            texts += cases["albert_integration_2024"]["sequences"]
            texts += [case["text"] for case in cases["albert_full_tokenizer_2024"]["cases"]]
    return list(dict.fromkeys(texts))  # two files have the same ones


def _poem_files(data: Path) -> list[Path]:
    return sorted((data / "corpora" / "chinese_poetry").glob("*.json"))


def _poems(path: Path) -> list[str]:
    return ["".join(poem["paragraphs"]) for poem in json.loads(path.read_text(encoding="utf-8"))]


def _strings(value: object) -> Iterator[str]:
    """All strings inside parsed JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
