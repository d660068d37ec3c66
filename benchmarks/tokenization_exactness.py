"""Our token ids against the reference implementations, on corpora, golden texts and random strings.

    python benchmarks/tokenization_exactness.py --data=DIR

GPT-2 is held against tiktoken and `tokenizers`, with special tokens as plain text and parsed, and against the bytes it
came from. ALBERT is held against google-research's pipeline in plain Python (google_albert.py) and Transformers.
Exits with 1 if anything differs. Of ALBERT's differences it says how many are ties: ways to cut the text whose scores
are equal but for the rounding of their sums.
"""

import os

# Before NumPy is imported, as in tokenization.py.
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("OPENBLAS_L2_SIZE", None)

import argparse
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import corpora
import measure
import peers
from google_albert import GoogleAlbert
from random_texts import random_bytes, random_texts
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

CHUNK = 5_000
# So many differing cases are printed of each material and reference, each text cut to so many characters.
CASES, TEXT_WIDTH, IDS_SHOWN = 3, 80, 12

# Scores are sums of float32; two sums so near to each other, relatively, are a tie.
TIE = 1e-5

# (texts, our ids) -> the cases that differ: index of the text, what we gave, what the reference gave.
Case = tuple[int, list[int], list[int]]
Check = Callable[[list, object], list[Case]]


def arguments() -> tuple[argparse.Namespace, Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    corpora.add_data_flag(parser)
    parser.add_argument("--strings", type=int, default=1_000_000, help="random strings. Default: 1000000")
    parser.add_argument("--seed", type=int, default=0, help="of the random strings. Default: 0")
    parser.add_argument("--only", choices=["gpt2", "albert"], help="one model. Default: both")
    flags = parser.parse_args()
    if flags.strings < 0:
        parser.error(f"Expected --strings of at least 0. Received: {flags.strings}.")
    return flags, corpora.data_folder(parser, flags.data)


# === Checks ===


def against(encode: Callable[[list[str]], list[list[int]]]) -> Check:
    """A check against a function from texts to rows of ids."""

    def check(texts: list[str], ids) -> list[Case]:
        expected, received = encode(texts), ids.to_list()
        pairs = zip(received, expected, strict=True)
        return [(index, ours, theirs) for index, (ours, theirs) in enumerate(pairs) if ours != theirs]

    return check


def round_trip(tokenizer) -> Check:
    """A check that the ids give back the bytes they came from."""

    def check(texts: list[str | bytes], ids) -> list[Case]:
        received = tokenizer.detokenize_bytes(ids).numpy().tolist()
        sources = [text if isinstance(text, bytes) else text.encode() for text in texts]
        pairs = zip(received, sources, strict=True)
        return [(index, list(ours), list(theirs)) for index, (ours, theirs) in enumerate(pairs) if ours != theirs]

    return check


def gpt2_checks(data: Path) -> list[tuple[Callable, dict[str, Check]]]:
    """Each of our tokenizers with its references by name."""
    tiktoken, plain, special = peers.tiktoken_gpt2(data), peers.ours(data, "gpt2"), peers.ours(data, "gpt2-special")
    hub, hub_special = peers.tokenizers_gpt2(data), peers.tokenizers_gpt2(data, parse_special_tokens=True)
    of_plain = {
        "tiktoken": against(tiktoken.encode_ordinary_batch),
        "tokenizers": against(lambda texts: [row.ids for row in hub.encode_batch_fast(texts)]),
        "round trip": round_trip(plain),
    }
    of_special = {
        "tiktoken, special": against(lambda texts: tiktoken.encode_batch(texts, allowed_special="all")),
        "tokenizers, special": against(lambda texts: [row.ids for row in hub_special.encode_batch_fast(texts)]),
    }
    return [(plain, of_plain), (special, of_special)]


def albert_checks(data: Path, pool) -> list[tuple[Callable, dict[str, Check]]]:
    """The same for ALBERT; `pool` runs the slow reference on all cores."""

    def google_research(texts: list[str]) -> list[list[int]]:
        parts = list(chunks(texts, -(-len(texts) // (4 * measure.cores()))))
        return list(itertools.chain.from_iterable(pool.imap(_reference_ids, parts)))

    transformers = peers.transformers_encode(peers.transformers_albert(data))
    return [
        (peers.ours(data, "albert"), {"google-research": against(google_research)}),
        (peers.ours(data, "albert-transformers"), {"Transformers": against(transformers)}),
    ]


def _load_reference(path: Path) -> None:
    """Runs in each worker once."""
    global _reference
    _reference = GoogleAlbert(path)


def _reference_ids(texts: list[str]) -> list[list[int]]:
    return _reference.encode(texts)


# === The run ===


def chunks(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def materials(data: Path, model: str, strings: int, seed: int) -> dict[str, tuple[int, Iterable[str]]]:
    """Name -> (number of texts, the texts)."""
    lines, golden = corpora.all_lines(data), corpora.golden_texts(data, model)
    return {
        "corpora": (len(lines), lines),
        "golden texts": (len(golden), golden),
        "random strings": (strings, random_texts(strings, seed)),
    }


def shown(text: str | bytes, ours: list[int], theirs: list[int], reference: str) -> str:
    """One differing case: the text, cut, and the ids from where they part."""
    pairs = enumerate(itertools.zip_longest(ours, theirs))
    start = max(0, next(index for index, (one, other) in pairs if one != other) - 2)
    cut = repr(text)
    cut = cut if len(cut) <= TEXT_WIDTH else cut[:TEXT_WIDTH] + "…"
    ours, theirs = (f"{row[start : start + IDS_SHOWN]} of {len(row)}" for row in (ours, theirs))
    return f"  {cut}\n    from {start}: ours {ours}\n    {reference} {theirs}"


def tie_judge(data: Path) -> Callable[[list[int], list[int]], bool]:
    """A function that says whether two rows are the same text, cut in two ways that have the same score for ALBERT."""
    model = GoogleAlbert(data / "tokenizers" / "albert" / "spiece.model").model
    scores = [model.get_score(id) for id in range(model.get_piece_size())]

    def is_tie(ours: list[int], theirs: list[int]) -> bool:
        if "".join(model.id_to_piece(ours)) != "".join(model.id_to_piece(theirs)):
            return False
        one, other = (sum(scores[id] for id in row) for row in (ours, theirs))
        return abs(one - other) <= TIE * max(1.0, abs(one))

    return is_tie


def run(checks: list[tuple[Callable, dict[str, Check]]], texts: Iterable, is_tie: Callable, step: Callable) -> tuple:
    """Counts the differing texts of every check and the ties among them, and keeps the first few cases."""
    counts = {name: 0 for _, references in checks for name in references}
    ties = dict(counts)
    cases: dict[str, list[str]] = {name: [] for name in counts}
    for chunk in chunks(texts, CHUNK):
        for encode, references in checks:
            ids = encode(chunk)
            for name, check in references.items():
                differing = check(chunk, ids)
                counts[name] += len(differing)
                ties[name] += sum(is_tie(ours, theirs) for _, ours, theirs in differing)
                for index, ours, theirs in differing[: CASES - len(cases[name])]:
                    cases[name].append(shown(chunk[index], ours, theirs, name))
        step(len(chunk))
    return counts, ties, cases


def check_model(data: Path, model: str, flags: argparse.Namespace, console: Console, pool) -> int:
    """Runs all checks of a model, prints a table and the first cases, and returns the number of differences."""
    import tensorflow as tf

    checks = gpt2_checks(data) if model == "gpt2" else albert_checks(data, pool)
    # As a graph, as it runs in tf.data and in an export.
    graphs = [(peers.in_graph(tokenizer), references) for tokenizer, references in checks]
    graphs = [(lambda texts, graph=graph: graph(tf.constant(texts, tf.string)), names) for graph, names in graphs]
    work = [(name, *texts, graphs) for name, texts in materials(data, model, flags.strings, flags.seed).items()]
    if model == "gpt2":
        rows = random_bytes(flags.strings // 10, flags.seed + 1)
        work.append(("random bytes", len(rows), rows, [(graphs[0][0], {"round trip": round_trip(checks[0][0])})]))
    is_tie = tie_judge(data) if model == "albert" else lambda ours, theirs: False

    names = [name for _, references in checks for name in references]
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    table, printed, total = [], [], 0
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        for material, count, texts, references in work:
            task = bar.add_task(f"{model}: {material}", total=count)
            counts, ties, cases = run(references, texts, is_tie, lambda done, task=task: bar.advance(task, done))
            cells = {name: f"{counts[name]:,}" + (f" ({ties[name]:,} ties)" if ties[name] else "") for name in counts}
            table.append([material, f"{count:,}", *(cells.get(name, "") for name in names)])
            total += sum(counts.values())
            printed += [f"{material}, {name}:\n" + "\n".join(found) for name, found in cases.items() if found]
    for text in [measure.markdown_table(f"{model}: texts that differ", ["", "texts", *names], table), *printed]:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return total


def main() -> None:
    flags, data = arguments()
    console = Console()
    console.print(", ".join(f"{name} {value}" for name, value in measure.machine(peers.PACKAGES).items()))
    models = [flags.only] if flags.only else ["gpt2", "albert"]
    total = 0
    # Spawned, because TensorFlow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    vocabulary = data / "tokenizers" / "albert" / "spiece.model"
    with context.Pool(measure.cores(), _load_reference, (vocabulary,)) as pool:
        for model in models:
            total += check_model(data, model, flags, console, pool)
    console.print(f"{total:,} differences")
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
