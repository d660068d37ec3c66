"""Speed, latency and memory of tokenization, ours and others', in one process and in turns.

    python benchmarks/tokenization.py --data=DIR

Prints Markdown tables, and writes them with all figures as JSON to the folder `--output`. See README.md.
"""

import os

# Before NumPy is imported: OpenBLAS reads them then, and a value for another machine would distort what is measured.
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("OPENBLAS_L2_SIZE", None)

import argparse
import functools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import corpora
import measure
import peers
from google_albert import GoogleAlbert
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

BATCH_SIZE = 32
LEAST_BYTES = 3_000_000  # that are tokenized in batches
PROMPT = "The quick brown fox jumps over 13 lazy dogs today."
LATENCY_CALLS = 1000
# Latency is measured in so many turns, so that a turn is long against what the cache loses between contenders.
LATENCY_TURNS = 10
WARM_UP_WORDS, NEW_WORDS, WORDS_A_LINE = 20_000, 200_000, 20
MODELS = {"gpt2": "GPT-2", "albert": "ALBERT"}


def arguments() -> tuple[argparse.Namespace, Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    corpora.add_data_flag(parser)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contender; the median counts. Default: 5")
    parser.add_argument("--output", default="results", help="folder for tokenization.{json,md}. Default: results")
    # For the program itself, which measures memory in fresh processes.
    parser.add_argument("--memory_of", metavar="MODEL/WHOSE", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.repeats < 1:
        parser.error(f"Expected --repeats of at least 1. Received: {flags.repeats}.")
    return flags, corpora.data_folder(parser, flags.data)


# === Same ids, before anything is timed ===


def count_differences(data: Path, model: str, contenders: dict, texts: dict[str, list[str]]) -> dict:
    """Contender -> (reference, text -> rows whose ids differ)."""
    import tensorflow as tf

    if model == "gpt2":
        tiktoken = peers.tiktoken_gpt2(data)
        pairs = {name: ("tiktoken", tiktoken.encode_ordinary_batch) for name in (peers.OURS, peers.KERAS_HUB)}
    else:
        google = GoogleAlbert(data / "tokenizers" / "albert" / "spiece.model")
        pairs = {name: ("google-research", google.encode) for name in (peers.OURS, peers.KERAS_HUB)}
        pairs[peers.OURS_TRANSFORMERS] = ("Transformers", contenders["Transformers"].batch[""])
    found = {}
    for name, (reference, encode) in pairs.items():
        rows = {}
        for text, lines in texts.items():
            received = contenders[name].batch[""](tf.constant(lines)).to_list()
            rows[text] = sum(one != other for one, other in zip(received, encode(lines), strict=True))
        found[name] = (reference, rows)
    return found


# === Speed ===


def whole(contender: peers.Contender, encode: Callable, lines: list[str]) -> Callable[[], object]:
    """All lines in one batch."""
    import tensorflow as tf

    return functools.partial(encode, tf.constant(lines) if contender.takes_tensors else lines)


def batches(contender: peers.Contender, encode: Callable, lines: list[str]) -> Callable[[], object]:
    """Batches of BATCH_SIZE: graphs in tf.data, the others in a loop."""
    import tensorflow as tf

    if contender.takes_tensors:
        dataset = tf.data.Dataset.from_tensor_slices(lines).batch(BATCH_SIZE)
        loop = dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    else:
        loop = _Loop([lines[start : start + BATCH_SIZE] for start in range(0, len(lines), BATCH_SIZE)], encode)

    def run():
        for _ in loop:
            pass

    return run


def repeated(texts: dict[str, list[str]]) -> dict[str, list[str]]:
    """The texts, several times over if they are short, so that the start of an iterator does not count."""
    sizes = {name: sum(len(line.encode()) for line in lines) for name, lines in texts.items()}
    return {name: lines * -(-LEAST_BYTES // sizes[name]) for name, lines in texts.items()}


class _Loop:
    """Can be iterated many times, as a dataset can."""

    def __init__(self, items: list, encode: Callable) -> None:
        self.items, self.encode = items, encode

    def __iter__(self) -> Iterator:
        return map(self.encode, self.items)


def speeds(contenders: dict, lines: list[str], prepare: Callable, repeats: int, progress: Callable) -> dict:
    """Contender -> {"MB/s", "variant", "variants"}; MB of the text as it is given, before any cleaning."""
    runs = {
        (name, variant): prepare(contender, encode, peers.as_given(name, lines))
        for name, contender in contenders.items()
        for variant, encode in contender.batch.items()
    }
    megabytes = sum(len(line.encode()) for line in lines) / 1e6
    found: dict[str, dict] = {}
    for (name, variant), seconds in measure.interleaved(runs, repeats, progress=progress).items():
        found.setdefault(name, {"variants": {}})["variants"][variant] = megabytes / seconds
    for entry in found.values():
        entry["variant"] = max(entry["variants"], key=entry["variants"].get)
        entry["MB/s"] = entry["variants"][entry["variant"]]
    return found


def latencies(contenders: dict, progress: Callable) -> dict[str, float]:
    """Contender -> microseconds for one prompt, from str to ids."""
    runs = {
        name: functools.partial(contender.one, peers.as_given(name, [PROMPT])[0])
        for name, contender in contenders.items()
    }
    seconds = measure.interleaved(runs, LATENCY_TURNS, LATENCY_CALLS // LATENCY_TURNS, progress)
    return {name: 1e6 * value for name, value in seconds.items()}


# === Memory ===


def new_words(count: int, seed: int) -> Iterator[list[str]]:
    """Batches of lines of random words, which practically never repeat."""
    rng = random.Random(seed)
    lines = [
        " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(WORDS_A_LINE))
        for _ in range(count // WORDS_A_LINE)
    ]
    for start in range(0, len(lines), BATCH_SIZE):
        yield lines[start : start + BATCH_SIZE]


def memory_growth(data: Path, model: str, whose: str) -> dict[str, float]:
    """What this process grows by, in MB, while it tokenizes words it has never seen: at the end, and at most."""
    import tensorflow as tf

    encode = peers.in_graph((peers.ours if whose == peers.OURS else peers.keras_hub)(data, model))
    for lines in new_words(WARM_UP_WORDS, seed=0):
        encode(tf.constant(lines))
    work = list(new_words(NEW_WORDS, seed=1))
    start = highest = measure.resident_megabytes()
    for lines in work:
        encode(tf.constant(lines))
        highest = max(highest, measure.resident_megabytes())
    return {"growth": measure.resident_megabytes() - start, "peak": highest - start}


def memory_in_child(data: Path, model: str, whose: str) -> dict[str, float]:
    """`memory_growth` in a fresh process."""
    command = [sys.executable, __file__, f"--data={data}", f"--memory_of={model}/{whose}"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise RuntimeError(f"Expected the memory measurement of {model}/{whose} to end well. Received: {ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


# === Tables ===


RATIO = "ours is so many times as fast"


def speed_table(title: str, found: dict[str, dict[str, dict]]) -> str:
    """`found` is text -> contender -> entry of `speeds`."""
    rows = []
    for name in next(iter(found.values())):
        cells = []
        for entries in found.values():
            entry = entries[name]
            ratio = measure.rounded(entries[peers.OURS]["MB/s"] / entry["MB/s"])
            variant = f", {entry['variant']}" if entry["variant"] else ""
            cells.append(measure.rounded(entry["MB/s"]) + ("" if name == peers.OURS else f" ({ratio}×{variant})"))
        rows.append([name, *cells])
    return measure.markdown_table(f"{title}: MB/s ({RATIO})", ["", *found], rows)


def tables(label: str, result: dict) -> list[str]:
    """The Markdown of one model."""
    texts = [f"{name} ({lines} lines)" for name, lines in result["lines"].items()]
    differences = [
        [f"{name} against {reference}", *(str(count) for count in counts.values())]
        for name, (reference, counts) in result["differences"].items()
    ]
    best = result["latency"][peers.OURS]
    latency = [
        [name, measure.rounded(value), "" if name == peers.OURS else f"{measure.rounded(value / best)}×"]
        for name, value in result["latency"].items()
    ]
    memory = [[name, *(f"{entry[key]:.1f}" for key in ("growth", "peak"))] for name, entry in result["memory"].items()]
    words = f"{NEW_WORDS:,} words never seen before"
    table = measure.markdown_table
    return [
        table(f"{label}, lines whose ids differ", ["", *texts], differences),
        speed_table(f"{label}, all lines in one batch", result["one batch"]),
        speed_table(f"{label}, batches of {BATCH_SIZE}", result["batches"]),
        table(f"{label}, one prompt of {len(PROMPT)} bytes", ["", "µs", RATIO], latency),
        table(f"{label}, growth of the process over {words}", ["", "MB at the end", "MB at most"], memory),
    ]


def main() -> None:
    flags, data = arguments()
    if flags.memory_of:
        print(json.dumps(memory_growth(data, *flags.memory_of.split("/"))))
        return
    console = Console()
    texts = corpora.benchmark_texts(data)
    result: dict = {"machine": measure.machine(peers.PACKAGES), "repeats": flags.repeats}
    markdown = ["## Tokenization", "", ", ".join(f"{k} {v}" for k, v in result["machine"].items()), ""]
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console) as bar:
        # All are loaded first, so that one that cannot be loaded costs no measurement.
        task = bar.add_task("load", total=2)
        everyone = {}
        for model, load in (("gpt2", peers.gpt2_contenders), ("albert", peers.albert_contenders)):
            everyone[model] = load(data)
            bar.advance(task)
        for model, label in MODELS.items():
            contenders = everyone[model]
            variants = sum(len(contender.batch) for contender in contenders.values())
            timed = 2 * len(texts) * variants * (flags.repeats + 1) + len(contenders) * (LATENCY_TURNS + 1)
            task = bar.add_task(f"{label}: compare ids", total=timed + 2)
            step = functools.partial(bar.advance, task)
            found = result[model] = {"lines": {name: len(lines) for name, lines in texts.items()}}
            found["differences"] = count_differences(data, model, contenders, texts)
            for setting, prepare, material in (("one batch", whole, texts), ("batches", batches, repeated(texts))):
                bar.update(task, description=f"{label}: {setting}")
                found[setting] = {
                    name: speeds(contenders, lines, prepare, flags.repeats, step) for name, lines in material.items()
                }
            bar.update(task, description=f"{label}: latency")
            found["latency"] = latencies(contenders, step)
            bar.update(task, description=f"{label}: memory")
            found["memory"] = {}
            for whose in (peers.OURS, peers.KERAS_HUB):
                found["memory"][whose] = memory_in_child(data, model, whose)
                step()
            bar.update(task, description=label)
            markdown += tables(label, found)
    written = measure.write(flags.output, "tokenization", result, "\n".join(markdown))
    console.print("\n".join(markdown), markup=False, highlight=False, soft_wrap=True)
    console.print("Written: " + ", ".join(map(str, written)))


if __name__ == "__main__":
    main()
