"""What a model directory holds: architecture, sizes, parameters, vocabulary, labels.

albert-gpt-tf info --preset=runs/docstrings_albert/preset
"""

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(_PRESET.value)
    rows = {"task": type(task).__name__, "parameters": f"{task.count_params():,}"}
    rows |= {name: value for name, value in task.backbone.get_config().items() if name not in ("dtype", "trainable")}
    rows["sequence_length"] = task.preprocessor.sequence_length
    if hasattr(task, "labels"):
        rows["labels"] = ", ".join(task.labels)
    for name, value in rows.items():
        print(f"{name:22} {value}")
