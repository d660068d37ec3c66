"""Text embeddings from ALBERT: one vector a text."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor, choose_preprocessor
from albert_gpt_tf.tasks.task import Task

_POOLINGS = ("mean", "cls")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class PoolTokens(keras.layers.Layer):
    """One vector a row: [batch, length, hidden_dim], bool [batch, length] -> float32 [batch, hidden_dim].

    Args:
        pooling: str, `"mean"` over the real tokens, or `"cls"`, the first position.
        normalize: bool, whether vectors have length 1.
    """

    def __init__(self, pooling, normalize, **kwargs):
        super().__init__(**kwargs)
        self.pooling = pooling
        self.normalize = normalize

    def call(self, hidden, padding_mask):
        # Sums over many tokens, in float32 under every precision policy.
        hidden, mask = tf.cast(hidden, "float32"), tf.cast(padding_mask, "float32")[..., None]
        if self.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            vectors = tf.math.divide_no_nan(tf.reduce_sum(mask * hidden, 1), tf.reduce_sum(mask, 1))
        return tf.math.l2_normalize(vectors, -1) if self.normalize else vectors

    def compute_output_spec(self, hidden, padding_mask):
        return keras.KerasTensor((hidden.shape[0], hidden.shape[2]), dtype="float32")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTextEmbedder(Task):
    """ALBERT with its hidden states pooled into one vector a text.

    Called on a dict of ids it returns float32 embeddings [batch, hidden_dim], and so does `predict`. It has no loss:
    train the backbone in another task.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        pooling: str, `"mean"` over the real tokens, `[CLS]` and `[SEP]` among them, or `"cls"`, the hidden state of
            `[CLS]`. Defaults to `"mean"`.
        normalize: bool, whether embeddings have length 1, so that a dot product is the cosine. Defaults to `True`.

    Raises:
        ValueError: another `pooling`; both a preprocessor and a tokenizer.

    Example:
        >>> embedder = AlbertTextEmbedder(backbone, tokenizer=tokenizer)
        >>> fox, dog = embedder.embed(["the fox runs", "the dog runs"])
        >>> float(fox @ dog) <= 1.0001
        True

    Reference:
        Reimers and Gurevych, 2019, arXiv:1908.10084, section 3.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertPreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, pooling="mean", normalize=True, **kwargs):
        if pooling not in _POOLINGS:
            raise ValueError(f"Expected pooling to be one of {_POOLINGS}. Received: pooling={pooling!r}. Pass one.")
        self.backbone = backbone
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, AlbertPreprocessor)
        hidden = backbone(backbone.input)["sequence_output"]  # [batch, length, hidden_dim]
        pool = PoolTokens(pooling, normalize, dtype=backbone.dtype_policy, name="pool_tokens")
        embedding = pool(hidden, backbone.input["padding_mask"])  # [batch, hidden_dim]
        super().__init__(inputs=backbone.input, outputs=embedding, **kwargs)
        self.pooling = pooling
        self.normalize = normalize

    def output_names_of_losses(self) -> list[str]:
        """None: embeddings have no targets."""
        return []

    def fit(self, *args, **kwargs):
        """Raises ValueError: there is no loss."""
        raise ValueError(
            "Expected a task with a loss to fit or evaluate. Received: AlbertTextEmbedder, which only embeds. "
            "Train its backbone in another task, AlbertTextClassifier say."
        )

    def evaluate(self, *args, **kwargs):
        """Raises ValueError: there is no loss."""
        self.fit()

    def answer(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds text, as graph operations.

        Args:
            text: strings [batch].

        Returns:
            `embedding` float32 [batch, hidden_dim].
        """
        return {"embedding": self(self.preprocessor(text), training=False)}

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Embeds texts.

        Args:
            texts: strings.
            batch_size: int, texts computed at a time. Defaults to 32.

        Returns:
            float32 [texts, hidden_dim].
        """
        return self.predict(list(texts), batch_size=batch_size, verbose=0)

    def get_config(self):
        return {**super().get_config(), "pooling": self.pooling, "normalize": self.normalize}
