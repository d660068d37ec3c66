"""The plan of multiple choice: which of several texts goes with a context."""

from collections.abc import Sequence

import tensorflow as tf

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.multiple_choice import ChoiceRow, choice_texts, read_choices
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice, AlbertMultipleChoicePreprocessor
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.batches import evaluation_batches, named_files, training_batches
from albert_gpt_tf.training.evaluation import evaluate
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan


def multiple_choice(config, strategy) -> Plan:
    """Which of several texts goes with a context.

    The splits may differ in the number of choices; the rows of one split may not.
    """
    if config.data.source != "files":
        raise ValueError(
            f"Expected config.data.source='files' for multiple choice. Received: {config.data.source!r}. Name a folder "
            "of RACE or a table in config.data.train."
        )
    data = {
        split: read_choices(path, limit=config.data.limit or None, progress=True)
        for split, path in named_files(config.data).items()
    }
    with strategy.scope():
        if config.preset:
            backbone = AlbertMultipleChoice.backbone_cls.from_preset(config.preset)
            tokenizer = AlbertTokenizer.from_preset(config.preset)
        else:
            tokenizer = AlbertTokenizer(train_sentencepiece(_all_texts(data["train"]), config.vocabulary_size))
            backbone = AlbertMultipleChoice.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        preprocessor = AlbertMultipleChoicePreprocessor(tokenizer, config.sequence_length, config.choice_length)
        task = with_trained_parts(AlbertMultipleChoice(backbone, preprocessor, dropout=config.dropout), config)
    rows = {split: choice_columns(split_rows) for split, split_rows in data.items()}
    # A question's rows all have the length of its longest one.
    contexts, choices, _ = rows["train"]
    lengths = tf.strings.length(contexts) + tf.reduce_max(tf.strings.length(choices), -1)

    def batches(first_step):
        return training_batches(
            rows["train"],
            lambda batch, seed: preprocessor(batch[:2], y=batch[2]),
            config,
            first_step,
            lengths if config.length_buckets else None,
        )

    evaluation = {
        split: choice_batches(preprocessor, rows[split], config.batch_size)
        for split in ("validation", "test")
        if split in rows
    }
    return Plan(task, "multiple choice", batches, evaluation, lambda split, metrics: metrics, len(data["train"]))


def evaluate_multiple_choice(task, rows: Sequence[ChoiceRow], batch_size: int = 32) -> dict[str, float]:
    """How many questions a model answers.

    Args:
        task: an `AlbertMultipleChoice` with its preprocessor.
        rows: of `read_choices`, with answers.
        batch_size: int, questions computed at a time. Defaults to 32.

    Returns:
        `accuracy`, the share of questions whose right choice has the largest logit, and `loss`, the mean of their
        cross entropies in nats.

    Raises:
        DataError: a row has no answer.

    Example:
        >>> evaluate_multiple_choice(load_task("runs/race/preset"), read_choices("RACE/test/high"))
        {'loss': 1.01, 'accuracy': 0.62}

    Reference:
        google-research/albert, `race_utils.py`: `metric_fn`.
    """
    return evaluate(task, choice_batches(task.preprocessor, choice_columns(rows), batch_size))


def choice_columns(rows: Sequence[ChoiceRow]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The rows as strings [rows] and [rows, choices], and the indices of the right ones, int32 [rows].

    Raises:
        DataError: a row has no answer.

    Example:
        >>> contexts, choices, answers = choice_columns(read_choices("swag/train.csv"))
    """
    if without := [number for number, row in enumerate(rows, start=1) if row.answer is None]:
        raise DataError(
            f"Expected rows with answers. Received: none in row {without[0]}. Only predictions can be made for such."
        )
    contexts = tf.constant([row.context for row in rows])
    choices = tf.constant([choice_texts(row) for row in rows])
    return contexts, choices, tf.constant([row.answer for row in rows], tf.int32)


def choice_batches(preprocessor, columns: tuple[tf.Tensor, tf.Tensor, tf.Tensor], batch_size: int) -> tf.data.Dataset:
    """All questions once, in their order, as batches of (ids [batch, choices, length], answers [batch]).

    Example:
        >>> task.evaluate(choice_batches(task.preprocessor, choice_columns(rows), 8))
    """

    def to_batch(batch):
        return preprocessor(batch[:2], y=batch[2])

    return evaluation_batches(columns, to_batch, batch_size, lengths=())  # any but None: padding is cut off


def _all_texts(rows: Sequence[ChoiceRow]) -> list[str]:
    """Every text once: the questions of an article share it."""
    return list(dict.fromkeys(text for row in rows for text in (row.context, row.question, *row.choices) if text))
