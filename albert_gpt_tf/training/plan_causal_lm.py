"""The plan of a language model: text to more text."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from albert_gpt_tf.data.language_model import (
    causal_windows,
    count_bytes,
    pack_documents,
    stream_of_ids,
    token_stream,
    windows_of_stream,
)
from albert_gpt_tf.data.shard_manifest import read_manifest
from albert_gpt_tf.data.token_shards import open_token_shards
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training.batches import document_splits, named_files, with_mask
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan


class Source(NamedTuple):
    """Where tokens come from, whatever form they are stored in.

    `windows(first_step)` is the endless dataset of batches to train on, (ids, next ids) from that step on.
    `streams` are the tokens of each split to evaluate on, in order, and `sizes` the UTF-8 bytes of their text.
    """

    windows: Callable[[int], tf.data.Dataset]
    streams: dict[str, np.ndarray]
    sizes: dict[str, int]


def causal_lm(config, strategy) -> Plan:
    """Text to more text; measured in bits per byte too."""
    is_shards = config.data.source == "shards"
    if is_shards:
        check_shards(config)
    documents = None if is_shards else document_splits(config.data)
    with strategy.scope():
        if config.preset:
            task = GPTCausalLM.from_preset(config.preset)
        else:
            if config.vocabulary:
                tokenizer = GPT2Tokenizer.from_preset(config.vocabulary)
            else:
                tokenizer = GPT2Tokenizer(*train_byte_level_bpe(documents["train"], config.vocabulary_size))
            backbone = GPTCausalLM.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
            task = GPTCausalLM(backbone, tokenizer=tokenizer)
        task = with_trained_parts(task, config)
    source = from_shards(config, task) if is_shards else from_documents(config, task, documents)
    evaluation = {
        split: windows_of_stream(stream, config.sequence_length, config.batch_size).map(with_mask)
        for split, stream in source.streams.items()
    }

    def measured(split, metrics):
        tokens = len(source.streams[split]) - 1  # all but the first are predicted
        bits_per_byte = metrics["loss"] / math.log(2) * tokens / source.sizes[split]
        return {**metrics, "bits_per_byte": bits_per_byte}

    sample_length = min(64, task.backbone.max_sequence_length - 1)
    return Plan(
        task, "language model", lambda first_step: source.windows(first_step).map(with_mask), evaluation, measured,
        sample=lambda: task.generate("", sample_length, temperature=0.8, seed=config.seed),
    )  # fmt: skip


def from_documents(config, task, documents: dict[str, list[str]]) -> Source:
    """Texts that fit into memory: the windows of an epoch come in an order drawn from (seed, epoch)."""
    tokenizer, end_id = task.preprocessor.tokenizer, task.preprocessor.end_id

    def windows(first_step):
        return causal_windows(
            documents["train"], tokenizer, config.sequence_length, config.batch_size,
            shuffle_seed=config.seed, repeat=True, first_batch=first_step, end_id=end_id,
        )  # fmt: skip

    others = {split: texts for split, texts in documents.items() if split != "train"}
    streams = {split: token_stream(texts, tokenizer, end_id) for split, texts in others.items()}
    for split, stream in streams.items():
        check_stream(split, stream)
    return Source(windows, streams, {split: count_bytes(texts) for split, texts in others.items()})


def from_shards(config, task) -> Source:
    """Token shards of any size: documents come in an order drawn from (seed, epoch) and are packed as they come.

    A step is found again by reading what stands before it: a resumed run needs a moment, and little of it, as no text
    is tokenized.
    """
    tokenizer, end_id = task.preprocessor.tokenizer, task.preprocessor.end_id
    directories = named_files(config.data)
    manifests = {split: read_manifest(directory, tokenizer) for split, directory in directories.items()}
    windows_of_epoch = manifests["train"]["tokens"] // config.sequence_length
    if not windows_of_epoch:
        raise ValueError(
            f"Expected at least sequence_length = {config.sequence_length} tokens in {directories['train']}. Received: "
            f"{manifests['train']['tokens']}. Prepare more text, or lower config.sequence_length."
        )

    def windows(first_step):
        shards = open_token_shards(directories["train"], seed=config.seed, repeat=True)
        packed = pack_documents(shards, config.sequence_length, end_id)
        batches = packed.skip(first_step * config.batch_size).batch(config.batch_size, drop_remainder=True)
        return batches.map(lambda rows: (rows[:, :-1], rows[:, 1:])).prefetch(tf.data.AUTOTUNE)

    streams = {
        split: stream_of_ids(open_token_shards(directory), end_id)
        for split, directory in directories.items()
        if split != "train"
    }
    for split, stream in streams.items():
        check_stream(split, stream)
    return Source(windows, streams, {split: manifests[split]["bytes"] for split in streams})


def check_shards(config) -> None:
    """Raises for settings that cannot work with shards, before a model is made."""
    if not (config.preset or config.vocabulary):
        raise ValueError(
            "Expected config.preset or config.vocabulary with config.data.source='shards', as the ids are those of a "
            "tokenizer. Received: neither. Name the tokenizer that the shards were prepared with."
        )
    if config.data.limit:
        raise ValueError(
            f"Expected config.data.limit=0 with config.data.source='shards'. Received: {config.data.limit}. Prepare "
            "shards of less text."
        )
    for split, directory in named_files(config.data).items():
        kind = read_manifest(directory)["format"]
        if kind != "documents":
            raise ValueError(
                f"Expected shards of --format=documents in config.data.{split}. Received: {kind} in {directory}. "
                "Prepare them again."
            )


def check_stream(split: str, stream: np.ndarray) -> None:
    """Raises where a split has nothing to predict."""
    if len(stream) < 2:
        raise ValueError(f"Expected text in config.data.{split}. Received: none. Name another file, or leave it empty.")
