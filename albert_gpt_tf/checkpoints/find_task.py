"""Which of our classes fits what a directory holds."""

import json
from pathlib import Path

from albert_gpt_tf.checkpoints import hugging_face_albert, hugging_face_gpt, keras_hub
from albert_gpt_tf.checkpoints.hugging_face_config import read_config
from albert_gpt_tf.checkpoints.sources import kind_of

# KerasHub's tasks -> ours.
_KERAS_HUB_TASKS = {
    "AlbertMaskedLM": "AlbertMaskedLM",
    "AlbertTextClassifier": "AlbertTextClassifier",
    "GPT2CausalLM": "GPTCausalLM",
}


def class_name_for(directory: str | Path) -> str:
    """The name of our class that keeps the most of a checkpoint.

    Args:
        directory: str or Path, see `local_directory`.

    Returns:
        The name of a task, or of a backbone if the checkpoint has no head that is known.

    Raises:
        ValueError: the directory holds nothing that is known.

    Example:
        >>> class_name_for("models/124M")  # doctest: +SKIP
        'GPTCausalLM'
    """
    directory = Path(directory)
    kind = kind_of(directory)
    if kind == "preset":
        file = "task.json" if (directory / "task.json").is_file() else "config.json"
        return _registered_name(directory / file)
    if kind == "hugging_face":
        config = read_config(directory)
        is_albert = config.values["model_type"] == hugging_face_albert.MODEL_TYPE
        theirs = config.architecture()
        if is_albert:
            ours = {name: cls for cls, name in reversed(hugging_face_albert.CLASSES.items())}
            return ours.get(theirs, "AlbertBackbone")
        ours = {name: cls for cls, names in hugging_face_gpt.CLASSES.items() for name in names}
        return ours.get(theirs, "GPTCausalLM")  # whose head is the token embedding, hence always there
    if kind == "keras_hub":
        task = directory / "task.json"
        is_gpt = "num_segments" not in keras_hub.backbone_arguments(directory)
        default = "GPTCausalLM" if is_gpt else "AlbertBackbone"
        return _KERAS_HUB_TASKS.get(_registered_name(task), default) if task.is_file() else default
    return "AlbertPretrainer" if kind == "google_albert" else "GPTCausalLM"


def _registered_name(path: Path) -> str:
    """`"Class"` of the `"registered_name": "package>Class"` in a file that Keras wrote."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["registered_name"]).rpartition(">")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected JSON with a registered_name in {path}. Received: {error!r}. Copy the preset again."
        ) from error
