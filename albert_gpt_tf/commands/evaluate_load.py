"""Loads the task of any source, for commands that only compute with it."""

from albert_gpt_tf.checkpoints.find_task import class_name_for
from albert_gpt_tf.checkpoints.load import find_directory
from albert_gpt_tf.tasks.load import TASKS
from albert_gpt_tf.tasks.task import Task


def load_any_task(source: str) -> Task:
    """The task of a preset, or of a checkpoint of another library.

    Args:
        source: str, whatever `from_preset` takes.

    Returns:
        The task, with its preprocessor.

    Raises:
        ValueError: the source is not known, or has no head.

    Example:
        >>> load_any_task("hf://openai-community/gpt2").generate("The", max_new_tokens=3)  # doctest: +SKIP
    """
    directory = find_directory(source)
    name = class_name_for(directory)
    classes = {cls.__name__: cls for cls in TASKS}
    if name not in classes:
        raise ValueError(
            f"Expected a model with a head, one of {sorted(classes)}. Received: {source}, a {name}. Fine-tune it first."
        )
    return classes[name].from_preset(str(directory))
