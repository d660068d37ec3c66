"""Measure contenders fairly, and write down where: interleaved runs, the machine, JSON and Markdown."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

# Linux has it: sizes of this process in pages, the second one resident.
_STATM = Path("/proc/self/statm")


def cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(packages: Sequence[str]) -> dict[str, str]:
    """Describes the machine and the software of a measurement.

    Args:
        packages: names of distributions. One that is not installed is left out.

    Returns:
        dict: date, CPU, cores, memory, operating system, Python, and the version of each package.

    Example:
        >>> machine(["numpy"])["date"]  # doctest: +SKIP
        '2026-05-04'
    """
    described = {
        "date": datetime.date.today().isoformat(),
        "CPU": _cpu_model(),
        "cores": str(cores()),
        "RAM": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions() if distribution.name}
    return described | {name: importlib.metadata.version(name) for name in packages if name.lower() in installed}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def interleaved(
    contenders: Mapping[Hashable, Callable[[], object]],
    repeats: int,
    calls: int = 1,
    progress: Callable[[], object] = lambda: None,
) -> dict[Hashable, float]:
    """Times contenders in turns (A B C A B C), so that noise of the machine hits all of them.

    Args:
        contenders: name -> function without arguments. Each is called once before, to warm up.
        repeats: int, the number of turns.
        calls: int, the number of calls in a turn. Each is timed. Defaults to 1.
        progress: function, called after every turn of a contender, the warm-up included.

    Returns:
        dict: name -> median seconds of a call.

    Raises:
        ValueError: `repeats` or `calls` is below 1.

    Example:
        >>> sorted(interleaved({"a": lambda: None, "b": lambda: None}, repeats=3))
        ['a', 'b']
    """
    if repeats < 1 or calls < 1:
        raise ValueError(
            f"Expected repeats and calls of at least 1. Received: repeats={repeats}, calls={calls}. Raise them."
        )
    for run in contenders.values():
        run()
        progress()
    seconds: dict[Hashable, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            for _ in range(calls):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
            progress()
    return {name: statistics.median(values) for name, values in seconds.items()}


def resident_megabytes() -> float:
    """The memory of this process that is in RAM, in MB. Linux only: elsewhere it raises RuntimeError."""
    if not _STATM.is_file():
        raise RuntimeError(f"Expected Linux, to read {_STATM}. Received: {platform.system()}. Leave memory out there.")
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def rounded(value: float) -> str:
    """A number in three digits, without an exponent.

    Example:
        >>> rounded(1234.5), rounded(12.345), rounded(0.12345), rounded(0.0)
        ('1234', '12.3', '0.123', '0')
    """
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def markdown_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading and a table; the first column is aligned left, the others right.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"Expected rows of {len(columns)} cells. Received: {list(row)}. Add a cell or a column.")
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [columns, *rows]]
    lines.insert(1, "|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|")
    return "\n".join([f"### {title}", "", *lines, ""])


def write(folder: str | os.PathLike, name: str, result: Mapping, markdown: str) -> list[Path]:
    """Writes `<name>.json` and `<name>.md` into a folder, which is made if need be, and returns the two paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(markdown, encoding="utf-8")
    return paths
