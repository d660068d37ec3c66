"""Classifies texts: one JSON object a line.

albert-gpt-tf predict --preset=runs/docstrings_albert/preset "Return the sum of array elements over an axis."
albert-gpt-tf predict --preset=runs/docstrings_albert/preset < texts.txt
"""

import json
import sys
from itertools import islice

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Texts computed at a time.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
    from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(_PRESET.value)
    if not isinstance(task, AlbertTextClassifier | GPTTextClassifier):
        raise ValueError(
            f"predict needs a text classifier. Received: a {type(task).__name__} in {_PRESET.value!r}. "
            "A language model answers `albert-gpt-tf generate`."
        )
    texts = iter(arguments) if arguments else (line.rstrip("\n") for line in sys.stdin)
    while batch := list(islice(texts, _BATCH_SIZE.value)):
        for text, scores in zip(batch, task.predict(batch, verbose=0), strict=True):
            if task.regression:
                print(json.dumps({"text": text, "value": float(scores)}), flush=True)
                continue
            scores = dict(zip(task.labels, map(float, scores), strict=True))
            label = max(scores, key=scores.get)
            print(json.dumps({"text": text, "label": label, "score": scores[label], "scores": scores}), flush=True)
