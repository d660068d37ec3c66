"""What `albert-gpt-tf train --dry_run` prints: the size, the memory and the time of a run, after two steps of it."""

from rich.console import Console
from rich.table import Table

from albert_gpt_tf.models.memory import activation_bytes, logits_bytes, weight_bytes


def print_plan(config, strategy) -> None:
    """Reads the data, computes two steps and prints the plan. Nothing is written.

    Args:
        config: an `ml_collections.ConfigDict`, see `configs/`.
        strategy: a `tf.distribute.Strategy`.

    Raises:
        ValueError, DataError: as `train` would.

    Example:
        >>> print_plan(get_config(), make_strategy("one_device"))
    """
    table = Table(title="Plan", show_header=False)
    for name, value in plan_rows(config, strategy).items():
        table.add_row(name, value)
    Console().print(table)


def plan_rows(config, strategy) -> dict[str, str]:
    """The rows of the plan, by name."""
    from albert_gpt_tf.training.flops import training_flops_per_token
    from albert_gpt_tf.training.run import prepare_task
    from albert_gpt_tf.training.settings import micro_batches
    from albert_gpt_tf.training.two_steps import two_steps

    plan = prepare_task(config, strategy)
    task, replicas = plan.task, strategy.num_replicas_in_sync
    tokens = config.batch_size * config.sequence_length
    flops = training_flops_per_token(task.backbone, config.sequence_length) * tokens
    parts = micro_batches(config, strategy)
    rows = {
        "task": plan.title,
        "parameters": f"{task.count_params():,}",
        "tokens a step": f"{tokens:,} ({config.batch_size} rows of {config.sequence_length})",
        "steps": f"{config.steps:,}, {config.steps * tokens:,} tokens with padding",
    }
    if plan.rows:
        rows["epochs"] = f"{config.steps * config.batch_size / plan.rows:.2f} of {plan.rows:,} rows"
    rows["replicas and micro-batches"] = (
        f"{replicas} × {parts} of {config.batch_size // replicas // parts} rows, which are one batch"
    )
    for name, size in memory(task, config, config.batch_size // replicas // parts).items():
        rows[f"memory, {name}"] = f"{size / 2**20:,.0f} MiB on each replica, estimated"
    seconds, peak_memory_mb, loss = two_steps(plan)
    rows |= {
        "work": f"{flops:.3g} floating-point operations a step, {flops * config.steps:.3g} in all",
        "loss of the second step": f"{loss:.3f}",
        "peak memory of this process": f"{peak_memory_mb:,} MB, measured",
        "time": f"{seconds:.3g} s for the second step, {duration(seconds * config.steps)} for all, without validation",
    }
    return rows


def memory(task, config, rows: int) -> dict[str, int]:
    """Bytes on each replica, estimated from the arguments of the backbone."""
    arguments = task.backbone.get_config()
    recompute = arguments.pop("recompute", False)
    trainable = sum(int(weight.shape.num_elements() or 1) for weight in task.trainable_variables)
    of_weights = weight_bytes(task.count_params(), config.precision, trainable)
    optimizer = {"adamw": "AdamW", "lamb": "LAMB"}[config.optimizer]
    parts = {
        "weights": of_weights["weights"] + of_weights["cast copy"],
        "gradients and optimizer": of_weights["gradients"] + of_weights[optimizer],
        "activations": activation_bytes(rows, config.sequence_length, recompute, config.precision, **arguments),
    }
    if config.task == "causal_lm":
        parts["logits"] = logits_bytes(rows, config.sequence_length, policy=config.precision, **arguments)
    return parts | {"together": sum(parts.values())}


def duration(seconds: float) -> str:
    """A time in words: `1.5 hours`.

    Example:
        >>> duration(5400)
        '1.5 hours'
    """
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.0f} seconds"
