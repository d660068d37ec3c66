"""A whole training run: data, vocabulary, model, `fit`, evaluation, and a preset directory at the end.

`train(config, workdir, strategy)` is what `albert-gpt-tf train` calls; `configs/` holds configurations. In the
working directory it leaves `config.json`, `metrics.jsonl` (a line every few steps), `results.json` and `preset/`.
"""

import json
import math
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from albert_gpt_tf.data.docstrings import language_model_documents, library_classification
from albert_gpt_tf.data.files import read_labelled_file, read_text_file
from albert_gpt_tf.data.language_model import causal_windows, count_bytes, evaluation_windows
from albert_gpt_tf.data.token_dropout import drop_tokens
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier, AlbertTextClassifierPreprocessor
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.training.flops import measured_peak_flops, training_flops_per_token
from albert_gpt_tf.training.optimizers import AdamW
from albert_gpt_tf.training.progress import RunLog
from albert_gpt_tf.training.schedules import WarmupSchedule
from albert_gpt_tf.training.strategies import is_chief

SPLITS = ("train", "validation", "test")


def train(config, workdir: str | Path, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Trains, evaluates and saves what a configuration describes.

    Args:
        config: an `ml_collections.ConfigDict`, see `configs/`.
        workdir: directory of the run; made if missing.
        strategy: see `make_strategy`.

    Returns:
        The results on the validation and test splits by name, also written to `results.json`.

    Raises:
        ValueError: a setting that cannot work, before the first step.
        DataError: a file with a broken row, before the first step.

    Example:
        >>> train(get_config(), "runs/docstrings", make_strategy("one_device"))["test_accuracy"]
        0.88
    """
    runs = {"text_classifier": train_text_classifier, "causal_lm": train_causal_lm}
    if config.task not in runs:
        raise ValueError(f"config.task must be one of {sorted(runs)}. Received: config.task={config.task!r}")
    check_settings(config, strategy)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    workdir = Path(workdir)
    # Other workers than the chief take part in every step but write nothing.
    output = workdir if is_chief(strategy) else None
    if output:
        output.mkdir(parents=True, exist_ok=True)
    task, results = runs[config.task](config, output, strategy)
    if output:
        save_preset(task, output / "preset")
        (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def check_settings(config, strategy):
    """Raises ValueError for settings that cannot work."""
    if config.data.source not in ("docstrings", "files"):
        raise ValueError(
            f"config.data.source must be 'docstrings' or 'files'. Received: config.data.source={config.data.source!r}"
        )
    for name in ("batch_size", "micro_batches", "steps", "sequence_length", "log_every"):
        if config[name] < 1:
            raise ValueError(f"config.{name} must be 1 or more. Received: {name}={config[name]}")
    if config.batch_size % (strategy.num_replicas_in_sync * config.micro_batches):
        raise ValueError(
            "config.batch_size must be divisible by replicas * micro_batches. Received: "
            f"batch_size={config.batch_size}, replicas={strategy.num_replicas_in_sync}, "
            f"micro_batches={config.micro_batches}"
        )
    if config.steps % steps_between_validations(config):
        raise ValueError(
            "config.steps must be a multiple of config.validate_every. "
            f"Received: steps={config.steps}, validate_every={config.validate_every}"
        )
    learning_rate(config)


def steps_between_validations(config) -> int:
    return min(config.validate_every or config.steps, config.steps)


def learning_rate(config) -> WarmupSchedule:
    return WarmupSchedule(config.learning_rate, config.steps, config.warmup_steps, config.decay)


def train_text_classifier(config, output, strategy):
    """One or two texts to a label: returns the trained task and its test metrics."""
    data = labelled_splits(config.data)
    texts, labels = data["train"]
    names = sorted(set(labels))
    for split, (_, split_labels) in data.items():
        unknown = sorted(set(split_labels) - set(names))
        if unknown:
            raise ValueError(
                f"Expected labels of the train split, {names}, in the {split} split. Received: {unknown} as well. "
                "Add rows with them to the train split, or remove them here."
            )
    tokenizer_texts = [text for row in texts for text in (row if isinstance(row, tuple) else (row,))]
    with strategy.scope():
        if config.preset:
            backbone = AlbertTextClassifier.backbone_cls.from_preset(config.preset)
            tokenizer = AlbertTokenizer.from_preset(config.preset)
        else:
            tokenizer = AlbertTokenizer(train_sentencepiece(tokenizer_texts, config.vocabulary_size))
            backbone = AlbertTextClassifier.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
        preprocessor = AlbertTextClassifierPreprocessor(tokenizer, config.sequence_length, labels=names)
        task = AlbertTextClassifier(backbone, labels=names, preprocessor=preprocessor, dropout=config.dropout)
    evaluation = {
        split: labelled_dataset(*data[split]).batch(config.batch_size)
        for split in ("validation", "test")
        if split in data
    }
    batches = training_batches(texts, labels, preprocessor, config)
    fit(task, config, output, strategy, batches, evaluation.get("validation"), "classifier")
    results = {}
    for split, batches in evaluation.items():
        results |= {f"{split}_{name}": value for name, value in evaluate(task, batches).items()}
    return task, results


def train_causal_lm(config, output, strategy):
    """Text to more text: returns the trained task and its validation and test bits per byte."""
    documents = document_splits(config.data)
    with strategy.scope():
        if config.preset:
            task = GPTCausalLM.from_preset(config.preset)
            tokenizer = task.preprocessor.tokenizer
        else:
            tokenizer = GPT2Tokenizer(*train_byte_level_bpe(documents["train"], config.vocabulary_size))
            backbone = GPTCausalLM.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
            task = GPTCausalLM(backbone, tokenizer=tokenizer)
    windows = causal_windows(
        documents["train"], tokenizer, config.sequence_length, config.batch_size, shuffle_seed=config.seed, repeat=True
    )
    evaluation = {
        split: evaluation_windows(documents[split], tokenizer, config.sequence_length, config.batch_size).map(with_mask)
        for split in ("validation", "test")
        if split in documents
    }
    fit(task, config, output, strategy, windows.map(with_mask), evaluation.get("validation"), "language model")
    results = {}
    for split, batches in evaluation.items():
        metrics = evaluate(task, batches)
        tokens = float(sum(weights.numpy().sum() for _, _, weights in batches))
        metrics["bits_per_byte"] = metrics["loss"] / math.log(2) * tokens / count_bytes(documents[split])
        results |= {f"{split}_{name}": value for name, value in metrics.items()}
    return task, results


def fit(task, config, output, strategy, train_batches, validation_batches, title):
    """Compiles and fits; one Keras epoch is the stretch between two validations."""
    if config.sequence_length > task.backbone.max_sequence_length:
        raise ValueError(
            "config.sequence_length must be at most the model's max_sequence_length of "
            f"{task.backbone.max_sequence_length}. Received: sequence_length={config.sequence_length}"
        )
    with strategy.scope():
        optimizer = AdamW(
            learning_rate(config),
            weight_decay=config.weight_decay,
            global_clipnorm=config.global_clipnorm,
            beta_2=config.beta_2,
        )
        task.compile(optimizer, micro_batches=config.micro_batches)
    stretch = steps_between_validations(config)
    compute_dtype = keras.config.dtype_policy().compute_dtype
    if output:  # not earlier: a mistake must leave the files of an earlier run as they were
        (output / "config.json").write_text(config.to_json_best_effort(indent=2), encoding="utf-8")
        (output / "metrics.jsonl").write_text("", encoding="utf-8")
    log = RunLog(
        output / "metrics.jsonl" if output else None,
        total_steps=config.steps,
        tokens_per_step=config.batch_size * config.sequence_length,
        flops_per_token=training_flops_per_token(task.backbone, config.sequence_length),
        peak_flops=measured_peak_flops(compute_dtype) * strategy.num_replicas_in_sync,
        log_every=config.log_every,
        title=title,
    )
    callbacks = [log]
    if config.tensorboard and output:
        folder = output / "tensorboard"
        callbacks.append(keras.callbacks.TensorBoard(folder, write_graph=False, update_freq=config.log_every))
    try:
        task.fit(
            shard_by_data(train_batches),
            epochs=config.steps // stretch,
            steps_per_epoch=stretch,
            # Without validations on the way there is none here: `evaluate` follows.
            validation_data=shard_by_data(validation_batches) if config.validate_every else None,
            callbacks=callbacks,
            verbose=0,
        )
    finally:
        log.bar.stop()  # an exception or Ctrl-C must leave the terminal as it was
    return log.lines


def evaluate(task, batches) -> dict[str, float]:
    """Loss and metrics over all batches."""
    metrics = task.evaluate(shard_by_data(batches), return_dict=True, verbose=0)
    return {name: float(tf.reshape(value, [-1])[0]) for name, value in metrics.items() if name != "gradient_norm"}


def save_preset(task, directory: Path):
    """Saves a task so that the directory is whole or absent."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    task.save_to_preset(str(partial))
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


# === Data ===


def labelled_splits(data) -> dict[str, tuple[list, list[str]]]:
    """The texts and labels of each split that the configuration names."""
    if data.source == "docstrings":
        return {
            split: (_every_nth(texts, data.limit), _every_nth(labels, data.limit))
            for split, (texts, labels) in library_classification().items()
        }
    splits = {}
    for split in SPLITS:
        if data[split]:
            rows = read_labelled_file(data[split], data.text, data.label, data.text_pair or None, data.limit or None)
            texts = list(zip(rows.texts, rows.pairs, strict=True)) if rows.pairs else rows.texts
            splits[split] = (texts, rows.labels)
    return _with_train(splits)


def document_splits(data) -> dict[str, list[str]]:
    """The documents of each split that the configuration names."""
    if data.source == "docstrings":
        return {split: _every_nth(rows, data.limit) for split, rows in language_model_documents().items()}
    return _with_train({split: read_text_file(data[split], data.limit or None) for split in SPLITS if data[split]})


def _every_nth(rows, limit):
    """At most `limit` rows (0: all), from the whole list: docstrings are sorted by library."""
    return rows[:: max(1, len(rows) // limit)][:limit] if limit else rows


def _with_train(splits):
    if "train" not in splits:
        raise ValueError("config.data.train must name a file when config.data.source is 'files'. Received: ''")
    return splits


def labelled_dataset(texts, labels) -> tf.data.Dataset:
    """(text, label) or ((text, text_pair), label) strings, one row an element."""
    if texts and isinstance(texts[0], tuple):
        columns = tuple(tf.constant(column, tf.string) for column in zip(*texts, strict=True))
    else:
        columns = tf.constant(texts, tf.string)
    return tf.data.Dataset.from_tensor_slices((columns, labels))


def training_batches(texts, labels, preprocessor, config) -> tf.data.Dataset:
    """Endless whole batches of ids in a seeded order, new each epoch, with token dropout if the recipe asks for it."""
    rows = labelled_dataset(texts, labels).shuffle(len(labels), seed=config.seed).repeat()
    batches = rows.batch(config.batch_size, drop_remainder=True)

    def to_ids(step, row):
        ids, label = preprocessor(row[0], y=row[1])
        if config.token_dropout:
            seed = tf.stack([tf.cast(config.seed, tf.int64), step])
            ids["token_ids"] = drop_tokens(ids["token_ids"], config.token_dropout, preprocessor.tokenizer, seed)
        return ids, label

    return batches.enumerate().map(to_ids, tf.data.AUTOTUNE)


def with_mask(token_ids, *targets_and_weights):
    """Windows have no padding, or padding of weight 0 at the end: every position may be seen by later ones."""
    inputs = {"token_ids": token_ids, "padding_mask": tf.ones(tf.shape(token_ids), tf.bool)}
    return (inputs, *targets_and_weights)


def shard_by_data(dataset):
    """Batches are global: several workers each take their part of every batch."""
    if dataset is None:
        return None
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
