"""A task as a SavedModel that takes strings: the tokenizer is in the graph, TF Serving needs nothing else."""

from pathlib import Path

import tensorflow as tf

from albert_gpt_tf.exporters.check_saved_model import assert_servable
from albert_gpt_tf.exporters.signatures import holder_of, signatures_of
from albert_gpt_tf.exporters.versions import new_version, next_version
from albert_gpt_tf.exporters.warmup import write_warmup_requests


def export_saved_model(
    task,
    path,
    version: int | None = None,
    check: bool = True,
    max_new_tokens: int = 64,
    text_pair: bool = False,
) -> Path:
    """Writes a task as the next version under a base path, checked, with warm-up requests.

    The version appears whole or not at all, so that a server that watches the path never sees half of it. What it takes
    and answers is in `signatures.py`.

    Args:
        task: a task with a tokenizer, of any kind but `AlbertPretrainer`.
        path: str or Path, the model's base path; its last part is the model's name. Versions are directories in it.
        version: int or `None`, the version's number. Defaults to one more than the highest.
        check: bool, runs `assert_servable` on the export before it appears. Defaults to `True`.
        max_new_tokens: int, tokens that a language model's `serving_default` generates at most. Defaults to 64.
        text_pair: bool, whether a text classifier or a regression takes two texts a row, `text` and `text_pair`.
            Defaults to `False`.

    Returns:
        The Path of the version directory.

    Raises:
        ValueError: the task cannot be exported, or the export breaks a rule of TF Serving.
        FileExistsError: the version exists.

    Example:
        >>> export_saved_model(classifier, "exported/sentiment")
        PosixPath('exported/sentiment/1')

    Reference:
        https://www.tensorflow.org/tfx/serving/serving_basic
    """
    path = Path(path)
    signatures = signatures_of(task, max_new_tokens, text_pair)
    module = holder_of(task)
    version = next_version(path) if version is None else version
    with new_version(path, version) as folder:
        tf.saved_model.save(module, str(folder), signatures=signatures.functions)
        if check:
            # These are checked with the rows of `serving_default`.
            by_example = ("classify", "regress")
            examples = {name: rows for name, rows in signatures.examples.items() if name not in by_example}
            assert_servable(folder, examples=examples)
        write_warmup_requests(folder, path.name, warmup_requests(signatures.examples))
    return path / str(version)


def warmup_requests(examples: dict) -> list[tuple[str, dict]]:
    """One row and all rows of each signature's examples."""
    requests = []
    for name, inputs in examples.items():
        rows = len(next(iter(inputs.values())))
        requests += [(name, {key: values[:count] for key, values in inputs.items()}) for count in (1, rows)]
    return requests
