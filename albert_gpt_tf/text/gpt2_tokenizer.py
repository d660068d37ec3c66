"""GPT-2's tokenizer: byte-level BPE as graph ops, the same in eager code, `tf.data` and a SavedModel.

`<|endoftext|>` typed in the text is plain text here, as it is for the original encoder.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.text import presets
from albert_gpt_tf.text.byte_level_bpe import ByteLevelBPE
from albert_gpt_tf.text.byte_pair_vocabulary import END_OF_TEXT, BytePairVocabulary
from albert_gpt_tf.text.conversions import to_ragged, to_rows

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
OPENAI_FILES = ("encoder.json", "vocab.bpe")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPT2Tokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes text as GPT-2 does, exactly, with graph ops and no state.

    All bytes have tokens, so there is no unknown text: malformed UTF-8 and NUL come back from `detokenize_bytes` as
    they were, and an empty string has no tokens.

    Args:
        vocabulary: dict, token in GPT-2's printable alphabet -> id, or the path of a `vocab.json` (`encoder.json`).
            Defaults to None: no vocabulary yet, `load_assets` brings it.
        merges: list of "a b" strings by rank, or the path of a `merges.txt` (`vocab.bpe`). Defaults to None.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: only one of the two is given, or they do not fit together (see `BytePairVocabulary`).

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
        >>> tokenizer = GPT2Tokenizer(*train_byte_level_bpe(["to be or not to be"] * 9, 270))
        >>> tokenizer.detokenize(tokenizer.tokenize("To be!")).numpy()
        b'To be!'

    Reference: Language Models are Unsupervised Multitask Learners (GPT-2), section 2.2; openai/gpt-2 `encoder.py`.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | None = None,
        merges: Sequence[str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.file_assets = [VOCABULARY_FILE, MERGES_FILE]
        self._vocabulary = None
        self.end_of_text_id = self.pad_id = None
        if (vocabulary is None) != (merges is None):
            raise ValueError(
                "Expected vocabulary and merges, or neither. Received: only "
                f"{'merges' if vocabulary is None else 'vocabulary'}. Give both."
            )
        if vocabulary is not None:
            self.set_vocabulary_and_merges(vocabulary, merges)

    # === Vocabulary ===

    def set_vocabulary_and_merges(self, vocabulary: Mapping[str, int] | str, merges: Sequence[str] | str) -> None:
        """Sets the vocabulary and builds the tables.

        Args:
            vocabulary: dict or path, see the class.
            merges: list of str or path, see the class.

        Raises:
            ValueError: see the class.
        """
        if isinstance(vocabulary, Mapping) and not isinstance(merges, (str, os.PathLike)):
            self._vocabulary = BytePairVocabulary.from_tables(vocabulary, merges)
        elif not isinstance(vocabulary, Mapping) and isinstance(merges, (str, os.PathLike)):
            self._vocabulary = BytePairVocabulary.from_files(vocabulary, merges)
        else:
            raise ValueError(
                "Expected vocabulary and merges as a dict and a list, or as two paths. "
                f"Received: {type(vocabulary).__name__} and {type(merges).__name__}."
            )
        self._bpe = ByteLevelBPE(self._vocabulary)
        self.end_of_text_id = self._vocabulary.ids[END_OF_TEXT]
        self.pad_id = self.end_of_text_id  # GPT-2 has no padding token; the mask tells padding from text

    def vocabulary_size(self) -> int:
        """The number of tokens, special ones included."""
        return len(self._require_vocabulary().tokens)

    def get_vocabulary(self) -> list[str]:
        """All tokens in GPT-2's printable alphabet, in the order of their ids."""
        return list(self._require_vocabulary().tokens)

    def token_to_id(self, token: str) -> int:
        """The id of a token in GPT-2's printable alphabet; ValueError if there is no such token."""
        ids = self._require_vocabulary().ids
        if token not in ids:
            raise ValueError(
                f"Expected a token of the vocabulary. Received: {token!r}. Write it in GPT-2's printable alphabet, "
                "where 'Ġ' is the blank."
            )
        return ids[token]

    def id_to_token(self, id: int) -> str:
        """The token of an id in `[0, vocabulary_size())`; another id raises ValueError."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"Expected an id in [0, {self.vocabulary_size()}). Received: id={id}.")
        return self._require_vocabulary().tokens[id]

    def _require_vocabulary(self) -> BytePairVocabulary:
        if self._vocabulary is None:
            raise ValueError(
                "Expected a tokenizer with a vocabulary. Received: vocabulary=None. Pass `vocabulary` and `merges`, or "
                "use from_preset."
            )
        return self._vocabulary

    # === Text to ids and back ===

    def tokenize(self, text: Any) -> tf.RaggedTensor | tf.Tensor:
        """Turns text into ids.

        Args:
            text: str, or strings of shape `[B]`; any bytes.

        Returns:
            int32 ids: a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. No special tokens are added.

        Example:
            >>> GPT2Tokenizer.from_preset("gpt2").tokenize(["Hello", ""])  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            ids = self._bpe.encode(rows)
            return ids.flat_values if is_scalar else ids

    def call(self, inputs: Any) -> tf.RaggedTensor | tf.Tensor:
        """The same as `tokenize`."""
        return self.tokenize(inputs)

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Turns ids into text.

        Args:
            ids: integers: ragged `[B, None]`, dense `[B, T]` or one row `[T]`. `<|endoftext|>` gives its name, also
                where it pads: cut padding off first. Ids outside the vocabulary give nothing.

        Returns:
            Strings of shape `[B]`, a scalar for one row: valid UTF-8, malformed bytes replaced by U+FFFD as in Python.
        """
        with tf.device("cpu"):
            return tf.strings.unicode_transcode(self.detokenize_bytes(ids), "UTF-8", "UTF-8", errors="replace")

    def detokenize_bytes(self, ids: Any) -> tf.Tensor:
        """Turns ids into the exact bytes they stand for.

        Args:
            ids: as for `detokenize`.

        Returns:
            Strings of shape `[B]`, a scalar for one row, which need not be valid UTF-8.
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            ids, is_row = to_ragged(ids)
            text = self._bpe.decode(ids)
            return text[0] if is_row else text

    # === Saving ===

    def save_assets(self, dir_path: str) -> None:
        """Writes `vocab.json` and `merges.txt` into a directory."""
        self._require_vocabulary().save(dir_path, VOCABULARY_FILE, MERGES_FILE)

    def load_assets(self, dir_path: str) -> None:
        """Reads `vocab.json` and `merges.txt` from a directory."""
        self.set_vocabulary_and_merges(Path(dir_path, VOCABULARY_FILE), Path(dir_path, MERGES_FILE))

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "GPT2Tokenizer":
        """Loads a tokenizer from a directory.

        Args:
            source: str or path, a directory written by `save_to_preset`, or one that holds `vocab.json` and
                `merges.txt`, or `encoder.json` and `vocab.bpe`.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace the saved ones.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, or nothing in it that this class reads.

        Example:
            >>> tokenizer = GPT2Tokenizer.from_preset("gpt2")  # doctest: +SKIP
        """
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is not None:
            return tokenizer
        file_sets = [(VOCABULARY_FILE, MERGES_FILE), OPENAI_FILES]
        for vocabulary_file, merges_file in file_sets:
            if (directory / vocabulary_file).is_file() and (directory / merges_file).is_file():
                return cls(str(directory / vocabulary_file), str(directory / merges_file), **kwargs)
        raise presets.nothing_recognised(directory, [" and ".join(names) for names in file_sets])
