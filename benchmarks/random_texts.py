"""Random strings meant to break tokenizers: white space, contractions, any code point, emoji, numbers, long runs."""

import functools
import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

LONGEST_RUN = 10_000
# One string in so many holds a run of up to LONGEST_RUN equal characters.
LONG_EVERY = 2_500
# Pieces are drawn anew for every so many strings.
_STRINGS_A_POOL = 5_000
_PIECES_A_POOL = 20_000

_SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\u180e"
_ASCII = "".join(map(chr, range(128)))
_LATIN_WORDS = "the of and in to was he is for on as with by at from it that The He She It WAS def return self import"
_OTHER_WORDS = (
    "naïve café École Straße ﬁne ŒUVRE İstanbul ΟΔΟΣ Привет мир שלום العَرَبِيَّة "
    "हिन्दी ภาษา 日本語 한국어 中文 각 ६६ ﷺ ㎏ ① Ⅷ ½ ² ＡＢＣ"
)
_WORDS = [*_LATIN_WORDS.split(), *_OTHER_WORDS.split()]
_ENDINGS = "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'VE 'M 'LL 'D ’s ’t ʼs don't WE'LL 'tis I'm y'all'd've"
_CONTRACTIONS = _ENDINGS.split()
_QUOTES = ["``", "''", "'''", "'", '"', '""', "“", "”", "‘", "’", "«", "»", "„", "´", "`"]
_EMOJI = [
    *("😀", "🚀", "👍", "🏽", "👍🏽", "\u200d", "\ufe0f", "❤\ufe0f", "1\ufe0f\u20e3", "👩\u200d💻"),
    *("👨\u200d👩\u200d👧\u200d👦", "\U0001f1e9", "\U0001f1e9\U0001f1ea"),
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
]
_SPECIAL = ["<|endoftext|>", "[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>", "<s>", "[mask]", "<|endoftext", "[UNK]"]
_NUMBERS = ("{0}", "{0},", "{0:,}", "{0:,},", "{0:,}.50", "{0}-", "{0},{0}", "0{0},", "${0:,}", "9,000")
_MARKS = ["\u0301", "\u0308", "\u0327", "\u0345", "\u0e48", "\u093f", "\u0903", "\u20dd", "\u05b0"]
_LONG = [*"aA0 9,.'\n\t\"-é中६!", "\u00a0", "\u3000", "\u0301", "\u0000", "😀", "\u2581", "Ⅷ", "\U00020000"]


@functools.cache
def _code_points_by_category() -> list[list[str]]:
    """All characters but surrogates, which are no text, in one list a Unicode category."""
    found = defaultdict(list)
    for code_point in range(0x110000):
        if not 0xD800 <= code_point < 0xE000:
            found[unicodedata.category(chr(code_point))].append(chr(code_point))
    return list(found.values())


def _any_character(rng: random.Random) -> str:
    # Half of them below U+3000, where the letters are that have cases, accents and combining marks.
    if rng.random() < 0.5:
        return chr(rng.randrange(0x80, 0x3000))
    return rng.choice(rng.choice(_code_points_by_category()))


def _number(rng: random.Random) -> str:
    return rng.choice(_NUMBERS).format(rng.randrange(10 ** rng.randrange(1, 8)))


def _latin(rng: random.Random) -> str:
    word = "".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randrange(1, 12)))
    return word.capitalize() if rng.random() < 0.2 else word


# Each kind of piece with its weight.
_KINDS = (
    (lambda rng: " ", 20),
    (lambda rng: rng.choice(_WORDS), 10),
    (_latin, 10),
    (lambda rng: rng.choice(_SPACES), 6),
    (lambda rng: rng.choice(_SPACES) * rng.randrange(1, 6), 2),
    (lambda rng: "".join(rng.choices(_ASCII, k=rng.randrange(1, 6))), 8),
    (lambda rng: rng.choice(_CONTRACTIONS), 5),
    (_any_character, 10),
    (lambda rng: "a" + _any_character(rng) + "b", 4),
    (lambda rng: rng.choice(_MARKS), 3),
    (lambda rng: rng.choice(_EMOJI), 3),
    (_number, 5),
    (lambda rng: rng.choice(_QUOTES), 4),
    (lambda rng: rng.choice(_SPECIAL), 1),
)


def random_texts(count: int, seed: int) -> Iterator[str]:
    """Random strings, the same for the same seed and Python version.

    Args:
        count: int, how many.
        seed: int.

    Yields:
        str: text without surrogates. The first of every LONG_EVERY has a run of up to LONGEST_RUN equal characters.

    Example:
        >>> len(list(random_texts(10, seed=0)))
        10
    """
    rng = random.Random(seed)
    makers, weights = zip(*_KINDS, strict=True)
    for index in range(count):
        if index % _STRINGS_A_POOL == 0:
            pool = [make(rng) for make in rng.choices(makers, weights, k=_PIECES_A_POOL)]
        pieces = rng.choices(pool, k=rng.randrange(20))
        if index % LONG_EVERY == 0:
            pieces.insert(len(pieces) // 2, rng.choice(_LONG) * rng.randrange(200, LONGEST_RUN + 1))
        yield "".join(pieces)


def random_bytes(count: int, seed: int) -> list[bytes]:
    """Random byte strings, most of them malformed UTF-8: cut characters, stray bytes, NULs, in between words."""
    rng = random.Random(seed)
    rows = []
    for text in random_texts(count, seed):
        row = bytearray(text.encode())
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(row) + 1)
            # Replaces, cuts or inserts.
            row[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        rows.append(bytes(row))
    return rows
