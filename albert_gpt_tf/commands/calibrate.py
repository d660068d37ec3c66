"""Makes a classifier's scores the chances that it is right, by temperature scaling.

    albert-gpt-tf calibrate --preset=runs/spam/preset --file=validation.tsv --text=message --label=kind

Fits one number, the temperature, on rows that the model was not trained on (and that are not the test rows), shows what
it changes, and writes it into the preset, with reliability.png beside it. All answers and exports of the preset use it
from then on; the labels and hence the accuracy stay the same. Calibrate anew after further training.
"""

from pathlib import Path

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the classifier, which is changed.", required=True)
_FILE = flags.DEFINE_string("file", None, "Labelled file to fit on: .tsv, .csv or .jsonl.", required=True)
_TEXT = flags.DEFINE_string("text", "text", "Column of the text.")
_TEXT_PAIR = flags.DEFINE_string("text_pair", None, "Column of the second text.")
_LABEL = flags.DEFINE_string("label", "label", "Column of the label.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows computed at a time.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Runs the command."""
    import numpy as np

    from albert_gpt_tf.commands.calibrate_preset import draw_reliability, logits_of, write_temperature
    from albert_gpt_tf.data.files import read_labelled_file
    from albert_gpt_tf.tasks.load import load_task
    from albert_gpt_tf.training.calibration import calibration_figures, fit_temperature

    task = load_task(_PRESET.value)
    if getattr(task, "temperature", None) is None or task.regression:
        kind = "regression" if getattr(task, "regression", False) else type(task).__name__
        raise ValueError(
            f"calibrate needs a text classifier with labels. Received: a {kind} in {_PRESET.value!r}. Give the preset "
            "of an AlbertTextClassifier or a GPTTextClassifier."
        )
    rows = read_labelled_file(_FILE.value, _TEXT.value, _LABEL.value, _TEXT_PAIR.value)
    unknown = sorted(set(rows.labels) - set(task.labels))
    if unknown:
        raise ValueError(
            f"Expected labels that the model knows, {task.labels}, in {_FILE.value}. Received: {unknown} as well. "
            "Rename or remove them."
        )
    columns = (rows.texts, rows.pairs) if rows.pairs else (rows.texts,)
    logits = logits_of(task, columns, _BATCH_SIZE.value)
    targets = np.array([task.labels.index(label) for label in rows.labels])
    temperature = fit_temperature(logits, targets)
    before, after = (calibration_figures(logits, targets, t) for t in (task.temperature, temperature))
    print(f"{'':28}{'before':>10}{'after':>10}")
    print(f"{'temperature':28}{task.temperature:>10.4f}{temperature:>10.4f}")
    for name in before:
        print(f"{name.replace('_', ' '):28}{before[name]:>10.4f}{after[name]:>10.4f}")
    plot = draw_reliability(logits, targets, (task.temperature, temperature), Path(_PRESET.value) / "reliability.png")
    write_temperature(_PRESET.value, temperature)
    print(f"\nfitted on {len(targets)} rows; written to {Path(_PRESET.value) / 'task.json'} and {plot}")
