"""Answers of a model, one JSON object a line: for the rows of a file, or for texts given here or on standard input.

    albert-gpt-tf predict --preset=runs/spam/preset --file=messages.tsv --output=answers.jsonl --text=message
    albert-gpt-tf predict --preset=runs/squad/preset --file=questions.jsonl --output=answers.jsonl
    albert-gpt-tf predict --preset=runs/docstrings_albert/preset "Return the sum of array elements over an axis."
    albert-gpt-tf predict --preset=runs/docstrings_albert/preset < texts.txt

A file is .jsonl, .tsv or .csv with named columns, or .txt with a text a line. Every row gives one line, in the same
order, with all its columns and the answer; a column that has the name of a field of the answer, the true label say, is
kept as input_label. The file is checked whole before the first row is computed. A run that was stopped goes on with the
next row when it is started again with the same flags.

columns read       text classifier, embedder: text (and --text_pair); token classifier, masked LM: text;
                   question answerer: question, context; multiple choice: context, choices (a list in .jsonl, or
                   --choices=a,b,c for several columns); causal LM: prompt
"""

import json
import sys
from itertools import islice

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_FILE = flags.DEFINE_string("file", None, "File to answer: .jsonl, .tsv, .csv or .txt.")
_OUTPUT = flags.DEFINE_string("output", None, "The .jsonl file to write, with --file.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Rows computed at a time.", lower_bound=1)
_COLUMNS = {
    "text": flags.DEFINE_string("text", "text", "Column of the text."),
    "text_pair": flags.DEFINE_string("text_pair", None, "Column of the second text."),
    "question": flags.DEFINE_string("question", "question", "Column of the question."),
    "context": flags.DEFINE_string("context", "context", "Column of the context."),
    "choices": flags.DEFINE_list("choices", ["choices"], "Column of the list of choices, or the columns of each."),
    "prompt": flags.DEFINE_string("prompt", "prompt", "Column of the prompt."),
}
_GENERATION = {
    "max_new_tokens": flags.DEFINE_integer("max_new_tokens", 64, "Causal LM: tokens to generate at most.", 0),
    "temperature": flags.DEFINE_float("temperature", 0.0, "Causal LM: 0 takes the most probable token.", 0.0),
    "top_k": flags.DEFINE_integer("top_k", 0, "Causal LM: sample from the k most probable tokens; 0 for all.", 0),
    "top_p": flags.DEFINE_float("top_p", 1.0, "Causal LM: sample from the tokens that reach p together.", 1e-6, 1.0),
    "repetition_penalty": flags.DEFINE_float("repetition_penalty", 1.0, "Causal LM: see generate.", 1e-6),
    "seed": flags.DEFINE_integer("seed", 0, "Causal LM: row i samples with seed + i."),
}


def main(arguments: list[str]) -> None:
    """Runs the command."""
    if (_FILE.value is None) != (_OUTPUT.value is None):
        raise ValueError(
            f"Expected --file and --output together. Received: --file={_FILE.value}, --output={_OUTPUT.value}. "
            "Give both, or neither to read texts from the command line or standard input."
        )
    if _FILE.value is not None and arguments:
        raise ValueError(f"Expected texts in --file alone. Received: {arguments} as well. Leave one of the two out.")
    from albert_gpt_tf.commands.predict_answers import Answers
    from albert_gpt_tf.commands.predict_file import predict_file
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(_PRESET.value)
    columns = {name: flag.value for name, flag in _COLUMNS.items()}
    answers = Answers(task, columns["text_pair"] is not None, {name: flag.value for name, flag in _GENERATION.items()})
    if _FILE.value is not None:
        rows = predict_file(answers, _PRESET.value, _FILE.value, _OUTPUT.value, columns, _BATCH_SIZE.value)
        print(f"{_OUTPUT.value}  {rows} rows")
        return
    if answers.inputs != ["text"]:
        hint = " A language model answers `albert-gpt-tf generate`, too." if answers.inputs == ["prompt"] else ""
        raise ValueError(
            "predict without --file needs a text classifier or another model of one text. Received: a "
            f"{type(task).__name__} in {_PRESET.value!r}, which reads {' and '.join(answers.inputs)}. Give --file and "
            f"--output.{hint}"
        )
    texts = iter(arguments) if arguments else (line.rstrip("\n") for line in sys.stdin)
    while batch := [{"text": text} for text in islice(texts, _BATCH_SIZE.value)]:
        for row, answer in zip(batch, answers.of([[row["text"]] for row in batch]), strict=True):
            print(json.dumps(answers.with_input(row, answer)), flush=True)
