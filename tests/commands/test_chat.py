"""`albert-gpt-tf chat`: the conversation, its form, its end, and what is shown while it is written."""

import io
import sys

import pytest
import tensorflow as tf

from albert_gpt_tf.commands import main as command_line
from albert_gpt_tf.data.dialogue import Turn, answer_rows, pack_answers, prompt_ids, prompt_text
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training.optimizers import AdamW

# The second answer of the first two depends on what was said before.
TALKS = [
    ["Who are you?", "A cat, and 天地玄黃宇宙洪荒 is all that I can say.", "Again?", "Yes, a cat."],
    ["Where is it?", "Here.", "Again?", "No."],
    ["Again?", "What?"],
]
CONVERSATIONS = [[Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(talk)] for talk in TALKS]


@pytest.fixture(scope="module")
def trained():
    """A model that knows `TALKS` by heart."""
    texts = [text for talk in TALKS for text in talk] + ["User: Assistant:"]
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(texts * 9, 300))
    tf.keras.utils.set_random_seed(0)
    backbone = GPTBackbone(tokenizer.vocabulary_size(), 2, 2, 32, dropout=0.0, max_sequence_length=200)
    task = GPTCausalLM(backbone, tokenizer=tokenizer)
    task.compile(AdamW(5e-3, weight_decay=0.0))
    rows = pack_answers(answer_rows(CONVERSATIONS), task.preprocessor, 160)
    task.fit(tf.data.Dataset.from_tensors(rows).repeat(), steps_per_epoch=200, verbose=0)
    return task


@pytest.fixture(scope="module")
def preset(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat") / "preset"
    trained.save_to_preset(str(folder))
    return folder


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(command_line.COMMANDS, "chat", "talk with a model in the terminal")


def spoken(*turns):
    return [Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(turns)]


# === The command ===


def test_it_remembers_what_was_said_until_reset_and_ends_with_exit(run, preset):
    messages = [TALKS[0][0], TALKS[0][2], "", "/reset", TALKS[1][0], TALKS[1][2], "/reset", "Again?", "/exit", "Again?"]
    result = run("chat", f"--preset={preset}", stdin="\n".join(messages))
    assert result.status == 0, result.errors
    assert result.output.splitlines() == [TALKS[0][1], TALKS[0][3], TALKS[1][1], TALKS[1][3], TALKS[2][1]]


def test_the_end_of_a_pipe_ends_it(run, preset):
    result = run("chat", f"--preset={preset}", stdin="Again?")
    assert (result.status, result.output, result.errors) == (0, "What?\n", "")


def test_flags_limit_and_seed_the_answers(run, preset):
    def answers(*arguments):
        return run("chat", f"--preset={preset}", *arguments, stdin="Who are you?\nAgain?\n").output

    short = answers("--max_new_tokens=2").splitlines()
    assert len(short) == 2 and TALKS[0][1].startswith(short[0])
    hot = ["--temperature=9", "--max_new_tokens=20"]
    assert answers(*hot) == answers(*hot) != answers(*hot, "--seed=5")
    assert answers("--temperature=9", "--top_p=1e-9") == answers()  # the most probable token alone is left


def test_it_has_help_and_sentences_for_mistakes(run, preset, presets):
    result = run("chat", "--help")
    assert result.status == 0 and "/reset" in result.output and "--max_new_tokens" in result.output
    result = run("chat", f"--preset={presets.classifier}", stdin="")
    assert result.status == 1 and "Expected a GPTCausalLM" in result.errors and len(result.errors.splitlines()) == 1
    result = run("chat", f"--preset={preset}", "hello", stdin="")
    assert result.status == 1 and "Received: ['hello']" in result.errors
    result = run("chat", f"--preset={preset}", "--top_p=0", stdin="")
    assert result.status == 1 and "top_p must be above 0" in result.errors
    result = run("chat", f"--preset={preset}", "--max_new_tokens=0", stdin="")
    assert result.status == 2


class Terminal(io.StringIO):
    """A terminal in which Ctrl-C or Ctrl-D is pressed after the last line."""

    def __init__(self, lines, pressed):
        super().__init__()
        self.lines, self.pressed = iter(lines), pressed

    def isatty(self):
        return True

    def input(self, prompt):
        print(prompt, end="")
        for line in self.lines:
            return line
        raise self.pressed


@pytest.mark.parametrize("pressed", [EOFError, KeyboardInterrupt])
def test_ctrl_c_and_ctrl_d_end_it_cleanly(run, preset, monkeypatch, pressed):
    terminal = Terminal(["Again?"], pressed)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr("builtins.input", terminal.input)
    result = run("chat", f"--preset={preset}")
    assert (result.status, result.output) == (0, "> What?\n> \n")
    assert "/reset" in result.errors


# === The answer ===


@pytest.fixture(scope="module")
def chat():
    from albert_gpt_tf.commands import chat

    return chat


@pytest.mark.parametrize("chunk", [3, 16])
def test_pieces_join_to_what_generate_gives_for_the_prompt_text(chat, trained, monkeypatch, chunk):
    """The text form is what an export's `prompt` takes, so a served model answers alike."""
    monkeypatch.setattr(chat, "CHUNK", chunk)
    for turns in (spoken(*TALKS[0][:3]), spoken("天 's?")):
        pieces = list(chat.make_answer(trained, 60)(turns, seed=0))
        assert "".join(pieces) == trained.generate(prompt_text(turns), 60).lstrip()


def test_a_character_is_shown_when_all_its_bytes_are_there(chat, trained, monkeypatch):
    monkeypatch.setattr(chat, "CHUNK", 1)
    pieces = list(chat.make_answer(trained, 90)(spoken("Who are you?"), seed=0))
    assert "".join(pieces) == TALKS[0][1]
    assert len(pieces) > 9 and "" in pieces and "\ufffd" not in "".join(pieces)  # some bytes were waited for


def test_a_history_that_outgrows_the_window_is_cut_by_whole_turns(chat, trained, monkeypatch):
    answer = chat.make_answer(trained, 20)
    last = spoken(*TALKS[1][:3])
    assert "".join(answer(last, 0)) == "No."
    seen, original = [], prompt_ids

    def remembered(*arguments):
        ids = original(*arguments)
        seen.append(trained.preprocessor.tokenizer.detokenize(ids).numpy()[0].decode())
        return ids

    monkeypatch.setattr("albert_gpt_tf.data.dialogue.prompt_ids", remembered)
    list(chat.make_answer(trained, 1)(spoken(*["word " * 15] * 40) + last, 0))
    [prompt] = seen
    start = "<|endoftext|>"
    assert prompt.startswith(start) and prompt.endswith(prompt_text(last))
    assert prompt.removeprefix(start).startswith(("User: word", "Assistant: word"))
    assert len(trained.preprocessor.tokenizer.tokenize(prompt_text(last))) < 199
