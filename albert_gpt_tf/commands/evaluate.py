"""Loss and scores of a model on a file, by the metrics of its task.

    albert-gpt-tf evaluate --preset=runs/spam/preset --file=test.tsv --text=message --label=kind --output=evaluation
    albert-gpt-tf evaluate --preset=runs/glue_mrpc/preset --file=glue/MRPC/dev.tsv --format=glue:mrpc
    albert-gpt-tf evaluate --preset=runs/conll_ner/preset --file=test.conll
    albert-gpt-tf evaluate --preset=runs/squad/preset --file=dev-v2.0.json
    albert-gpt-tf evaluate --preset=runs/gpt2_wikitext/preset --file=wiki.test.tokens --format=wikitext --stride=512

What the file must be follows from the model: a text classifier takes .tsv, .csv or .jsonl with named columns, or a file
of GLUE; a token classifier CoNLL's columns, .conllu or .jsonl; a question answerer the JSON of SQuAD; multiple choice a
folder of RACE or a table; a language model plain text with blank lines between documents, or WikiText, LAMBADA or
conversations, as --format says.

Prints a table to standard error and JSON to standard output. --output writes results.json, and for a classifier with
labels confusion.png and reliability.png, into a folder.
"""

import importlib.util
import json
import sys
from pathlib import Path

from absl import flags

_PRESET = flags.DEFINE_string(
    "preset", None, "Preset directory of the model, or a checkpoint of another library.", required=True
)
_FILE = flags.DEFINE_string("file", None, "File (or folder of RACE) to evaluate on.", required=True)
_FORMAT = flags.DEFINE_string(
    "format", "", "glue:TASK, wikitext, lambada or dialogue. Defaults to what the model and the file's name say."
)
_TEXT = flags.DEFINE_string("text", "text", "Column of the text.")
_TEXT_PAIR = flags.DEFINE_string("text_pair", None, "Column of the second text.")
_LABEL = flags.DEFINE_string("label", "label", "Column of the label, or of the number of a regression.")
_LIMIT = flags.DEFINE_integer("limit", None, "Rows or documents to read at most.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows computed at a time.", lower_bound=1)
_WINDOW = flags.DEFINE_integer(
    "window", None, "Tokens that a language model sees at most. Defaults to all of its positions.", lower_bound=2
)
_STRIDE = flags.DEFINE_integer(
    "stride", None, "Tokens from one window to the next. Defaults to the window: none overlap.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for results.json and the plots.")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.commands.evaluate_load import load_any_task
    from albert_gpt_tf.commands.evaluate_scores import evaluate_file

    if _OUTPUT.value:
        check_matplotlib()
    task = load_any_task(_PRESET.value)
    columns = (_TEXT.value, _LABEL.value, _TEXT_PAIR.value)
    windows = (_WINDOW.value, _STRIDE.value)
    evaluation = evaluate_file(
        task, _FILE.value, _FORMAT.value, columns, _LIMIT.value, _BATCH_SIZE.value, windows
    )  # fmt: skip
    print_table(evaluation.scores)
    print(json.dumps(evaluation.scores, indent=2))
    if _OUTPUT.value:
        folder = Path(_OUTPUT.value)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"preset": _PRESET.value, "file": _FILE.value, **evaluation.scores}
        (folder / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if evaluation.probabilities is not None:
            from albert_gpt_tf.commands.evaluate_plots import draw_confusion, draw_reliability

            draw_confusion(evaluation.targets, evaluation.probabilities, task.labels, folder / "confusion.png")
            draw_reliability(evaluation.targets, evaluation.probabilities, task.labels, folder / "reliability.png")


def check_matplotlib() -> None:
    """Raises ImportError before any work is done if there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--output draws plots with matplotlib, which is missing: pip install 'albert-gpt-tf[plots]'")


def print_table(scores: dict[str, float]) -> None:
    """Prints scores by name to standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "value", show_edge=False)
    table.columns[1].justify = "right"
    for name, value in scores.items():
        table.add_row(
            name.replace("_", " "), f"{value:,.0f}" if float(value).is_integer() and value > 1 else f"{value:.4f}"
        )
    Console(file=sys.stderr).print(table)
