"""Time and peak memory of loading GPT-2 small from a Hugging Face directory, ours and Transformers', in turns.

    python benchmarks/loading.py [--peer_python=PYTHON]

Every load runs in a fresh process and is measured from after the imports until every weight was read once: what a
library maps from the file is not there before. Prints a Markdown table, and writes it with all figures as JSON to the
folder `--output`. See README.md. Linux only.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

VOCABULARY, POSITIONS, HIDDEN, LAYERS = 50257, 1024, 768, 12
OURS, PEER = "albert_gpt_tf", "Transformers"
PACKAGES = ["albert-gpt-tf", "tensorflow", "keras", "numpy", "safetensors", "torch", "transformers"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contender; the median counts. Default: 5")
    parser.add_argument(
        "--peer_python", default=sys.executable, help="Python that has PyTorch and Transformers. Default: this one"
    )
    parser.add_argument("--output", default="results", help="folder for loading.{json,md}. Default: results")
    # For the program itself, which loads in fresh processes.
    parser.add_argument("--load", nargs=2, metavar=("WHOSE", "DIRECTORY"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.repeats < 1:
        parser.error(f"Expected --repeats of at least 1. Received: {flags.repeats}.")
    return flags


# === What is loaded ===


def write_checkpoint(directory: Path) -> int:
    """Writes `config.json` and `model.safetensors` of GPT-2 small, random, and returns the size of the latter."""
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    tensors = {"wte.weight": random(VOCABULARY, HIDDEN), "wpe.weight": random(POSITIONS, HIDDEN)}
    widths = {"attn.c_attn": (1, 3), "attn.c_proj": (1, 1), "mlp.c_fc": (1, 4), "mlp.c_proj": (4, 1)}  # of HIDDEN
    norms = ["ln_f"]
    for i in range(LAYERS):
        for name, (before, after) in widths.items():
            tensors[f"h.{i}.{name}.weight"] = random(before * HIDDEN, after * HIDDEN)
            tensors[f"h.{i}.{name}.bias"] = random(after * HIDDEN)
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
    for name in norms:
        tensors |= {f"{name}.weight": 1 + random(HIDDEN), f"{name}.bias": random(HIDDEN)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "gpt2", "architectures": ["GPT2Model"], "vocab_size": VOCABULARY, "n_positions": POSITIONS}
    config |= {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 12, "activation_function": "gelu_new"}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return (directory / "model.safetensors").stat().st_size


# === One load, in a process of its own ===


def memory_bytes(field: str) -> int:
    """`VmRSS`, what this process holds in RAM, or `VmHWM`, the most it held since `forget_peak`."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"Expected {field} in /proc/self/status. Received: none. Run this on Linux.")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def loader(whose: str):
    """(function directory -> model, function model -> sum of all its weights)."""
    if whose == OURS:
        import tensorflow as tf

        import albert_gpt_tf as agt

        return agt.GPTBackbone.from_preset, lambda model: sum(float(tf.reduce_sum(w.value)) for w in model.weights)
    from transformers import GPT2Model

    return GPT2Model.from_pretrained, lambda model: sum(float(w.detach().sum()) for w in model.parameters())


def load(whose: str, directory: str) -> dict[str, float]:
    """Seconds and bytes of one load. Pages of a mapped file count, as they do for whoever limits the process."""
    read, total = loader(whose)
    forget_peak()
    before = memory_bytes("VmRSS")
    start, start_of_cpu = time.perf_counter(), time.process_time()
    model = read(directory)
    returned = time.perf_counter()
    summed = total(model)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_of_cpu
    return {
        "seconds": seconds,
        "CPU seconds": cpu_seconds,
        "seconds until it returned": returned - start,
        "peak": memory_bytes("VmHWM") - before,
        "held": memory_bytes("VmRSS") - before,
        "sum": summed,
    }


def in_fresh_process(python: str, whose: str, directory: Path) -> dict[str, float]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TRANSFORMERS_VERBOSITY": "error"}
    ran = subprocess.run(
        [python, __file__, "--load", whose, str(directory)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


# === All of them ===


def main() -> None:
    flags = arguments()
    if flags.load:
        print(json.dumps(load(*flags.load)))
        return
    pythons = {OURS: sys.executable, PEER: flags.peer_python}
    turns: dict[str, list[dict[str, float]]] = {whose: [] for whose in pythons}
    with tempfile.TemporaryDirectory() as name:
        size = write_checkpoint(Path(name))
        for turn in range(flags.repeats + 1):
            for whose, python in pythons.items():
                figures = in_fresh_process(python, whose, Path(name))
                if turn:  # the first one warms the system's cache of files
                    turns[whose].append(figures)
    sums = {whose: figures[0]["sum"] for whose, figures in turns.items()}
    if not math.isclose(sums[OURS], sums[PEER], rel_tol=1e-3):  # added in another order
        sys.exit(f"Expected the same weights in both. Received sums of all of them: {sums}.")
    median = {
        whose: {
            key: statistics.median(one[key] for one in figures) for key in ("seconds", "CPU seconds", "peak", "held")
        }
        for whose, figures in turns.items()
    }
    rows = [
        [
            whose,
            measure.rounded(figures["seconds"]),
            measure.rounded(figures["seconds"] / median[PEER]["seconds"]),
            measure.rounded(figures["CPU seconds"]),
            measure.rounded(figures["peak"] / size),
            measure.rounded(figures["held"] / size),
        ]
        for whose, figures in median.items()
    ]
    title = f"Loading GPT-2 small, {size / 1e6:.0f} MB of float32 in safetensors"
    columns = ["", "seconds", f"time / {PEER}", "CPU seconds", "peak memory / file", "memory held / file"]
    markdown = measure.markdown_table(title, columns, rows)
    print(markdown)
    result = {"machine": measure.machine(PACKAGES), "bytes": size, "turns": turns, "median": median}
    measure.write(flags.output, "loading", result, markdown)


if __name__ == "__main__":
    main()
