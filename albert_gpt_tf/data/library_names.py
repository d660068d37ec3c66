"""Masks the names of the four libraries, so that telling their documentation apart is not a word-spotting game.

Masked are names, aliases and prefixes of the libraries, wherever they stand in a word or an identifier, addresses, and
lines that name an owner. Not masked are their concepts (tensor, ndarray, PEP, `compat.v1`), their sister projects
(SciPy, JAX, TensorBoard) and their manner of writing ("Args:" against underlined headings): these are what a classifier
is asked to learn.
"""

import re

MASK = "library"

_NAME = re.compile(
    r"tensor[ _-]?flow|num_?py|keras|c?python(?:ic\b|ically\b)?"
    r"|(?<![a-z])tf(?![-_ ]?idf|oot|tp)|(?-i:(?<=[a-z])TF(?![a-z]))"  # tf.add, tf_type, tflite, isTF; not tf-idf, utf
    r"|(?<![a-z])[tjko]?np(?![a-z])"  # np.add, np_type, tnp, jnp
    r"|(?<![\w.])(?-i:K)(?=\.[a-z])|(?<=\bas )(?-i:K)\b",  # K.dot: Keras' backend by its habitual alias
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"'`)\]]*"
    r"|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|\b(?:(?:[a-z0-9-]+\.)+org|keras\.io)\b[^\s<>\"'`)\]]*",  # a host named in passing, such as docs.python.org/3
    re.IGNORECASE,
)
_OWNER = re.compile(
    r"\bcopyright\b|\ball rights reserved\b|\blicensed under\b|\bwritten by\b|\bcontributed by\b"
    r"|^\W*(?:authors?|contact|maintainers?|created by)\b\s*[:-]",
    re.IGNORECASE | re.MULTILINE,
)


def mask_library_names(text: str) -> str:
    """Replaces the names of Python, NumPy, Keras and TensorFlow in a text and puts it on one line.

    Args:
        text: str, documentation in any layout.

    Returns:
        The text with every name, alias and prefix replaced by "library", addresses by "link", lines that name an owner
        (copyright, author, licence) left out, and each run of white space turned into one space.

    Example:

    >>> mask_library_names("Like np.sum in NumPy,\\n  but see tf_function, a KerasTensor, at tensorflow.org/api.")
    'Like library.sum in library, but see library_function, a library Tensor, at link'
    """
    if _OWNER.search(text):
        text = "\n".join(line for line in text.split("\n") if not _OWNER.search(line))
    text = _ADDRESS.sub("link", text)
    return " ".join(_NAME.sub(_mask, text).split())


def _mask(name: re.Match) -> str:
    # KerasTensor becomes "library Tensor": "libraryTensor" would be a word of Keras' own again.
    before = " " if name.start() and name.string[name.start() - 1].isalpha() else ""
    after = " " if name.string[name.end() : name.end() + 1].isalpha() else ""
    return before + MASK + after
