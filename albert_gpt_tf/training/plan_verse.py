"""The plan of a model of verse: a language model of poems, measured by the character."""

import math

from albert_gpt_tf.data.files import matching_files
from albert_gpt_tf.data.language_model import causal_windows, token_stream, windows_of_stream
from albert_gpt_tf.data.verse import Poem, hold_out_poems, poem_document, read_poems
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training.batches import named_files, with_mask
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan


def verse(config, strategy) -> Plan:
    """Poems to more poems; measured in bits per character too."""
    documents = {split: [poem_document(poem) for poem in poems] for split, poems in poem_splits(config.data).items()}
    with strategy.scope():
        if config.preset:
            task = GPTCausalLM.from_preset(config.preset)
        else:
            tokenizer = GPT2Tokenizer(*train_byte_level_bpe(documents["train"], config.vocabulary_size))
            backbone = GPTCausalLM.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
            task = GPTCausalLM(backbone, tokenizer=tokenizer)
        task = with_trained_parts(task, config)
    tokenizer, end_id = task.preprocessor.tokenizer, task.preprocessor.end_id
    streams = {split: token_stream(documents[split], tokenizer, end_id) for split in documents if split != "train"}

    def batches(first_step):
        windows = causal_windows(
            documents["train"], tokenizer, config.sequence_length, config.batch_size,
            shuffle_seed=config.seed, repeat=True, first_batch=first_step, end_id=end_id,
        )  # fmt: skip
        return windows.map(with_mask)

    def measured(split, metrics):
        return with_bits_per_character(metrics, len(streams[split]) - 1, documents[split])

    evaluation = {
        split: windows_of_stream(stream, config.sequence_length, config.batch_size).map(with_mask)
        for split, stream in streams.items()
    }
    sample_length = min(64, task.backbone.max_sequence_length - 1)
    return Plan(
        task, "verse", batches, evaluation, measured,
        sample=lambda: task.generate("", sample_length, temperature=0.8, seed=config.seed),
    )  # fmt: skip


def poem_splits(data) -> dict[str, list[Poem]]:
    """The poems of each split that the configuration names; a name may be a pattern of several files.

    A poem with the lines of an earlier one is left out. Without a validation file the share `data.held_out` of the
    train split becomes one.

    Raises:
        ValueError: another source than files, or a share that leaves nothing on one of both sides.
        DataError: a file with a broken poem.
    """
    if data.source != "files":
        raise ValueError(f"config.data.source must be 'files' for poems. Received: config.data.source={data.source!r}")
    splits = {}
    for split, pattern in named_files(data).items():
        read = {}
        for path in matching_files(pattern):
            for poem in read_poems(path):
                read.setdefault(poem.lines, poem)
        splits[split] = list(read.values())[: data.limit or None]
    if data.held_out and "validation" not in splits:
        if not 0 < data.held_out < 1:
            raise ValueError(
                f"config.data.held_out must be a share of 0 or more, below 1. Received: held_out={data.held_out}"
            )
        splits["train"], splits["validation"] = hold_out_poems(splits["train"], data.held_out)
        if not splits["train"] or not splits["validation"]:
            raise ValueError(
                "Expected poems that config.data.held_out can divide. Received: "
                f"{len(splits['train'])} to train on and {len(splits['validation'])} held out, with "
                f"held_out={data.held_out}. Give more of them, or name a file in config.data.validation."
            )
    return splits


def with_bits_per_character(metrics: dict, predictions: int, documents: list[str]) -> dict:
    """Adds what a character costs, each line break one and the end of each poem shared out among them.

    Args:
        metrics: has `loss`, in nats, the mean over all predictions.
        predictions: int, tokens that were predicted, the ends of poems included.
        documents: list of str.

    Returns:
        The metrics and `bits_per_character`.

    Example:
        >>> with_bits_per_character({"loss": math.log(2)}, 3, ["a b"])["bits_per_character"]
        1.0
    """
    bits = metrics["loss"] / math.log(2) * predictions
    return {**metrics, "bits_per_character": bits / sum(map(len, documents))}
