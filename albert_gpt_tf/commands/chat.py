"""Talks with a model in the terminal.

albert-gpt-tf chat --preset=runs/dialogue/preset
albert-gpt-tf chat --preset=runs/dialogue/preset --temperature=0.7 --top_p=0.9 < questions.txt

Each line is a message, and the model sees all that was said before; what no longer fits its window is left out from the
front, by whole turns. `/reset` forgets the conversation; `/exit`, Ctrl-D and Ctrl-C end it.
"""

import importlib.util
import sys
from collections.abc import Iterator

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", 128, "Tokens of an answer at most, and at most half of the model's window.", lower_bound=1
)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 takes the most probable token at each step.")
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Sample from the most probable tokens that together reach p; 1 for all.")
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same conversation.")

CHUNK = 16  # tokens that are shown at a time: reading the prompt again for each takes as long as a few tokens


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.data.dialogue import Turn
    from albert_gpt_tf.tasks.load import load_task
    from albert_gpt_tf.training.plan_dialogue import check_dialogue_task

    if arguments:
        raise ValueError(f"chat reads its messages from the terminal or a pipe. Received: {arguments}. Leave them out.")
    if not _TOP_P.value > 0:
        raise ValueError(f"top_p must be above 0. Received: top_p={_TOP_P.value}")
    task = load_task(_PRESET.value)
    check_dialogue_task(task, _PRESET.value)
    answer = make_answer(task, _MAX_NEW_TOKENS.value, _TEMPERATURE.value, _TOP_P.value)
    turns: list[Turn] = []
    answers = 0
    try:
        for message in messages():
            if message == "/exit":
                break
            if message == "/reset":
                turns = []
                continue
            turns.append(Turn("user", message))
            text = ""
            for piece in answer(turns, _SEED.value + answers):
                print(piece, end="", flush=True)
                text += piece
            print(flush=True)
            answers += 1
            turns.append(Turn("assistant", text))
    except KeyboardInterrupt:
        print()


def messages() -> Iterator[str]:
    """What the user types, a line at a time, without blank ones; with a prompt in a terminal."""
    is_terminal = hasattr(sys.stdin, "isatty") and sys.stdin.isatty()
    if is_terminal:
        if importlib.util.find_spec("readline"):  # Windows has none
            importlib.import_module("readline")  # `input` then edits lines, and remembers them
        print("/reset forgets the conversation; /exit, Ctrl-D and Ctrl-C end it.", file=sys.stderr)
    while True:
        try:
            line = input("> ") if is_terminal else next(sys.stdin)
        except (EOFError, StopIteration):
            if is_terminal:
                print()
            return
        if line.strip():
            yield line.strip()


def make_answer(task, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0):
    """What answers: a function (list of `Turn`, seed) -> the answer, piece by piece.

    Args:
        task: a `GPTCausalLM` with a preprocessor and an end of text.
        max_new_tokens: int, at most half of the model's window is used.
        temperature, top_p: float, see `GPTCausalLM.generate`.

    Returns:
        A function that gives an iterator of str. Joined they are what `generate` gives for `prompt_text` of the turns,
        without blanks at the front, if the temperature is 0 and the turns fit; with sampling each chunk has a draw of
        its own.

    Example:
        >>> answer = make_answer(task, max_new_tokens=32)
        >>> "".join(answer([Turn("user", "Hi!")], seed=0))
        'Hello.'
    """
    import tensorflow as tf

    from albert_gpt_tf.data.dialogue import prompt_ids, prompt_turns, start_of

    preprocessor = task.preprocessor
    tokenizer, start_id = preprocessor.tokenizer, start_of(preprocessor)
    window = task.backbone.max_sequence_length
    most = min(max_new_tokens, window // 2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)] + 2 * [tf.TensorSpec([], tf.int32)])
    def more(ids, count, seed):
        continuation = task.continue_ids(
            tf.RaggedTensor.from_tensor(ids[None]),
            count[None],
            tf.constant([temperature]),
            tf.constant([0]),  # top_k: all
            tf.constant([top_p]),
            tf.constant([1.0]),  # repetition penalty: none
            seed[None],
            start_id=preprocessor.pad_id if start_id is None else start_id,
            end_id=preprocessor.end_id,
        )
        return continuation.token_ids[0, : continuation.token_count[0]]

    def answer(turns, seed):
        prompt = prompt_ids(tokenizer, tf.ragged.constant([prompt_turns(turns)]), window - most, start_id)[0]
        ids, shown, has_ended = prompt[:0], 0, False
        while not has_ended:
            count = min(CHUNK, most - ids.shape[0])
            # A seed fixes the draws of one call: that of an answer's next chunk is far from those of other answers.
            new = more(tf.concat([prompt, ids], 0), count, (seed + ids.shape[0] * 1_000_003) % 2**31)
            ids = tf.concat([ids, new], 0)
            has_ended = new.shape[0] < count or ids.shape[0] == most
            text = tokenizer.detokenize(ids).numpy().decode().lstrip()
            # The bytes of a character may come with the next chunk: until then they are replacement characters.
            text = text if has_ended else text.rstrip("\ufffd")
            yield text[shown:]
            shown = max(shown, len(text))

    return answer
