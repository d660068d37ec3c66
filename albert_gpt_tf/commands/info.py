"""What a model is made of: parameters, memory and work, without building it.

albert-gpt-tf info
albert-gpt-tf info albert-xxlarge
albert-gpt-tf info gpt3-175B --batch_size=1 --length=2048 --json
albert-gpt-tf info runs/docstrings_albert/preset

The argument is a published size (the first line above lists them) or anything that `from_preset` takes: of a directory
only its configuration is read. With --preset a task is loaded with its weights, and its settings are printed.
"""

import difflib
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from absl import flags

from albert_gpt_tf.models.memory import (
    COMPUTE_BYTES,
    OPTIMIZER_SLOTS,
    activation_bytes,
    cache_bytes_per_token,
    logits_bytes,
    weight_bytes,
)
from albert_gpt_tf.models.parameter_counts import (
    albert_head_parameters,
    albert_parameters,
    gpt_head_parameters,
    gpt_parameters,
)
from albert_gpt_tf.models.sizes import NAMED_SIZES

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of a task to load.")
_BATCH = flags.DEFINE_integer("batch_size", 8, "Rows, for the memory of activations.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", None, "Tokens in a row. Defaults to the model's positions.", lower_bound=1)
_JSON = flags.DEFINE_bool("json", False, "Print JSON.")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    if len(arguments) > 1 or (arguments and _PRESET.value):
        raise ValueError(f"Expected one model. Received: {[*arguments, *filter(None, [_PRESET.value])]}. Name one.")
    if _PRESET.value:
        print_task(_PRESET.value)
        return
    from albert_gpt_tf.commands import info_tables

    if arguments:
        report = describe(arguments[0], _BATCH.value, _LENGTH.value)
    else:
        report = [summary(name) for name in NAMED_SIZES]
    if _JSON.value:
        print(json.dumps(report, indent=2))
    elif arguments:
        info_tables.print_model(report)
    else:
        info_tables.print_sizes(report)


def print_task(preset: str) -> None:
    """Loads a task and prints its settings."""
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(preset)
    rows = {"task": type(task).__name__, "parameters": f"{task.count_params():,}"}
    rows |= {name: value for name, value in task.backbone.get_config().items() if name not in ("dtype", "trainable")}
    rows["sequence_length"] = task.preprocessor.sequence_length
    if hasattr(task, "labels"):
        rows["labels"] = ", ".join(task.labels)
    for name, value in rows.items():
        print(f"{name:22} {value}")


# === Where the arguments come from ===


def read_source(source: str) -> dict[str, Any]:
    """Finds the arguments of a backbone.

    Args:
        source: str, a name of `NAMED_SIZES`, or what `from_preset` takes.

    Returns:
        A dict of `name`, `arguments`, and of a preset also `task`, `labels` and `sequence_length` if it has them.

    Raises:
        ValueError: it is neither.
    """
    if source in NAMED_SIZES:
        return {"name": source, "arguments": NAMED_SIZES[source]}
    from albert_gpt_tf.checkpoints.sources import kind_of, local_directory

    if "://" in source or Path(source).exists():
        directory = local_directory(source)
    else:
        from albert_gpt_tf.checkpoints import keras_hub

        if source not in keras_hub.presets():
            nearest = difflib.get_close_matches(source, [*NAMED_SIZES, *keras_hub.presets()], 1)
            hint = f"Did you mean {nearest[0]!r}?" if nearest else "`albert-gpt-tf info` lists the sizes."
            raise ValueError(f"Expected the name of a size or a directory. Received: {source!r}. {hint}")
        directory = keras_hub.download(source)
    kind = kind_of(directory)
    if kind == "preset":
        return {"name": source, **read_preset(directory)}
    return {"name": source, "arguments": backbone_arguments(directory, kind)}


def read_preset(directory: Path) -> dict[str, Any]:
    """Reads the configuration of one of our own preset directories."""
    config = read_json(directory / "config.json")["config"]
    read = {"arguments": {name: value for name, value in config.items() if name not in ("name", "trainable", "dtype")}}
    if (directory / "task.json").is_file():
        task = read_json(directory / "task.json")
        read["task"] = task["registered_name"].split(">")[-1]
        if task["config"].get("labels"):
            read["labels"] = task["config"]["labels"]
    if (directory / "preprocessor.json").is_file():
        read["sequence_length"] = read_json(directory / "preprocessor.json")["config"].get("sequence_length")
    return read


def read_json(path: Path) -> dict:
    """The object in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def backbone_arguments(directory: Path, kind: str) -> dict[str, Any]:
    """Reads the configuration of somebody else's checkpoint."""
    if kind == "hugging_face":
        kind += "_albert" if read_json(directory / "config.json")["model_type"] == "albert" else "_gpt"
    return importlib.import_module(f"albert_gpt_tf.checkpoints.{kind}").backbone_arguments(directory)


# === What follows from them ===


def is_albert(arguments: dict[str, Any]) -> bool:
    """Whether arguments are those of an `AlbertBackbone`: no GPT has an embedding width of its own."""
    return "embedding_dim" in arguments


def summary(name: str) -> dict[str, Any]:
    """One row of the list of sizes."""
    arguments = NAMED_SIZES[name]
    count = albert_parameters if is_albert(arguments) else gpt_parameters
    used = albert_parameters(**arguments, per_use=True) if is_albert(arguments) else count(**arguments)
    return {
        "name": name,
        "architecture": "AlbertBackbone" if is_albert(arguments) else "GPTBackbone",
        "arguments": with_widths(arguments),
        "stored": sum(count(**arguments).values()),
        "computed_with": sum(used.values()),
    }


def with_widths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Adds the widths that follow from others."""
    completed = dict(arguments)
    if completed.get("intermediate_dim") is None:
        completed["intermediate_dim"] = 4 * completed["hidden_dim"]
    if not is_albert(completed) and completed.get("head_dim") is None:
        completed["head_dim"] = completed["hidden_dim"] // completed["num_heads"]
    return completed


def describe(source: str, batch: int = 8, length: int | None = None) -> dict[str, Any]:
    """Counts parameters, bytes and operations of a model.

    Args:
        source: str, see `read_source`.
        batch: int, rows. Defaults to 8.
        length: int, tokens in a row. Defaults to `max_sequence_length`.

    Returns:
        A dict that JSON can hold; what is printed, and exact.

    Raises:
        ValueError: the source is unknown, or the rows are longer than the model's positions.

    Example:
        >>> describe("gpt3-175B")["parameters"]["stored"]
        174604259328
    """
    read = read_source(source)
    arguments = with_widths(read.pop("arguments"))
    # A directory's configuration may leave out what the constructor has a default for.
    positions = arguments.setdefault("max_sequence_length", 512 if is_albert(arguments) else 1024)
    length = length or positions
    if length > positions:
        raise ValueError(f"Expected a length of at most {positions}, the model's positions. Received: {length}.")
    albert = is_albert(arguments)
    stored = albert_parameters(**arguments) if albert else gpt_parameters(**arguments)
    used = albert_parameters(**arguments, per_use=True) if albert else stored
    total = sum(stored.values())
    parameters = {"stored": total, "computed_with": sum(used.values()), "trainable": total}
    if albert:
        own = {name: stored[name] for name in ("adapters", "gates")}
        parameters |= {
            "shared_weights": total - sum(own.values()),
            **own,
            "trainable_per_layer_only": sum(own.values()),
        }
    classes = len(read.get("labels", ("one", "other")))
    heads = (albert_head_parameters if albert else gpt_head_parameters)(**arguments, num_classes=classes)
    # What the formula reads, as attributes of something that is not built.
    sizes = {"num_inner_repetitions": 1, **arguments} if albert else arguments
    from albert_gpt_tf.training.flops import training_flops_per_token

    step = training_flops_per_token(SimpleNamespace(**sizes), length)
    return {
        **read,
        "architecture": "AlbertBackbone" if albert else "GPTBackbone",
        "arguments": arguments,
        "parameters": {**parameters, "blocks": stored, "blocks_computed_with": used},
        "heads": {"classes": classes, **heads},
        "batch": batch,
        "length": length,
        "memory": {policy: memory(total, arguments, batch, length, policy) for policy in COMPUTE_BYTES},
        "flops_per_token": {"forward": step / 3, "training_step": step},
        "notes": gpt3_notes(arguments) if source in NAMED_SIZES and source.startswith("gpt3-") else [],
    }


def memory(parameters: int, arguments: dict[str, Any], batch: int, length: int, policy: str) -> dict[str, Any]:
    """Bytes in inference and in training under a precision policy."""
    is_gpt = not is_albert(arguments)
    per_weight = weight_bytes(parameters, policy)
    fixed = {name: per_weight[name] for name in ("weights", "cast copy")}
    batch_arguments = {"policy": policy, **arguments, "recompute": False}
    kept = activation_bytes(batch, length, **batch_arguments)
    layers = arguments["num_layers"] * arguments.get("num_inner_repetitions", 1)
    inference = {**fixed, "activations": kept // layers}
    training = {**fixed, "gradients": per_weight["gradients"], "activations": kept}
    if is_gpt:
        training["logits"] = logits_bytes(batch, length, **batch_arguments)
    slots = {name: per_weight[name] for name in OPTIMIZER_SLOTS}
    totals = {name: sum(training.values()) + size for name, size in slots.items()}
    result = {"inference": {**inference, "total": sum(inference.values())}, "training": training}
    training |= {"optimizer_slots": slots, "total": totals}
    if is_gpt:
        recomputed = activation_bytes(batch, length, **{**batch_arguments, "recompute": True})
        training["activations_with_recompute"] = recomputed
        training["total_with_recompute"] = {name: total - kept + recomputed for name, total in totals.items()}
        result["cache_per_token"] = cache_bytes_per_token(**batch_arguments)
    return result


def gpt3_notes(arguments: dict[str, Any]) -> list[str]:
    """What a reader of GPT-3's counts should know."""
    notes = [
        "The paper alternates dense and banded attention and prints no width for the band. Here all layers are dense; "
        "attention_window=... gives the band and changes no weight."
    ]
    heads, head_dim, hidden = (arguments[name] for name in ("num_heads", "head_dim", "hidden_dim"))
    if heads * head_dim != hidden:
        printed = sum(gpt_parameters(**arguments).values())
        square = sum(gpt_parameters(**{**arguments, "num_heads": 1, "head_dim": hidden}).values())
        notes.insert(
            0,
            f"The paper's row contradicts itself: {heads} heads of {head_dim} are {heads * head_dim} wide together, "
            f"not {hidden}. As printed (and here) it has {printed:,} parameters, with heads {hidden} wide together "
            f"{square:,}.",
        )
    return notes
