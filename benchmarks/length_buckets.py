"""One epoch of fine-tuning ALBERT-base on short messages: batches of one length against rows of 128 tokens.

    python benchmarks/length_buckets.py --sms=sms.tsv --vocabulary=DIR [--rows=2000] [--learning_rate=5e-5]

`sms.tsv` is the SMS Spam Collection, a label and a message a line; `DIR` holds ALBERT's `spiece.model`. The weights are
random, the precision is bfloat16 with float32 weights. Both runs see the same rows and take as many steps; each is a
fresh process. Prints a Markdown table, and writes it with all figures as JSON to the folder `--output`. See README.md.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import measure

LENGTH, TEST_ROWS = 128, 1000
PACKAGES = ["albert-gpt-tf", "tensorflow", "keras", "numpy"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sms", required=True, help="the messages, one a line: label, tab, text")
    parser.add_argument("--vocabulary", required=True, help="folder with spiece.model")
    parser.add_argument("--rows", type=int, default=2000, help="messages that are trained on. Default: 2000")
    parser.add_argument("--layers", type=int, default=12, help="layers of the model. Default: 12, ALBERT-base")
    parser.add_argument("--learning_rate", type=float, default=5e-5, help="Default: 5e-5")
    parser.add_argument("--output", default="results", help="folder for length_buckets.{json,md}. Default: results")
    # For the program itself, which trains in fresh processes.
    parser.add_argument("--run", choices=["buckets", "fixed"], help=argparse.SUPPRESS)
    return parser.parse_args()


def read_messages(path: str) -> tuple[list[str], list[str]]:
    """(texts, labels) in an order that is drawn once; a message counts once."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = sorted({tuple(line.split("\t", 1)) for line in lines if "\t" in line})
    random.Random(0).shuffle(rows)
    return [text for _, text in rows], [label for label, _ in rows]


def train(flags: argparse.Namespace) -> dict[str, float]:
    """Seconds of the epoch, share of positions that are padding, and accuracy on messages that were not trained on."""
    import keras
    import tensorflow as tf

    import albert_gpt_tf as agt
    from albert_gpt_tf.training.batches import evaluation_batches, token_counts, training_batches
    from albert_gpt_tf.training.optimizers import AdamW
    from albert_gpt_tf.training.schedules import WarmupSchedule

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    texts, labels = read_messages(flags.sms)
    tokenizer = agt.AlbertTokenizer.from_preset(flags.vocabulary)
    backbone = agt.AlbertBackbone(
        tokenizer.vocabulary_size(), num_layers=flags.layers, num_heads=12, embedding_dim=128, hidden_dim=768,
        intermediate_dim=3072, dropout=0.0,
    )  # fmt: skip
    task = agt.AlbertTextClassifier(backbone, labels=sorted(set(labels)), tokenizer=tokenizer, dropout=0.1)
    steps = flags.rows // 32
    task.compile(AdamW(WarmupSchedule(flags.learning_rate, steps, steps // 10, "linear", 0.0, 1.0)))
    train_rows = (tf.constant(texts[: flags.rows]), tf.constant(labels[: flags.rows]))
    test_rows = (tf.constant(texts[-TEST_ROWS:]), tf.constant(labels[-TEST_ROWS:]))
    named = {"train": train_rows, "test": test_rows}
    lengths = {name: token_counts(columns[0], task.preprocessor) for name, columns in named.items()}
    if flags.run == "fixed":
        lengths = {"train": None, "test": lengths["test"]}  # how it is evaluated is not the question

    def to_batch(rows, seed=None):
        return task.preprocessor(rows[0], y=rows[1])

    config = SimpleNamespace(batch_size=32, seed=0)
    batches = training_batches(train_rows, to_batch, config, lengths=lengths["train"])
    real = padded = 0
    for x, _ in batches.take(steps):
        real, padded = real + int(tf.math.count_nonzero(x["padding_mask"])), padded + int(tf.size(x["padding_mask"]))
    task.fit(batches.take(1), verbose=0)  # traces the step; a step more for both
    start = time.perf_counter()
    task.fit(batches.take(steps), verbose=0)
    seconds = time.perf_counter() - start
    accuracy = task.evaluate(evaluation_batches(test_rows, to_batch, 32, lengths["test"]), return_dict=True, verbose=0)
    return {"seconds": seconds, "padding": 1 - real / padded, "accuracy": float(accuracy["accuracy"])}


def main() -> None:
    flags = arguments()
    if flags.run:
        print(json.dumps(train(flags)))
        return
    figures = {}
    for run in ("buckets", "fixed"):
        command = [sys.executable, __file__, *sys.argv[1:], f"--run={run}"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        figures[run] = json.loads(ran.stdout.splitlines()[-1])
    names = {"buckets": "batches of about one length", "fixed": f"rows of {LENGTH} tokens"}
    rows = [
        [
            names[run],
            measure.rounded(of_run["seconds"]),
            measure.rounded(figures["fixed"]["seconds"] / of_run["seconds"]),
            f"{of_run['padding']:.0%}",
            f"{of_run['accuracy']:.3f}",
        ]
        for run, of_run in figures.items()
    ]
    title = f"One epoch of ALBERT-base on {flags.rows} messages, batches of 32"
    markdown = measure.markdown_table(title, ["", "seconds", "speed", "padding", "test accuracy"], rows)
    print(markdown)
    result = {"machine": measure.machine(PACKAGES), "rows": flags.rows, "runs": figures}
    measure.write(flags.output, "length_buckets", result, markdown)


if __name__ == "__main__":
    main()
