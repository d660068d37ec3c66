"""GPT-1's tokenizer: lower-casing BPE with `</w>`, as graph ops."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.text import presets
from albert_gpt_tf.text.bert_split import BertSplitter, Words
from albert_gpt_tf.text.bpe_files import read_vocabulary_and_merges, write_vocabulary_and_merges
from albert_gpt_tf.text.conversions import to_ragged, to_rows
from albert_gpt_tf.text.gpt1_bpe import GPT1BPE
from albert_gpt_tf.text.gpt1_vocabulary import (
    END_OF_WORD,
    UNKNOWN,
    GPT1Vocabulary,
    read_tokenizer_json,
)

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
OPENAI_FILES = ("encoder_bpe_40000.json", "vocab_40000.bpe")


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPT1Tokenizer(keras_nlp.tokenizers.Tokenizer):
    """Tokenizes text as Transformers' `OpenAIGPTTokenizer` does, with graph ops and no state.

    Text is cleaned, lower-cased and split into words as for BERT, and words into pairs of characters. A character that
    the vocabulary lacks is `<unk>`. Malformed UTF-8, NUL, control characters and U+FFFD vanish; an empty string has no
    tokens. `bert_split.BertSplitter` names the one known difference, the order of about 90 rare marks, none of which is
    in the vocabulary.

    OpenAI's own code cleans text with ftfy and splits it with spaCy instead. The ids are the same for plain English:
    words of two or more ASCII letters and whole numbers, parted by blanks, with single marks `. , ! ? ; : " ( )` before
    or after a word. They differ for contractions ("don't" is "do n't" there, "don ' t" here) and other words that spaCy
    takes apart ("cannot") or keeps with their dot ("mr.", initials); for "..." (one token there), dates, sums of money
    and addresses; for accents (kept there: "café"); and for line breaks (a token `\\n</w>` there, white space here).

    The vocabulary has no token for padding, begin or end, and Transformers defines none either. `end_of_text_id` is
    None: who needs an end adds a special token. `pad_id` is the id of `<unk>`, so that batches can be made: the mask
    tells padding from text.

    It works in eager code, `tf.data` and a SavedModel. It does not convert to TFLite, which has no kernel for
    `tf.strings.unicode_decode`: give the ids to a model there.

    Args:
        vocabulary: dict, token -> id, or the path of a `vocab.json` (OpenAI: `encoder_bpe_40000.json`). Defaults to
            None: no vocabulary yet, `load_assets` brings it.
        merges: list of "a b" strings by rank, or the path of a `merges.txt` (`vocab_40000.bpe`). Defaults to None.
        special_tokens: list of str, tokens that are added to the vocabulary, such as `_start_`, `_delimiter_` and
            `_classify_` of the original fine-tuning. They get the ids after it, in their order. Defaults to none.
        parse_special_tokens: bool, whether special tokens and `<unk>` typed in the text are these tokens, as in
            Transformers, or plain text. Defaults to True.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: only one of vocabulary and merges is given, they do not fit together (see `GPT1Vocabulary`), or a
            special token is empty or there twice.

    Example:
        >>> vocabulary = {"<unk>": 0, "h": 1, "i": 2, "h</w>": 3, "i</w>": 4, "hi</w>": 5}
        >>> tokenizer = GPT1Tokenizer(vocabulary, ["h i</w>"], special_tokens=["_start_"])
        >>> tokenizer.tokenize("_start_ Hi hih").numpy().tolist()
        [6, 5, 1, 2, 3]
        >>> tokenizer.detokenize([5, 1, 2, 3]).numpy()
        b'hi hih'

    Reference: Improving Language Understanding by Generative Pre-Training (GPT-1), section 4.1;
    openai/finetune-transformer-lm `text_utils.py`; Transformers, `OpenAIGPTTokenizer`.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | str | None = None,
        merges: Sequence[str] | str | None = None,
        special_tokens: Sequence[str] = (),
        parse_special_tokens: bool = True,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.added_tokens = list(special_tokens)  # `special_tokens` is a property of KerasHub's
        self.parse_special_tokens = parse_special_tokens
        self.file_assets = [VOCABULARY_FILE, MERGES_FILE]
        self._vocabulary = None
        self.unk_id = self.pad_id = self.end_of_text_id = None
        if not all(self.added_tokens) or len(set(self.added_tokens)) < len(self.added_tokens):
            raise ValueError(
                f"Expected special tokens that differ and are not empty. Received: {self.added_tokens}. Name each once."
            )
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
        paths = [isinstance(source, (str, os.PathLike)) for source in (vocabulary, merges)]
        if all(paths):
            vocabulary, merges, _ = read_vocabulary_and_merges(vocabulary, merges)
        elif any(paths):
            raise ValueError(
                "Expected vocabulary and merges as a dict and a list, or as two paths. "
                f"Received: {type(vocabulary).__name__} and {type(merges).__name__}."
            )
        self._vocabulary = GPT1Vocabulary.from_tables(vocabulary, merges)
        self._tokens = list(self._vocabulary.tokens)
        self._tokens += [token for token in self.added_tokens if token not in self._vocabulary.ids]
        self._ids = {token: id for id, token in enumerate(self._tokens)}
        self.unk_id = self.pad_id = self._ids[UNKNOWN]

        parsed = list(dict.fromkeys([UNKNOWN, *self.added_tokens])) if self.parse_special_tokens else []
        self._splitter = BertSplitter(lowercase=True, special_tokens=parsed)
        self._bpe = GPT1BPE(self._vocabulary, [self._ids[token] for token in parsed])
        lengths = [len(spelling) if spelling else 1 for spelling in self._vocabulary.spellings]
        lengths += [1] * (len(self._tokens) - len(lengths))
        # Inside a row a word is followed by a blank, at its end by none.
        texts = [token.removesuffix(END_OF_WORD) for token in self._tokens]
        inner = [token.replace(END_OF_WORD, " ") for token in self._tokens]
        with tf.init_scope(), tf.device("cpu"):
            self._lengths = tf.constant(lengths, tf.int64)
            self._texts = tf.constant([*inner, *texts])

    def vocabulary_size(self) -> int:
        """The number of tokens, special ones included."""
        self._require_vocabulary()
        return len(self._tokens)

    def get_vocabulary(self) -> list[str]:
        """All tokens, in the order of their ids."""
        self._require_vocabulary()
        return list(self._tokens)

    def token_to_id(self, token: str) -> int:
        """The id of a token, written with its `</w>`; `unk_id` if there is no such token."""
        self._require_vocabulary()
        return self._ids.get(token, self.unk_id)

    def id_to_token(self, id: int) -> str:
        """The token of an id in `[0, vocabulary_size())`; another id raises ValueError."""
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"Expected an id in [0, {self.vocabulary_size()}). Received: id={id}.")
        return self._tokens[id]

    def _require_vocabulary(self) -> None:
        if self._vocabulary is None:
            raise ValueError(
                "Expected a tokenizer with a vocabulary. Received: vocabulary=None. Pass `vocabulary` and `merges`, or "
                "use from_preset."
            )

    # === Text to ids and back ===

    def tokenize(self, text: Any) -> tf.RaggedTensor | tf.Tensor:
        """Turns text into ids.

        Args:
            text: str, or strings of shape `[B]`; any bytes.

        Returns:
            int32 ids: a `RaggedTensor` `[B, None]`; for a scalar a tensor `[T]`. No special tokens are added.

        Example:
            >>> GPT1Tokenizer.from_preset("gpt1").tokenize(["Hello", ""])  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            words, tokens = self._encode(rows)
            ids = words.by_row(tokens)
            return ids.flat_values if is_scalar else ids

    def call(self, inputs: Any) -> tf.RaggedTensor | tf.Tensor:
        """The same as `tokenize`."""
        return self.tokenize(inputs)

    def tokenize_with_offsets(self, text: Any) -> tuple[tf.RaggedTensor | tf.Tensor, ...]:
        """Turns text into ids, and says which bytes of the text each of them stands for.

        Args:
            text: str, or strings of shape `[B]`; any bytes.

        Returns:
            ids, starts, ends: int32, ragged `[B, None]`; for a scalar tensors `[T]`. The bytes from start to end of the
            text are the token as it was typed, in its case and with its accents. An accent typed as a character of its
            own at the end of a token belongs to no token.

        Example:
            >>> ids, starts, ends = tokenizer.tokenize_with_offsets("Café!")  # doctest: +SKIP
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            rows, is_scalar = to_rows(text)
            words, tokens = self._encode(rows)
            ids = tokens.flat_values
            results = (ids, *words.source_spans(tf.gather(self._lengths, ids)))
            if is_scalar:
                return results
            return tuple(words.by_row(tokens.with_flat_values(values)) for values in results)

    def _encode(self, rows: tf.Tensor) -> tuple[Words, tf.RaggedTensor]:
        """The words of the texts, and the ids of each word, `[W, None]`."""
        words = self._splitter.split(rows)
        return words, self._bpe.encode(words)

    def detokenize(self, ids: Any) -> tf.Tensor:
        """Turns ids into text: `</w>` is a blank, but none at the end.

        Args:
            ids: integers: ragged `[B, None]`, dense `[B, T]` or one row `[T]`. Special tokens give their names, without
                blanks; so does `<unk>`, also where it pads: cut padding off first. Ids outside the vocabulary count as
                `unk_id`.

        Returns:
            Strings of shape `[B]`, a scalar for one row: valid UTF-8, in lower case, a blank after each word.
        """
        self._require_vocabulary()
        with tf.device("cpu"):
            ids, is_row = to_ragged(ids)
            flat, row_ids = ids.flat_values, ids.value_rowids()  # [T]
            size = len(self._tokens)
            flat = tf.cast(tf.where((flat >= 0) & (flat < size), flat, self.unk_id), tf.int32)
            is_last = tf.concat([row_ids[1:] != row_ids[:-1], tf.ones_like(row_ids[:1], tf.bool)], 0)
            texts = tf.gather(self._texts, tf.where(is_last, flat + size, flat))
            text = tf.strings.unsorted_segment_join(texts, row_ids, ids.nrows())
            return text[0] if is_row else text

    # === Saving ===

    def save_assets(self, dir_path: str) -> None:
        """Writes `vocab.json` and `merges.txt` into a directory; added special tokens are in the configuration."""
        self._require_vocabulary()
        paths = Path(dir_path, VOCABULARY_FILE), Path(dir_path, MERGES_FILE)
        write_vocabulary_and_merges(self._vocabulary, *paths)

    def load_assets(self, dir_path: str) -> None:
        """Reads `vocab.json` and `merges.txt` from a directory."""
        self.set_vocabulary_and_merges(str(Path(dir_path, VOCABULARY_FILE)), str(Path(dir_path, MERGES_FILE)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, except the vocabulary, which are files beside the configuration."""
        return {
            **super().get_config(),
            "special_tokens": self.added_tokens,
            "parse_special_tokens": self.parse_special_tokens,
        }

    @classmethod
    def from_preset(
        cls, source: str | os.PathLike, config_file: str = presets.CONFIG_FILE, **kwargs: Any
    ) -> "GPT1Tokenizer":
        """Loads a tokenizer from a directory.

        Args:
            source: str or path, a directory written by `save_to_preset`, or one that holds a `tokenizer.json` of the
                `tokenizers` library, `vocab.json` and `merges.txt`, or `encoder_bpe_40000.json` and `vocab_40000.bpe`.
            config_file: str, the name of the saved configuration. Defaults to `"tokenizer.json"`.
            **kwargs: constructor arguments, which replace the saved ones.

        Returns:
            The tokenizer.

        Raises:
            ValueError: there is no such directory, nothing in it that this class reads, or the files are not GPT-1's.

        Example:
            >>> tokenizer = GPT1Tokenizer.from_preset("gpt1")  # doctest: +SKIP
        """
        directory = presets.require_directory(source)
        tokenizer = presets.load_saved_tokenizer(cls, directory, config_file, **kwargs)
        if tokenizer is not None:
            return tokenizer
        content = presets.read_hugging_face_json(directory, "BPE")
        if content is not None:
            path = directory / presets.HUGGING_FACE_FILE
            vocabulary, merges, special_tokens = read_tokenizer_json(content, path)
            return cls(vocabulary, merges, **{"special_tokens": special_tokens, **kwargs})
        file_sets = [(VOCABULARY_FILE, MERGES_FILE), OPENAI_FILES]
        for names in file_sets:
            if all((directory / name).is_file() for name in names):
                return cls(*(str(directory / name) for name in names), **kwargs)
        raise presets.nothing_recognised(
            directory, [presets.HUGGING_FACE_FILE, *(" and ".join(names) for names in file_sets)]
        )
