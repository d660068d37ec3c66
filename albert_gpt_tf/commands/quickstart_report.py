"""The end of the quickstart: a table in the terminal, and a page with curves and the confusion matrix."""

import html
import io
import json
import os
from pathlib import Path

from rich.table import Table

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>albert_gpt_tf quickstart</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
td {{ padding: .1rem 1rem .1rem 0 }} td:last-child {{ text-align: right; font-variant-numeric: tabular-nums }}
td:first-child {{ white-space: pre }} pre {{ background: #f4f4f4; padding: .8rem; white-space: pre-wrap }}
svg {{ max-width: 100%; height: auto }}
</style>
<h1>albert_gpt_tf quickstart</h1>
<table>{rows}</table>
<h2>Loss</h2>{curves}
<h2>Which library does this docstring come from?</h2>{confusion}
<h2>What GPT writes</h2>{samples}
</html>
"""


def print_table(console, rows: dict, files: dict) -> None:
    """Prints the results and where the files are."""
    table = Table(title="Measured", show_header=False)
    for name, value in rows.items():
        table.add_row(name, written(value))
    console.print(table)
    table = Table(title="Files", show_header=False)
    for name, value in files.items():
        table.add_row(name, value)
    console.print(table)


def written(value) -> str:
    """Numbers in four digits, tiny ones in scientific form."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def write_report(workdir: Path, rows: dict, classifier, test_split, samples) -> Path:
    """Writes `report.html`, which needs no other file.

    Args:
        workdir: the quickstart's directory, with `albert/metrics.jsonl` and `gpt/metrics.jsonl`.
        rows: dict of name to value, the table.
        classifier: an `AlbertTextClassifier`.
        test_split: (texts, labels).
        samples: list of (prompt, continuation).

    Returns:
        The Path of the page.
    """
    texts, labels = test_split
    cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(written(v))}</td></tr>" for k, v in rows.items())
    page = PAGE.format(
        rows=cells,
        curves=loss_curves({"ALBERT": workdir / "albert", "GPT": workdir / "gpt"}),
        confusion=confusion_matrix(labels, classifier.classify(texts), classifier.labels),
        samples="".join(f"<pre><b>{html.escape(p)}</b>{html.escape(c)}</pre>" for p, c in samples),
    )
    path = workdir / "report.html"
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def loss_curves(runs: dict[str, Path]) -> str:
    """The training and validation loss of each run over its steps, as SVG."""
    figure, axes = new_figure(1, len(runs), (10, 3.5))
    for axis, (name, run) in zip(axes.flat, runs.items(), strict=True):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        training = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        validation = [(line["step"], line["val_loss"]) for line in lines if "val_loss" in line]
        validation = validation or [(training[-1][0], results["validation_loss"])]  # not validated on the way
        axis.plot(*zip(*training, strict=True), label="training")
        axis.plot(*zip(*validation, strict=True), marker="o", label="validation")
        axis.set(title=name, xlabel="step", ylabel="loss (nats)")
        axis.grid(alpha=0.3)
        axis.legend()
    return as_svg(figure)


def confusion_matrix(true_labels, predicted_labels, names) -> str:
    """Rows: the true label; columns: the prediction; as SVG."""
    from sklearn.metrics import ConfusionMatrixDisplay

    figure, axes = new_figure(1, 1, (5.5, 4.5))
    ConfusionMatrixDisplay.from_predictions(
        true_labels, predicted_labels, labels=names, ax=axes.flat[0], cmap="Blues", colorbar=False
    )
    return as_svg(figure)


def new_figure(rows, columns, size):
    """A figure without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def as_svg(figure) -> str:
    """The `<svg>` element of a figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
