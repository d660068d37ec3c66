"""The plan of a dialogue model: what was said so far to the answer."""

import math

import tensorflow as tf

from albert_gpt_tf.data.dialogue import (
    AnswerRows,
    Turn,
    answer_rows,
    hold_out,
    pack_answers,
    prompt_text,
    read_conversations,
)
from albert_gpt_tf.data.files import matching_files
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_causal_lm_preprocessor import GPTCausalLMPreprocessor
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training.batches import bytes_of, evaluation_batches, named_files, training_batches
from albert_gpt_tf.training.evaluation import evaluate
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan

QUESTION = "Who are you?"  # what the sample of a run answers


def dialogue(config, strategy) -> Plan:
    """What was said so far to the answer; measured in perplexity of the answers' tokens too."""
    conversations = conversation_splits(config.data)
    rows = {split: answer_rows(part) for split, part in conversations.items()}
    with strategy.scope():
        if config.preset:
            task = GPTCausalLM.from_preset(config.preset)
            check_dialogue_task(task, config.preset)
            task.preprocessor.sequence_length = config.sequence_length
        else:
            texts = [prompt_text(turns) for turns in conversations["train"]]
            tokenizer = GPT2Tokenizer(*train_byte_level_bpe(texts, config.vocabulary_size))
            backbone = GPTCausalLM.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
            task = GPTCausalLM(backbone, GPTCausalLMPreprocessor(tokenizer, config.sequence_length))
        task = with_trained_parts(task, config)
    # With their padding rows are several times as long: most conversations are short, and some are not.
    lengths = bytes_of(rows["train"].answers) + bytes_of(tf.strings.reduce_join(rows["train"].prompts, 1))

    def batches(first_step):
        def to_batch(batch, seed):
            return pack_answers(batch, task.preprocessor, config.sequence_length)

        return training_batches(rows["train"], to_batch, config, first_step, lengths)

    evaluation = {
        split: answer_batches(task, rows[split], config.batch_size) for split in ("validation", "test") if split in rows
    }
    sample_length = min(64, task.backbone.max_sequence_length // 2)
    return Plan(
        task, "dialogue", batches, evaluation, lambda split, metrics: with_perplexity(metrics),
        rows=int(rows["train"].answers.shape[0]),
        sample=lambda: task.generate(prompt_text([Turn("user", QUESTION)]), sample_length).strip(),
    )  # fmt: skip


def conversation_splits(data) -> dict[str, list[list[Turn]]]:
    """The conversations of each split that the configuration names; a name may be a pattern of several files.

    The same conversation a second time says nothing new, and is left out. Without a validation file the share
    `data.held_out` of the train split becomes one.

    Raises:
        ValueError: another source than files, or a share that leaves nothing on one of both sides.
        DataError: a file with a broken conversation.
    """
    if data.source != "files":
        raise ValueError(
            f"config.data.source must be 'files' for conversations. Received: config.data.source={data.source!r}"
        )
    splits = {}
    for split, pattern in named_files(data).items():
        read = [tuple(turns) for path in matching_files(pattern) for turns in read_conversations(path)]
        splits[split] = [list(turns) for turns in dict.fromkeys(read)][: data.limit or None]
    if data.held_out and "validation" not in splits:
        if not 0 < data.held_out < 1:
            raise ValueError(
                f"config.data.held_out must be a share of 0 or more, below 1. Received: held_out={data.held_out}"
            )
        splits["train"], splits["validation"] = hold_out(splits["train"], data.held_out)
        if not splits["train"] or not splits["validation"]:
            raise ValueError(
                "Expected conversations that config.data.held_out can divide. Received: "
                f"{len(splits['train'])} to train on and {len(splits['validation'])} held out, with "
                f"held_out={data.held_out}. Give more of them, or name a file in config.data.validation."
            )
    return splits


def check_dialogue_task(task, source: str) -> None:
    """Raises ValueError if a task cannot hold a conversation: it needs text, and a token that ends an answer."""
    preprocessor = getattr(task, "preprocessor", None)
    if not isinstance(task, GPTCausalLM) or preprocessor is None or preprocessor.end_id is None:
        raise ValueError(
            "Expected a GPTCausalLM whose vocabulary has an end of text, which ends an answer. Received: a "
            f"{type(task).__name__} in {source!r} without. Start from GPT-2, or train from scratch."
        )


def answer_batches(task, rows: AnswerRows, batch_size: int) -> tf.data.Dataset:
    """Batches of rows, once each, in the form that `task.evaluate` takes; rows are as long as its preprocessor says."""
    length = task.preprocessor.sequence_length
    lengths = bytes_of(rows.answers)  # any: padding is cut off
    return evaluation_batches(rows, lambda batch: pack_answers(batch, task.preprocessor, length), batch_size, lengths)


def evaluate_dialogue(task, rows: AnswerRows, batch_size: int) -> dict[str, float]:
    """Loss, accuracy and perplexity of a model on the tokens of answers, the end of each included.

    Args:
        task: a `GPTCausalLM`, compiled or loaded.
        rows: AnswerRows, see `answer_rows`.
        batch_size: int.

    Returns:
        `loss` in nats a token, `accuracy`, the share of tokens that are the most probable one, and `perplexity`,
        exp(loss).

    Example:
        >>> evaluate_dialogue(task, answer_rows(read_conversations("talk.jsonl")), 16)["perplexity"]
        21.5
    """
    return with_perplexity(evaluate(task, answer_batches(task, rows, batch_size)))


def with_perplexity(metrics: dict) -> dict:
    """Adds exp(loss)."""
    return {**metrics, "perplexity": math.exp(metrics["loss"])}
