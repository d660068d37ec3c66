"""Finds out which task a preset directory holds."""

import json
from pathlib import Path

from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.task import Task

TASKS = (AlbertTextClassifier, GPTCausalLM)


def load_task(preset: str) -> Task:
    """Loads whatever task `save_to_preset` wrote.

    Args:
        preset: str or Path, a preset directory.

    Returns:
        The task, with its weights and its preprocessor.

    Raises:
        ValueError: the directory does not hold a task of this library.

    Example:
        >>> load_task("runs/docstrings_gpt/preset").generate("Returns the", max_new_tokens=5)
        ' number of elements in the'
    """
    file = Path(preset) / "task.json"
    if not file.is_file():
        raise ValueError(
            f"Expected a preset directory with task.json, as `save_to_preset` writes. Received: {str(preset)!r}. "
            "Give the `preset` folder of a run's working directory."
        )
    name = json.loads(file.read_text(encoding="utf-8")).get("registered_name", "")
    for task in TASKS:
        if name == f"albert_gpt_tf>{task.__name__}":
            return task.from_preset(str(preset))
    raise ValueError(f"Expected a task among {[task.__name__ for task in TASKS]} in {file}. Received: {name!r}")
