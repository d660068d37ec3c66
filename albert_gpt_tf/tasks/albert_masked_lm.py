"""Masked language modelling with ALBERT: training on texts with hidden tokens, and filling in `[MASK]`."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.masked_lm_head import MaskedLMHead
from albert_gpt_tf.tasks.preprocessing import choose_preprocessor, named_texts, pack_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer

MASK_RATE = 0.15
# Of the tokens to predict so many become [MASK], so many any token of the vocabulary; the others stay.
MASK_TOKEN_RATE, RANDOM_TOKEN_RATE = 0.8, 0.1


def mask_tokens(
    token_ids: tf.Tensor, is_maskable: tf.Tensor, masks: int, mask_id: int, vocabulary_size: int, seed: Any
) -> dict[str, tf.Tensor]:
    """Hides tokens at random: 15 % of those that may be hidden, rounded, but one at least.

    Of these 80 % become `[MASK]`, 10 % any token of the vocabulary, and 10 % stay as they are.

    Args:
        token_ids: int32 [batch, length].
        is_maskable: bool [batch, length], false for special tokens and padding.
        masks: int, tokens to hide in a row at most.
        mask_id: int, the id of `[MASK]`.
        vocabulary_size: int.
        seed: int [2]; the same seed hides the same tokens of the same rows.

    Returns:
        `token_ids` int32 [batch, length] with some of them hidden; `mask_positions` int32 [batch, masks], increasing;
        `mask_ids` int32 [batch, masks], what stood there; `mask_weights` float32 [batch, masks], 1, or 0 for places
        that are not used, whose position is 0.

    Example:
        >>> ids = tf.range(10, 20)[None]
        >>> mask_tokens(ids, ids > 10, 2, mask_id=4, vocabulary_size=30, seed=[0, 1])["mask_weights"].numpy()
        array([[1., 0.]], dtype=float32)

    Reference:
        Devlin et al., 2018, arXiv:1810.04805, section 3.1; google-research/albert `create_pretraining_data.py`.
    """
    seeds = tf.random.split(seed, 3)
    noise = tf.random.stateless_uniform(tf.shape(token_ids), seeds[0])
    maskable = tf.reduce_sum(tf.cast(is_maskable, tf.float32), -1, keepdims=True)  # [batch, 1]
    wanted = tf.minimum(tf.maximum(tf.round(MASK_RATE * maskable), 1.0), maskable)
    # The places of the largest noise, those that may be hidden before all others.
    _, places = tf.math.top_k(tf.where(is_maskable, noise, -1.0), masks)  # [batch, masks]
    is_used = tf.range(masks)[None] < tf.cast(wanted, tf.int32)
    places = tf.sort(tf.where(is_used, places, tf.shape(token_ids)[1]))  # those that are not used come last
    is_used = places < tf.shape(token_ids)[1]
    places = tf.where(is_used, places, 0)
    mask_ids = tf.gather(token_ids, places, batch_dims=1)
    draw = tf.random.stateless_uniform(tf.shape(places), seeds[1])
    random_ids = tf.random.stateless_uniform(tf.shape(places), seeds[2], 0, vocabulary_size, tf.int32)
    hidden = tf.where(draw < MASK_TOKEN_RATE + RANDOM_TOKEN_RATE, random_ids, mask_ids)
    hidden = tf.where(draw < MASK_TOKEN_RATE, mask_id, hidden)
    # Changes are added: places that are not used all stand at position 0, and change it by nothing.
    changes = tf.where(is_used, hidden - mask_ids, 0)
    row = tf.broadcast_to(tf.range(tf.shape(places)[0])[:, None], tf.shape(places))
    changes = tf.scatter_nd(tf.stack([row, places], -1), changes, tf.shape(token_ids))
    return {
        "token_ids": token_ids + changes,
        "mask_positions": places,
        "mask_ids": mask_ids,
        "mask_weights": tf.cast(is_used, tf.float32),
    }


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertMaskedLMPreprocessor(keras_nlp.models.Preprocessor):
    """Texts to rows with hidden tokens, and these tokens as targets; see `mask_tokens`.

    `[CLS]`, `[SEP]`, `[MASK]` and padding are never hidden. Every call hides other tokens, every epoch hence, too.

    Args:
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, length of the packed row, special tokens included; longer texts are cut, the longer of
            a pair first. Defaults to 128.
        seed: int, with which the same batch hides the same tokens at every call, or `None`. Defaults to `None`.

    Example:
        >>> inputs, mask_ids, mask_weights = AlbertMaskedLMPreprocessor(tokenizer, sequence_length=16)(["a fox"])
        >>> mask_ids.shape
        TensorShape([1, 3])
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=128, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.seed = seed

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs text and hides tokens.

        Args:
            x: strings [batch] or a scalar; for pairs a tuple (text, text_pair) or a dict with these keys.
            y: must be `None`: the targets are the text's own tokens.
            sample_weight: float [batch], multiplies the weights of a text's tokens. Defaults to `None`.

        Returns:
            ({`token_ids`, `segment_ids` int32, `padding_mask` bool, each [batch, sequence_length], `mask_positions`
            int32 [batch, masks]}, mask_ids int32 [batch, masks], mask_weights float32 [batch, masks]), where `masks` is
            15 % of `sequence_length`, rounded up.
        """
        if y is not None:
            raise ValueError("Masked LM takes text alone: its targets are the text's own tokens. Received: y")
        texts = named_texts(x, "text", "text_pair")
        is_scalar = texts[0].shape.rank == 0
        packed = self.pack([text[None] for text in texts] if is_scalar else texts)
        ids = packed["token_ids"]
        masked = mask_tokens(
            ids,
            packed["padding_mask"] & self.is_text(ids),
            math.ceil(MASK_RATE * self.sequence_length),
            self.tokenizer.mask_id,
            self.tokenizer.vocabulary_size(),
            self.seed_of(ids),
        )
        inputs = {**packed, "token_ids": masked["token_ids"], "mask_positions": masked["mask_positions"]}
        weights = masked["mask_weights"]
        if sample_weight is not None:
            weights *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1, 1])
        result = (inputs, masked["mask_ids"], weights)
        return tf.nest.map_structure(lambda t: t[0], result) if is_scalar else result

    def pack(self, texts: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """One or two strings [batch] to ids, with nothing hidden; see `pack_texts`."""
        return pack_texts(self.tokenizer, texts, self.sequence_length)

    def is_text(self, ids: tf.Tensor) -> tf.Tensor:
        """False for `[CLS]`, `[SEP]` and `[MASK]`: int32 [...] -> bool [...]."""
        special = tf.constant([self.tokenizer.cls_id, self.tokenizer.sep_id, self.tokenizer.mask_id])
        return tf.reduce_all(ids[..., None] != special, -1)

    def seed_of(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [2]: a new one at each call, or with `seed` one that depends on the batch."""
        if self.seed is None:
            return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32)
        factors = tf.random.stateless_uniform(tf.shape(ids), [self.seed, 0], None, None, tf.int32)
        return tf.stack([self.seed, tf.reduce_sum(factors * ids)])

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length, "seed": self.seed}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertMaskedLM(Task):
    """ALBERT with the masked LM head.

    Inputs are the backbone's and `mask_positions` int [batch, masks]. Called on a dict of them it returns float32
    logits [batch, masks, vocabulary]; `predict` returns probabilities. Targets are the ids that were hidden, weights 1,
    or 0 for places that are not used. Text is given hidden tokens at random by the preprocessor, in `fit`, `evaluate`
    and `predict` alike; `fill_mask` takes text that has `[MASK]` in it.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertMaskedLMPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> masked_lm = AlbertMaskedLM(backbone, tokenizer=tokenizer)
        >>> masked_lm.fit(["the fox runs", "the dog sleeps"], verbose=0)
        >>> masked_lm.fill_mask(["the [MASK] runs"])[0]["text"]
        'the fox runs'

    Reference:
        arXiv:1909.11942, section 4.1; google-research/albert `run_pretraining.py`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertMaskedLMPreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, AlbertMaskedLMPreprocessor)
        self.masked_lm_head = masked_lm_head(backbone)

        # === Functional Model ===
        inputs = {**backbone.input, "mask_positions": keras.Input((None,), dtype="int32", name="mask_positions")}
        hidden = backbone(backbone.input)["sequence_output"]  # [batch, length, hidden_dim]
        logits = self.masked_lm_head(hidden, inputs["mask_positions"])  # [batch, masks, vocabulary]
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return tf.nn.softmax(self(x, training=False))

    def answer(self, text: tf.Tensor, top_k: int = 5) -> dict[str, tf.Tensor]:
        """Fills in `[MASK]`, as graph operations: what `fill_mask`, the exports and their tests share.

        Args:
            text: strings [batch]; what does not fit the preprocessor's `sequence_length` is cut.
            top_k: int, proposals for a mask. Defaults to 5.

        Returns:
            `text` string [batch], cleaned by the tokenizer, with the best token at each mask; `token` string [batch,
            masks, top_k], pieces of the vocabulary, the best first; `score` float32 [batch, masks, top_k], their
            probabilities. `masks` is the largest number of them in a row; where a row has fewer, tokens are "" and
            scores -1.
        """
        tokenizer = self.preprocessor.tokenizer
        ids = self.preprocessor.pack([text])
        is_mask = tf.equal(ids["token_ids"], tokenizer.mask_id)  # [batch, length]
        rows_and_places = tf.where(is_mask)
        counts = tf.reduce_sum(tf.cast(is_mask, tf.int64), -1)
        places = tf.RaggedTensor.from_row_lengths(rows_and_places[:, 1], counts)
        positions = tf.cast(places.to_tensor(), tf.int32)  # [batch, masks]
        is_used = tf.sequence_mask(counts, tf.shape(positions)[1])
        probabilities = tf.nn.softmax(self({**ids, "mask_positions": positions}, training=False))
        probabilities = probabilities[..., : tokenizer.vocabulary_size()]  # an embedding may have more rows
        scores, best = tf.math.top_k(probabilities, top_k)  # [batch, masks, top_k]
        best_ids = tf.boolean_mask(best[..., 0], is_used)  # row by row, as `tf.where` finds the masks
        filled = tf.tensor_scatter_nd_update(ids["token_ids"], rows_and_places, best_ids)
        tokens = tf.gather(tf.constant(tokenizer.get_vocabulary()), best)
        return {
            "text": tokenizer.detokenize(filled),
            "token": tf.where(is_used[..., None], tokens, ""),
            "score": tf.where(is_used[..., None], scores, -1.0),
        }

    def fill_mask(self, texts: Sequence[str], top_k: int = 5) -> list[dict]:
        """Proposes a token for each `[MASK]` of each text; each mask is filled without regard to the others.

        Args:
            texts: strings that contain `[MASK]`.
            top_k: int, proposals for a mask. Defaults to 5.

        Returns:
            One dict a text: `text`, cleaned by the tokenizer, with the best token at each mask; `masks`, a list of one
            list a mask of (token, probability), the best first. A token is a piece of the vocabulary: one that begins
            with "▁" begins a word.

        Raises:
            ValueError: a text has no `[MASK]` within `sequence_length` tokens; or the task has no preprocessor.

        Example:
            >>> masked_lm.fill_mask(["the [MASK] runs"], top_k=1)
            [{'text': 'the fox runs', 'masks': [[('▁fox', 0.71)]]}]
        """
        if self.preprocessor is None:
            raise ValueError("fill_mask needs text, hence a task made with tokenizer=... or preprocessor=...")
        texts = list(texts)
        answer = {name: value.numpy() for name, value in self.answer(tf.constant(texts, tf.string), top_k).items()}
        results = []
        for row, text in enumerate(texts):
            pairs = [
                [(token.decode(), float(score)) for token, score in zip(*mask, strict=True)]
                for mask in zip(answer["token"][row], answer["score"][row], strict=True)
                if mask[1][0] >= 0
            ]
            if not pairs:
                raise ValueError(
                    f"Expected a text with [MASK] among its first {self.preprocessor.sequence_length} tokens. "
                    f"Received: {text!r}. Write [MASK] where a token is missing."
                )
            results.append({"text": answer["text"][row].decode(), "masks": pairs})
        return results


def masked_lm_head(backbone: AlbertBackbone) -> MaskedLMHead:
    """A new masked LM head that fits a backbone and compares with its token embedding."""
    return MaskedLMHead(
        backbone.embedding_dim,
        backbone.activation,
        backbone.layer_norm_epsilon,
        backbone.initializer_range,
        backbone.token_embedding,
        dtype=backbone.dtype_policy,
        name="masked_lm_head",
    )
