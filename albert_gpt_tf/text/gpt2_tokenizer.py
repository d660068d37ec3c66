"""GPT-2's tokenizer: byte-level BPE as graph ops, the same in eager code, `tf.data` and a SavedModel."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.text import bpe_files, presets
from albert_gpt_tf.text.byte_level_bpe import ByteLevelBPE
from albert_gpt_tf.text.byte_pair_vocabulary import END_OF_TEXT, BytePairVocabulary
from albert_gpt_tf.text.conversions import as_one_graph, to_ragged, to_rows
from albert_gpt_tf.text.special_tokens import check_special_tokens

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
OPENAI_FILES = ("encoder.json", "vocab.bpe")
TIKTOKEN_SUFFIX = ".tiktoken"


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPT2Tokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes text as GPT-2 does, exactly, with graph ops and no state.

    All bytes have tokens, so there is no unknown text: malformed UTF-8 and NUL come back from `detokenize_bytes` as
    they were, and an empty string has no tokens. Other byte-level BPE vocabularies work as well, also those of
    `tokenizers`' trainer; bytes that one lacks are dropped, as that library does.

    Special tokens typed in the text are plain text by default, as for the original encoder. That is the safe choice: a
    stranger's text cannot forge the tokens that tell a model where a document ends or who is speaking. Parse them in
    text of your own, such as a template. Then the leftmost is found first, of several at a place the longest, and the
    text on either side is tokenized by itself, as tiktoken and `tokenizers` do.

    Args:
        vocabulary: dict, token in GPT-2's printable alphabet -> id, or the path of a `vocab.json` (`encoder.json`).
            Defaults to None: no vocabulary yet, `load_assets` brings it.
        merges: list of "a b" strings by rank, or the path of a `merges.txt` (`vocab.bpe`). Defaults to None.
        special_tokens: list of str, special tokens to add. New ones get the ids after the vocabulary, in order; one
            that is in the vocabulary keeps its id. Defaults to None: none to add.
        parse_special_tokens: bool, whether `<|endoftext|>`, the vocabulary's other special tokens (those that no merge
            gives) and the added ones are recognised in text. Defaults to False.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: only one of vocabulary and merges is given, they do not fit together (see `BytePairVocabulary`), or
            a special token is malformed (see `check_special_tokens`).

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
        >>> tokenizer = GPT2Tokenizer(*train_byte_level_bpe(["to be or not to be"] * 9, 270))
        >>> tokenizer.detokenize(tokenizer.tokenize("To be!")).numpy()
        b'To be!'
        >>> chat = GPT2Tokenizer(*train_byte_level_bpe(["hi"], 270), ["<|user|>"], parse_special_tokens=True)
        >>> int(chat.tokenize("<|user|>hi")[0]) == chat.token_to_id("<|user|>")
        True

    Reference: Language Models are Unsupervised Multitask Learners (GPT-2), section 2.2; openai/gpt-2 `encoder.py`.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | None = None,
        merges: Sequence[str] | str | None = None,
        special_tokens: Sequence[str] | None = None,
        parse_special_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self._added_tokens = tuple(check_special_tokens(special_tokens))
        self.parse_special_tokens = parse_special_tokens
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
        are_paths = [isinstance(table, (str, os.PathLike)) for table in (vocabulary, merges)]
        if all(are_paths):
            vocabulary, merges, _ = bpe_files.read_vocabulary_and_merges(vocabulary, merges)
        elif any(are_paths) or not isinstance(vocabulary, Mapping):
            raise ValueError(
                "Expected vocabulary and merges as a dict and a list, or as two paths. "
                f"Received: {type(vocabulary).__name__} and {type(merges).__name__}."
            )
        self._vocabulary = BytePairVocabulary.from_tables(vocabulary, merges, self._added_tokens)
        self._bpe = ByteLevelBPE(self._vocabulary, self._vocabulary.special_tokens if self.parse_special_tokens else ())
        self._encode = as_one_graph(self._bpe.encode)
        self._encode_with_offsets = as_one_graph(self._bpe.encode_with_offsets)
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

    @property
    def special_tokens(self) -> list[str]:
        """All special tokens, the vocabulary's own and the added ones, in the order of their ids."""
        return list(self._require_vocabulary().special_tokens)

    @property
    def special_token_ids(self) -> list[int]:
        """The ids of `special_tokens`."""
        return [self.token_to_id(token) for token in self.special_tokens]

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
            int32 ids: a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. Nothing is put before or after them.

        Example:
            >>> GPT2Tokenizer.from_preset("gpt2").tokenize(["Hello", ""])  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            ids = self._encode(rows)
            return ids.flat_values if is_scalar else ids

    def tokenize_with_offsets(self, text: Any) -> tuple[Any, Any, Any]:
        """Turns text into ids and tells which bytes of the text each stands for.

        Args:
            text: as for `tokenize`.

        Returns:
            ids, starts, ends: int32, each a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. The bytes of a
            token are `text[start:end]`, of the text as bytes. Bytes that the vocabulary lacks are in no token, or
            inside one that is merged across them.

        Example:
            >>> from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
            >>> tokenizer = GPT2Tokenizer(*train_byte_level_bpe(["to be"], 257))
            >>> tokenizer.tokenize_with_offsets("é!")[1].numpy().tolist()
            [0, 1, 2]
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            found = self._encode_with_offsets(rows)
            return tuple(ragged.flat_values for ragged in found) if is_scalar else found

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

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, except the vocabulary, which is in files beside the configuration."""
        return {
            **super().get_config(),
            "special_tokens": list(self._added_tokens),
            "parse_special_tokens": self.parse_special_tokens,
        }

    def save_assets(self, dir_path: str) -> None:
        """Writes `vocab.json`, with the added tokens in it, and `merges.txt` into a directory."""
        bpe_files.write_vocabulary_and_merges(
            self._require_vocabulary(), Path(dir_path, VOCABULARY_FILE), Path(dir_path, MERGES_FILE)
        )

    def load_assets(self, dir_path: str) -> None:
        """Reads `vocab.json` and `merges.txt` from a directory."""
        self.set_vocabulary_and_merges(Path(dir_path, VOCABULARY_FILE), Path(dir_path, MERGES_FILE))

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "GPT2Tokenizer":
        """Loads a tokenizer from a directory or a file.

        Args:
            source: str or path, a directory written by `save_to_preset`, or one that holds, by precedence: the
                `tokenizer.json` of the `tokenizers` library (its added tokens become special tokens; files beside
                it are not read); `vocab.json` and `merges.txt`; `encoder.json` and `vocab.bpe`; one file
                `*.tiktoken`. Or the path of a `tokenizer.json` or `*.tiktoken` itself. A tiktoken file does not say how
                text is split: GPT-2's pattern is taken. Its `<|endoftext|>` gets the id after the last rank, unless
                `special_tokens` are given.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace the saved ones; `special_tokens` add to those of a
                `tokenizer.json` of `tokenizers`.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, nothing in it that this class reads, or a `tokenizer.json` that
                splits or merges in another way than GPT-2's.

        Example:
            >>> tokenizer = GPT2Tokenizer.from_preset("gpt2")  # doctest: +SKIP
        """
        path = Path(source)
        if path.is_file() and path.suffix == TIKTOKEN_SUFFIX:
            return cls._from_tiktoken(path, **kwargs)
        if path.is_file() and path.name == presets.HUGGING_FACE_FILE:
            source = path.parent
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is not None:
            return tokenizer
        content = presets.read_hugging_face_json(directory, "BPE")
        if content is not None:
            vocabulary, merges, added = bpe_files.read_tokenizer_json(
                content, directory / presets.HUGGING_FACE_FILE, kwargs.get("parse_special_tokens", False)
            )
            more = check_special_tokens(kwargs.pop("special_tokens", None))
            return cls(vocabulary, merges, [*added, *(token for token in more if token not in added)], **kwargs)
        file_sets = [(VOCABULARY_FILE, MERGES_FILE), OPENAI_FILES]
        for vocabulary_file, merges_file in file_sets:
            if (directory / vocabulary_file).is_file() and (directory / merges_file).is_file():
                return cls(str(directory / vocabulary_file), str(directory / merges_file), **kwargs)
        rank_files = sorted(directory.glob(f"*{TIKTOKEN_SUFFIX}"))
        if len(rank_files) == 1:
            return cls._from_tiktoken(rank_files[0], **kwargs)
        if rank_files:
            raise ValueError(
                f"Expected one *{TIKTOKEN_SUFFIX} file in {directory}. Received: "
                f"{', '.join(path.name for path in rank_files)}. Give the path of one of them."
            )
        names = [" and ".join(names) for names in file_sets]
        raise presets.nothing_recognised(directory, [presets.HUGGING_FACE_FILE, *names, f"*{TIKTOKEN_SUFFIX}"])

    @classmethod
    def _from_tiktoken(cls, path: Path, special_tokens: Sequence[str] | None = None, **kwargs: Any) -> "GPT2Tokenizer":
        vocabulary, merges, named = bpe_files.read_tiktoken(path, special_tokens)
        return cls(vocabulary, merges, named if special_tokens is None else special_tokens, **kwargs)
