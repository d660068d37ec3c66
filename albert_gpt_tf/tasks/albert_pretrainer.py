"""Pretraining of ALBERT: masked language modelling and sentence order, on examples of ids."""

import keras
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_masked_lm import masked_lm_head
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor, choose_preprocessor
from albert_gpt_tf.tasks.task import Task


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertPretrainer(Task):
    """ALBERT with the two heads that it is pretrained with.

    It is trained on dicts of ids: `token_ids`, `segment_ids`, `padding_mask`, each [batch, length], and
    `mask_positions` int [batch, masks]. Targets are a dict of `masked_lm` int [batch, masks], the ids that were hidden,
    and `sentence_order` int [batch], 0 for two segments in order and 1 for two that were swapped. Weights are a dict
    with the same keys: 1, or 0 for masks that are not used. The loss is the mean over the masks of the batch plus the
    mean over its rows.

    Called on a dict of ids it returns a dict of logits: `masked_lm` float32 [batch, masks, vocabulary] and
    `sentence_order` [batch, 2]; `predict` returns probabilities.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertPreprocessor` or `None`. It packs text but hides no token: it keeps the tokenizer in the
            preset, where fine-tuning finds it. Defaults to `None`.
        tokenizer: an `AlbertTokenizer`, from which the preprocessor is made. Defaults to `None`.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> pretrainer = AlbertPretrainer(backbone, tokenizer=tokenizer)
        >>> ids = np.full((2, 8), 7)
        >>> x = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids > 0, "mask_positions": [[1, 2], [4, 0]]}
        >>> y = {"masked_lm": np.array([[5, 6], [8, 0]]), "sentence_order": np.array([0, 1])}
        >>> weights = {"masked_lm": np.array([[1, 1], [1, 0]]), "sentence_order": np.ones(2)}
        >>> pretrainer.fit(x, y, sample_weight=weights, verbose=0)

    Reference:
        arXiv:1909.11942, sections 3.1 and 4.1; google-research/albert `run_pretraining.py`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertPreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, AlbertPreprocessor)
        self.masked_lm_head = masked_lm_head(backbone)
        self.sentence_order_dense = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="sentence_order",
        )

        # === Functional Model ===
        inputs = {**backbone.input, "mask_positions": keras.Input((None,), dtype="int32", name="mask_positions")}
        outputs = backbone(backbone.input)
        logits = {
            # [batch, masks, vocabulary]
            "masked_lm": self.masked_lm_head(outputs["sequence_output"], inputs["mask_positions"]),
            "sentence_order": self.sentence_order_dense(outputs["pooled_output"]),  # [batch, 2]
        }
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return {name: tf.nn.softmax(tf.cast(x, "float32")) for name, x in self(x, training=False).items()}
