r"""Conversations: read from files, written as the text that a model sees, and packed with a loss on the answers alone.

A conversation is plain text. Each turn is a line that begins with a role mark, and an answer ends with the token that
ends a text:

    User: Who are you?
    Assistant: A program.
    User: Who wrote you?
    Assistant: Somebody.<|endoftext|>

So every vocabulary can write it, weights that were trained on text know its words, and a served model takes it as its
`prompt` (`prompt_text`). An answer is one row: what was said before it is read, the answer and its end are learnt. The
next answer of the same conversation is a row of its own, in which the first one is followed by a line break. The marks
are words, hence a text of several lines can imitate them: they tell turns apart, and do not keep a stranger out.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import yaml

from albert_gpt_tf.data.files import DataError, read_lines
from albert_gpt_tf.text.packing import pack_causal

MARKS = {"system": "System:", "user": "User:", "assistant": "Assistant:"}
_ALTERNATING = ("user", "assistant")


class Turn(NamedTuple):
    """What one side said: `role` is "system", "user" or "assistant"; `text` is not empty, with no blanks around it."""

    role: str
    text: str


class AnswerRows(NamedTuple):
    """A row for each answer.

    Fields:
        prompts: `RaggedTensor` of strings [rows, (turns)], the turns before the answer with their marks, of which the
            last one ends with the mark that the answer follows.
        answers: strings [rows].
    """

    prompts: tf.RaggedTensor
    answers: tf.Tensor


# === Files ===


def read_conversations(path: str | os.PathLike, limit: int | None = None) -> list[list[Turn]]:
    r"""Reads conversations.

    Args:
        path: str or path, a UTF-8 file in one of two formats told by its name. `.yml` or `.yaml`: chatterbot's form,
            `conversations:` with a list of lists of turns, which are the user's and the assistant's in turn; numbers,
            dates and `yes` are taken as they are written; a text in place of a list is a conversation of one turn.
            `.jsonl`: an object a line, `{"messages": [{"role": "user", "content": "..."}, ...]}` with the roles system,
            user and assistant, or `{"turns": ["...", ...]}`, in turn again. Other keys are not read.
        limit: int or None, at most so many conversations are read. Defaults to None: all.

    Returns:
        list of conversations, at least 1, each a list of at least one `Turn`, blanks around its text removed.

    Raises:
        DataError: the file is missing, not of this form, or has a broken conversation.

    Example:

    >>> _ = Path("talk.yml").write_text("conversations:\n- - How many?\n  - 42\n")
    >>> read_conversations("talk.yml")
    [[Turn(role='user', text='How many?'), Turn(role='assistant', text='42')]]
    """
    path = Path(path)
    readers = {".yml": _yaml_conversations, ".yaml": _yaml_conversations, ".jsonl": _json_conversations}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: expected a file whose name ends in {', '.join(readers)}; rename or convert it.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for everything. Received: limit={limit}")
    conversations = list(islice(readers[path.suffix.lower()](path), limit))
    if not conversations:
        raise DataError(f"{path}:1: expected at least one conversation, received none; add some to the file.")
    return conversations


def _yaml_conversations(path: Path) -> Iterator[list[Turn]]:
    text = "\n".join(read_lines(path))
    try:
        # Nodes and not values: they know their lines, and a number is still what was written.
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, problem = (mark.line + 1, error.problem) if mark else (1, str(error).splitlines()[0])
        raise DataError(
            f"{path}:{line}: expected YAML, received a line that is none ({problem}); put texts with a colon, a quote "
            "or a dash at the front into quotation marks."
        ) from None
    except RecursionError:
        raise DataError(f"{path}:1: expected lists of texts, received a list a thousand deep; flatten it.") from None
    entries = dict((key.value, value) for key, value in root.value) if isinstance(root, yaml.MappingNode) else {}
    conversations = entries.get("conversations")
    if not isinstance(conversations, yaml.SequenceNode):
        raise DataError(
            f"{path}:1: expected a key 'conversations' with a list, received "
            f"{', '.join(map(repr, entries)) or 'no keys'}; write `conversations:` above the list."
        )
    for node in conversations.value:
        turns = node.value if isinstance(node, yaml.SequenceNode) else [node]
        line = node.start_mark.line + 1
        if not turns:
            raise DataError(f"{path}:{line}: expected a conversation, received an empty list; remove it.")
        yield [_yaml_turn(path, turn, _ALTERNATING[index % 2]) for index, turn in enumerate(turns)]


def _yaml_turn(path: Path, node: yaml.Node, role: str) -> Turn:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a key with a value"
        raise DataError(
            f"{path}:{line}: expected a text as turn, received {kind}; put a text with a colon into quotation marks, "
            "and write each conversation as one list of texts."
        )
    return _checked_turn(path, line, role, node.value)


def _json_conversations(path: Path) -> Iterator[list[Turn]]:
    for line, content in enumerate(read_lines(path), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{line}: expected one JSON object, received {_shortened(content)} ({error}); write each "
                "conversation as an object on a line of its own."
            ) from None
        keys = [key for key in ("messages", "turns") if isinstance(row, dict) and isinstance(row.get(key), list)]
        if len(keys) != 1 or not row[keys[0]]:
            raise DataError(
                f"{path}:{line}: expected an object with a list 'messages' or 'turns' that is not empty, received "
                f'{_shortened(content)}; write it as {{"turns": ["question", "answer"]}}.'
            )
        if keys == ["turns"]:
            pairs = [(_ALTERNATING[index % 2], text) for index, text in enumerate(row["turns"])]
        else:
            pairs = [_role_and_content(path, line, message) for message in row["messages"]]
        yield [_checked_turn(path, line, role, text) for role, text in pairs]


def _role_and_content(path: Path, line: int, message: object) -> tuple[str, object]:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message) or message["role"] not in list(MARKS):
        raise DataError(
            f"{path}:{line}: expected messages with a 'role' of {', '.join(MARKS)} and a 'content', received "
            f"{_shortened(json.dumps(message, ensure_ascii=False))}; rename its keys, or remove it."
        )
    return message["role"], message["content"]


def _checked_turn(path: Path, line: int, role: str, text: object) -> Turn:
    is_text = isinstance(text, str) and not any("\ud800" <= character <= "\udfff" for character in text)
    if not is_text or not text.strip():
        received = repr(text) if isinstance(text, str) else json.dumps(text)
        raise DataError(
            f"{path}:{line}: expected a text of the {role}, received {_shortened(received)}; write what was said in "
            "quotation marks, or remove the turn."
        )
    return Turn(role, text.strip())


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else text[:57] + "..."


def hold_out(conversations: Sequence[list[Turn]], share: float) -> tuple[list[list[Turn]], list[list[Turn]]]:
    """Divides conversations in two so that those that begin alike stay together.

    Args:
        conversations: list of conversations.
        share: float in [0, 1), of the different beginnings, about. The choice depends on the text alone.

    Returns:
        Two lists: what remains, and what is held out.

    Example:

    >>> train, validation = hold_out(conversations, 0.1)
    """
    # A checksum draws, so that a conversation stays on its side when others are added.
    drawn = [zlib.crc32(conversation[0].text.lower().encode()) / 2**32 < share for conversation in conversations]
    parts = [[c for c, is_out in zip(conversations, drawn, strict=True) if is_out == part] for part in (False, True)]
    return parts[0], parts[1]


# === The text of a conversation ===


def prompt_turns(turns: Sequence[Turn]) -> list[str]:
    r"""The texts that the model reads before it answers, one a turn; joined they are `prompt_text`.

    Args:
        turns: list of `Turn`, what was said so far.

    Returns:
        list of str, at least 1. The last one ends with the mark of the assistant; an answer follows after a blank.

    Example:

    >>> prompt_turns([Turn("user", "Hi!"), Turn("assistant", "Hello."), Turn("user", "Bye.")])
    ['User: Hi!\n', 'Assistant: Hello.\n', 'User: Bye.\nAssistant:']
    """
    # White space before a line break would join it in GPT-2's pattern, and the pieces would not be those of the whole.
    lines = [f"{MARKS[role]} {text.strip()}".rstrip() + "\n" for role, text in turns]
    return [*lines[:-1], "".join(lines[-1:]) + MARKS["assistant"]]


def prompt_text(turns: Sequence[Turn]) -> str:
    r"""What `generate`, or an export's `prompt`, takes to answer; see `prompt_turns`.

    Example:

    >>> prompt_text([Turn("user", "Hi!")])
    'User: Hi!\nAssistant:'
    """
    return "".join(prompt_turns(turns))


def answer_rows(conversations: Sequence[list[Turn]]) -> AnswerRows:
    """A row for each turn of the assistant, with all turns before it. A conversation without such a turn has none.

    Args:
        conversations: list of conversations.

    Returns:
        AnswerRows.

    Raises:
        ValueError: there is no answer at all.

    Example:

    >>> rows = answer_rows([[Turn("user", "Hi!"), Turn("assistant", "Hello."), Turn("user", "Bye.")]])
    >>> rows.answers.numpy().tolist()
    [b' Hello.']
    """
    prompts, answers = [], []
    for turns in conversations:
        for place, turn in enumerate(turns):
            if turn.role == "assistant":
                prompts.append(prompt_turns(turns[:place]))
                answers.append(f" {turn.text}")
    if not answers:
        raise ValueError(
            f"Expected conversations with answers of the assistant. Received: {len(conversations)} conversations "
            "without any. Give files in which the second turn answers the first."
        )
    flat = tf.constant([text for prompt in prompts for text in prompt], tf.string)
    lengths = tf.constant([len(prompt) for prompt in prompts], tf.int64)
    return AnswerRows(tf.RaggedTensor.from_row_lengths(flat, lengths), tf.constant(answers, tf.string))


# === Text to ids, as graph operations ===


def prompt_ids(tokenizer, prompts: tf.RaggedTensor, room: tf.Tensor | int, start_id: int | None) -> tf.RaggedTensor:
    """Tokenizes the turns before an answer; what does not fit is left out from the front, by whole turns.

    Args:
        tokenizer: a tokenizer with `tokenize`.
        prompts: `RaggedTensor` of strings [batch, (turns)], see `prompt_turns`, at least one a row.
        room: int32 [batch] or scalar, tokens that a row may have, the start included, at least 1. Of a last turn that
            is longer the last tokens are kept.
        start_id: int or None, the token that begins a text.

    Returns:
        int32 `RaggedTensor` [batch, (length)].

    Example:

    >>> prompt_ids(tokenizer, tf.ragged.constant([prompt_turns(turns)]), 100, tokenizer.end_of_text_id)
    """
    ids = tokenizer.tokenize(prompts.flat_values)  # [all turns, (tokens)]
    room = tf.cast(room, tf.int64) - (0 if start_id is None else 1)
    borders = tf.cast(ids.row_splits, tf.int64)  # where each turn begins in all tokens
    ends = tf.gather(borders, prompts.row_splits[1:])  # [batch], where each row ends
    last_turns = tf.gather(borders, prompts.row_splits[1:] - 1)
    row_of_turn = prompts.value_rowids()
    fits = tf.gather(ends, row_of_turn) - borders[:-1] <= tf.gather(tf.broadcast_to(room, tf.shape(ends)), row_of_turn)
    starts = tf.where(fits, borders[:-1], tf.gather(last_turns, row_of_turn))
    starts = tf.math.segment_min(starts, row_of_turn)  # [batch], of the first turn that fits
    starts = tf.maximum(starts, ends - room)
    ids = tf.gather(tf.cast(ids.flat_values, tf.int32), tf.ragged.range(starts, ends))
    return ids if start_id is None else tf.concat([tf.fill([ids.nrows(), 1], start_id), ids], 1)


def pack_answers(rows: AnswerRows, preprocessor, sequence_length: int) -> tuple:
    """Makes a batch for a language model in which only the answers, and their ends, have weight.

    Turns at the front that do not fit are left out. Of a last question and an answer that do not fit together the
    question keeps its last tokens, half of the row or what the answer leaves; of the answer the end is cut off.

    Args:
        rows: AnswerRows, a batch.
        preprocessor: a `GPTCausalLMPreprocessor` whose tokenizer knows the end of a text.
        sequence_length: int, tokens of a row.

    Returns:
        ({`token_ids` int32, `padding_mask` bool}, targets int32, weights float32), each [batch, sequence_length].

    Example:

    >>> batch = pack_answers(answer_rows(conversations), task.preprocessor, 64)
    """
    prompts, answers = rows
    size = sequence_length + 1
    answer = preprocessor.tokenizer.tokenize(answers)
    answer = tf.concat([tf.cast(answer, tf.int32), tf.fill([answer.nrows(), 1], preprocessor.end_id)], 1)
    room = tf.maximum(size - answer.row_lengths(), size // 2)
    prompt = prompt_ids(preprocessor.tokenizer, prompts, room, start_of(preprocessor))
    ids, mask = pack_causal(
        tf.concat([prompt, answer], 1), size, preprocessor.end_id, preprocessor.pad_id, add_end=False
    )
    is_answer = tf.range(size)[None] >= tf.cast(prompt.row_lengths(), tf.int32)[:, None]
    weights = tf.cast(mask & is_answer, tf.float32)
    return {"token_ids": ids[:, :-1], "padding_mask": mask[:, :-1]}, ids[:, 1:], weights[:, 1:]


def start_of(preprocessor) -> int | None:
    """The token that a conversation begins with: the preprocessor's, if its texts have one."""
    return preprocessor.start_id if preprocessor.add_start_token else None
