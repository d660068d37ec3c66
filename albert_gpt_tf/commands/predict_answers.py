"""Answers of any task as JSON objects, one a row."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM

INPUTS = ("text", "text_pair", "question", "context", "choices", "prompt")


class Answers:
    """A task's `answer`, compiled once, with its inputs and outputs as plain values.

    Args:
        task: a task with a preprocessor and a method `answer`.
        has_pair: bool, whether a task that can read a second text is given one. Defaults to `False`.
        generation: dict of the parameters of a causal LM's `answer`, one value for all rows; row i has the seed
            `seed + i`. Defaults to none of them.

    Fields:
        inputs: list of str, what a row has to give, in order: names from `INPUTS`.
        fields: list of str, the fields of an answer.

    Raises:
        ValueError: the task gives no answers to text, or cannot read pairs.

    Example:
        >>> answers = Answers(classifier)
        >>> answers.of([["win a prize"]])
        [{'label': 'spam', 'score': 0.98, 'scores': {'ham': 0.02, 'spam': 0.98}}]
    """

    def __init__(self, task: Any, has_pair: bool = False, generation: dict[str, Any] | None = None):
        if not hasattr(task, "answer") or task.preprocessor is None:
            raise ValueError(
                f"predict needs a task that answers text. Received: a {type(task).__name__}, which does not. Give the "
                "preset of a classifier, an embedder, a language model or the like, with its tokenizer."
            )
        known = inspect.signature(task.answer).parameters
        self.inputs = [name for name in INPUTS if name in known and (name != "text_pair" or has_pair)]
        if has_pair and "text_pair" not in known:
            raise ValueError(
                f"Expected a model that reads pairs. Received: a {type(task).__name__}, with --text_pair. Leave it out."
            )
        self.labels = getattr(task, "labels", None)
        self.generation = generation or {}
        if isinstance(task, GPTCausalLM):
            self.compiled = task.compiled_answer
        else:
            specs = [tf.TensorSpec([None, None] if n == "choices" else [None], tf.string, n) for n in self.inputs]
            self.generation = {}

            @tf.function(input_signature=specs)
            def compiled(*inputs):
                return task.answer(**dict(zip(self.inputs, inputs, strict=True)))

            self.compiled = compiled
        outputs = self.compiled.get_concrete_function().structured_outputs
        self.fields = [name for name in outputs if not name.endswith("_bytes")]  # JSON holds text, no bytes

    def of(self, rows: Sequence[Sequence[str | list[str]]], first: int = 0) -> list[dict[str, Any]]:
        """The answers to rows of inputs.

        Args:
            rows: one or more rows, each with a value for each of `inputs`: str, or for choices a list of str that is
                as long in every row.
            first: int, the number of the first row, which its seed depends on. Defaults to 0.

        Returns:
            One dict a row, ready for JSON. What pads the served answers of a batch is left out; `scores` of a
            classifier are a dict by label.
        """
        inputs = [tf.constant(list(values), tf.string) for values in zip(*rows, strict=True)]
        for name, value in self.generation.items():
            kind = tf.float32 if isinstance(value, float) else tf.int32
            values = (
                tf.range(first + value, first + value + len(rows)) if name == "seed" else tf.fill([len(rows)], value)
            )
            inputs.append(tf.cast(values, kind))
        outputs = self.compiled(*inputs)
        arrays = {name: outputs[name].numpy() for name in self.fields}
        return [self._row(arrays, index) for index in range(len(rows))]

    def with_input(self, row: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """What is written for a row: its own columns, then the answer."""
        return {**self.kept(row), **answer}

    def kept(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row's own columns; one that has the name of a field of the answer is called `input_` and its name."""
        return {f"input_{name}" if name in self.fields else name: value for name, value in row.items()}

    def _row(self, arrays: dict[str, np.ndarray], index: int) -> dict[str, Any]:
        row = {name: values[index] for name, values in arrays.items()}
        score = row.get("score")
        if score is not None and score.ndim > 0:  # several scores a row: entities or masks, padded with -1
            is_used = score.max(tuple(range(1, score.ndim)), initial=-1) >= 0
            row = {name: value[is_used] if np.ndim(value) > 0 else value for name, value in row.items()}
        row = {name: _plain(value) for name, value in row.items()}
        if self.labels is not None and "scores" in row:
            row["scores"] = dict(zip(self.labels, row["scores"], strict=True))
        return row


def _plain(value: Any) -> Any:
    """A value of NumPy, bytes or a list of them -> what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
