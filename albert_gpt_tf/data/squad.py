"""SQuAD's questions and answers, versions 1.1 and 2.0, from their JSON files."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from albert_gpt_tf.data.files import DataError


class SquadRow(NamedTuple):
    """A question about a context, and its answers.

    `answers` are texts and `starts` the first character of each in the context; both are empty if there is none.
    `is_impossible` says that the context holds no answer.
    """

    id: str
    question: str
    context: str
    answers: list[str]
    starts: list[int]
    is_impossible: bool


def read_squad(path: str | os.PathLike, limit: int | None = None) -> list[SquadRow]:
    r"""Reads a file of SQuAD 1.1 or 2.0.

    Args:
        path: str or path, a JSON file in SQuAD's form, articles of paragraphs of questions, which XQuAD, MLQA, CMRC and
            others share; or in that of the Hugging Face datasets, where each row of `data` has its own context.
        limit: int or None, at most so many questions are read, and the rest is not checked. Defaults to None: all.

    Returns:
        A list of SquadRow, at least one.

    Raises:
        DataError: the file is missing, or no JSON, or one of its questions is broken: a text is missing, there is no
            answer although the question is not marked as impossible, or the answer does not stand at its start. The
            message names the place.

    Example:

    >>> paragraph = {"context": "The fox runs.", "qas": [{"id": "1", "question": "Who runs?",
    ...              "answers": [{"text": "fox", "answer_start": 4}]}]}
    >>> _ = Path("dev.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    >>> read_squad("dev.json")[0].answers
    ['fox']

    Reference: Rajpurkar et al., 2016, arXiv:1606.05250, and 2018, arXiv:1806.03822.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    path = Path(path)
    rows: list[SquadRow] = []
    ids: dict[str, str] = {}
    for context, question, place in _questions(path):
        row = _row(question, context, place)
        if row.id in ids:
            raise DataError(
                f"{place}: expected an id of its own, received {row.id!r}, which {ids[row.id]} has, too; rename it."
            )
        ids[row.id] = place.split(": ", 1)[1]
        rows.append(row)
        if len(rows) == limit:
            break
    if not rows:
        raise DataError(f"{path}: expected at least one question, received none; check that it is the right file.")
    return rows


def _questions(path: Path):
    """Each context, the question as it stands in the file, and the place in words."""
    data = _field(_read_json(path), "data", list, f"{path}: the file")
    for number, article in enumerate(data, 1):
        if isinstance(article, dict) and "paragraphs" not in article:  # as the Hugging Face datasets have it
            place = f"{path}: row {number} of data"
            yield _text(article, "context", place), article, place
            continue
        place = f"{path}: article {number}"
        for paragraph_number, paragraph in enumerate(_field(article, "paragraphs", list, place), 1):
            of_paragraph = f"{place}, paragraph {paragraph_number}"
            context = _text(paragraph, "context", of_paragraph)
            for question_number, question in enumerate(_field(paragraph, "qas", list, of_paragraph), 1):
                yield context, question, f"{of_paragraph}, question {question_number}"


def _row(question: Any, context: str, place: str) -> SquadRow:
    id, text = _text(question, "id", place), _text(question, "question", place)
    place = f"{place} (id {id})"
    answers = _field(question, "answers", (list, dict), place)
    if isinstance(answers, dict):  # columns
        texts, starts = (_field(answers, name, list, f"{place}, answers") for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise DataError(
                f"{place}: expected as many starts as texts of answers, received {len(starts)} and {len(texts)}; add "
                "what is missing."
            )
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        is_impossible = question.get("is_impossible", not answers)
    else:
        is_impossible = question.get("is_impossible", False)
    if not isinstance(is_impossible, bool):
        raise DataError(f"{place}: expected true or false in 'is_impossible', received {is_impossible!r}; correct it.")
    if is_impossible:
        return SquadRow(id, text, context, [], [], True)  # 2.0 may have plausible answers, which are wrong
    if not answers:
        raise DataError(
            f'{place}: expected an answer, received none; add one, or mark the question with "is_impossible": true.'
        )
    texts, starts = [], []
    for answer in answers:
        answer_text, start = _text(answer, "text", place), _field(answer, "answer_start", int, place)
        found = context[start : start + len(answer_text)] if start >= 0 else ""
        if not answer_text or found != answer_text:
            nearest = context.find(answer_text) if answer_text else -1
            hint = f"it stands at {nearest}" if nearest >= 0 else "it is nowhere in the context"
            raise DataError(
                f"{place}: expected the answer {answer_text!r} at character {start} of the context, received "
                f"{found!r}; {hint}: correct 'answer_start' or the text."
            )
        texts.append(answer_text)
        starts.append(start)
    return SquadRow(id, text, context, texts, starts, False)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: expected a file, received a path where there is none; check the spelling.") from None
    except OSError as error:
        raise DataError(f"{path}: expected a file to read, received: {error.strerror}; check the path.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8, received the byte 0x{error.object[error.start]:02x} at byte {error.start + 1}; "
            "convert the file to UTF-8, for example with iconv."
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, received something else ({error}); correct the file.") from None


def _field(parent: Any, name: str, kind: type | tuple, place: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        words = {list: "a list", dict: "columns", str: "a string", int: "a whole number"}
        expected = " or ".join(words[k] for k in kinds)
        received = f"{name!r} of type {type(value).__name__}" if value is not None else f"no {name!r}"
        raise DataError(
            f"{place}: expected {expected} in {name!r}, received {received}; write the file as SQuAD has it."
        )
    return value


def _text(parent: Any, name: str, place: str) -> str:
    text = _field(parent, name, str, place)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(
            f"{place}: expected text in {name!r}, received half of a surrogate pair, which is no character (\\ud800 to "
            "\\udfff alone); remove it, or write both halves."
        )
    return text
