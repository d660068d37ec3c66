"""ALBERT's tokenizer: SentencePiece unigram, with the text cleaning inside its model.

One stateless op (`TFText>FastSentencepieceTokenize`) turns raw text into ids, the same in eager code, `tf.data`, a
SavedModel and TFLite. See `charsmap.py` for how the cleaning gets into the model.

Not here: re-splitting of pieces like "▁2010," (the digit-comma rule of the reference), byte offsets, and special
tokens typed in the text, which are plain characters.
"""

import os
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text import charsmap, presets
from albert_gpt_tf.text.conversions import to_ragged, to_rows

VOCABULARY_FILE = "spiece.model"
# Attribute -> piece. The ids are looked up: 0 to 4 in the released models, but that is the vocabulary's business.
SPECIAL_PIECES = {"pad_id": "<pad>", "unk_id": "<unk>", "cls_id": "[CLS]", "sep_id": "[SEP]", "mask_id": "[MASK]"}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes raw text as ALBERT does, with one graph op.

    Bad text is handled by rule: an empty string has no tokens; a malformed UTF-8 sequence and a NUL become `<unk>`
    each (several in a row become one); a string of a megabyte is an ordinary string.

    Args:
        proto: bytes or str, a serialized SentencePiece unigram model or the path of one (`spiece.model`). Defaults
            to None: no vocabulary yet, `load_assets` brings it.
        lowercase: bool, whether text is cleaned as for the uncased models (white space, NFKD, no combining marks,
            lower case) before SentencePiece. If False the model is used as it is. Defaults to True.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: `proto` is not a SentencePiece unigram model, lacks one of `<pad> <unk> [CLS] [SEP] [MASK]`, or
            has the cleaning inside although `lowercase` is False.

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
        >>> tokenizer = AlbertTokenizer(train_sentencepiece(["the quick brown fox"] * 50, 60))
        >>> tokenizer.detokenize(tokenizer.tokenize("The  QUICK Fox")).numpy()
        b'the quick fox'

    Reference: ALBERT (https://arxiv.org/abs/1909.11942), section 4.1; google-research/albert `tokenization.py`.
    """

    def __init__(self, proto: bytes | str | None = None, lowercase: bool = True, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.lowercase = lowercase
        self.file_assets = [VOCABULARY_FILE]
        self.proto = None
        self.pad_id = self.unk_id = self.cls_id = self.sep_id = self.mask_id = None
        if proto is not None:
            self.set_proto(proto)

    # === Vocabulary ===

    def set_proto(self, proto: bytes | str) -> None:
        """Sets the SentencePiece model, folding the cleaning into it unless that was done before.

        Args:
            proto: bytes or str, a serialized SentencePiece unigram model or the path of one.

        Raises:
            ValueError: see the class.
        """
        if not isinstance(proto, bytes):
            path = Path(os.fspath(proto))
            if not path.is_file():
                raise ValueError(
                    f"Expected a SentencePiece model: its bytes or the path of a spiece.model. Received: {str(path)!r}"
                    ", which is not a file. Give the path of the file itself."
                )
            proto = path.read_bytes()
        if charsmap.is_folded(proto) and not self.lowercase:
            raise ValueError(
                "Expected a model without folded cleaning, since lowercase=False. Received: a model that lower-cases "
                "text itself. Pass lowercase=True, or the original spiece.model."
            )
        self._check_model(proto)
        if self.lowercase:
            proto = charsmap.fold(proto)
        self.proto = proto
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        for attribute, piece in SPECIAL_PIECES.items():
            setattr(self, attribute, self._pieces.piece_to_id(piece))
        with tf.init_scope(), tf.device("cpu"):
            self._op = tf_text.FastSentencepieceTokenizer(proto)

    @staticmethod
    def _check_model(proto: bytes) -> None:
        model = sentencepiece_model_pb2.ModelProto.FromString(proto)
        if model.trainer_spec.model_type != model.trainer_spec.UNIGRAM:
            raise ValueError(
                "Expected a SentencePiece model of the type UNIGRAM. Received: "
                f"{model.trainer_spec.ModelType.Name(model.trainer_spec.model_type)}. Train one with "
                "train_sentencepiece."
            )
        pieces = {piece.piece for piece in model.pieces}
        missing = [piece for piece in SPECIAL_PIECES.values() if piece not in pieces]
        if missing:
            raise ValueError(
                f"Expected the pieces {', '.join(SPECIAL_PIECES.values())} in the SentencePiece model. Received: a "
                f"model without {', '.join(missing)}. Train one with train_sentencepiece."
            )

    def vocabulary_size(self) -> int:
        """The number of pieces, special ones included."""
        self._require_vocabulary()
        return self._pieces.get_piece_size()

    def get_vocabulary(self) -> list[str]:
        """All pieces, in the order of their ids."""
        return [self._pieces.id_to_piece(id) for id in range(self.vocabulary_size())]

    def token_to_id(self, token: str) -> int:
        """The id of a piece; `unk_id` if the vocabulary has no such piece."""
        self._require_vocabulary()
        return self._pieces.piece_to_id(token)

    def id_to_token(self, id: int) -> str:
        """The piece of an id in `[0, vocabulary_size())`; another id raises ValueError."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"Expected an id in [0, {self.vocabulary_size()}). Received: id={id}.")
        return self._pieces.id_to_piece(int(id))

    def _require_vocabulary(self) -> None:
        if self.proto is None:
            raise ValueError(
                "Expected a tokenizer with a vocabulary. Received: proto=None. Pass `proto`, or use from_preset."
            )

    # === Text to ids and back ===

    def tokenize(self, text: Any) -> tf.RaggedTensor | tf.Tensor:
        """Turns raw text into ids.

        Args:
            text: str, or strings of shape `[B]`.

        Returns:
            int32 ids: a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. No special tokens are added.

        Example:
            >>> AlbertTokenizer.from_preset("path").tokenize(["Hello", ""])  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            ids = self._op.tokenize(rows).with_row_splits_dtype(tf.int64)
            return ids.flat_values if is_scalar else ids

    def call(self, inputs: Any) -> tf.RaggedTensor | tf.Tensor:
        """The same as `tokenize`."""
        return self.tokenize(inputs)

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Turns ids into text.

        Args:
            ids: integers: ragged `[B, None]`, dense `[B, T]` or one row `[T]`. `pad_id`, `[CLS]`, `[SEP]` and `[MASK]`
                give no text. Ids outside the vocabulary count as `unk_id`, which reads " ⁇ ".

        Returns:
            Strings of shape `[B]`, a scalar for one row: valid UTF-8, cleaned (lower case, single spaces).
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            ids, is_row = to_ragged(ids)
            flat = ids.flat_values
            known = (flat >= 0) & (flat < self.vocabulary_size())
            ids = ids.with_flat_values(tf.cast(tf.where(known, flat, self.unk_id), tf.int32))
            is_text = tf.ones_like(ids, tf.bool)
            # Dropped rather than decoded: after [CLS], SentencePiece would keep the blank of the first word.
            for special_id in (self.pad_id, self.cls_id, self.sep_id, self.mask_id):
                is_text &= ids != special_id
            text = self._op.detokenize(tf.ragged.boolean_mask(ids, is_text))
            return text[0] if is_row else text

    # === Saving ===

    def save_assets(self, dir_path: str) -> None:
        """Writes `spiece.model`, the folded one, into a directory."""
        self._require_vocabulary()
        Path(dir_path, VOCABULARY_FILE).write_bytes(self.proto)

    def load_assets(self, dir_path: str) -> None:
        """Reads `spiece.model` from a directory."""
        self.set_proto(Path(dir_path, VOCABULARY_FILE).read_bytes())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, except the vocabulary, which is a file beside the configuration."""
        return {**super().get_config(), "lowercase": self.lowercase}

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "AlbertTokenizer":
        """Loads a tokenizer from a directory.

        Args:
            source: str or path, a directory written by `save_to_preset`, or one that holds a `spiece.model`.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace the saved ones.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, or nothing in it that this class reads.

        Example:
            >>> tokenizer = AlbertTokenizer.from_preset("albert_base_v2")  # doctest: +SKIP
        """
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is not None:
            return tokenizer
        if (directory / VOCABULARY_FILE).is_file():
            return cls(str(directory / VOCABULARY_FILE), **kwargs)
        raise presets.nothing_recognised(directory, [VOCABULARY_FILE])
