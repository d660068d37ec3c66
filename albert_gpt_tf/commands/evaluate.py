"""Loss and accuracy of a model on a file of your own.

    albert-gpt-tf evaluate --preset=runs/spam/preset --file=test.tsv --text=message --label=kind
    albert-gpt-tf evaluate --preset=runs/verse/preset --file=test.txt

A classifier takes .tsv, .csv or .jsonl with named columns; a language model takes plain text, documents separated by
blank lines, and gets bits per byte too.
"""

import json
import math

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_FILE = flags.DEFINE_string("file", None, "File to evaluate on.", required=True)
_TEXT = flags.DEFINE_string("text", "text", "Column of the text.")
_TEXT_PAIR = flags.DEFINE_string("text_pair", None, "Column of the second text.")
_LABEL = flags.DEFINE_string("label", "label", "Column of the label.")
_LIMIT = flags.DEFINE_integer("limit", None, "Rows or documents to read at most.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows computed at a time.", lower_bound=1)


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.data.files import read_labelled_file, read_text_file
    from albert_gpt_tf.data.language_model import count_bytes, evaluation_windows
    from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
    from albert_gpt_tf.tasks.load import load_task
    from albert_gpt_tf.training.batches import labelled_dataset, with_mask
    from albert_gpt_tf.training.evaluation import evaluate

    task = load_task(_PRESET.value)
    if isinstance(task, GPTCausalLM):
        documents = read_text_file(_FILE.value, _LIMIT.value)
        length = task.backbone.max_sequence_length
        windows = evaluation_windows(documents, task.preprocessor.tokenizer, length, _BATCH_SIZE.value)
        results = evaluate(task, windows.map(with_mask))
        tokens = float(sum(weights.numpy().sum() for _, _, weights in windows))
        results["bits_per_byte"] = results["loss"] / math.log(2) * tokens / count_bytes(documents)
    else:
        rows = read_labelled_file(_FILE.value, _TEXT.value, _LABEL.value, _TEXT_PAIR.value, _LIMIT.value)
        unknown = sorted(set(rows.labels) - set(task.labels))
        if unknown:
            raise ValueError(
                f"{_FILE.value} has labels that the model does not know: {unknown}. It knows {task.labels}"
            )
        texts = list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts
        results = evaluate(task, labelled_dataset(texts, rows.labels).batch(_BATCH_SIZE.value))
    print(json.dumps(results, indent=2))
