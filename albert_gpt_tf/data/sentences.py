"""Raw text to sentences, by rules that fit on a page and need no model.

1. Lines are joined to paragraphs: a blank line ends a sentence, another line break is white space.
2. A sentence ends after one or more of `. ! ?` or `…`, with the quotation marks and brackets that close behind them, if
   white space follows, and then, perhaps after a mark that opens, a digit or a letter that is not lower-case.
3. It ends after one or more of the marks of Chinese, Japanese and Hindi, `。 ！ ？ ｡ । ॥`, whatever follows.
4. It does not end at the full stop of an abbreviation before a name ("Dr.", "vs."), of one before a number ("No. 5",
   "Fig. 2", "Jan. 3"), nor of initials ("J. S. Bach", "the U.S. Army"), unless a word follows that often begins a
   sentence ("in the U.S. The").

Whatever the rules miss stays in one sentence, or is a short one more: neither harms pretraining much, for which the
pages of an encyclopedia or of books are meant. Text with better borders can be given as it is, one sentence a line.
"""

import re

_STOPS, _FULL_WIDTH_STOPS = ".!?…", "。！？｡।॥"
_CLOSING = "\"'”’»›)\\]}」』】》〉）"
_OPENING = "\"'“‘«‹(\\[{¿¡—–*•-"
_END = re.compile(
    # A run of marks is tried once, from its beginning: else a megabyte of full stops would take hours.
    rf"(?<![{_STOPS}])(?P<stop>[{_STOPS}]++)(?P<closing>[{_CLOSING}]*+)\s++(?=[{_OPENING}]*+(?P<next>\w++))"
    rf"|[{_FULL_WIDTH_STOPS}]++[{_CLOSING}]*+\s*+"
)
_PARAGRAPHS = re.compile(r"\n[^\S\n]*+\n\s*+")
_LAST_WORD = re.compile(r"(?:\w|\.)*\Z")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# In lower case. They stand before a name, or before a number, and so hardly ever end a sentence there.
_BEFORE_NAMES = _words(
    "mr mrs ms dr prof rev hon st sr jr messrs mme mlle gen col maj capt cpt lt sgt cmdr adm gov sen rep pres "
    "vs cf viz ca approx"
)
_BEFORE_NUMBERS = _words(
    "no nos vol vols ch sec fig figs eq eqs p pp ca approx jan feb mar apr jun jul aug sep sept oct nov dec"
)
# They often begin a sentence, and are no part of a name.
_OPENERS = _words(
    "a an the this that these those he she it we they i you his her its our their in on at by for from with as after "
    "before when while if although however but and there what who why how some many most all both"
)


def split_sentences(text: str) -> list[str]:
    r"""Splits a raw document into sentences.

    Args:
        text: str, of any size.

    Returns:
        The sentences, list of str, without line breaks and without white space around them; an empty list for blank
        text. All characters but white space are kept, in their order.

    Example:

    >>> split_sentences("Dr. Grey saw it. \"Really?\" It was\n3.5 m long, e.g. in J. Hay's book.\n\nThe End")
    ['Dr. Grey saw it.', '"Really?"', "It was 3.5 m long, e.g. in J. Hay's book.", 'The End']
    >>> split_sentences("今天天气很好。我们去公园吧！")
    ['今天天气很好。', '我们去公园吧！']
    """
    sentences = []
    for paragraph in _PARAGRAPHS.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        begin = 0
        for match in _END.finditer(paragraph):
            if match["stop"] is None or _ends_sentence(paragraph, begin, match):
                sentences.append(paragraph[begin : match.end()])
                begin = match.end()
        sentences.append(paragraph[begin:])
    joined = (" ".join(sentence.split()) for sentence in sentences)
    return [sentence for sentence in joined if sentence]


def _ends_sentence(paragraph: str, begin: int, match: re.Match) -> bool:
    next_word = match["next"]
    if next_word[0].islower() or next_word[0] == "_":
        return False
    if match["stop"] != "." or match["closing"]:
        return True
    # No abbreviation is longer, and a megabyte without white space must not be searched for each full stop.
    word = _LAST_WORD.search(paragraph, max(begin, match.start() - 20), match.start())[0]
    if next_word[0].isdigit():
        return word.lower() not in _BEFORE_NUMBERS
    if word.lower() in _BEFORE_NAMES:
        return False
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return not (is_initial or _DOTTED.fullmatch(word)) or next_word.lower() in _OPENERS
