"""Training speed and peak memory of GPT-2 124M and ALBERT-base: ours, Transformers' on PyTorch and KerasHub's.

    python benchmarks/training.py [--peer_python=PYTHON] [--models=gpt2,albert]

Every contender runs in a fresh process, in turns: some steps to warm up, then `--steps` that are timed, AdamW and
clipping to norm 1 included. GPT-2 predicts the next token of 4 x 256 random ids; ALBERT classifies 16 x 128 random ids.
Dropout is 0 everywhere, weights are random, no XLA. Prints a Markdown table, and writes it with all figures as JSON to
the folder `--output`. See README.md. Linux only.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

import measure
from loading import forget_peak, memory_bytes

SHAPES = {"gpt2": (4, 256), "albert": (16, 128)}  # rows, tokens a row
VOCABULARY = {"gpt2": 50257, "albert": 30000}
OURS, KERAS_HUB, TRANSFORMERS = "albert_gpt_tf", "KerasHub", "Transformers"
CONTENDERS = [(whose, precision) for precision in ("float32", "bfloat16") for whose in (OURS, KERAS_HUB, TRANSFORMERS)]
PACKAGES = ["albert-gpt-tf", "tensorflow", "keras", "keras-hub", "numpy", "torch", "transformers"]
LEARNING_RATE = 1e-4
WARM_UP_STEPS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt2,albert", help="which of gpt2,albert. Default: both")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed in a turn. Default: 5")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender; the median counts. Default: 3")
    parser.add_argument(
        "--peer_python", default=sys.executable, help="Python that has PyTorch and Transformers. Default: this one"
    )
    parser.add_argument("--output", default="results", help="folder for training.{json,md}. Default: results")
    # For the program itself, which trains in fresh processes.
    parser.add_argument("--train", nargs=3, metavar=("WHOSE", "PRECISION", "MODEL"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if min(flags.steps, flags.repeats) < 1:
        parser.error(f"Expected --steps and --repeats of at least 1. Received: {flags.steps} and {flags.repeats}.")
    if unknown := set(flags.models.split(",")) - set(SHAPES):
        parser.error(f"Expected --models among {list(SHAPES)}. Received: {sorted(unknown)}.")
    return flags


def random_rows(model: str):
    """(ids, targets): for GPT-2 the ids that follow, [rows, tokens]; for ALBERT one of two classes, [rows]."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows, tokens = SHAPES[model]
    ids = rng.integers(5, VOCABULARY[model], (rows, tokens + 1)).astype("int32")
    return ids[:, :-1], ids[:, 1:] if model == "gpt2" else rng.integers(0, 2, rows).astype("int32")


# === One contender, in a process of its own ===


def keras_seconds(whose: str, precision: str, model: str, steps: int) -> list[float]:
    """Seconds of each step of `fit`, on batches that lie in memory."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    task = our_task(model) if whose == OURS else keras_hub_task(model)
    ids, targets = random_rows(model)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}
    if model == "albert":
        inputs["segment_ids"] = np.zeros_like(ids)

    seconds = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.start = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            seconds.append(time.perf_counter() - self.start)

    batches = tf.data.Dataset.from_tensors((inputs, targets)).repeat(WARM_UP_STEPS + steps)
    task.fit(batches, epochs=1, verbose=0, callbacks=[Clock()])
    return seconds[WARM_UP_STEPS:]


def our_task(model: str):
    import albert_gpt_tf as agt
    from albert_gpt_tf.training.optimizers import AdamW

    if model == "gpt2":
        backbone = agt.GPTBackbone(VOCABULARY[model], num_layers=12, num_heads=12, hidden_dim=768)
        task = agt.GPTCausalLM(backbone)
    else:
        backbone = agt.AlbertBackbone(
            VOCABULARY[model], num_layers=12, num_heads=12, embedding_dim=128, hidden_dim=768, intermediate_dim=3072,
            dropout=0.0,
        )  # fmt: skip
        task = agt.AlbertTextClassifier(backbone, labels=["no", "yes"], dropout=0.0)
    task.compile(AdamW(LEARNING_RATE, global_clipnorm=1.0))
    return task


def keras_hub_task(model: str):
    import keras
    import keras_hub

    if model == "gpt2":
        backbone = keras_hub.models.GPT2Backbone(
            VOCABULARY[model], num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072, dropout=0.0,
            max_sequence_length=1024,
        )  # fmt: skip
        task = keras_hub.models.GPT2CausalLM(backbone)
    else:
        backbone = keras_hub.models.AlbertBackbone(
            VOCABULARY[model], num_layers=12, num_heads=12, embedding_dim=128, hidden_dim=768, intermediate_dim=3072,
            dropout=0.0, max_sequence_length=512,
        )  # fmt: skip
        task = keras_hub.models.AlbertTextClassifier(backbone, num_classes=2, dropout=0.0)
    task.compile(
        keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return task


def torch_seconds(precision: str, model: str, steps: int) -> list[float]:
    """Seconds of each step of the loop that PyTorch's users write."""
    import torch
    import transformers

    if model == "gpt2":
        config = transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
        task = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.AlbertConfig(
            embedding_size=128, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0, num_labels=2,
        )  # fmt: skip
        task = transformers.AlbertForSequenceClassification(config)
    task.train()
    optimizer = torch.optim.AdamW(task.parameters(), LEARNING_RATE, weight_decay=0.01)
    ids, targets = (torch.from_numpy(array).long() for array in random_rows(model))
    mask = torch.ones_like(ids)
    seconds = []
    for _ in range(WARM_UP_STEPS + steps):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext():
            logits = task(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, -2), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP_STEPS:]


def train(whose: str, precision: str, model: str, steps: int) -> dict[str, float]:
    """Median seconds of a step, and the peak of memory with all that the process needs."""
    forget_peak()
    if whose == TRANSFORMERS:
        seconds = torch_seconds(precision, model, steps)
    else:
        seconds = keras_seconds(whose, precision, model, steps)
    return {"seconds": statistics.median(seconds), "peak": memory_bytes("VmHWM")}


def in_fresh_process(python: str, whose: str, precision: str, model: str, steps: int) -> dict[str, float]:
    # What steers a BLAS library that only the peers may use is left to its own choice.
    environment = {n: v for n, v in os.environ.items() if n not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    environment |= {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TRANSFORMERS_VERBOSITY": "error"}
    ran = subprocess.run(
        [python, __file__, f"--steps={steps}", "--train", whose, precision, model],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


# === All of them ===


def table(model: str, median: dict) -> str:
    """Markdown: a row a contender, and how many times the best peer of the same precision it is."""
    rows_of_batch, tokens = SHAPES[model]
    unit, amount = ("tokens", rows_of_batch * tokens) if model == "gpt2" else ("sequences", rows_of_batch)
    speed = {key: amount / figures["seconds"] for key, figures in median.items()}
    rows = []
    for (whose, precision), figures in median.items():
        best = max(v for (other, p), v in speed.items() if p == precision and other != OURS)
        rows.append(
            [
                whose,
                precision,
                measure.rounded(speed[whose, precision]),
                measure.rounded(speed[whose, precision] / best),
                measure.rounded(figures["peak"] / 1e9),
            ]
        )
    names = {"gpt2": "GPT-2 124M, next token", "albert": "ALBERT-base, two classes"}
    columns = ["", "precision", f"{unit}/s", "/ best peer", "peak memory, GB"]
    return measure.markdown_table(f"Training {names[model]}, {rows_of_batch} x {tokens}", columns, rows)


def main() -> None:
    flags = arguments()
    if flags.train:
        print(json.dumps(train(*flags.train, flags.steps)))
        return
    pythons = {OURS: sys.executable, KERAS_HUB: sys.executable, TRANSFORMERS: flags.peer_python}
    turns: dict[str, dict] = {model: {contender: [] for contender in CONTENDERS} for model in flags.models.split(",")}
    for model, contenders in turns.items():
        for turn in range(flags.repeats):
            for (whose, precision), figures in contenders.items():
                figures.append(in_fresh_process(pythons[whose], whose, precision, model, flags.steps))
                seconds = measure.rounded(figures[-1]["seconds"])
                print(f"{model} {turn + 1}/{flags.repeats} {whose} {precision}: {seconds} s a step", file=sys.stderr)
    tables, result = [], {"machine": measure.machine(PACKAGES)}
    for model, contenders in turns.items():
        median = {
            contender: {key: statistics.median(one[key] for one in figures) for key in figures[0]}
            for contender, figures in contenders.items()
        }
        tables.append(table(model, median))
        result[model] = {" ".join(contender): figures for contender, figures in contenders.items()}
    markdown = "\n".join(tables)
    print(markdown)
    measure.write(flags.output, "training", result, markdown)


if __name__ == "__main__":
    main()
