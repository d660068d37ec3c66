"""The plan of a text classifier: one or two texts to a label or to a number, with ALBERT or GPT."""

import tempfile

import tensorflow as tf

from albert_gpt_tf.data.glue import glue_task
from albert_gpt_tf.data.token_dropout import drop_tokens
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_text_classifier import FINE_TUNING_TOKENS, GPTTextClassifier, frame_ids
from albert_gpt_tf.tasks.load import saved_task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.training.batches import (
    evaluation_batches,
    labelled_splits,
    text_columns,
    token_counts,
    training_batches,
)
from albert_gpt_tf.training.classification_scores import predict_texts, score_answers
from albert_gpt_tf.training.parameter_efficient import with_trained_parts
from albert_gpt_tf.training.plan import Plan

MODELS = {"albert": AlbertTextClassifier, "gpt": GPTTextClassifier}


def text_classifier(config, strategy) -> Plan:
    """One or two texts to a label or to a number; measured by the scores of `classification_scores` too."""
    check(config)
    glue = glue_task(config.data.get("task", "")) if config.data.source == "glue" else None
    regression = glue.labels is None if glue else config.get("regression", False)
    data = labelled_splits(config.data, regression)
    labels = None if regression else label_names(data, glue)
    with strategy.scope():
        task = make_task(config, labels, data["train"][0])
    preprocessor = task.preprocessor
    rows = {
        split: (text_columns(texts), tf.constant(targets, tf.float32 if regression else tf.string))
        for split, (texts, targets) in data.items()
    }
    lengths = dict.fromkeys(rows)
    if config.length_buckets:
        lengths = {split: token_counts(columns, preprocessor) for split, (columns, _) in rows.items()}

    def to_batch(batch, seed):
        ids, label = preprocessor(batch[0], y=batch[1])
        if config.token_dropout:
            ids["token_ids"] = drop_tokens(ids["token_ids"], config.token_dropout, preprocessor.tokenizer, seed)
        return ids, label

    def batches(first_step):
        return training_batches(rows["train"], to_batch, config, first_step, lengths["train"])

    def to_evaluate(batch):
        return preprocessor(batch[0], y=batch[1])

    def measured(split, metrics):
        texts, targets = data[split]
        scores = score_answers(task, targets, predict_texts(task, texts, config.batch_size))
        return {**metrics, **{name: score for name, score in scores.items() if not glue or name in glue.metrics}}

    evaluation = {
        split: evaluation_batches(rows[split], to_evaluate, config.batch_size, lengths[split])
        for split in rows
        if split != "train"
    }
    return Plan(
        task, "regression" if regression else "classifier", batches, evaluation, measured, len(data["train"][1])
    )


def check(config) -> None:
    """Raises ValueError for settings of this task that cannot work, before anything is read."""
    sources = ("docstrings", "files", "glue")
    if config.data.source not in sources:
        raise ValueError(
            f"config.data.source of a text classifier must be one of {sources}. Received: {config.data.source!r}"
        )
    model = config.get("model", "albert")
    if model not in MODELS:
        raise ValueError(f"config.model must be one of {tuple(MODELS)}. Received: config.model={model!r}")
    for name, owner in (("token_dropout", "albert"), ("auxiliary_lm_weight", "gpt")):
        if config.get(name, 0) and model != owner:
            raise ValueError(
                f"config.{name} is for config.model={owner!r}. Received: config.{name}={config[name]}, "
                f"config.model={model!r}. Set it to 0."
            )


def label_names(data, glue) -> list[str]:
    """The labels in the order of the logits: the published one of GLUE, or the alphabetical one of the train split."""
    names = list(glue.labels) if glue else sorted(set(data["train"][1]))
    for split, (_, split_labels) in data.items():
        unknown = sorted(set(split_labels) - set(names))
        if unknown:
            raise ValueError(
                f"Expected labels of the train split, {names}, in the {split} split. Received: {unknown} as well. "
                "Add rows with them to the train split, or remove them here."
            )
    return names


def make_task(config, labels, texts):
    """The task of a preset or checkpoint with the labels of a run, or a new one with a vocabulary of its texts."""
    cls = MODELS[config.get("model", "albert")]
    head = {"labels": labels, "regression": labels is None}
    arguments = {"dropout": config.dropout}
    if cls is GPTTextClassifier:
        arguments["auxiliary_lm_weight"] = config.get("auxiliary_lm_weight", 0.0)
    of_preprocessor, source = {}, None
    if config.preset:
        source = load_source(cls, config.preset, head)
        backbone, tokenizer = with_fine_tuning_tokens(source.backbone, source.preprocessor.tokenizer)
        if cls is GPTTextClassifier:
            arguments["head_bias"] = source.head_bias
            of_preprocessor["add_special_tokens"] = source.preprocessor.add_special_tokens
    else:
        all_texts = (text for row in texts for text in (row if isinstance(row, tuple) else (row,)))
        if cls is GPTTextClassifier:
            tokenizer = GPT2Tokenizer(*train_byte_level_bpe(all_texts, config.vocabulary_size))
        else:
            tokenizer = AlbertTokenizer(train_sentencepiece(all_texts, config.vocabulary_size))
        backbone = cls.backbone_cls(tokenizer.vocabulary_size(), **config.backbone.to_dict())
    preprocessor = cls.preprocessor_cls(tokenizer, config.sequence_length, labels=labels, **of_preprocessor)
    task = cls(backbone, preprocessor=preprocessor, **head, **arguments)
    if source and {name: getattr(source, name) for name in head} == head:
        task.output_dense.set_weights(source.output_dense.get_weights())
    if config.train_only != "all" and source and backbone is not source.backbone:
        raise ValueError(
            "Expected config.train_only='all' for a GPT-1 without its fine-tuning tokens, whose new embeddings must be "
            f"trained. Received: {config.train_only!r}. Train all, or take a checkpoint that was fine-tuned before."
        )
    return with_trained_parts(task, config)


def load_source(cls, preset, head):
    """The task of a preset or checkpoint: with the head it has if it is of this class, otherwise with a new one."""
    is_own = saved_task(preset)[0] == f"albert_gpt_tf>{cls.__name__}"
    source = cls.from_preset(preset, **({} if is_own else head))
    if source.preprocessor is None:
        raise ValueError(
            f"Expected a tokenizer in config.preset={preset!r}. Received: weights alone. Put the vocabulary files of "
            "the model into the directory."
        )
    return source


def with_fine_tuning_tokens(backbone, tokenizer):
    """Gives a GPT-1 as published the three tokens of its fine-tuning, with new rows in the embedding.

    Args:
        backbone: any backbone.
        tokenizer: any tokenizer.

    Returns:
        The two, new ones where the tokenizer is GPT-1's and lacks the tokens.

    Example:
        >>> backbone, tokenizer = with_fine_tuning_tokens(backbone, GPT1Tokenizer.from_preset("gpt1"))
        >>> tokenizer.id_to_token(40478)
        '_start_'

    Reference: openai/finetune-transformer-lm `train.py`: `_start_`, `_delimiter_`, `_classify_`.
    """
    if not isinstance(tokenizer, GPT1Tokenizer) or frame_ids(tokenizer):
        return backbone, tokenizer
    tokens = list(dict.fromkeys([*tokenizer.added_tokens, *FINE_TUNING_TOKENS]))
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_assets(directory)
        tokenizer = GPT1Tokenizer.from_preset(directory, special_tokens=tokens)
    size = max(tokenizer.vocabulary_size(), backbone.vocabulary_size)
    larger = type(backbone).from_config({**backbone.get_config(), "vocabulary_size": size})
    for weight, old in zip(larger.weights, backbone.weights, strict=True):
        # Only the token table has more rows; these stay as they were drawn.
        weight.assign(tf.concat([old, weight[old.shape[0] :]], 0) if weight.shape != old.shape else old)
    return larger, tokenizer
