"""Text classification with ALBERT: one text or a pair of texts in, one of several labels out."""

from collections.abc import Sequence

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.packing import pack_segments


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
            y: int [batch], or strings [batch] when `labels` are known. Defaults to `None`.
            sample_weight: float [batch]. Defaults to `None`.

        Returns:
            A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length];
            with `y`, a tuple (dict, y) or (dict, y, sample_weight).
        """
        if isinstance(x, dict):
            x = (x["text"], x["text_pair"]) if "text_pair" in x else x["text"]
        texts = x if isinstance(x, tuple) else (x,)
        texts = [tf.convert_to_tensor(text) for text in texts]
        is_scalar = texts[0].shape.rank == 0
        segments = [self.tokenizer.tokenize(text[None] if is_scalar else text) for text in texts]
        token_ids, segment_ids, padding_mask = pack_segments(
            segments,
            self.sequence_length,
            start_id=self.tokenizer.cls_id,
            end_id=self.tokenizer.sep_id,
            pad_id=self.tokenizer.pad_id,
        )
        packed = {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}
        if is_scalar:
            packed = {name: value[0] for name, value in packed.items()}
        return keras.utils.pack_x_y_sample_weight(packed, self.label_ids(y), sample_weight)

    def label_ids(self, y):
        """Label names [batch] -> int32 indices [batch]; anything that is not a string passes."""
        if y is None or (y := tf.convert_to_tensor(y)).dtype != tf.string:
            return y
        if self.labels is None:
            raise ValueError("String targets need to be known: give the task labels=[...]. Received: labels=None")
        is_label = tf.equal(y[..., None], self.labels)  # [batch, classes]
        known = tf.reduce_all(tf.reduce_any(is_label, -1))
        message = f"A target is not one of the labels {self.labels}"
        with tf.control_dependencies([tf.debugging.assert_equal(known, True, message)]):
            return tf.argmax(is_label, -1, output_type=tf.int32)

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length, "labels": self.labels}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTextClassifier(Task):
    """ALBERT with a dense layer on the pooled first position.

    Called on a dict of ids it returns logits; `predict` returns probabilities.

    Args:
        backbone: an `AlbertBackbone`.
        labels: list of str, the names of the classes in the order of the logits.
        preprocessor: an `AlbertTextClassifierPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        dropout: float, dropout rate of the pooled output. Defaults to 0.1, as in the released fine-tuning.

    Raises:
        ValueError: fewer than two labels, or a label twice; or both a preprocessor and a tokenizer.

    Example:
        >>> classifier = AlbertTextClassifier(backbone, labels=["ham", "spam"], tokenizer=tokenizer)
        >>> classifier.fit(["win a prize", "see you at six"], ["spam", "ham"], verbose=0)
        >>> classifier.predict(["win"], verbose=0).shape
        (1, 2)

    Reference:
        arXiv:1909.11942, appendix A.4; google-research/albert `classifier_utils.py`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertTextClassifierPreprocessor

    def __init__(self, backbone, labels, preprocessor=None, tokenizer=None, dropout=0.1, **kwargs):
        labels = [str(label) for label in labels]
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"labels must be two or more different names. Received: labels={labels}")
        if preprocessor is not None and tokenizer is not None:
            raise ValueError("Give preprocessor=... or tokenizer=..., not both: a preprocessor holds its tokenizer.")
        if tokenizer is not None:
            length = min(128, backbone.max_sequence_length)
            preprocessor = AlbertTextClassifierPreprocessor(tokenizer, sequence_length=length, labels=labels)

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.output_dropout = keras.layers.Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            len(labels),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Functional Model ===
        pooled = backbone(backbone.input)["pooled_output"]  # [batch, hidden_dim]
        logits = self.output_dense(self.output_dropout(pooled))  # [batch, classes]
        super().__init__(inputs=backbone.input, outputs=logits, **kwargs)

        # === Config ===
        self.labels = labels
        self.dropout = dropout

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(x)

    def probabilities(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch, classes]."""
        return tf.nn.softmax(tf.cast(self(ids, training=False), "float32"))

    def answer(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Classifies text, as graph operations: what `predict`, the exports and their tests share.

        Args:
            text: strings [batch].
            text_pair: strings [batch]. Defaults to `None`.

        Returns:
            `label` string [batch], `score` float32 [batch], `scores` float32 [batch, classes].
        """
        ids = self.preprocessor(text if text_pair is None else (text, text_pair))
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
        """
        best = self.predict(list(texts), batch_size=batch_size, verbose=0).argmax(-1)
        return [self.labels[index] for index in best]

    def get_config(self):
        return {**super().get_config(), "labels": self.labels, "dropout": self.dropout}
