"""Fold ALBERT's text cleaning into a SentencePiece model, so that one op tokenizes raw text.

ALBERT (uncased) cleans its text in Python before SentencePiece sees it: white space collapsed, NFKD, combining marks
dropped, lower case. None of these steps has a TFLite kernel, but each of them works character by character, and a
SentencePiece model already carries a table of character rewriting rules, its "charsmap". `fold` composes the
cleaning with the model's own rules and puts the result into the model.

What a table of single characters cannot do: the Greek final sigma (Python lowers it by context) and the composition
of Hangul jamo and of Indic vowel signs. No ALBERT vocabulary has pieces for those characters.

Reference: google-research/albert, `tokenization.preprocess_text`. It has no rule for quotation marks; the one in
Transformers is Transformers' own.
"""

import functools
import io
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

# The name a folded model carries in `normalizer_spec.name`. Folding takes seconds, so a model is never folded twice.
FOLDED_NAME = "albert_uncased"
# Charsmap of a model that has none of its own, and the base of the models that we train.
DEFAULT_RULES = "nmt_nfkc"

_SURROGATES = range(0xD800, 0xE000)
# Hangul syllables decompose under NFKD and compose again in the charsmap: together, nothing happens to them.
_HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
# Planes 15 and 16 are private use: no rule is about them. U+E000, private too, serves as the separator below.
_CODE_POINTS = [c for c in range(1, 0xF0000) if c not in _SURROGATES and c not in _HANGUL_SYLLABLES and c != 0xE000]
_SEPARATOR = "\ue000"
_KEEP_SPACES = {"add_dummy_prefix": False, "escape_whitespaces": False, "remove_extra_whitespaces": False}


def clean(text: str) -> str:
    """Cleans a text as ALBERT (uncased) does in Python before SentencePiece.

    Args:
        text: str.

    Returns:
        str: white space collapsed, decomposed (NFKD), without combining marks, in lower case.

    Example:
        >>> clean(" École  Ａ ")
        'ecole a'

    Reference: google-research/albert, `tokenization.preprocess_text`.
    """
    return _strip_and_lower(" ".join(text.split()))


def is_folded(model: bytes) -> bool:
    """Whether the cleaning is already part of this serialized SentencePiece model."""
    return _parse(model).normalizer_spec.name == FOLDED_NAME


def fold(model: bytes) -> bytes:
    """Puts ALBERT's cleaning into the charsmap of a SentencePiece model.

    Args:
        model: bytes, a serialized SentencePiece `ModelProto`.

    Returns:
        bytes: the same model, except that tokenizing raw text with it equals tokenizing cleaned text with `model`.
        A model that is already folded is returned as it is.

    Raises:
        ValueError: `model` is not a SentencePiece model.

    Example:
        >>> folded = fold(Path("spiece.model").read_bytes())  # doctest: +SKIP
    """
    proto = _parse(model)
    if proto.normalizer_spec.name == FOLDED_NAME:
        return model
    proto.normalizer_spec.precompiled_charsmap = _folded_charsmap(proto.normalizer_spec.precompiled_charsmap)
    proto.normalizer_spec.name = FOLDED_NAME
    return proto.SerializeToString()


@functools.lru_cache(maxsize=2)
def folded_rules(charsmap: bytes | None = None) -> str:
    """Rewriting rules that clean a character and then apply a charsmap.

    Args:
        charsmap: bytes, the compiled charsmap to compose with. Defaults to that of `nmt_nfkc`.

    Returns:
        str: one rule a line, `source<TAB>target`, in hexadecimal code points: what SentencePiece's
        `normalization_rule_tsv` reads.
    """
    if charsmap is None:
        base = sentencepiece.SentencePieceNormalizer(rule_name=DEFAULT_RULES, **_KEEP_SPACES)
    else:
        # A normaliser is loaded from a model; an empty one with this charsmap will do.
        proto = sentencepiece_model_pb2.ModelProto()
        proto.normalizer_spec.precompiled_charsmap = charsmap
        proto.pieces.add(piece="<unk>", type=proto.SentencePiece.UNKNOWN)
        base = sentencepiece.SentencePieceNormalizer(model_proto=proto.SerializeToString(), **_KEEP_SPACES)

    sources = [chr(code_point) for code_point in _CODE_POINTS]
    cleaned = [" " if char.isspace() else _strip_and_lower(char) for char in sources]
    # One call for all characters. The separator keeps neighbours apart: no rule contains it.
    targets = base.normalize(_SEPARATOR.join(cleaned)).split(_SEPARATOR)
    lines = []
    for source, target in zip(sources, targets, strict=True):
        if target != source:
            lines.append(f"{ord(source):X}\t{' '.join(f'{ord(c):X}' for c in target)}\n")
    return "".join(lines)


def _strip_and_lower(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


@functools.lru_cache(maxsize=2)
def _folded_charsmap(charsmap: bytes) -> bytes:
    """The compiled form of `folded_rules`. Only SentencePiece's trainer compiles rules, so a throw-away model does."""
    trained = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.tsv")
        path.write_text(folded_rules(charsmap), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g h i j"] * 20),
            model_writer=trained,
            vocab_size=20,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(path),
            minloglevel=2,
        )
    return _parse(trained.getvalue()).normalizer_spec.precompiled_charsmap


def _parse(model: bytes) -> sentencepiece_model_pb2.ModelProto:
    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ValueError(_NOT_A_MODEL.format(len(model))) from error
    if not proto.pieces:
        raise ValueError(_NOT_A_MODEL.format(len(model)))
    return proto


_NOT_A_MODEL = (
    "Expected a serialized SentencePiece model (the content of spiece.model). Received: {} bytes that are not."
)
