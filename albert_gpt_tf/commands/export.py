"""Writes a model as a SavedModel for TF Serving, or as a .tflite file.

    albert-gpt-tf export --preset=runs/docstrings_albert/preset --path=exported/docstrings
    albert-gpt-tf export --preset=runs/docstrings_albert/preset --path=docstrings.tflite --format=tflite
    albert-gpt-tf export --preset=runs/mnli/preset --path=exported/mnli --text_pair

A SavedModel goes into the next version directory under the path, checked against TF Serving's rules, with warm-up
requests.
"""

import json
import shlex

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_PATH = flags.DEFINE_string("path", None, "Base path of the versions, or the .tflite file.", required=True)
_FORMAT = flags.DEFINE_enum("format", "saved_model", ["saved_model", "tflite"], "What to write.")
_QUANTIZATION = flags.DEFINE_enum("quantization", None, ["float16", "int8"], "Smaller weights (tflite).")
_MAX_NEW_TOKENS = flags.DEFINE_integer("max_new_tokens", 64, "Tokens of a language model's serving_default.", 1)
_TEXT_PAIR = flags.DEFINE_bool("text_pair", False, "Whether a text classifier takes two texts a row (saved_model).")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    import numpy as np

    from albert_gpt_tf.exporters import export_saved_model, export_tflite
    from albert_gpt_tf.exporters.warmup import read_warmup_requests
    from albert_gpt_tf.tasks.load import load_task

    if _TEXT_PAIR.value and _FORMAT.value == "tflite":
        raise ValueError(
            "Expected one text a row in a .tflite file. Received: --text_pair. Write a SavedModel instead."
        )
    task = load_task(_PRESET.value)
    if _FORMAT.value == "tflite":
        path = export_tflite(task, _PATH.value, quantization=_QUANTIZATION.value)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
        return
    version = export_saved_model(task, _PATH.value, max_new_tokens=_MAX_NEW_TOKENS.value, text_pair=_TEXT_PAIR.value)
    base = version.parent.resolve()
    print(f"{version}\n")
    print(f"serve it here:       albert-gpt-tf serve --model={base.name}={base}")
    print(
        "serve it for real:   "
        f"docker run -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {base}:/models/{base.name}:ro "
        f"-e MODEL_NAME={base.name} tensorflow/serving"
    )
    # The first warm-up request is one row of what `serving_default` was tried with.
    _, inputs = read_warmup_requests(version)[0]
    columns = {name: np.char.decode(values.astype(bytes)).tolist() for name, values in inputs.items()}
    print(
        f"ask it:              curl http://127.0.0.1:8501/v1/models/{base.name}:predict "
        f"-d {shlex.quote(json.dumps({'inputs': columns}))}"
    )
