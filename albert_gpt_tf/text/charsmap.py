"""ALBERT's text cleaning as rewriting rules of characters, for the charsmap of a SentencePiece model.

ALBERT cleans its text in Python before SentencePiece sees it: white space collapsed, NFKD, combining marks dropped,
lower case. None of these steps has a TFLite kernel, but each works character by character, and a SentencePiece model
already carries a table of rewriting rules. `cleaning_rules` composes the cleaning with the model's own rules.

Two references differ in it:

* `"google-research"`, with which the released weights were trained: Python's white space, marks are the characters
  with a combining class.
* `"transformers"`: two back-quotes and two apostrophes become `"`, white space is Unicode's, marks are the characters
  of category M; the Unicode tables are those of the `tokenizers` library, some of which are old.

What rules of characters cannot do: the Greek final sigma, which Python lowers by context, and the order of several
marks on one letter. No ALBERT vocabulary has pieces for them. And with kept accents, `tokenizers` drops a mark or a
joiner right after a character that the charsmap rewrites ("½" and a joiner); the rules keep it.
"""

import functools
import unicodedata
from collections.abc import Iterable

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

GOOGLE_RESEARCH, TRANSFORMERS = "google-research", "transformers"
REFERENCES = (GOOGLE_RESEARCH, TRANSFORMERS)

# Stands for every character that is in no piece. One byte, because FastSentencepiece counts unknown bytes where
# SentencePiece counts unknown characters, and the counts show in the last bits of the scores.
UNKNOWN = "\x01"

# Characters that exist and do not mean themselves are below these; there are no rules about the rest.
_CODE_POINTS = [*range(1, 0xD800), *range(0xE001, 0x32400), *range(0xE0000, 0xE01F0)]
_SEPARATOR = "\ue000"  # private, in no rule, and next to it a character has no context
_UNICODE_SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)

# Characters whose NFKD form is newer than the tables of `tokenizers`, which keeps them.
_NEW_DECOMPOSITIONS = "32FF A7F1-A7F4 AB69 10780-107BF 1CCD6-1CCF9 1E030-1E06D 1F16C 1FBF0-1FBF9"
# Characters of category M that `tokenizers` does not know as such.
_NEW_MARKS = (
    "5C8-5C9 7FD 897-89F 8CA-8D3 9FE AFA-AFF B53-B55 C04 C3C CF3 D00 D3B-D3C D81 EBA ECE 1715 180F 1ABF-1AF0 1CF7 "
    "1DF6-1DFA A82C A8FF 10D24-10D27 10D69-10D6D 10EAB-10EAC 10ECB-10ECF 10EF0-10EFF 10F46-10F50 10F82-10F85 11070 "
    "11073-11074 110C2 11145-11146 111C9 111CE-111CF 11241 1133B 113B8-113C0 113C2 113C5 113C7-113CA 113CC-113D0 113D2 "
    "113E1-113E2 1145E 1182C-1183A 11930-11935 11937-11938 1193B-1193E 11940 11942-11943 119D1-119D7 119DA-119E0 119E4 "
    "11A01-11A0A 11A33-11A39 11A3B-11A3E 11A47 11A51-11A5B 11A8A-11A99 11B60-11B67 11D31-11D36 11D3A 11D3C-11D3D "
    "11D3F-11D45 11D47 11D8A-11D8E 11D90-11D91 11D93-11D97 11DF0 11EF3-11EF6 11F00-11F01 11F03 11F34-11F3A 11F3E-11F42 "
    "11F5A 13440 13447-13455 1611E-1612F 16F4F 16F7F-16F87 16FE4 16FF0-16FF1 1CF00-1CF2D 1CF30-1CF46 1D127-1D128 "
    "1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 "
    "1E6EE-1E6EF 1E6F5"
)
# Two that it counts as marks although Unicode has made them letters since.
_FORMER_MARKS = "1CF2-1CF3"


def clean(text: str, lowercase: bool = True, keep_accents: bool = False) -> str:
    """Cleans a text as google-research's ALBERT does in Python before SentencePiece.

    Args:
        text: str.
        lowercase: bool, whether the text is for an uncased model. Defaults to True.
        keep_accents: bool, whether accents are kept. Defaults to False.

    Returns:
        str: white space collapsed; decomposed (NFKD) without combining marks unless `keep_accents`; in lower case if
        `lowercase`.

    Example:
        >>> clean(" École  Ａ ")
        'ecole a'

    Reference: google-research/albert, `tokenization.preprocess_text`.
    """
    return _clean_like_google(" ".join(text.split()), lowercase, keep_accents)


def cleaning_rules(
    charsmap: bytes, characters: Iterable[str], reference: str, lowercase: bool, keep_accents: bool
) -> dict[bytes, bytes]:
    """Rules that clean text, apply a model's own charsmap, and replace what no piece contains by `UNKNOWN`.

    Args:
        charsmap: bytes, the compiled charsmap of the model; empty if it has none.
        characters: the characters that occur in pieces.
        reference: str, `"google-research"` or `"transformers"`.
        lowercase: bool, whether text is lowered.
        keep_accents: bool, whether NFKD and the dropping of marks are left out.

    Returns:
        dict: source -> target as UTF-8, for `compile_rules`. Sources are characters, short sequences of them, and
        single bytes: a lead byte, for all characters that have no rule, and the bytes that follow one.

    Example:
        >>> rules = cleaning_rules(b"", "abc", "google-research", lowercase=True, keep_accents=False)
        >>> rules["Ä".encode()], rules[b"\xe4"]
        (b'a', b'\\x01')
    """
    normalizer = _normalizer(charsmap)
    known = frozenset(characters) | {" "}

    def after_cleaning(texts: list[str]) -> list[str]:
        # One call for all texts; the separator keeps them apart.
        cleaned = _SEPARATOR.join(texts)
        if reference == GOOGLE_RESEARCH:
            cleaned = _clean_like_google(cleaned, lowercase, keep_accents)
        else:
            cleaned = _clean_like_transformers(cleaned, lowercase, keep_accents)
        return normalizer.normalize(cleaned).split(_SEPARATOR) if texts else []

    def as_known(target: str) -> str:
        if reference != GOOGLE_RESEARCH:  # it splits at what is white space after cleaning
            target = "".join(" " if char in _UNICODE_SPACES else char for char in target)
        return "".join(char if char in known else UNKNOWN for char in target)

    characters = [chr(code_point) for code_point in _CODE_POINTS]
    targets = dict(zip(characters, map(as_known, after_cleaning(characters)), strict=True))
    if reference == GOOGLE_RESEARCH:
        targets |= {char: " " for char in characters if char.isspace()}
    else:
        targets |= {"``": as_known('"'), "''": as_known('"')}

    # Characters that the model composes of several, where a piece is concerned: Hangul, kept accents.
    composed = [char for char in characters if len(unicodedata.normalize("NFD", char)) > 1]
    composed = [c for c in composed if c in known or (keep_accents and unicodedata.normalize("NFD", c)[0] in known)]
    sequences = _sequences(composed, targets)
    for sequence, target in zip(sequences, after_cleaning(sequences), strict=True):
        targets.setdefault(sequence, as_known(target))

    # A character of several bytes without a rule is UNKNOWN at its first byte, and nothing at the others.
    rules = {bytes([byte]): b"" for byte in range(0x80, 0xC0)}
    rules |= {bytes([byte]): UNKNOWN.encode() for byte in range(0xC0, 0x100)}
    for source, target in targets.items():
        if target != (source if source < "\x80" else UNKNOWN):
            rules[source.encode()] = target.encode()
    return rules


def _sequences(composed: list[str], targets: dict[str, str]) -> list[str]:
    """What may stand for a composed character: its parts, some of them composed, in any form that cleaning undoes."""
    sources: dict[str, list[str]] = {}
    for source, target in targets.items():
        if len(source) == 1 and target and target != UNKNOWN:
            sources.setdefault(target, []).append(source)
    sequences = {}
    for char in composed:
        parts = unicodedata.normalize("NFD", char)
        for end in range(1, len(parts)):
            first = unicodedata.normalize("NFC", parts[:end])
            if len(first) == 1:
                for other in {first, *sources.get(first, [])}:
                    sequences[other + parts[end:]] = None
    return list(sequences)


def _clean_like_google(text: str, lowercase: bool, keep_accents: bool) -> str:
    if not keep_accents:
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if lowercase else text


def _clean_like_transformers(text: str, lowercase: bool, keep_accents: bool) -> str:
    if not keep_accents:
        new = _code_points(_NEW_DECOMPOSITIONS)
        text = "".join(char if ord(char) in new else unicodedata.normalize("NFKD", char) for char in text)
        text = "".join(char for char in text if not _is_mark_of_tokenizers(char))
    return text.lower() if lowercase else text


@functools.cache
def _is_mark_of_tokenizers(char: str) -> bool:
    is_mark = unicodedata.category(char).startswith("M") and ord(char) not in _code_points(_NEW_MARKS)
    return is_mark or ord(char) in _code_points(_FORMER_MARKS)


@functools.cache
def _code_points(ranges: str) -> frozenset[int]:
    """Code points of ranges in hexadecimal, like "41 61-7A"."""
    bounds = [[int(bound, 16) for bound in item.split("-")] for item in ranges.split()]
    return frozenset(point for bound in bounds for point in range(bound[0], bound[-1] + 1))


def _normalizer(charsmap: bytes) -> sentencepiece.SentencePieceNormalizer:
    # A normaliser is loaded from a model; an empty one with this charsmap will do.
    model = sentencepiece_model_pb2.ModelProto()
    model.normalizer_spec.precompiled_charsmap = charsmap
    model.pieces.add(piece="<unk>", type=model.SentencePiece.UNKNOWN)
    return sentencepiece.SentencePieceNormalizer(
        model_proto=model.SerializeToString(),
        add_dummy_prefix=False,
        escape_whitespaces=False,
        remove_extra_whitespaces=False,
    )
