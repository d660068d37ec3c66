"""Text classification with ALBERT: one text or a pair of texts in, one of several labels or a number out."""

import functools
from collections.abc import Sequence

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.preprocessing import check_labels, choose_preprocessor, label_ids, named_texts, pack_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.tasks.temperature import check_temperature
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTextClassifierPreprocessor(keras_nlp.models.Preprocessor):
    """Texts to `[CLS] text [SEP]`, pairs to `[CLS] text [SEP] text_pair [SEP]`, with padding to a fixed length.

    Args:
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, length of the packed row, special tokens included; longer texts are cut, the longer of
            a pair first. Defaults to 128.
        labels: list of str or `None`. With it, string targets are turned into their index.

    Example:
        >>> preprocessor = AlbertTextClassifierPreprocessor(tokenizer, sequence_length=8)
        >>> preprocessor(["a fox"])["token_ids"].shape
        TensorShape([1, 8])
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=128, labels=None, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.labels = list(labels) if labels is not None else None

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs text.

        Args:
            x: strings [batch] or a scalar; for pairs a tuple (text, text_pair) or a dict with these keys.
            y: int [batch], or strings [batch] when `labels` are known; float [batch] for regression. Defaults to
                `None`.
            sample_weight: float [batch]. Defaults to `None`.

        Returns:
            A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length];
            with `y`, a tuple (dict, y) or (dict, y, sample_weight).
        """
        packed = pack_texts(self.tokenizer, named_texts(x, "text", "text_pair"), self.sequence_length)
        return keras.utils.pack_x_y_sample_weight(packed, label_ids(y, self.labels), sample_weight)

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length, "labels": self.labels}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTextClassifier(Task):
    """ALBERT with a dense layer on the pooled first position.

    Called on a dict of ids it returns logits [batch, classes]; `predict` returns probabilities. With `regression` it
    returns one number a text: [batch, 1] when called, [batch] from `predict`; the loss is the mean squared error, and
    the metric is `mean_absolute_error`.

    Args:
        backbone: an `AlbertBackbone`.
        labels: list of str, the names of the classes in the order of the logits. `None` for regression.
        preprocessor: an `AlbertTextClassifierPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        dropout: float, dropout rate of the pooled output. Defaults to 0.1, as in the released fine-tuning.
        regression: bool, whether a number is predicted and not a label. Defaults to `False`.
        temperature: float, divides the logits before they become probabilities, in all answers and exports; the loss
            is without it. `albert-gpt-tf calibrate` fits it. Defaults to 1.

    Raises:
        ValueError: fewer than two labels, or a label twice; labels and regression, or neither; a temperature that is
            not above 0; both a preprocessor and a tokenizer.

    Example:
        >>> classifier = AlbertTextClassifier(backbone, labels=["ham", "spam"], tokenizer=tokenizer)
        >>> classifier.fit(["win a prize", "see you at six"], ["spam", "ham"], verbose=0)
        >>> classifier.predict(["win"], verbose=0).shape
        (1, 2)
        >>> regressor = AlbertTextClassifier(backbone, regression=True, tokenizer=tokenizer)
        >>> regressor.fit(["win a prize", "see you at six"], [0.9, 0.1], verbose=0)

    Reference:
        arXiv:1909.11942, appendix A.4; google-research/albert `classifier_utils.py`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertTextClassifierPreprocessor

    def __init__(self, backbone, labels=None, preprocessor=None, tokenizer=None, dropout=0.1, regression=False,
                 temperature=1.0, **kwargs):  # fmt: skip
        if regression == (labels is not None):
            raise ValueError(
                "Expected labels=[...] to classify, or regression=True to predict a number. Received: "
                f"labels={labels}, regression={regression}. Give one of the two."
            )
        labels = None if regression else check_labels(labels)

        # === Layers ===
        self.backbone = backbone
        make = functools.partial(AlbertTextClassifierPreprocessor, labels=labels)
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, make)
        self.output_dropout = keras.layers.Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            1 if regression else len(labels),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Config ===
        self.labels = labels
        self.dropout = dropout
        self.regression = regression
        self.temperature = temperature

        # === Functional Model ===
        pooled = backbone(backbone.input)["pooled_output"]  # [batch, hidden_dim]
        logits = self.output_dense(self.output_dropout(pooled))  # [batch, classes]; [batch, 1] for regression
        super().__init__(inputs=backbone.input, outputs=logits, **kwargs)

    # === Training ===

    @property
    def metric_name(self):
        """`"accuracy"` of labels, `"mean_absolute_error"` of numbers."""
        return "mean_absolute_error" if self.regression else "accuracy"

    def elementwise_loss(self, name, targets, logits):
        """Cross entropy of labels int [batch], squared error of numbers [batch] -> float32 [batch]."""
        if not self.regression:
            return super().elementwise_loss(name, targets, logits)
        return tf.square(tf.cast(logits[..., 0], "float32") - tf.cast(targets, "float32"))

    def elementwise_metric(self, name, targets, logits):
        """Whether a label is right, or the absolute error of a number -> float32 [batch]."""
        if not self.regression:
            return super().elementwise_metric(name, targets, logits)
        return tf.abs(tf.cast(logits[..., 0], "float32") - tf.cast(targets, "float32"))

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Turns a batch of text into ids and label names into indices; ids and indices pass."""
        return super().preprocess_samples(x, label_ids(y, self.labels), sample_weight)

    # === Answers ===

    @property
    def temperature(self) -> float:
        """What divides the logits before they become probabilities."""
        return self._temperature

    @temperature.setter
    def temperature(self, value):
        self._temperature = check_temperature(value, self.regression)
        self.predict_function = None  # was compiled with the one before

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.values(x) if self.regression else self.probabilities(x)

    def logits(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch, classes], or [batch, 1] for regression."""
        return tf.cast(self(ids, training=False), "float32")

    def probabilities(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch, classes]."""
        return tf.nn.softmax(self.logits(ids) / self.temperature)

    def values(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch], the numbers of a regression."""
        return tf.cast(self(ids, training=False)[..., 0], "float32")

    def answer(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Classifies text, as graph operations: what `predict`, the exports and their tests share.

        Args:
            text: strings [batch].
            text_pair: strings [batch]. Defaults to `None`.

        Returns:
            `label` string [batch], `score` float32 [batch], `scores` float32 [batch, classes]; for regression `value`
            float32 [batch] alone.
        """
        ids = self.preprocessor(text if text_pair is None else (text, text_pair))
        if self.regression:
            return {"value": self.values(ids)}
        scores = self.probabilities(ids)
        label = tf.gather(tf.constant(self.labels), tf.argmax(scores, -1, output_type=tf.int32))
        return {"label": label, "score": tf.reduce_max(scores, -1), "scores": scores}

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> list[str]:
        """The most probable label of each text.

        Args:
            texts: strings.
            batch_size: int, texts computed at a time. Defaults to 32.

        Returns:
            A list of labels.

        Raises:
            ValueError: the task is a regression.
        """
        if self.regression:
            raise ValueError("Expected a classifier with labels. Received: regression=True. Use predict for numbers.")
        best = self.predict(list(texts), batch_size=batch_size, verbose=0).argmax(-1)
        return [self.labels[index] for index in best]

    def get_config(self):
        names = ("labels", "dropout", "regression", "temperature")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
