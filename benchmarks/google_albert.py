"""ALBERT's tokenization in plain Python, as google-research/albert does it: the slow reference.

1. Clean (`preprocess_text`): white space collapsed, NFKD, combining characters dropped, lower case.
2. SentencePiece with the original model.
3. The digit-comma rule (`encode_pieces`): a piece that ends in a comma after a digit is encoded again without it.
4. Ids. Special tokens typed in the text are plain characters.
"""

import unicodedata
from pathlib import Path

import sentencepiece

BLANK = "\u2581"  # how SentencePiece writes the blank before a word


def clean(text: str) -> str:
    """Step 1."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).lower()


class GoogleAlbert:
    """The reference over one SentencePiece model.

    Args:
        path: the original `spiece.model`.

    Example:
        >>> GoogleAlbert("spiece.model").encode(["in 2010, and"])  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text."""
        pieces = self.model.encode([clean(text) for text in texts], out_type=str, num_threads=1)
        return [self.model.piece_to_id(self._split_digit_commas(row)) for row in pieces]

    def _split_digit_commas(self, pieces: list[str]) -> list[str]:
        result = []
        for piece in pieces:
            if not (piece.endswith(",") and piece[-2:-1].isdigit()):
                result.append(piece)
                continue
            again = self.model.encode(piece[:-1].replace(BLANK, ""), out_type=str)
            # Encoding alone puts a blank in front: it stays only where the piece had one.
            if not piece.startswith(BLANK) and again[0].startswith(BLANK):
                again[:1] = [again[0][1:]] if again[0] != BLANK else []
            result += [*again, ","]
        return result
