"""The models that AlbertTokenizer's ops run, made from a released SentencePiece model.

`folded_model` is the model with the cleaning of raw text inside and with pieces for special tokens; what the op returns
is ids of its pieces, which `replacements` turns into ids of the vocabulary. `character_model` splits the same cleaned
text into characters, which is how offsets are found.

Sums of scores. Of all ways to cut a word into pieces, the one with the greatest sum of scores is taken, and many ways
have equal sums ("0|00", "00|0"). SentencePiece 0.2.3 adds in float32 along the row, so that rounding decides: so does
FastSentencepiece, bit for bit, if a character that is in no piece is one byte (see `charsmap.UNKNOWN`). `tokenizers`
adds in float64, word by word, and takes the cut whose last piece is longest, then the one before: `equal_runs`.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albert_gpt_tf.text.charsmap import GOOGLE_RESEARCH, UNKNOWN, cleaning_rules
from albert_gpt_tf.text.rewriting_rules import compile_rules

SPACE_SYMBOL = "▁"
# A special token in the text becomes one of these private characters, which raw text cannot bring in.
_FIRST_WORD = 0xF0000
# `tokenizers` adds scores in float64, where their sums are exact, FastSentencepiece in float32. Scores on this grid
# have exact sums up to 256 there, so that equal sums are equal. Other grids changed more of 500,000 random strings:
# steps of 2^-14 changed 19, 2^-16 none, 2^-18 26.
_SCORE_GRID = 2**16


def parse_model(model: bytes) -> sentencepiece_model_pb2.ModelProto:
    """Parses a serialized SentencePiece model, or raises ValueError."""
    message = (
        f"Expected a serialized SentencePiece model (the content of spiece.model). Received: {len(model)} bytes that "
        "are not. Give the file that was trained or released."
    )
    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ValueError(message) from error
    if not proto.pieces:
        raise ValueError(message)
    return proto


@functools.lru_cache(maxsize=8)
def folded_model(
    model: bytes, reference: str, lowercase: bool, keep_accents: bool, special_tokens: tuple[str, ...]
) -> bytes:
    """Puts the cleaning of raw text, and special tokens in it, into a SentencePiece model.

    Args:
        model: bytes, a serialized SentencePiece model.
        reference: str, `"google-research"` or `"transformers"`.
        lowercase: bool, whether text is lowered.
        keep_accents: bool, whether NFKD and the dropping of marks are left out.
        special_tokens: tuple of str, pieces that are recognised in raw text, each a word of its own.

    Returns:
        bytes: a model with the pieces of `model`, then one for each of the special tokens, and for "transformers" one
        for `<unk>` spelled in cleaned text.
    """
    proto = parse_model(model)
    kinds = proto.SentencePiece
    if reference != GOOGLE_RESEARCH:
        for piece in proto.pieces:
            # `tokenizers` knows one kind of piece, and finds any of them in cleaned text.
            if piece.type in (kinds.USER_DEFINED, kinds.CONTROL):
                piece.type = kinds.NORMAL
            piece.score = round(piece.score * _SCORE_GRID) / _SCORE_GRID
    if reference != GOOGLE_RESEARCH:
        # `<unk>` spelled in cleaned text is found, too. The unknown piece itself takes another name.
        unknown = next(piece for piece in proto.pieces if piece.type == kinds.UNKNOWN)
        spelled, unknown.piece = unknown.piece, UNKNOWN
    matched = [piece.piece for piece in proto.pieces if piece.type in (kinds.NORMAL, kinds.USER_DEFINED)]
    characters = set("".join(matched)) | set(spelled if reference != GOOGLE_RESEARCH else "")
    rules = cleaning_rules(proto.normalizer_spec.precompiled_charsmap, characters, reference, lowercase, keep_accents)
    for index, token in enumerate(special_tokens):
        word = chr(_FIRST_WORD + index)
        rules[token.encode()] = f" {word} ".encode()
        proto.pieces.add(piece=SPACE_SYMBOL + word, score=0.0, type=kinds.NORMAL)
    if reference != GOOGLE_RESEARCH:
        proto.pieces.add(piece=spelled, score=0.0, type=kinds.NORMAL)
    proto.normalizer_spec.precompiled_charsmap = compile_rules(rules)
    # The blanks that rules make are words' borders; these three are set in all of ALBERT's models.
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    proto.normalizer_spec.escape_whitespaces = True
    return proto.SerializeToString()


def replacements(model: bytes, reference: str, special_tokens: tuple[str, ...]) -> list[list[int]]:
    """What ids of the folded model stand for.

    Args:
        model: bytes, the serialized SentencePiece model.
        reference: str, `"google-research"` or `"transformers"`.
        special_tokens: tuple of str, as for `folded_model`.

    Returns:
        list: for each id of the folded model the ids of the vocabulary. Mostly itself; for "google-research" two or
        more where a piece ends in a comma after a digit.

    Reference: google-research/albert, `tokenization.encode_pieces`.
    """
    pieces = [piece.piece for piece in parse_model(model).pieces]
    ids = [[id] for id in range(len(pieces))]
    if reference == GOOGLE_RESEARCH:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        for id, piece in enumerate(pieces):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                ids[id] = [processor.piece_to_id(part) for part in _split_comma(piece, processor.encode_as_pieces)]
    extra = [*special_tokens, *([] if reference == GOOGLE_RESEARCH else [unknown_piece(model)])]
    ids += [[pieces.index(token)] for token in extra]
    return ids


def _split_comma(piece: str, encode: Callable[[str], list[str]]) -> list[str]:
    """The digit-comma rule: the number is encoded again without its comma, which becomes a piece of its own."""
    parts = encode(piece[:-1].replace(SPACE_SYMBOL, ""))
    if piece[0] != SPACE_SYMBOL and parts[0][0] == SPACE_SYMBOL:
        parts = parts[1:] if len(parts[0]) == 1 else [parts[0][1:], *parts[1:]]
    return [*parts, ","]


def unknown_piece(model: bytes) -> str:
    """The name of the piece for unknown text."""
    return next(piece.piece for piece in parse_model(model).pieces if piece.type == piece.UNKNOWN)


def equal_runs(folded: bytes) -> tuple[list[int], list[int]]:
    """Pieces that repeat one string, like "00" and "000": they may change places without a change of the sum of scores.

    Args:
        folded: bytes, a folded model.

    Returns:
        For each id a number above 0 for the string it repeats, 0 if no other piece repeats it; and how often.
    """
    pieces = [piece.piece if piece.type == piece.NORMAL else "" for piece in parse_model(folded).pieces]
    roots = [piece[: (piece + piece).find(piece, 1)] for piece in pieces]  # the shortest string that piece repeats
    counts = Counter(roots)
    shared = {root: number for number, root in enumerate(sorted(r for r in counts if r and counts[r] > 1), start=1)}
    repeats = [len(piece) // len(root) if root else 0 for piece, root in zip(pieces, roots, strict=True)]
    return [shared.get(root, 0) for root in roots], repeats


def character_model(folded: bytes, special_names: Collection[str]) -> bytes | None:
    """A model that splits text, cleaned as by a folded model, into characters.

    Args:
        folded: bytes, a folded model.
        special_names: the special pieces of the vocabulary.

    Returns:
        bytes: the model, of SentencePiece's type CHAR. A run of characters that are in no piece is one `<unk>`, as in
        the folded model. None if a character is in some ordinary piece but is none itself: then the runs differ.
    """
    proto = parse_model(folded)
    kinds = proto.SentencePiece
    matched = {piece.piece for piece in proto.pieces if piece.type in (kinds.NORMAL, kinds.USER_DEFINED)}
    # A special token's private character stands only after the space symbol. Names of special tokens, which
    # "transformers" finds in cleaned text ("<PAD>"), may have characters of their own.
    words = [piece for piece in matched if ord(piece[-1]) >= _FIRST_WORD]
    characters = {piece for piece in matched if len(piece) == 1} | {word[-1] for word in words}
    ordinary = [piece for piece in matched if piece not in special_names]
    if not characters.issuperset("".join(ordinary)):
        return None
    del proto.pieces[:]
    proto.pieces.add(piece="<unk>", score=0.0, type=kinds.UNKNOWN)
    for char in sorted(characters):
        proto.pieces.add(piece=char, score=0.0, type=kinds.NORMAL)
    proto.trainer_spec.Clear()
    proto.trainer_spec.model_type = proto.trainer_spec.CHAR
    return proto.SerializeToString()
