"""Which pieces of a vocabulary begin a word, and which are special: what masking and splitting of text go by."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

_ENGLISH = frozenset("abcdefghijklmnopqrstuvwxyz")
_MARKS = frozenset('!"#$%&()*+,-./:;?@[\\]^_`{|}~€£')


class PieceTables(NamedTuple):
    """What is known of the pieces of a vocabulary.

    Attributes:
        begins_word: bool `[V]`, False for a piece that goes on with a word.
        is_special: bool `[V]`, True for the padding, the unknown piece, `[CLS]`, `[SEP]`, `[MASK]` and the tokenizer's
            other special tokens.
        ordinary_ids: int32, the ids of all other pieces.
        pad_id, cls_id, sep_id, mask_id: int.
    """

    begins_word: tf.Tensor
    is_special: tf.Tensor
    ordinary_ids: tf.Tensor
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int


def piece_tables(tokenizer) -> PieceTables:
    """Looks through the vocabulary of a tokenizer once.

    Args:
        tokenizer: an `AlbertTokenizer`, a `WordPieceTokenizer`, or another with `get_vocabulary`, `pad_id`, `unk_id`,
            `cls_id`, `sep_id`, `mask_id` and pieces as SentencePiece writes them.

    Returns:
        A `PieceTables`, with its tensors on the CPU, where the input pipeline runs.

    Example:

    >>> tables = piece_tables(tokenizer)  # doctest: +SKIP
    """
    vocabulary = tokenizer.get_vocabulary()
    begins = wordpiece_begins_word if isinstance(tokenizer, WordPieceTokenizer) else sentencepiece_begins_word
    is_special = np.zeros(len(vocabulary), bool)
    is_special[[getattr(tokenizer, name) for name in ("pad_id", "unk_id", "cls_id", "sep_id", "mask_id")]] = True
    is_special[[vocabulary.index(token) for token in getattr(tokenizer, "special_tokens", [])]] = True
    with tf.device("/cpu:0"):
        return PieceTables(
            begins_word=tf.constant([begins(piece) for piece in vocabulary]),
            is_special=tf.constant(is_special),
            ordinary_ids=tf.constant(np.flatnonzero(~is_special), tf.int32),
            pad_id=tokenizer.pad_id,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
        )


def sentencepiece_begins_word(piece: str) -> bool:
    """Whether a piece of SentencePiece begins a word, by the rule that ALBERT was pretrained with.

    It does if it begins with the space symbol "▁" or with "<", is one punctuation mark, or holds a character that is
    neither a letter of English nor such a mark: pieces of other scripts are words of their own.

    Args:
        piece: str.

    Returns:
        bool.

    Example:

    >>> [sentencepiece_begins_word(piece) for piece in ("▁play", "ing", ",", "...", "é", "天")]
    [True, False, True, False, True, True]

    Reference: google-research/albert `create_pretraining_data.py`, `_is_start_piece_sp`.
    """
    if piece.startswith(("▁", "<")) or piece in _MARKS:
        return True
    return any(character.lower() not in _ENGLISH and character not in _MARKS for character in piece)


def wordpiece_begins_word(piece: str) -> bool:
    """Whether a piece of WordPiece begins a word: all do but those after "##", and each Chinese character does.

    Args:
        piece: str.

    Returns:
        bool.

    Example:

    >>> [wordpiece_begins_word(piece) for piece in ("play", "##ing", "天", "##天", ",")]
    [True, False, True, True, True]

    Reference: google-research/albert `create_pretraining_data.py`, `_is_start_piece_bert`.
    """
    if not piece.startswith("##") or piece == "##":
        return True
    return "\u3400" <= piece[2] <= "\u9fff" or "\uf900" <= piece[2] <= "\ufaff" or piece[2] >= "\U00020000"
