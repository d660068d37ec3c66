"""Token classification with ALBERT: a label for each token of a text."""

import keras
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.entities import (
    IGNORED,
    find_spans,
    label_scheme,
    piece_kinds,
    piece_windows,
    unit_starts,
)
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor, check_labels, choose_preprocessor
from albert_gpt_tf.tasks.task import Task

WINDOWS_AT_A_TIME = 64  # that the model computes in one go when it tags, so that a long text needs no more memory


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTokenClassifier(Task):
    """ALBERT with a dense layer on every position.

    Called on a dict of ids it returns logits [batch, length, labels]; `predict` returns probabilities. Targets are int
    [batch, length], the index of each token's label, and -100 where there is none: at special tokens, padding and, as
    one chooses, the second and later tokens of a word. Positions with -100 have no weight.

    Args:
        backbone: an `AlbertBackbone`.
        labels: list of str, the names of the labels in the order of the logits.
        preprocessor: an `AlbertPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        dropout: float, dropout rate of the hidden states that are classified. Defaults to 0.1.

    Raises:
        ValueError: fewer than two labels, or a label twice; or both a preprocessor and a tokenizer.

    Example:
        >>> classifier = AlbertTokenClassifier(backbone, labels=["O", "ANIMAL"], tokenizer=tokenizer)
        >>> length = classifier.preprocessor.sequence_length
        >>> targets = np.full((1, length), -100)
        >>> targets[0, 1:4] = [0, 1, 0]  # [CLS] the fox runs [SEP]
        >>> classifier.fit(["the fox runs"], targets, verbose=0)
        >>> classifier.predict(["the fox runs"], verbose=0).shape == (1, length, 2)
        True
        >>> classifier.answer(["The Fox runs."])["entity"].numpy()
        array([[b'Fox']], dtype=object)

    Reference:
        Devlin et al., 2018, arXiv:1810.04805, section 5.3; Transformers, `AlbertForTokenClassification`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertPreprocessor

    def __init__(self, backbone, labels, preprocessor=None, tokenizer=None, dropout=0.1, **kwargs):
        labels = check_labels(labels)

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, AlbertPreprocessor)
        self.output_dropout = keras.layers.Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            len(labels),
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Functional Model ===
        hidden = backbone(backbone.input)["sequence_output"]  # [batch, length, hidden_dim]
        logits = self.output_dense(self.output_dropout(hidden))  # [batch, length, labels]
        super().__init__(inputs=backbone.input, outputs=logits, **kwargs)

        # === Config ===
        self.labels = labels
        self.dropout = dropout

    def by_output(self, data):
        """As in `Task`; targets of -100 become 0 with weight 0."""
        x, targets, weights = super().by_output(data)
        has_target = {name: tf.not_equal(target, IGNORED) for name, target in targets.items()}
        targets = {name: tf.where(has_target[name], target, 0) for name, target in targets.items()}
        weights = {name: tf.where(has_target[name], weight, 0.0) for name, weight in weights.items()}
        return x, targets, weights

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(x)

    def probabilities(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, length] -> float32 [batch, length, labels]."""
        return tf.nn.softmax(tf.cast(self(ids, training=False), "float32"))

    # === Answers ===

    def answer(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Finds the spans in text, as graph operations: entities by their labels, or words by their parts of speech.

        Words are not marked in raw text. A word, or a part of one, begins after white space, and before and after a
        token of punctuation alone, and has the label of its first token; `label_scheme` and `find_spans` say how spans
        follow. A text that is too long for the preprocessor's `sequence_length` is read in overlapping windows, to its
        end.

        Args:
            text: strings [batch].

        Returns:
            A dict of tensors [batch, spans], `spans` being the most in a text: `entity` string, cut from the text as it
            was given, with malformed bytes replaced; `label` string, without prefix; `start` and `end` int32, its place
            in the text in characters; `score` float32, the mean of the probabilities of its words' labels. Where a text
            has fewer spans, "" and -1. An empty text has none.

        Example:
            >>> classifier.answer(["The Fox runs."])["label"].numpy()
            array([[b'ANIMAL']], dtype=object)
        """
        text = tf.convert_to_tensor(text, tf.string)
        (ids, starts, ends), probabilities = self.label_pieces(text)
        is_unit = unit_starts(ids, piece_kinds(self.preprocessor.tokenizer))
        labels = tf.argmax(probabilities, -1, output_type=tf.int32)
        scores = tf.reduce_max(probabilities, -1)
        return find_spans(text, starts, ends, is_unit, labels, scores, label_scheme(self.labels))

    def label_pieces(self, text: tf.Tensor) -> tuple[tuple[tf.RaggedTensor, ...], tf.Tensor]:
        """The probabilities of the labels of every token, however long the text is.

        Args:
            text: strings [batch].

        Returns:
            A tuple of `ids`, `starts` and `ends`, as `tokenize_with_offsets` gives them, int32 [batch, (tokens)] each;
            and float32 [tokens of all texts, labels].
        """
        tokenizer = self.preprocessor.tokenizer
        pieces = tokenizer.tokenize_with_offsets(text)
        windows = piece_windows(pieces[0], self.preprocessor.sequence_length, tokenizer)
        count = tf.shape(windows.token_ids)[0]
        parts = tf.maximum(1, (count + WINDOWS_AT_A_TIME - 1) // WINDOWS_AT_A_TIME)
        size = (count + parts - 1) // parts

        def in_parts(tensor):
            tensor = tf.pad(tensor, [[0, parts * size - count], [0, 0]])
            return tf.reshape(tensor, [parts, size, self.preprocessor.sequence_length])

        ids = {"token_ids": in_parts(windows.token_ids), "padding_mask": in_parts(windows.padding_mask)}
        ids["segment_ids"] = tf.zeros_like(ids["token_ids"])
        of_windows = tf.map_fn(self.probabilities, ids, fn_output_signature=tf.float32)
        flat = tf.reshape(of_windows, [-1, len(self.labels)])
        return pieces, tf.gather(flat, windows.window * self.preprocessor.sequence_length + windows.position)

    def get_config(self):
        return {**super().get_config(), "labels": self.labels, "dropout": self.dropout}
