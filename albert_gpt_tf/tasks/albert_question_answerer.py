"""Question answering with ALBERT: the span of a context that answers a question."""

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.preprocessing import choose_preprocessor, named_texts, pack_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer

# The logit of a position where an answer can neither start nor end. Finite, so that no row gives NaN.
IMPOSSIBLE = -1e9


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertQuestionAnswererPreprocessor(keras_nlp.models.Preprocessor):
    """Questions and contexts to `[CLS] question [SEP] context [SEP]`, with padding to a fixed length.

    Args:
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, length of the packed row, special tokens included. The context is cut to fit, the question
            only if it does not fit alone. Defaults to 384.

    Example:
        >>> preprocessor = AlbertQuestionAnswererPreprocessor(tokenizer, sequence_length=32)
        >>> preprocessor((["what runs?"], ["the fox runs"]))["token_ids"].shape
        TensorShape([1, 32])
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=384, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs text.

        Args:
            x: a tuple (question, context) of strings [batch] or scalars, or a dict with these keys.
            y: dict of `start` and `end`, int [batch]: the first and the last token of the answer as positions in the
                packed row; 0 and 0, which is `[CLS]`, if there is no answer. Defaults to `None`.
            sample_weight: float [batch]. Defaults to `None`.

        Returns:
            A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length];
            with `y`, a tuple (dict, y) or (dict, y, sample_weight).

        Raises:
            ValueError: `x` is not two texts.
        """
        texts = named_texts(x, "question", "context")
        if len(texts) != 2:
            raise ValueError(
                f"Expected a question and a context. Received: {len(texts)} text. Give (question, context)."
            )
        packed = pack_texts(self.tokenizer, texts, self.sequence_length, truncation="only_second")
        return keras.utils.pack_x_y_sample_weight(packed, y, sample_weight)

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertQuestionAnswerer(Task):
    """ALBERT with a dense layer that says where the answer starts and where it ends.

    Called on a dict of ids it returns a dict of logits, `start` and `end`, each [batch, length]; `predict` returns
    probabilities, which are 0 outside of the context but for `[CLS]`, where no answer starts and ends. Targets are a
    dict of `start` and `end`, int [batch]; one outside of the row, whose answer was cut off, has no weight. The loss is
    the mean of both cross entropies over all positions; among the metrics, `start_loss` and `end_loss` are halved.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertQuestionAnswererPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> answerer = AlbertQuestionAnswerer(backbone, tokenizer=tokenizer)
        >>> answerer.fit((["what runs?"], ["the fox runs"]), {"start": np.array([6]), "end": np.array([6])}, verbose=0)
        >>> answerer.answer(["what runs?"], ["The Fox runs."])["answer"].numpy()
        array([b'Fox'], dtype=object)

    Reference:
        Devlin et al., 2018, arXiv:1810.04805, sections 4.2 and 4.3; Transformers, `AlbertForQuestionAnswering`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertQuestionAnswererPreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        make = AlbertQuestionAnswererPreprocessor
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, make, sequence_length=384)
        self.output_dense = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Functional Model ===
        logits = self.output_dense(backbone(backbone.input)["sequence_output"])  # [batch, length, 2]
        super().__init__(inputs=backbone.input, outputs={"start": logits[..., 0], "end": logits[..., 1]}, **kwargs)

    # === Training ===

    def by_output(self, data):
        """As in `Task`; positions outside of the row become 0 with weight 0."""
        x, targets, weights = super().by_output(data)
        length = tf.shape(x["token_ids"])[1]
        for name in targets:
            target = tf.cast(targets[name], tf.int32)
            is_inside = (target >= 0) & (target < length)
            targets[name] = tf.where(is_inside, target, 0)
            weights[name] = tf.where(is_inside, weights[name], 0.0)
        return x, targets, weights

    def elementwise_loss(self, name, targets, logits):
        """Half the cross entropy: the sum over start and end is then their mean."""
        return 0.5 * super().elementwise_loss(name, targets, logits)

    # === Answers ===

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return {name: tf.exp(x) for name, x in self.log_probabilities(x).items()}

    def log_probabilities(self, ids: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A dict of ids [batch, length] -> `start` and `end`, each float32 [batch, length]."""
        is_possible = context_mask(ids) | (tf.range(tf.shape(ids["token_ids"])[1]) == 0)
        logits = self(ids, training=False)
        return {
            name: tf.nn.log_softmax(tf.where(is_possible, tf.cast(x, "float32"), IMPOSSIBLE))
            for name, x in logits.items()
        }

    def answer(self, question: tf.Tensor, context: tf.Tensor, max_answer_length: int = 30) -> dict[str, tf.Tensor]:
        """Finds the answer to a question in a context, as graph operations.

        The best span of the context is given even if no answer is more probable: compare the two scores. A context that
        does not fit the preprocessor's `sequence_length` is read up to there.

        Args:
            question: strings [batch].
            context: strings [batch].
            max_answer_length: int, tokens in an answer at most. Defaults to 30.

        Returns:
            `answer` string [batch], cut from the context as it was given; `start` and `end` int32 [batch], its place in
            the context in characters; `score` float32 [batch], the probability of its start times that of its end;
            `no_answer_score` float32 [batch], the same of `[CLS]`. Without a token of the context in the row the answer
            is empty, from 0 to 0, with score 0.
        """
        question, context = tf.convert_to_tensor(question), tf.convert_to_tensor(context)
        ids = self.preprocessor((question, context))
        log_probabilities = self.log_probabilities(ids)
        start, end = log_probabilities["start"], log_probabilities["end"]  # [batch, length]
        in_context = context_mask(ids)
        length = tf.shape(start)[1]
        # A span ends where it starts, or later: [start, end].
        is_span = tf.linalg.band_part(tf.ones([length, length]), 0, tf.minimum(max_answer_length, length) - 1) > 0
        is_span = is_span[None] & in_context[:, :, None] & in_context[:, None, :]
        scores = tf.where(is_span, start[:, :, None] + end[:, None, :], 4 * IMPOSSIBLE)  # [batch, start, end]
        scores = tf.reshape(scores, [-1, length * length])
        best = tf.argmax(scores, -1, output_type=tf.int32)
        has_answer = tf.reduce_any(in_context, -1)
        # From positions in the row to tokens of the context, and from these to bytes.
        first = tf.argmax(in_context, -1, output_type=tf.int32)
        _, starts, ends = self.preprocessor.tokenizer.tokenize_with_offsets(context)
        first_byte = tf.where(has_answer, nth(starts, best // length - first), 0)
        last_byte = tf.where(has_answer, nth(ends, best % length - first), 0)
        answer = tf.strings.substr(context, first_byte, last_byte - first_byte)
        before = tf.strings.substr(context, tf.zeros_like(first_byte), first_byte)
        characters_before = tf.strings.length(before, unit="UTF8_CHAR")
        return {
            "answer": tf.strings.unicode_transcode(answer, "UTF-8", "UTF-8"),  # malformed bytes are replaced
            "start": characters_before,
            "end": characters_before + tf.strings.length(answer, unit="UTF8_CHAR"),
            "score": tf.where(has_answer, tf.exp(tf.reduce_max(scores, -1)), 0.0),
            "no_answer_score": tf.exp(start[:, 0] + end[:, 0]),
        }


def context_mask(ids: dict[str, tf.Tensor]) -> tf.Tensor:
    """True for the tokens of the context: a dict of ids [batch, length] -> bool [batch, length]."""
    mask = tf.cast(ids["padding_mask"], "bool")
    # The last real token is the separator after the context.
    is_followed = tf.concat([mask[:, 1:], tf.zeros_like(mask[:, :1])], 1)
    return tf.equal(ids["segment_ids"], 1) & mask & is_followed


def nth(rows: tf.RaggedTensor, index: tf.Tensor) -> tf.Tensor:
    """One value of each row: ragged int32 [batch, (length)], int32 [batch] -> int32 [batch], 0 outside of a row."""
    values = tf.pad(rows.flat_values, [[0, 1]])  # one more, so that there is something to gather
    is_inside = (index >= 0) & (index < tf.cast(rows.row_lengths(), tf.int32))
    places = tf.where(is_inside, tf.cast(rows.row_starts(), tf.int32) + index, tf.size(values) - 1)
    return tf.gather(values, places)
