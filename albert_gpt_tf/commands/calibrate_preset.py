"""What `calibrate` computes of a preset and writes into it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from albert_gpt_tf.training.calibration import expected_calibration_error, reliability_curve


def logits_of(task: Any, columns: tuple[list[str], ...], batch_size: int) -> np.ndarray:
    """A classifier's logits for one or two columns of text -> float32 [rows, classes]."""

    def to_ids(*texts):
        return task.preprocessor(texts if len(texts) > 1 else texts[0])

    batches = tf.data.Dataset.from_tensor_slices(columns).batch(batch_size).map(to_ids).prefetch(1)
    compiled = tf.function(task.logits, reduce_retracing=True)
    shown = track(batches, "Computing logits", total=len(batches), console=Console(stderr=True))
    return np.concatenate([compiled(ids).numpy() for ids in shown])


def draw_reliability(logits: np.ndarray, targets: np.ndarray, temperatures: tuple[float, float], path: Path) -> Path:
    """Draws accuracy over confidence before and after, and how many rows are where; a PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The reliability plot needs matplotlib, which is not installed. Run: pip install 'albert-gpt-tf[plots]'"
        ) from error
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
    for column, (title, temperature) in enumerate(zip(("before", "after"), temperatures, strict=True)):
        probabilities = tf.nn.softmax(logits.astype("float64") / temperature).numpy()
        bins = reliability_curve(probabilities, targets)
        width, centres = bins[0].upper, [(b.lower + b.upper) / 2 for b in bins]
        top, bottom = axes[:, column]
        top.bar(centres, [b.accuracy if b.count else 0 for b in bins], width * 0.92, color="#0072b2")
        top.plot([0, 1], [0, 1], "--", color="#d55e00", label="confidence = accuracy")
        error = expected_calibration_error(probabilities, targets)
        top.set(title=f"{title}: temperature {temperature:.2f}, calibration error {error:.3f}", ylim=(0, 1))
        top.legend(loc="upper left")
        bottom.bar(centres, [b.count for b in bins], width * 0.92, color="#777777")
        bottom.set(xlabel="confidence (largest score)", xlim=(0, 1))
    axes[0, 0].set(ylabel="share that is right")
    axes[1, 0].set(ylabel="rows")
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)
    return path


def write_temperature(preset: str, temperature: float) -> None:
    """Writes a temperature into a preset's task.json, in one step: a reader sees the old one or the new one."""
    path = Path(preset) / "task.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["config"]["temperature"] = temperature
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=4), encoding="utf-8")
    os.replace(partial, path)
