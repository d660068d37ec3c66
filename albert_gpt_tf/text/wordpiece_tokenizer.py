"""BERT's WordPiece tokenizer as graph ops, for Chinese ALBERT and Chinese GPT-2."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import tensorflow as tf
import tensorflow_text as tf_text

from albert_gpt_tf.text import presets
from albert_gpt_tf.text.bert_classes import CODE_POINTS, ISOLATED, character_table
from albert_gpt_tf.text.bert_split import BertSplitter, Words
from albert_gpt_tf.text.conversions import to_ragged, to_rows
from albert_gpt_tf.text.wordpiece_files import (
    MAX_CHARACTERS,
    SPECIAL_PIECES,
    VOCABULARY_FILE,
    check_vocabulary,
    read_directory,
    read_vocabulary,
)


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class WordPieceTokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes raw text as Transformers' `BertTokenizer` does, with graph ops and no state.

    Text is cleaned, split into words (each ideograph and punctuation mark is one), and every word into the longest
    pieces of the vocabulary, from the left. A word with a part that is no piece, or of more than 100 characters, is
    `[UNK]` (google-research: more than 200). Bad text is handled by rule: malformed UTF-8, NUL, control characters and
    U+FFFD vanish; an empty string has no tokens; a megabyte in one string is an ordinary string.

    `bert_split.BertSplitter` names the one known difference, the order of about 90 rare marks, which changes no id of a
    released vocabulary.

    It works in eager code, `tf.data` and a SavedModel. It does not convert to TFLite, which has no kernel for
    `tf.strings.unicode_decode`: give the ids to a model there.

    Args:
        vocabulary: list of str, the pieces by id, or the path of a `vocab.txt`. Defaults to None: no vocabulary yet,
            `load_assets` brings it.
        lowercase: bool, whether to lower-case text and strip its accents (BERT's `do_lower_case`). Defaults to True.
        parse_special_tokens: bool, whether `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` typed in the text are these
            tokens, as in Transformers, or plain text. Defaults to True.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: the vocabulary has a piece twice, or lacks one of the five special pieces.

    Example:
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天", "play", "##ing"]
        >>> tokenizer = WordPieceTokenizer(pieces)
        >>> tokenizer.tokenize("天PLAYING[MASK]").numpy().tolist()
        [5, 6, 7, 4]
        >>> tokenizer.detokenize([5, 6, 7]).numpy().decode()
        '天playing'

    Reference: BERT (https://arxiv.org/abs/1810.04805); Fast WordPiece Tokenization (https://arxiv.org/abs/2012.15524).
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | str | None = None,
        lowercase: bool = True,
        parse_special_tokens: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.lowercase = lowercase
        self.parse_special_tokens = parse_special_tokens
        self.file_assets = [VOCABULARY_FILE]
        self._pieces = None
        self.pad_id = self.unk_id = self.cls_id = self.sep_id = self.mask_id = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    # === Vocabulary ===

    def set_vocabulary(self, vocabulary: Sequence[str] | str) -> None:
        """Sets the vocabulary and builds the tables.

        Args:
            vocabulary: list of str, or path, see the class.

        Raises:
            ValueError: see the class.
        """
        pieces = read_vocabulary(vocabulary) if isinstance(vocabulary, (str, os.PathLike)) else list(vocabulary)
        check_vocabulary(pieces)
        self._pieces = pieces
        self._ids = {piece: id for id, piece in enumerate(pieces)}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(self._ids.get, SPECIAL_PIECES)
        self._splitter = BertSplitter(self.lowercase, SPECIAL_PIECES if self.parse_special_tokens else ())
        texts = [piece.removeprefix("##") or piece for piece in pieces]
        # A special piece counts as one character, which is what the splitter makes of it.
        lengths = [1 if piece in SPECIAL_PIECES else len(text) for piece, text in zip(pieces, texts, strict=True)]
        joins_left, joins_right = _joins(pieces, texts)
        # No text gives an empty piece. The one in Chinese ALBERT was U+2028, which Transformers strips off as it reads.
        matched = [piece or f"[unused-empty-{id}]" for id, piece in enumerate(pieces)]
        with tf.init_scope(), tf.device("cpu"):
            self._special = tf.constant(SPECIAL_PIECES)
            # Pre-tokenized: every string is one word. Four bytes a character, so that only MAX_CHARACTERS counts.
            self._wordpiece = tf_text.FastWordpieceTokenizer(
                matched,
                max_bytes_per_word=4 * MAX_CHARACTERS + 1,
                token_out_type=tf.int32,
                unknown_token="[UNK]",
                no_pretokenization=True,
            )
            self._piece_lengths = tf.constant(lengths, tf.int64)
            self._texts = tf.constant([*texts, *(f" {text}" for text in texts)])
            self._joins_left, self._joins_right = tf.constant(joins_left), tf.constant(joins_right)

    def vocabulary_size(self) -> int:
        """The number of pieces, special ones included."""
        self._require_vocabulary()
        return len(self._pieces)

    def get_vocabulary(self) -> list[str]:
        """All pieces, in the order of their ids."""
        self._require_vocabulary()
        return list(self._pieces)

    def token_to_id(self, token: str) -> int:
        """The id of a piece; `unk_id` if the vocabulary has no such piece."""
        self._require_vocabulary()
        return self._ids.get(token, self.unk_id)

    def id_to_token(self, id: int) -> str:
        """The piece of an id in `[0, vocabulary_size())`; another id raises ValueError."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"Expected an id in [0, {self.vocabulary_size()}). Received: id={id}.")
        return self._pieces[id]

    def _require_vocabulary(self) -> None:
        if self._pieces is None:
            raise ValueError(
                "Expected a tokenizer with a vocabulary. Received: vocabulary=None. Pass `vocabulary`, or use "
                "from_preset."
            )

    # === Text to ids and back ===

    def tokenize(self, text: Any) -> tf.RaggedTensor | tf.Tensor:
        """Turns raw text into ids.

        Args:
            text: str, or strings of shape `[B]`; any bytes.

        Returns:
            int32 ids: a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. No special tokens are added.

        Example:
            >>> WordPieceTokenizer.from_preset("albert_zh").tokenize(["今天天气很好", ""])  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            words, pieces = self._encode(rows)
            ids = words.by_row(pieces)
            return ids.flat_values if is_scalar else ids

    def call(self, inputs: Any) -> tf.RaggedTensor | tf.Tensor:
        """The same as `tokenize`."""
        return self.tokenize(inputs)

    def tokenize_with_offsets(self, text: Any) -> tuple[tf.RaggedTensor | tf.Tensor, ...]:
        """Turns raw text into ids, and says which bytes of the text each of them stands for.

        Args:
            text: str, or strings of shape `[B]`; any bytes.

        Returns:
            ids, starts, ends: int32, ragged `[B, None]`; for a scalar tensors `[T]`. The bytes from start to end of the
            text are the piece as it was typed, in its case and with its accents. An accent typed as a character of its
            own at the end of a piece belongs to no piece.

        Example:
            >>> ids, starts, ends = WordPieceTokenizer.from_preset("albert_zh").tokenize_with_offsets("É 好")
            ... # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            words, pieces = self._encode(rows)
            ids = pieces.flat_values
            whole_word = tf.gather(words.word_lengths(), pieces.value_rowids())
            lengths = tf.where(ids == self.unk_id, whole_word, tf.gather(self._piece_lengths, ids))
            results = (ids, *words.source_spans(lengths))
            if is_scalar:
                return results
            return tuple(words.by_row(pieces.with_flat_values(values)) for values in results)

    def _encode(self, rows: tf.Tensor) -> tuple[Words, tf.RaggedTensor]:
        """The words of the texts, and the ids of each word, `[W, None]`."""
        words = self._splitter.split(rows)
        special = words.characters - CODE_POINTS
        strings = words.encode_utf8(tf.where(special >= 0, ord("?"), words.characters))  # [W]
        # The strings of special pieces, which no other word can be, give their ids.
        special = tf.gather(special, words.word_starts)
        strings = tf.where(special >= 0, tf.gather(self._special, tf.maximum(special, 0)), strings)
        strings = tf.where(words.word_lengths() > MAX_CHARACTERS, "[UNK]", strings)
        return words, self._wordpiece.tokenize(strings).with_row_splits_dtype(tf.int64)

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Turns ids into text.

        A blank parts two words, but there is none beside an ideograph or a full-width mark, before `. , ! ? ; : ) ] }`
        and after `( [ {`.

        Args:
            ids: integers: ragged `[B, None]`, dense `[B, T]` or one row `[T]`. `[PAD]`, `[CLS]`, `[SEP]` and `[MASK]`
                give no text. Ids outside the vocabulary count as `unk_id`, which reads "[UNK]".

        Returns:
            Strings of shape `[B]`, a scalar for one row: valid UTF-8, cleaned, in lower case if the vocabulary is.
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            ids, is_row = to_ragged(ids)
            flat, row_ids = ids.flat_values, ids.value_rowids()
            flat = tf.cast(tf.where((flat >= 0) & (flat < len(self._pieces)), flat, self.unk_id), tf.int32)
            silent = [self.pad_id, self.cls_id, self.sep_id, self.mask_id]
            is_text = tf.reduce_all(flat[:, tf.newaxis] != tf.constant(silent), 1)
            flat, row_ids = tf.boolean_mask(flat, is_text), tf.boolean_mask(row_ids, is_text)  # [T]
            joined = tf.gather(self._joins_left, flat[1:]) | tf.gather(self._joins_right, flat[:-1])
            joined = tf.concat([tf.ones_like(flat[:1], tf.bool), joined | (row_ids[1:] != row_ids[:-1])], 0)
            texts = tf.gather(self._texts, tf.where(joined, flat, flat + len(self._pieces)))
            text = tf.strings.unsorted_segment_join(texts, row_ids, ids.nrows())
            return text[0] if is_row else text

    # === Saving ===

    def save_assets(self, dir_path: str) -> None:
        """Writes `vocab.txt` into a directory."""
        self._require_vocabulary()
        text = "".join(f"{piece}\n" for piece in self._pieces)
        Path(dir_path, VOCABULARY_FILE).write_text(text, encoding="utf-8", newline="\n")

    def load_assets(self, dir_path: str) -> None:
        """Reads `vocab.txt` from a directory."""
        self.set_vocabulary(str(Path(dir_path, VOCABULARY_FILE)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, except the vocabulary, which is a file beside the configuration."""
        return {
            **super().get_config(),
            "lowercase": self.lowercase,
            "parse_special_tokens": self.parse_special_tokens,
        }

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "WordPieceTokenizer":
        """Loads a tokenizer from a directory.

        Args:
            source: str or path, a directory written by `save_to_preset`, or one that holds a `tokenizer.json` of the
                `tokenizers` library or a `vocab.txt`. `do_lower_case` of a `tokenizer_config.json` beside them counts.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace the saved ones.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, nothing in it that this class reads, or the files ask for something
                else than BERT's rules.

        Example:
            >>> tokenizer = WordPieceTokenizer.from_preset("albert_zh")  # doctest: +SKIP
        """
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is not None:
            return tokenizer
        vocabulary, lowercase = read_directory(directory)
        return cls(vocabulary, **{"lowercase": lowercase, **kwargs})


def _joins(pieces: Sequence[str], texts: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Whether each piece stands without a blank after what is on its left, and before what is on its right."""
    kinds, _, _ = character_table(lowercase=False)

    def is_wide(char: str) -> bool:  # ideographs and full-width marks, which are words of their own; not Hangul
        return char != "" and kinds[ord(char)] == ISOLATED and unicodedata.east_asian_width(char) in "WF"

    left = [
        piece.startswith("##") or text in set(".,!?;:)]}") or is_wide(text[:1])
        for piece, text in zip(pieces, texts, strict=True)
    ]
    return left, [text in set("([{") or is_wide(text[-1:]) for text in texts]
