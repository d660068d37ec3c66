"""The plan of a question answerer: SQuAD's questions to spans of their contexts."""

import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from albert_gpt_tf.data.squad import SquadRow, read_squad
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer, AlbertQuestionAnswererPreprocessor
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.batches import evaluation_batches, named_files, training_batches
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan
from albert_gpt_tf.training.squad_scores import best_no_answer_threshold, predict_answers, scores_at_threshold

ROWS_AT_ONCE = 256  # questions that are tokenized at a time


def question_answerer(config, strategy) -> Plan:
    """Questions and contexts to spans; each window of a context is a row.

    Where the validation split has questions without answer, the threshold for no answer is set to the best one there,
    as in the paper, before the split is measured.
    """
    if config.data.source != "files":
        raise ValueError(
            "Expected config.data.source='files' for questions and answers. Received: "
            f"config.data.source={config.data.source!r}. Name SQuAD's JSON files in config.data.train and so on."
        )
    data = {split: read_squad(path, config.data.limit or None) for split, path in named_files(config.data).items()}
    with strategy.scope():
        task = with_trained_parts(_task(config, data["train"]), config)
        preprocessor = AlbertQuestionAnswererPreprocessor(
            task.preprocessor.tokenizer,
            config.sequence_length,
            stride=config.stride,
            max_question_length=config.max_question_length,
        )
        task.preprocessor = preprocessor
    windows = {split: training_windows(rows, preprocessor) for split, rows in data.items()}
    lengths = windows["train"]["length"]

    def to_batch(batch, seed=None):
        return ids_and_targets(batch)

    def batches(first_step):
        return training_batches(windows["train"], to_batch, config, first_step, lengths)

    def measured(split, metrics):
        rows = data[split]
        answers, odds = predict_answers(task, rows, config.batch_size)
        if split == "validation" and any(row.is_impossible for row in rows):
            task.no_answer_threshold, _ = best_no_answer_threshold(rows, answers, odds)
        threshold = task.no_answer_threshold
        more = {} if threshold is None else {"no_answer_threshold": threshold}
        return metrics | scores_at_threshold(rows, answers, odds, threshold) | more

    evaluation = {
        split: evaluation_batches(windows[split], to_batch, config.batch_size, windows[split]["length"])
        for split in ("validation", "test")
        if split in windows
    }
    return Plan(task, "question answerer", batches, evaluation, measured, int(lengths.shape[0]))


def _task(config, rows):
    if not config.preset:
        texts = [row.question for row in rows] + sorted({row.context for row in rows})
        tokenizer = AlbertTokenizer(train_sentencepiece(texts, config.vocabulary_size))
        backbone = AlbertQuestionAnswerer.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        return AlbertQuestionAnswerer(backbone, tokenizer=tokenizer)
    # Of a question answerer the head comes along: from 1.1 one can go on to 2.0.
    task = AlbertQuestionAnswerer.from_preset(config.preset)
    if task.preprocessor is None:
        raise ValueError(
            f"Expected a preset with a tokenizer in config.preset. Received: {config.preset!r}, which has none. Add "
            "the files of its vocabulary to the directory."
        )
    task.no_answer_threshold = None
    return task


def training_windows(
    rows: Sequence[SquadRow], preprocessor: AlbertQuestionAnswererPreprocessor
) -> dict[str, tf.Tensor]:
    """All windows of all questions with the place of the first answer in each, made once and kept in memory.

    SQuAD 1.1 has about 90,000 windows, which take 140 MB.

    Args:
        rows: see `read_squad`.
        preprocessor: says how long windows are.

    Returns:
        A dict of int32 tensors: `token_ids` [windows, sequence_length]; `context`, the position of the first token
        behind the question, `length`, how many positions are no padding, and `start` and `end`, the targets, [windows]
        each.

    Example:
        >>> training_windows(read_squad("train-v1.1.json"), preprocessor)["token_ids"].shape
        TensorShape([90000, 384])
    """
    strings, numbers = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[strings, strings, numbers, numbers])
    def make(question, context, start, end):
        windows, targets = preprocessor.windows_with_targets(question, context, start, end)
        return {
            "token_ids": windows.token_ids,
            "context": tf.math.count_nonzero(windows.padding_mask & (windows.segment_ids == 0), -1, dtype=tf.int32),
            "length": tf.math.count_nonzero(windows.padding_mask, -1, dtype=tf.int32),
            **targets,
        }

    parts = []
    places = range(0, len(rows), ROWS_AT_ONCE)
    console = Console(stderr=True)
    for place in track(places, "Tokenizing", console=console, disable=not sys.stderr.isatty(), transient=True):
        part = rows[place : place + ROWS_AT_ONCE]
        starts = [row.starts[0] if row.starts else -1 for row in part]
        ends = [row.starts[0] + len(row.answers[0]) if row.starts else -1 for row in part]
        texts = tf.constant([row.question for row in part]), tf.constant([row.context for row in part])
        parts.append(make(*texts, tf.constant(starts), tf.constant(ends)))
    return {name: tf.constant(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def ids_and_targets(batch: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Rows of `training_windows` as a task takes them: a dict of ids, and one of targets."""
    position = tf.range(batch["token_ids"].shape[1])
    padding_mask = position < batch["length"][:, tf.newaxis]
    ids = {
        "token_ids": batch["token_ids"],
        "segment_ids": tf.cast((position >= batch["context"][:, tf.newaxis]) & padding_mask, tf.int32),
        "padding_mask": padding_mask,
    }
    return ids, {"start": batch["start"], "end": batch["end"]}
