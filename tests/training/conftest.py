"""Tiny files and configurations, processes that train, and an AdamW in NumPy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("train_in_process.py")


# === Files and configurations ===


def labelled_rows(count, seed, pairs=False):
    """Rows that a small model can learn: the label says which word is in the text."""
    rng = np.random.default_rng(seed)
    words = ["red", "green", "blue", "one", "two", "three"]
    rows = []
    for _ in range(count):
        label = rng.choice(["cat", "dog"])
        text = " ".join([*rng.choice(words, rng.integers(1, 6)), f"the {label}"])
        rows.append([text, " ".join(rng.choice(words, 3)), label] if pairs else [text, label])
    return rows


def write_tsv(path, header, rows):
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def albert_config(**changes):
    from albert_gpt_tf.configs.docstrings_albert import get_config

    config = get_config()
    config.update(
        data={"source": "files"},
        vocabulary_size=60,
        sequence_length=16,
        backbone={
            "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "embedding_dim": 8,
            "max_sequence_length": 16,
        },
        batch_size=8, steps=4, validate_every=2, warmup_steps=1, log_every=2,
    )  # fmt: skip
    config.update_from_flattened_dict(changes)
    return config


def gpt_config(**changes):
    from albert_gpt_tf.configs.docstrings_gpt import get_config

    config = get_config()
    config.update(
        data={"source": "files"},
        vocabulary_size=270,
        sequence_length=16,
        backbone={"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "max_sequence_length": 24},
        batch_size=4, steps=4, validate_every=2, warmup_steps=1, log_every=2,
    )  # fmt: skip
    config.update_from_flattened_dict(changes)
    return config


def pretraining_config(**changes):
    config = albert_config()
    with config.unlocked():
        for name in ("dropout", "token_dropout"):
            del config[name]
        config.update(
            task="albert_pretraining",
            vocabulary="",
            max_predictions=0,
            short_sequence_probability=0.1,
            shuffle_buffer=64,
            optimizer="lamb",
        )
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="session")
def tiny():
    """What makes tiny runs: configurations of the three tasks, `labelled_rows` and `write_tsv`."""
    return SimpleNamespace(
        albert_config=albert_config,
        gpt_config=gpt_config,
        pretraining_config=pretraining_config,
        labelled_rows=labelled_rows,
        write_tsv=write_tsv,
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths of small files that make valid runs."""
    folder = tmp_path_factory.mktemp("files")
    paths = {
        split: write_tsv(folder / f"{split}.tsv", ["text", "label"], labelled_rows(count, seed))
        for seed, (split, count) in enumerate({"train": 40, "validation": 11, "test": 13}.items())
    }
    for split, count in {"train_pairs": 40, "test_pairs": 9}.items():
        header = ["question", "answer", "kind"]
        paths[split] = write_tsv(folder / f"{split}.tsv", header, labelled_rows(count, 9, pairs=True))
    for split, count in {"train_text": 60, "test_text": 5}.items():
        documents = "\n\n".join(text for text, _ in labelled_rows(count, 3))
        (folder / f"{split}.txt").write_text(documents, encoding="utf-8")
        paths[split] = str(folder / f"{split}.txt")
    for split, count in {"train_sentences": 120, "test_sentences": 30}.items():
        lines = [text for text, _ in labelled_rows(count, 4)]
        documents = ["\n".join(lines[start : start + 5]) for start in range(0, count, 5)]
        (folder / f"{split}.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
        paths[split] = str(folder / f"{split}.txt")
    return SimpleNamespace(**paths)


# === Processes ===


def finish(processes, timeout):
    """Waits for processes and returns their standard outputs; none of them outlives this call."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        errors = "\n".join(process.communicate()[1][-2000:] for process in processes)
        pytest.fail(f"no end after {timeout} s\n{errors}")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in outputs]


def start(arguments, popen=subprocess.Popen, **environment):
    return popen(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def train_in_process():
    """The function (*arguments of train_in_process.py, timeout=...) -> its results."""

    def run(*arguments, timeout=300):
        [output] = finish([start([str(SCRIPT), *arguments])], timeout)
        return json.loads(output.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def train_on_two_workers():
    """As `train_in_process`, in two processes that work together; returns the results of both."""

    def run(*arguments, timeout=300):
        sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
        cluster = {"worker": [f"localhost:{s.getsockname()[1]}" for s in sockets]}
        for s in sockets:
            s.close()
        workers = [
            start(
                [str(SCRIPT), *arguments],
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
            )
            for index in range(2)
        ]
        return [json.loads(output.splitlines()[-1]) for output in finish(workers, timeout)]

    return run


@pytest.fixture
def signal_at():
    """The function (arguments of train_in_process.py, number, ready): starts it, sends a signal when `ready()`, and
    returns the status and the errors."""

    def run(arguments, number, ready, timeout=120):
        process = start([str(SCRIPT), *arguments])
        try:
            end = time.monotonic() + timeout
            while not ready() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.001)
            process.send_signal(number)
            errors = process.communicate(timeout=timeout)[1]
            return process.returncode, errors
        finally:
            process.kill()
            process.wait()

    return run


@pytest.fixture
def interrupt_once(popen_that_takes_ctrl_c):
    """The function (arguments, ready): starts Python, sends Ctrl-C when `ready()`, returns status and errors."""

    def run(arguments, ready, timeout=120):
        process = start(arguments, popen_that_takes_ctrl_c, CUDA_VISIBLE_DEVICES="-1")
        try:
            end = time.monotonic() + timeout
            while not ready() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            return process.wait(timeout=60), process.communicate()[1]
        finally:
            process.kill()
            process.wait()

    return run


# === Reference ===


class NumpyAdamW:
    """Algorithm 2 of arXiv:1711.05101 in float64, after clipping by the norm of all gradients together.

    Epsilon is added before the bias correction as in Keras: the "epsilon hat" of arXiv:1412.6980, section 2. It makes a
    difference where gradients are as small as epsilon / sqrt(1 - beta_2).
    """

    def __init__(self, learning_rate, weight_decay, clipnorm=None, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.learning_rate = learning_rate  # of the number of steps taken before
        self.weight_decay, self.clipnorm = weight_decay, clipnorm
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.step = 0

    def update(self, weights, gradients):
        """Returns the new weights, and the norm before clipping."""
        gradients = [gradient.astype(np.float64) for gradient in gradients]
        if not self.step:
            self.m, self.v = ([np.zeros_like(g) for g in gradients] for _ in range(2))
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        if self.clipnorm:
            gradients = [g * min(1, self.clipnorm / norm) for g in gradients]
        rate = self.learning_rate(self.step)
        self.step += 1
        self.m = [self.beta_1 * m + (1 - self.beta_1) * g for m, g in zip(self.m, gradients, strict=True)]
        self.v = [self.beta_2 * v + (1 - self.beta_2) * g**2 for v, g in zip(self.v, gradients, strict=True)]
        new = []
        for weight, m, v in zip(weights, self.m, self.v, strict=True):
            correction = np.sqrt(1 - self.beta_2**self.step) / (1 - self.beta_1**self.step)
            decay = self.weight_decay if weight.ndim > 1 else 0
            new.append(weight - rate * (correction * m / (np.sqrt(v) + self.epsilon) + decay * weight))
        return new, norm


@pytest.fixture(scope="session")
def numpy_adamw():
    return NumpyAdamW
