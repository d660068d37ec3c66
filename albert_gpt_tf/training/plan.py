"""A run before its first step."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf


class Plan(NamedTuple):
    """A run before its first step.

    `batches(first_step)` is the endless dataset of the steps from there on, a function of the seed and the step alone.
    `evaluation` are the datasets of the other splits; `measured(split, metrics)` adds what follows from a split's
    metrics. `rows` is the number of rows of an epoch, or None where nobody counted. `sample` returns a text that the
    model wrote, or is None.
    """

    task: keras.Model
    title: str
    batches: Callable[[int], tf.data.Dataset]
    evaluation: dict[str, tf.data.Dataset]
    measured: Callable[[str, dict], dict]
    rows: int | None = None
    sample: Callable[[], str] | None = None
