"""The helpers of the benchmarks: turns and medians, the machine, memory, tables; and the random strings."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    """A module of `benchmarks/`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure = load("measure")
random_texts = load("random_texts")


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)

    def takes(self, *seconds):
        """A function whose calls last so long, one after the other."""
        durations = iter(seconds)

        def run():
            self.now += next(durations)

        return run


# === Turns ===


def test_contenders_take_turns_after_a_warm_up():
    calls = []
    measure.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] + ["a", "b"] * 2


def test_a_turn_may_have_several_calls():
    calls, turns = [], []
    contenders = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    measure.interleaved(contenders, repeats=2, calls=3, progress=lambda: turns.append(len(calls)))
    assert "".join(calls) == "ab" + "aaabbb" * 2
    assert turns == [1, 2, 5, 8, 11, 14]


def test_the_median_counts_and_the_warm_up_does_not(monkeypatch):
    clock = Clock(monkeypatch)
    contenders = {"a": clock.takes(90.0, 1.0, 3.0, 50.0), "b": clock.takes(0.0, 4.0, 4.0, 5.0)}
    assert measure.interleaved(contenders, repeats=3) == {"a": 3.0, "b": 4.0}


@pytest.mark.parametrize("numbers", [{"repeats": 0}, {"repeats": 1, "calls": 0}])
def test_no_turns_are_an_error(numbers):
    with pytest.raises(ValueError, match="at least 1"):
        measure.interleaved({"a": lambda: None}, **numbers)


# === The machine ===


def test_the_machine_and_the_versions_are_named():
    described = measure.machine(["pytest", "no-such-distribution"])
    assert described["pytest"] == pytest.__version__
    assert "no-such-distribution" not in described
    assert all(described[name] for name in ("date", "CPU", "cores", "RAM", "system", "Python"))


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read on Linux only")
def test_memory_that_is_filled_is_seen():
    before = measure.resident_megabytes()
    block = bytearray(b"x" * 64_000_000)
    assert 50 < measure.resident_megabytes() - before < 200
    assert len(block) == 64_000_000


# === Tables and files ===


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (99.44, "99.4"), (1.2345, "1.23"), (0.00123, "0.00123"), (-5, "-5.00"), (0, "0")],
)
def test_numbers_keep_three_digits(value, text):
    assert measure.rounded(value) == text


def test_a_table_is_markdown():
    assert measure.markdown_table("T", ["", "x|y"], [["a", "1"]]) == "### T\n\n|  | x\\|y |\n|---|---:|\n| a | 1 |\n"


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="rows of 2 cells"):
        measure.markdown_table("T", ["", "x"], [["a"]])


def test_results_are_written_as_json_and_markdown(tmp_path):
    paths = measure.write(tmp_path / "new" / "folder", "tokens", {"µs": 1.5}, "text\n")
    assert [path.name for path in paths] == ["tokens.json", "tokens.md"]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == {"µs": 1.5}
    assert paths[1].read_text(encoding="utf-8") == "text\n"


# === Random strings ===


def test_random_strings_follow_the_seed():
    first = list(random_texts.random_texts(300, seed=1))
    assert first == list(random_texts.random_texts(300, seed=1))
    assert first != list(random_texts.random_texts(300, seed=2))
    assert len(first) == 300


def test_random_strings_are_text_and_some_are_long():
    texts = list(random_texts.random_texts(random_texts.LONG_EVERY + 1, seed=0))
    joined = "".join(texts)
    joined.encode()  # no surrogates
    for part in ("\u0085", "\u00a0", "\u3000", "\u200d", "'ll", "``", "<|endoftext|>", "[MASK]", "9,000"):
        assert part in joined
    assert sum(len(text) > 200 for text in texts) >= 2


def test_random_bytes_are_mostly_malformed():
    def is_text(row):
        try:
            row.decode()
        except UnicodeDecodeError:
            return False
        return True

    rows = random_texts.random_bytes(200, seed=0)
    assert rows == random_texts.random_bytes(200, seed=0)
    assert sum(map(is_text, rows)) < 100
