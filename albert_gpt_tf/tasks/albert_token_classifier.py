"""Token classification with ALBERT: a label for each token of a text."""

import keras
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor, check_labels, choose_preprocessor
from albert_gpt_tf.tasks.task import Task

IGNORED = -100  # the target of a position that has none, as in Transformers


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

    def get_config(self):
        return {**super().get_config(), "labels": self.labels, "dropout": self.dropout}
