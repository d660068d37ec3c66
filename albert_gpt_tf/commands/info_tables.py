"""Prints what `info` found as tables of at most 100 columns."""

import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100


def print_sizes(rows: list[dict[str, Any]]) -> None:
    """Prints the list of published sizes."""
    table = new_table("", "layers", "hidden", "heads", "tokens", "length", "parameters", "computed with")
    for row in rows:
        sizes = row["arguments"]
        head_dim = sizes.get("head_dim") or sizes["hidden_dim"] // sizes["num_heads"]
        table.add_row(
            row["name"],
            *(str(sizes[name]) for name in ("num_layers", "hidden_dim")),
            f"{sizes['num_heads']} x {head_dim}",
            *(str(sizes[name]) for name in ("vocabulary_size", "max_sequence_length")),
            f"{row['stored']:,}",
            f"{row['computed_with']:,}" if row["computed_with"] != row["stored"] else "",
        )
    print_all(
        table,
        "Backbones without heads. Feed-forward networks are four times as wide as hidden. Computed with: shared "
        "weights count once for each use.",
    )


def print_model(report: dict[str, Any]) -> None:
    """Prints all about one model."""
    print_all(
        f"{report['name']}: {report['architecture']}",
        arguments_table(report),
        parameters_table(report),
        *(f"Note: {note}" for note in report["notes"]),
        memory_table(report),
        memory_notes(report),
        flops_table(report),
    )


def arguments_table(report: dict[str, Any]) -> Table:
    """The arguments of the backbone, and what a preset says beside."""
    table = new_table("argument", "value")
    for name, value in report["arguments"].items():
        table.add_row(name, str(value))
    for name in ("task", "labels", "sequence_length"):
        if report.get(name):
            value = report[name]
            table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return table


def parameters_table(report: dict[str, Any]) -> Table:
    """Counts by block, their sums, and the heads."""
    counts = report["parameters"]
    table = new_table("parameters", "stored", "computed with")
    for name, count in counts["blocks"].items():
        if count:
            table.add_row(name, f"{count:,}", f"{counts['blocks_computed_with'][name]:,}")
    table.add_row("total", f"{counts['stored']:,}", f"{counts['computed_with']:,}", style="bold", end_section=True)
    if "shared_weights" in counts:
        table.add_row("W, the transformer that layers share", f"{counts['shared_weights']:,}")
        table.add_row("A, adapters of layers", f"{counts['adapters']:,}")
        table.add_row("G, gates of layers", f"{counts['gates']:,}")
    table.add_row("trainable", f"{counts['trainable']:,}", end_section=True)
    if counts.get("trainable_per_layer_only"):
        table.add_row("trainable, W frozen", f"{counts['trainable_per_layer_only']:,}", end_section=True)
    heads = dict(report["heads"])
    classes = heads.pop("classes")
    for name, count in heads.items():
        table.add_row(f"+ {name}" + (f", {classes} classes" if "classifier" in name else ""), f"{count:,}")
    return table


def memory_table(report: dict[str, Any]) -> Table:
    """Bytes under each precision policy."""
    policies = {"float32": "float32", "mixed_bfloat16": "mixed_bfloat16, mixed_float16"}
    table = new_table(f"memory, {report['batch']} rows of {report['length']} tokens", *policies.values())
    columns = [report["memory"][policy] for policy in policies]

    def add(name, *path, **style):
        values = []
        for column in columns:
            for key in path:
                column = column[key]
            values.append(readable_bytes(column))
        table.add_row(name, *values, **style)

    add("inference: weights", "inference", "weights")
    add("  cast copy of weights, at most", "inference", "cast copy")
    add("  activations of one layer, at most", "inference", "activations")
    has_cache = "cache_per_token" in columns[0]
    add("  total", "inference", "total", style="bold", end_section=not has_cache)
    if has_cache:
        add("  keys and values of a token, beside", "cache_per_token", end_section=True)
    add("training: weights", "training", "weights")
    add("  cast copy of weights, at most", "training", "cast copy")
    add("  gradients", "training", "gradients")
    for name in columns[0]["training"]["optimizer_slots"]:
        add(f"  slots of {name}", "training", "optimizer_slots", name)
    add("  activations", "training", "activations")
    if has_cache:
        add("  activations with recompute=True", "training", "activations_with_recompute")
        add("  logits and their gradient", "training", "logits")
    add("  total with SGD", "training", "total", "SGD", style="bold")
    add("  total with AdamW or LAMB", "training", "total", "AdamW", style="bold")
    if has_cache:
        add("  the same with recompute=True", "training", "total_with_recompute", "AdamW", style="bold")
    return table


def memory_notes(report: dict[str, Any]) -> str:
    """The formula of the activations."""
    text = (
        "Variables, gradients and slots are float32 under every policy. Activations kept for the backward pass are, "
        "per token and layer, c (4 A D + 2 H + 5 I) + 16 H + 8 + A T (4 + (c if c < 4)) bytes, for c bytes a number, "
        "A heads of width D, hidden width H, inner width I and length T; dropout adds its masks. "
    )
    if report["architecture"] == "GPTBackbone":
        return text + "With recompute=True a layer keeps c H, and one layer at a time all of it."
    return text + "Sharing weights saves none of them. Heads come on top."


def flops_table(report: dict[str, Any]) -> Table:
    """Operations of a token."""
    table = new_table("floating-point operations of a token", "")
    table.add_row("forward", f"{report['flops_per_token']['forward']:.4g}")
    table.add_row("training step", f"{report['flops_per_token']['training_step']:.4g}")
    return table


def new_table(first: str, *others: str) -> Table:
    """A plain table: names on the left, numbers on the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left")
    table.add_column(first, no_wrap=len(others) != 1)
    for name in others:
        table.add_column(name, justify="right" if name != "value" else "left")
    return table


def readable_bytes(count: int) -> str:
    """13,892,321 -> "13.2 MiB"."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def print_all(*parts: Table | str) -> None:
    """Prints tables and sentences, a blank line between them."""
    console = Console(highlight=False, markup=False) if sys.stdout.isatty() else Console(width=WIDTH, markup=False)
    if console.width > WIDTH:
        console = Console(width=WIDTH, highlight=False, markup=False)
    for index, part in enumerate(parts):
        if index:
            console.print()
        console.print(part)
