"""Text classification with GPT: one text or a pair of texts in, one of several labels or a number out."""

import functools
from collections.abc import Sequence

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.preprocessing import check_labels, choose_preprocessor, label_ids, named_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.tasks.temperature import check_temperature
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.packing import pack_causal, pack_segments

# Of the original fine-tuning: before a text, between the two of a pair, and where the label is read.
FINE_TUNING_TOKENS = ("_start_", "_delimiter_", "_classify_")


def frame_ids(tokenizer) -> tuple[int, int, int] | None:
    """The ids before a text, between the texts of a pair and at the end, where the label is read.

    Args:
        tokenizer: one with the tokens of GPT-1's fine-tuning (`GPT1Tokenizer(..., special_tokens=["_start_",
            "_delimiter_", "_classify_"])`), one with an end-of-text token (GPT-2), which takes all three places, or one
            with `[CLS]` and `[SEP]` (WordPiece).

    Returns:
        Three ints, or `None` if the tokenizer has no such token.

    Example:
        >>> frame_ids(gpt2_tokenizer)
        (50256, 50256, 50256)

    Reference:
        Radford et al., 2018, section 3.3.
    """
    if set(FINE_TUNING_TOKENS) <= set(tokenizer.get_vocabulary()):
        return tuple(tokenizer.token_to_id(token) for token in FINE_TUNING_TOKENS)
    end_id = getattr(tokenizer, "end_of_text_id", None)
    if end_id is not None:
        return end_id, end_id, end_id
    if getattr(tokenizer, "sep_id", None) is not None:
        return tokenizer.cls_id, tokenizer.sep_id, tokenizer.sep_id
    return None


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTTextClassifierPreprocessor(keras_nlp.models.Preprocessor):
    """Texts to `start text end`, pairs to `start text delimiter text_pair end`, with padding to a fixed length.

    What stands for start, delimiter and end is in `frame_ids`; GPT-2 has `<|endoftext|>` for all three. A tokenizer
    without any gives the text's own tokens, as Transformers does, and takes no pairs. An empty text without a frame has
    no token: the label is then read from the padding at the first position.

    Args:
        tokenizer: a `GPT2Tokenizer`, `GPT1Tokenizer` or `WordPieceTokenizer`.
        sequence_length: int, length of the packed row, special tokens included; longer texts are cut, the longer of
            a pair first. Defaults to 128.
        labels: list of str or `None`. With it, string targets are turned into their index.
        add_special_tokens: bool; `False` gives the text's own tokens, as classifiers from Transformers expect them.
            Defaults to `True`.

    Example:
        >>> preprocessor = GPTTextClassifierPreprocessor(tokenizer, sequence_length=8)
        >>> preprocessor(["a fox"])["token_ids"].shape
        TensorShape([1, 8])

    Reference:
        Radford et al., 2018, section 3.3 and Figure 1.
    """

    backbone_cls = GPTBackbone
    tokenizer_cls = GPT2Tokenizer

    def __init__(self, tokenizer, sequence_length=128, labels=None, add_special_tokens=True, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.labels = list(labels) if labels is not None else None
        self.add_special_tokens = add_special_tokens

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
            A dict of `token_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length]; with `y`, a tuple
            (dict, y) or (dict, y, sample_weight).

        Raises:
            ValueError: a pair of texts, and no token to put between them.
        """
        texts = named_texts(x, "text", "text_pair")
        is_scalar = texts[0].shape.rank == 0
        segments = [self.tokenizer.tokenize(text[None] if is_scalar else text) for text in texts]
        token_ids, padding_mask = self.pack(segments)
        packed = {"token_ids": token_ids, "padding_mask": padding_mask}
        if is_scalar:
            packed = {name: value[0] for name, value in packed.items()}
        return keras.utils.pack_x_y_sample_weight(packed, label_ids(y, self.labels), sample_weight)

    def pack(self, segments: Sequence[tf.RaggedTensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """One or two ragged int32 [batch, (length)] -> ids int32 and mask bool, each [batch, sequence_length]."""
        pad_id = self.tokenizer.pad_id
        frame = frame_ids(self.tokenizer) if self.add_special_tokens else None
        if frame is None:
            if len(segments) > 1:
                raise ValueError(
                    "Expected a special token to put between the texts of a pair. Received: "
                    f"{type(self.tokenizer).__name__}, add_special_tokens={self.add_special_tokens}. Give the "
                    f"tokenizer special_tokens={list(FINE_TUNING_TOKENS)}, or one text a row."
                )
            return pack_causal(segments[0], self.sequence_length, end_id=pad_id, pad_id=pad_id, add_end=False)
        start_id, delimiter_id, end_id = frame
        token_ids, segment_ids, padding_mask = pack_segments(segments, self.sequence_length, start_id, end_id, pad_id)
        if len(segments) > 1:
            # The first text ends before the second segment begins: its end becomes the delimiter.
            ends_first = tf.reduce_sum(tf.cast(padding_mask, "int32") - segment_ids, -1, keepdims=True) - 1
            is_delimiter = tf.equal(tf.range(self.sequence_length)[None], ends_first)  # [batch, sequence_length]
            token_ids = tf.where(is_delimiter, delimiter_id, token_ids)
        return token_ids, padding_mask

    def get_config(self):
        names = ("sequence_length", "labels", "add_special_tokens")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class LastToken(keras.layers.Layer):
    """The hidden state of the last real token of each row, or of the first position of a row without one."""

    def call(self, hidden, padding_mask):
        """float [batch, length, hidden_dim], bool [batch, length] -> float [batch, hidden_dim]."""
        positions = tf.where(tf.cast(padding_mask, "bool"), tf.range(tf.shape(padding_mask)[1])[None], 0)
        return tf.gather(hidden, tf.reduce_max(positions, -1), batch_dims=1)

    def compute_output_spec(self, hidden, padding_mask):
        return keras.KerasTensor((hidden.shape[0], hidden.shape[2]), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTTextClassifier(Task):
    """GPT with a dense layer on its last real token, on request with language modelling as a second task.

    Called on a dict of ids it returns logits [batch, classes]; `predict` returns probabilities. With `regression` it
    returns one number a text: [batch, 1] when called, [batch] from `predict`; the loss is the mean squared error, and
    the metric is `mean_absolute_error`.

    With `auxiliary_lm_weight` it returns a dict of these logits as `label` and of `language_model`, the next tokens'
    logits by the token embedding [batch, length, vocabulary]. The loss is then L2 + auxiliary_lm_weight * L1: the mean
    over the texts and the mean over the tokens of the batch. `fit` takes labels as before: the targets of L1 are the
    text's own next tokens. Among the metrics, `language_model_loss` has the weight in it.

    Args:
        backbone: a `GPTBackbone`.
        labels: list of str, the names of the classes in the order of the logits. `None` for regression.
        preprocessor: a `GPTTextClassifierPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: a `GPT2Tokenizer`, `GPT1Tokenizer` or `WordPieceTokenizer`, from which the default preprocessor is
            made. Defaults to `None`.
        dropout: float, dropout rate of the state that is classified. Defaults to 0.1, as in the paper.
        auxiliary_lm_weight: float, lambda in the paper, which has 0.5. Defaults to 0: no language modelling.
        head_bias: bool, whether the dense layer has a bias, as in OpenAI's code; Transformers has none. Defaults to
            `True`.
        regression: bool, whether a number is predicted and not a label. Defaults to `False`.
        temperature: float, divides the logits before they become probabilities, in all answers and exports; the loss
            is without it. `albert-gpt-tf calibrate` fits it. Defaults to 1.

    Raises:
        ValueError: fewer than two labels, or a label twice; labels and regression, or neither; a negative weight; a
            temperature that is not above 0; both a preprocessor and a tokenizer, or a tokenizer with more ids than the
            backbone.

    Example:
        >>> classifier = GPTTextClassifier(backbone, ["ham", "spam"], tokenizer=tokenizer, auxiliary_lm_weight=0.5)
        >>> classifier.fit(["win a prize", "see you at six"], ["spam", "ham"], verbose=0)
        >>> classifier.predict(["win"], verbose=0).shape
        (1, 2)

    Reference:
        Radford et al., 2018, "Improving Language Understanding by Generative Pre-Training", sections 3.2, 3.3 and 4.1;
        openai/finetune-transformer-lm `train.py`; Transformers, `GPT2ForSequenceClassification`.
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTTextClassifierPreprocessor

    def __init__(self, backbone, labels=None, preprocessor=None, tokenizer=None, dropout=0.1, auxiliary_lm_weight=0.0,
                 head_bias=True, regression=False, temperature=1.0, **kwargs):  # fmt: skip
        if regression == (labels is not None):
            raise ValueError(
                "Expected labels=[...] to classify, or regression=True to predict a number. Received: "
                f"labels={labels}, regression={regression}. Give one of the two."
            )
        if auxiliary_lm_weight < 0:
            raise ValueError(f"Expected 0 or more. Received: auxiliary_lm_weight={auxiliary_lm_weight}. Take 0.5, say.")
        labels = None if regression else check_labels(labels)

        # === Layers ===
        self.backbone = backbone
        make = functools.partial(GPTTextClassifierPreprocessor, labels=labels)
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, make)
        self.last_token = LastToken(dtype=backbone.dtype_policy, name="last_token")
        self.output_dropout = keras.layers.Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            1 if regression else len(labels),
            use_bias=head_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Config ===
        self.labels = labels
        self.dropout = dropout
        self.auxiliary_lm_weight = auxiliary_lm_weight
        self.head_bias = head_bias
        self.regression = regression
        self.temperature = temperature

        # === Functional Model ===
        hidden = backbone(backbone.input)  # [batch, length, hidden_dim]
        last = self.last_token(hidden, backbone.input["padding_mask"])  # [batch, hidden_dim]
        outputs = self.output_dense(self.output_dropout(last))  # [batch, classes]; [batch, 1] for regression
        if auxiliary_lm_weight > 0:
            outputs = {"label": outputs, "language_model": backbone.token_embedding(hidden, reverse=True)}
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)

    # === Training ===

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Turns a batch of text into ids and label names into indices, and adds the language model's targets."""
        if not isinstance(y, dict):
            y = label_ids(y, self.labels)
        data = super().preprocess_samples(x, y, sample_weight)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.auxiliary_lm_weight == 0 or y is None or isinstance(y, dict):
            return data
        targets, weights = next_tokens(x["token_ids"], x["padding_mask"])
        weights = {"language_model": weights}  # a label without a weight counts as 1
        if sample_weight is not None:
            of_rows = tf.cast(sample_weight, "float32")
            weights = {"label": of_rows, "language_model": of_rows[..., None] * weights["language_model"]}
        return x, {"label": y, "language_model": targets}, weights

    def names_of_means(self, name):
        """What an output's loss and metric are called in the logs."""
        loss, metric = super().names_of_means(name)
        is_number = self.regression and name != "language_model"
        return loss, metric.replace("accuracy", "mean_absolute_error") if is_number else metric

    def elementwise_loss(self, name, targets, logits):
        """Cross entropy, that of the language model with its weight; squared error of numbers -> float32 [...]."""
        if name == "language_model":
            return self.auxiliary_lm_weight * super().elementwise_loss(name, targets, logits)
        if self.regression:
            return tf.square(tf.cast(logits[..., 0], "float32") - tf.cast(targets, "float32"))
        return super().elementwise_loss(name, targets, logits)

    def elementwise_metric(self, name, targets, logits):
        """Whether a label or a token is right, or the absolute error of a number -> float32 [...]."""
        if self.regression and name != "language_model":
            return tf.abs(tf.cast(logits[..., 0], "float32") - tf.cast(targets, "float32"))
        return super().elementwise_metric(name, targets, logits)

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
        outputs = self(ids, training=False)
        return tf.cast(outputs["label"] if isinstance(outputs, dict) else outputs, "float32")

    def probabilities(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch, classes]."""
        return tf.nn.softmax(self.logits(ids) / self.temperature)

    def values(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch], the numbers of a regression."""
        return self.logits(ids)[..., 0]

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
        names = ("labels", "dropout", "auxiliary_lm_weight", "head_bias", "regression", "temperature")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def next_tokens(token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The targets and weights of language modelling on packed rows.

    Args:
        token_ids: int [batch, length].
        padding_mask: bool [batch, length], true for real tokens.

    Returns:
        int [batch, length], the next token, and float32 [batch, length]: 1 where a real token follows a real token, 0
        at the last one, which nothing follows, and in padding.

    Example:
        >>> next_tokens([[5, 6, 0]], [[True, True, False]])[1].numpy()
        array([[1., 0., 0.]], dtype=float32)
    """
    ids, mask = tf.convert_to_tensor(token_ids), tf.cast(padding_mask, "float32")
    targets, weights = ids[..., 1:], mask[..., :-1] * mask[..., 1:]  # [batch, length - 1]
    last = tf.zeros_like(ids[..., :1])  # for rows of one token, too
    return tf.concat([targets, last], -1), tf.concat([weights, tf.cast(last, "float32")], -1)
