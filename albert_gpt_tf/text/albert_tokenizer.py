"""ALBERT's tokenizer: SentencePiece, with the text cleaning and the special tokens inside its model.

One stateless op (`TFText>FastSentencepieceTokenize`) turns raw text into pieces, the same in eager code, `tf.data`, a
SavedModel and TFLite; two gathers turn them into ids. See `albert_model.py` for how, and `charsmap.py` for the two
references and how they differ.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text

from albert_gpt_tf.text import albert_files, albert_model, presets
from albert_gpt_tf.text.albert_offsets import AlbertOffsets
from albert_gpt_tf.text.charsmap import GOOGLE_RESEARCH, REFERENCES
from albert_gpt_tf.text.conversions import as_one_graph, to_ragged, to_rows
from albert_gpt_tf.text.sentencepiece_op import SentencepieceTokenizer

VOCABULARY_FILE = "spiece.model"
# Attribute -> piece. The ids are looked up: 0 to 4 in the released models, but that is the vocabulary's business.
SPECIAL_PIECES = {"pad_id": "<pad>", "unk_id": "<unk>", "cls_id": "[CLS]", "sep_id": "[SEP]", "mask_id": "[MASK]"}


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertTokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes raw text as ALBERT does, with one graph op.

    Bad text is handled by rule: an empty string has no tokens; a NUL and a malformed lead byte become `<unk>` each
    (several in a row become one), stray continuation bytes nothing; a string of a megabyte is an ordinary string.

    Args:
        proto: bytes or str, a serialized SentencePiece model or the path of one (`spiece.model`), of type unigram or
            BPE; only unigram models convert to TFLite. Defaults to None: no vocabulary yet, `load_assets` brings it.
        reference: str, whose ids: `"google-research"`, with whose code the released weights were trained, or
            `"transformers"`. The first splits the comma off numbers ("▁2010," is two tokens); the second makes two
            back-quotes or apostrophes one quotation mark and knows other marks and white space. Defaults to
            `"google-research"`.
        lowercase: bool, whether text is lowered. Defaults to True.
        keep_accents: bool, whether accents are kept, and no NFKD is applied. Defaults to False.
        parse_special_tokens: bool, whether special tokens are recognised in text, as whole words. Defaults to True.
        special_tokens: list of str, the pieces that are recognised then. Defaults to `[CLS] [SEP] [MASK]`, and with
            `"transformers"` `<pad>` and `<unk>`, too.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: `proto` is no SentencePiece model, of another type, or lacks one of `<pad> <unk> [CLS] [SEP] [MASK]`
            or a special token; `reference` is unknown.

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
        >>> tokenizer = AlbertTokenizer(train_sentencepiece(["the quick brown fox"] * 50, 60))
        >>> tokenizer.detokenize(tokenizer.tokenize("The  QUICK Fox")).numpy()
        b'the quick fox'

    Reference: ALBERT (https://arxiv.org/abs/1909.11942), section 4.1; google-research/albert `tokenization.py`;
    Transformers `AlbertTokenizer`.
    """

    def __init__(
        self,
        proto: bytes | str | None = None,
        reference: str = GOOGLE_RESEARCH,
        lowercase: bool = True,
        keep_accents: bool = False,
        parse_special_tokens: bool = True,
        special_tokens: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        if reference not in REFERENCES:
            raise ValueError(f"Expected reference to be one of {REFERENCES}. Received: {reference!r}.")
        self.reference = reference
        self.lowercase = lowercase
        self.keep_accents = keep_accents
        self.parse_special_tokens = parse_special_tokens
        if special_tokens is None:
            special_tokens = ["[CLS]", "[SEP]", "[MASK]"]
            if reference != GOOGLE_RESEARCH:
                special_tokens += ["<pad>", "<unk>"]
        self._special_tokens = list(special_tokens)
        self.file_assets = [VOCABULARY_FILE]
        self.proto = None
        self.pad_id = self.unk_id = self.cls_id = self.sep_id = self.mask_id = None
        if proto is not None:
            self.set_proto(proto)

    @property
    def special_tokens(self) -> list[str]:
        """The pieces that are recognised in text if `parse_special_tokens`."""
        return list(self._special_tokens)

    # === Vocabulary ===

    def set_proto(self, proto: bytes | str) -> None:
        """Sets the SentencePiece model and builds the ops.

        Args:
            proto: bytes or str, a serialized SentencePiece model or the path of one.

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
        is_unigram = self._check_model(proto)
        self.proto = proto
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
        for attribute, piece in SPECIAL_PIECES.items():
            setattr(self, attribute, self._pieces.piece_to_id(piece))
        special_tokens = tuple(self.special_tokens) if self.parse_special_tokens else ()
        folded = albert_model.folded_model(proto, self.reference, self.lowercase, self.keep_accents, special_tokens)
        replacements = albert_model.replacements(proto, self.reference, special_tokens)
        self._is_mapped = replacements != [[id] for id in range(len(replacements))]
        self._is_split = any(len(ids) > 1 for ids in replacements)
        runs, repeats = albert_model.equal_runs(folded)
        self._sorts_runs = is_unigram and self.reference != GOOGLE_RESEARCH and any(runs)
        with tf.init_scope(), tf.device("cpu"):
            op = tf_text.FastSentencepieceTokenizer if is_unigram else SentencepieceTokenizer
            self._op = op(folded)
            self._replacements = tf.ragged.constant(replacements, tf.int32).to_tensor(-1)  # [pieces, most]
            self._counts = tf.constant([len(ids) for ids in replacements])
            if self._sorts_runs:
                self._runs, self._repeats = tf.constant(runs), tf.constant(repeats)
            self._offsets = AlbertOffsets(folded, replacements, self._pieces, special_tokens)
        self._encode = as_one_graph(lambda rows: self._vocabulary_ids(self._folded_ids(rows)))
        self._encode_with_offsets = as_one_graph(self._ids_and_offsets)

    def _check_model(self, proto: bytes) -> bool:
        """Whether a SentencePiece model is a unigram one; ValueError if it cannot be used."""
        model = albert_model.parse_model(proto)
        spec = model.trainer_spec
        if spec.model_type not in (spec.UNIGRAM, spec.BPE):
            raise ValueError(
                "Expected a SentencePiece model of the type UNIGRAM or BPE. Received: "
                f"{spec.ModelType.Name(spec.model_type)}. Train one with train_sentencepiece."
            )
        pieces = {piece.piece for piece in model.pieces}
        needed = dict.fromkeys([*SPECIAL_PIECES.values(), *self.special_tokens])
        missing = [piece for piece in needed if piece not in pieces]
        if missing:
            raise ValueError(
                f"Expected the pieces {', '.join(needed)} in the SentencePiece model. Received: a model without "
                f"{', '.join(missing)}. Train one with train_sentencepiece."
            )
        return spec.model_type == spec.UNIGRAM

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
            ids = self._encode(rows)
            return ids.flat_values if is_scalar else ids

    def call(self, inputs: Any) -> tf.RaggedTensor | tf.Tensor:
        """The same as `tokenize`."""
        return self.tokenize(inputs)

    def tokenize_with_offsets(self, text: Any) -> tuple[Any, Any, Any]:
        """Turns raw text into ids and tells where each token stands in it.

        A token spans its own characters, not the white space before it. The parts of one character that cleaning
        expands (½ is three tokens) span that character each; a lone "▁" is empty, and stands before what follows.

        Args:
            text: str, or strings of shape `[B]`.

        Returns:
            ids, starts, ends: int32, a `RaggedTensor` `[B, None]` each; for a scalar tensors `[T]`. Starts and ends are
            byte offsets into the original text, so that `text[start:end]` is what the token was made of.

        Raises:
            ValueError: the vocabulary has a piece with a character that is no piece itself.

        Example:
            >>> ids, starts, ends = tokenizer.tokenize_with_offsets("École ﬁne")  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            results = self._encode_with_offsets(rows)
            return tuple(result.flat_values if is_scalar else result for result in results)

    def _ids_and_offsets(self, rows: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        folded_ids = self._folded_ids(rows)
        return self._vocabulary_ids(folded_ids), *self._offsets.find(rows, folded_ids)

    def _folded_ids(self, rows: tf.Tensor) -> tf.RaggedTensor:
        """Ids of pieces of the folded model, int32 `[B, None]`."""
        ids = self._op.tokenize(rows).with_row_splits_dtype(tf.int64)
        if not self._sorts_runs:
            return ids
        flat = ids.flat_values
        run, repeats = tf.gather(self._runs, flat), tf.gather(self._repeats, flat)
        # No run goes on into the next row or word: the first piece of either begins with the space symbol.
        continues = (run[1:] == run[:-1]) & (run[1:] > 0)  # [T - 1]
        is_wrong = tf.reduce_any(continues & (repeats[1:] < repeats[:-1]))
        return ids.with_flat_values(tf.cond(is_wrong, lambda: _sort_runs(flat, continues, repeats), lambda: flat))

    def _vocabulary_ids(self, folded_ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Ids of the vocabulary for those of the folded model."""
        if not self._is_mapped:
            return folded_ids
        ids = tf.gather(self._replacements, folded_ids.flat_values)  # [T, most]
        if not self._is_split:
            return folded_ids.with_flat_values(ids[:, 0])
        counts = tf.gather(self._counts, folded_ids.flat_values)
        return split_tokens(folded_ids, counts, tf.boolean_mask(ids, ids >= 0))

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
        """Writes `spiece.model`, as it was given, into a directory."""
        self._require_vocabulary()
        Path(dir_path, VOCABULARY_FILE).write_bytes(self.proto)

    def load_assets(self, dir_path: str) -> None:
        """Reads `spiece.model` from a directory."""
        self.set_proto(Path(dir_path, VOCABULARY_FILE).read_bytes())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, except the vocabulary, which is a file beside the configuration."""
        return {
            **super().get_config(),
            "reference": self.reference,
            "lowercase": self.lowercase,
            "keep_accents": self.keep_accents,
            "parse_special_tokens": self.parse_special_tokens,
            "special_tokens": self.special_tokens,
        }

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "AlbertTokenizer":
        """Loads a tokenizer from a directory.

        Args:
            source: str or path, a directory written by `save_to_preset`; one of google-research's, or any with only a
                `spiece.model` or `30k-clean.model`, whose reference is `"google-research"`; or one of Hugging Face's,
                with a `tokenizer.json`, or a `spiece.model` and a `config.json` or `tokenizer_config.json`, whose
                reference is `"transformers"`.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace what the directory says, `reference="google-research"` for a
                directory of Hugging Face's, say.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, or nothing in it that this class reads.

        Example:
            >>> tokenizer = AlbertTokenizer.from_preset("albert_base_v2")  # doctest: +SKIP
        """
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is None:
            tokenizer = cls(**{**albert_files.read_albert_files(directory, kwargs.get("reference")), **kwargs})
        return tokenizer


def split_tokens(tokens: tf.RaggedTensor, counts: tf.Tensor, parts: tf.Tensor) -> tf.RaggedTensor:
    """Rows of tokens, each of which has become one or more parts.

    Args:
        tokens: `[B, None]` with `T` tokens in all.
        counts: int32 `[T]`, how many parts each token has.
        parts: `[P]`, the parts of all tokens.

    Returns:
        The parts, `[B, None]`.
    """
    before = tf.concat([[0], tf.cumsum(counts)], 0)  # [T + 1]
    row_splits = tf.cast(tf.gather(before, tokens.row_splits), tf.int64)
    return tf.RaggedTensor.from_row_splits(parts, row_splits, validate=False)


def _sort_runs(flat: tf.Tensor, continues: tf.Tensor, repeats: tf.Tensor) -> tf.Tensor:
    """Sorts each run of pieces that repeat one string by length, the longest last.

    Args:
        flat: int32 `[T]`, pieces.
        continues: bool `[T - 1]`, whether a piece and the next one are of one run.
        repeats: int32 `[T]`, how often a piece repeats the string of its run.

    Returns:
        int32 `[T]`.
    """
    in_run = tf.where(tf.pad(continues, [[1, 0]]) | tf.pad(continues, [[0, 1]]))  # [M, 1]
    run_number = tf.cumsum(tf.cast(tf.pad(~continues, [[1, 0]]), tf.int32))
    keys = tf.gather_nd(run_number * (tf.reduce_max(repeats) + 1) + repeats, in_run)
    return tf.tensor_scatter_nd_update(flat, in_run, tf.gather(tf.gather_nd(flat, in_run), tf.argsort(keys)))
