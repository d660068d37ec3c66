"""WikiText: articles, and the way back from its tokens to the text that people write."""

import os
import re

from albert_gpt_tf.data.files import DataError, read_lines

_HEADING = re.compile(r" ?= [^=].* = ?")  # of an article; sections have two or more signs
_MARKS = ("@-@", "@,@", "@.@")
_CONTRACTION = re.compile(r"'\w+")  # 's, 't, and what follows an apostrophe in a name
_CLOSING = tuple(",.;:!?%)]")
_OPENING = tuple("([")
_CURRENCIES = tuple("$£¥#")  # before a number
_ABBREVIATION = re.compile(
    r"(\w\.)+|(Mr|Mrs|Ms|Dr|St|Jr|Sr|Nos?|Mt|Lt|Col|Gen|Gov|Capt|Sgt|Rev|vs|Inc|Co|Ltd|Bros|al|pp|var)\."
)
_WHOLE = re.compile(r"@[-,.]@|\.{2,}")  # what is never taken apart
# Where one of the marks stood: a hyphen in a word, a comma or a point in a number.
_MARKED = re.compile(r"(?<=[^-])-(?=[^-])|(?<=[\d>])[,.](?=[\d<])")


def read_wikitext(path: str | os.PathLike, detokenize: bool = True) -> list[str]:
    r"""Reads the articles of WikiText-2 or WikiText-103, raw or with `<unk>`.

    An article begins with its heading, ` = Title = ` between two blank lines; formulas that look like one do not stand
    so. `<unk>`, which stands for rare words in the files of tokens, is left as it is.

    Args:
        path: str or path, `wiki.test.tokens`, `wiki.test.raw` or the like.
        detokenize: bool, whether articles are texts as people write them, see `detokenize_wikitext`, or as in the file,
            to count words. Defaults to True.

    Returns:
        list of str, one an article, without blank lines around it.

    Raises:
        DataError: the file is missing or not UTF-8, or has no heading.

    Example:

    >>> _ = Path("wiki.txt").write_text(" \n = Homarus = \n \n It has a hard @-@ wearing shell . \n")
    >>> read_wikitext("wiki.txt")
    ['= Homarus =\n\nIt has a hard-wearing shell.']

    Reference:
        Merity et al., 2016, arXiv:1609.07843: 60 articles each in the validation and test files of WikiText-2.
    """
    lines = list(read_lines(path))
    is_blank = [not line.strip() for line in lines] + [True]  # [-1] is also what stands before the first line
    begins = [
        number
        for number, line in enumerate(lines)
        if is_blank[number - 1] and is_blank[number + 1] and _HEADING.fullmatch(line)
    ]
    if not begins:
        raise DataError(
            f"{os.fspath(path)}:1: expected articles of WikiText, which begin with a line ' = Title = ' between blank "
            "lines, received a file without one; check that it is the right file."
        )
    ends = [*begins[1:], len(lines)]
    articles = [lines[begin:end] for begin, end in zip(begins, ends, strict=True)]
    if detokenize:
        return [detokenize_wikitext("\n".join(article)).strip() for article in articles]
    return ["\n".join(article).strip() for article in articles]


def detokenize_wikitext(text: str) -> str:
    """Turns the tokens of WikiText into the text that people write.

    Line by line: marks of hyphens and numbers (`@-@`, `@,@`, `@.@`) go; punctuation, brackets, quotation marks that
    come in pairs, contractions (`'s`, `'t`), currencies and signs of headings move to the word that they belong to.
    What `tokenize_wikitext` would not take apart again, such as a capital letter at the end of a sentence, which reads
    as an abbreviation, stays apart: the text has all that the tokens have, so a model's probability of the text is one
    of the tokens.

    Args:
        text: str, lines of WikiText.

    Returns:
        str, as many lines.

    Example:

    >>> detokenize_wikitext(' He had a guest @-@ starring role in " Teddy \\'s Story " , for $ 2 @,@ 000 . ')
    'He had a guest-starring role in "Teddy\\'s Story", for $2,000.'

    Reference:
        Radford et al., 2019, section 3.1, uses invertible de-tokenizers that were not released.
    """
    return "\n".join(_detokenize_line(line.strip(" ")) for line in text.split("\n"))


def tokenize_wikitext(text: str) -> str:
    """Turns text into the tokens of WikiText: the inverse of `detokenize_wikitext`.

    It gives back the validation and test files of WikiText-2 as they were, but for one of their 8,120 lines, in which
    a number has a comma without its mark.

    Args:
        text: str, as of `detokenize_wikitext`.

    Returns:
        str, as many lines, each between two spaces as in the files.

    Example:

    >>> tokenize_wikitext("It's hard-wearing.")
    " It 's hard @-@ wearing . "
    """
    lines = (" ".join(token for chunk in line.split(" ") for token in _split(chunk)) for line in text.split("\n"))
    return "\n".join(f" {line} " if line else " " for line in lines)


def _detokenize_line(line: str) -> str:
    tokens = line.split(" ")
    joined = [False] * (len(tokens) + 1)  # whether a token and the one before it are one word
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        if token in _MARKS:
            joined[place] = joined[place + 1] = True
        elif token in _CLOSING or _CONTRACTION.fullmatch(token):
            joined[place] = True
        elif token == "=":
            joined[place] = tokens[place - 1] == "="
        elif token in _OPENING or (token in _CURRENCIES and following[:1].isdigit()):
            joined[place + 1] = True
    _join_double_quotes(tokens, joined)
    _join_single_quotes(tokens, joined)
    chunks: list[list[str]] = []
    for place, token in enumerate(tokens):
        if place and joined[place]:
            chunks[-1].append(token)
        else:
            chunks.append([token])
    return " ".join(_join(chunk) for chunk in chunks)


def _join_double_quotes(tokens: list[str], joined: list[bool]) -> None:
    places = [place for place, token in enumerate(tokens) if token == '"']
    if len(places) % 2 == 0:  # else nobody knows which of them is alone
        for first, second in zip(places[::2], places[1::2], strict=True):
            joined[first + 1] = joined[second] = True


def _join_single_quotes(tokens: list[str], joined: list[bool]) -> None:
    places = [place for place, token in enumerate(tokens) if token == "'"]
    is_open = False
    for place in places:
        if is_open or (place and tokens[place - 1].endswith("s")):  # the second of two, or a genitive of many
            joined[place], is_open = True, False
        elif place < places[-1]:
            joined[place + 1] = is_open = True


def _join(tokens: list[str]) -> str:
    tokens_of_marks = [token[1] if token in _MARKS and len(tokens) > 1 else token for token in tokens]
    chunk = "".join(tokens_of_marks)
    return chunk if _split(chunk) == tokens else " ".join(tokens)


def _split(chunk: str) -> list[str]:
    """The tokens of what stands between two spaces."""
    if re.fullmatch("=+", chunk):
        return list(chunk)
    if re.fullmatch("'(?:s|t|d|m|re|ve|ll)", chunk):  # a contraction that stands apart
        return [chunk]
    before, after = [], []
    while len(chunk) > 1 and not _is_whole(chunk):
        if chunk[0] in (*_OPENING, '"', "'") or (chunk[0] in _CURRENCIES and chunk[1].isdigit()):
            before.append(chunk[0])
            chunk = chunk[1:]
        elif chunk[-1] in (*_CLOSING, '"', "'"):
            after.append(chunk[-1])
            chunk = chunk[:-1]
        elif ending := re.search(r"(?<=.)'\w+$", chunk):
            after.append(ending[0])
            chunk = chunk[: ending.start()]
        else:
            break
    if not _is_whole(chunk):
        chunk = _MARKED.sub(lambda match: f" @{match[0]}@ ", chunk)
        chunk = re.sub(r"(?<=[^ ])('\w+)(?= |$)", r" \1", chunk)
    return [*before, *chunk.split(" "), *reversed(after)]


def _is_whole(chunk: str) -> bool:
    return bool(_WHOLE.fullmatch(chunk) or _ABBREVIATION.fullmatch(chunk))
