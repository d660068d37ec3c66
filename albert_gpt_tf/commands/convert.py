"""Writes a model of any known format as one of our presets, or as a directory for Transformers.

    albert-gpt-tf convert --from=albert_base_v2 --to=presets/albert_base
    albert-gpt-tf convert --from=hf://openai-community/gpt2 --to=presets/gpt2
    albert-gpt-tf convert --from=runs/spam/preset --to=spam_for_transformers --format=hugging_face

The source is anything that `from_preset` takes: a preset of ours or of KerasHub, a Hugging Face directory or
hf://owner/name, a directory of google-research's ALBERT, of OpenAI's GPT-2 or GPT-1. Without --task the class is the
one that keeps the most of it.
"""

from pathlib import Path

from absl import flags

_FROM = flags.DEFINE_string("from", None, "Directory, hf://owner/name, or name of a KerasHub preset.", required=True)
_TO = flags.DEFINE_string("to", None, "Directory to write; it must not hold anything yet.", required=True)
_FORMAT = flags.DEFINE_enum("format", "preset", ["preset", "hugging_face"], "What to write.")
_TASK = flags.DEFINE_string("task", None, "Class of the model, such as AlbertMaskedLM or GPTBackbone.")
_LABELS = flags.DEFINE_list("labels", None, "Names of the classes, where the source has none.")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    target = Path(_TO.value)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"Expected a new or empty directory in --to. Received: {_TO.value}. Give another one.")

    from albert_gpt_tf.checkpoints.find_task import class_name_for
    from albert_gpt_tf.checkpoints.load import find_directory
    from albert_gpt_tf.checkpoints.load_tokenizer import load_tokenizer
    from albert_gpt_tf.checkpoints.save_hugging_face import save_to_hugging_face
    from albert_gpt_tf.checkpoints.sources import kind_of
    from albert_gpt_tf.models.albert_backbone import AlbertBackbone
    from albert_gpt_tf.models.gpt_backbone import GPTBackbone
    from albert_gpt_tf.tasks.load import TASKS

    classes = {cls.__name__: cls for cls in (AlbertBackbone, GPTBackbone, *TASKS)}
    directory = find_directory(_FROM.value)
    name = _TASK.value or class_name_for(directory)
    if name not in classes:
        raise ValueError(f"Expected a class among {sorted(classes)} in --task. Received: {name}. Give one of these.")
    options = {} if _LABELS.value is None else {"labels": _LABELS.value}
    model = classes[name].from_preset(directory, **options)

    tokenizer = None
    if not hasattr(model, "backbone") and (kind := kind_of(directory)) != "preset":
        tokenizer = load_tokenizer(directory, kind, is_gpt1=not getattr(model, "norm_first", True))
    if _FORMAT.value == "hugging_face":
        save_to_hugging_face(model, target, tokenizer=tokenizer)
    else:
        model.save_to_preset(str(target))
        if tokenizer is not None:
            tokenizer.save_to_preset(str(target))
    print(f"{target}  {name}, {model.count_params():,} parameters")
