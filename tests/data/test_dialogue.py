"""Conversations: what is read, the text that a model sees, and which of its tokens count."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.dialogue import (
    AnswerRows,
    Turn,
    answer_rows,
    hold_out,
    pack_answers,
    prompt_ids,
    prompt_text,
    prompt_turns,
    read_conversations,
)
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.tasks.gpt_causal_lm_preprocessor import GPTCausalLMPreprocessor
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

CHATTERBOT = Path(__file__).parents[3] / "shared" / "data" / "corpora" / "chatterbot"


def user(text):
    return Turn("user", text)


def assistant(text):
    return Turn("assistant", text)


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# === Files ===


def test_the_two_formats_of_jsonl_and_yaml_give_the_same_conversations(tmp_path):
    expected = [[user("Hi!"), assistant("Hello."), user("Bye.")], [user("天?"), assistant("地。")]]
    turns = [[turn.text for turn in conversation] for conversation in expected]
    messages = [[{"role": t.role, "content": t.text, "name": "x"} for t in conversation] for conversation in expected]
    files = [
        write(
            tmp_path,
            "a.yml",
            'categories:\n- AI\nconversations:\n- - Hi!\n  - "Hello."\n  -  Bye. \n\n- ["天?", 地。]\n',
        ),
        write(tmp_path, "b.jsonl", "\n".join(json.dumps({"turns": row, "id": 1}) for row in turns) + "\n\n"),
        write(tmp_path, "c.jsonl", "\ufeff" + "\n".join(json.dumps({"messages": row}) for row in messages)),
    ]
    for file in files:
        assert read_conversations(file) == expected
        assert read_conversations(file, limit=1) == expected[:1]


def test_yaml_scalars_are_taken_as_they_are_written(tmp_path):
    written = ["1963", "yes", "Off", "1.50", "2001-01-01", "null", "0x1F", "1_000"]
    path = write(tmp_path, "a.yml", "conversations:\n" + "".join(f"- - what\n  - {text}\n" for text in written))
    assert [turns[1].text for turns in read_conversations(path)] == written


def test_a_text_of_several_lines_keeps_them_and_a_text_without_a_list_is_one_turn(tmp_path):
    path = write(tmp_path, "a.yaml", "conversations:\n- - code\n  - |\n    if a:\n        b\n\n- 'Which? - ''22'''\n")
    assert read_conversations(path) == [[user("code"), assistant("if a:\n    b")], [user("Which? - '22'")]]


def test_system_messages_and_two_messages_of_one_side_are_kept(tmp_path):
    roles = ["system", "user", "assistant", "assistant"]
    row = {"messages": [{"role": role, "content": f"{i}"} for i, role in enumerate(roles)]}
    [turns] = read_conversations(write(tmp_path, "a.jsonl", json.dumps(row)))
    assert [turn.role for turn in turns] == roles


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        (
            "a.yml",
            "conversations:\n- - a\n  - b\n- - a: b\n",
            4,
            "expected a text as turn, received a key with a value",
        ),
        ("a.yml", "conversations:\n- - a\n  - - b\n    - c\n", 3, "expected a text as turn, received a list"),
        ("a.yml", "conversations:\n- - a\n  -\n", 3, "expected a text of the assistant, received ''"),
        ("a.yml", "conversations:\n- - a\n  - '  '\n", 3, "expected a text of the assistant, received '  '"),
        ("a.yml", "conversations:\n- []\n", 2, "expected a conversation, received an empty list"),
        ("a.yml", "conversations:\n- - 'a\n  - b\n", None, "expected YAML"),
        ("a.yml", "conversations:\n- - a\n  - b: c: d\n", 3, "expected YAML"),
        ("a.yml", "talks:\n- - a\n", 1, "expected a key 'conversations' with a list, received 'talks'"),
        ("a.yml", "- - a\n  - b\n", 1, "expected a key 'conversations' with a list, received no keys"),
        ("a.yml", "conversations: []\n", 1, "expected at least one conversation"),
        ("a.yml", "conversations: " + "[" * 5000, 1, "expected (lists of texts|YAML)"),
        ("a.yml", "", 1, "expected a key 'conversations'"),
        ("a.jsonl", '{"turns": ["a", "b"]}\n{"turns": ["a"', 2, "expected one JSON object"),
        ("a.jsonl", '{"turns": ["a", 5]}', 1, "expected a text of the assistant, received 5"),
        ("a.jsonl", '{"turns": ["a", true]}', 1, "expected a text of the assistant, received true"),
        ("a.jsonl", '{"turns": ["\\ud800", "b"]}', 1, "expected a text of the user"),
        ("a.jsonl", '{"turns": []}', 1, "expected an object with a list 'messages' or 'turns' that is not empty"),
        ("a.jsonl", '{"turns": ["a"], "messages": []}', 1, "expected an object with a list"),
        ("a.jsonl", '["a", "b"]', 1, "expected an object with a list"),
        ("a.jsonl", '{"messages": [{"role": "bot", "content": "a"}]}', 1, "a 'role' of system, user, assistant"),
        ("a.jsonl", '{"messages": [{"role": [], "content": "a"}]}', 1, "a 'role' of system, user, assistant"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}', 1, "and a 'content'"),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": null}]}',
            1,
            "expected a text of the user, received nul",
        ),
        ("a.jsonl", "\n", 1, "expected at least one conversation"),
    ],
)
def test_a_broken_conversation_is_told_by_file_and_line(tmp_path, name, content, line, message):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=rf"{name}:{line or ''}.*{message}"):
        read_conversations(path)


def test_an_alias_to_the_list_itself_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected a text as turn, received a list"):
        read_conversations(write(tmp_path, "a.yml", "conversations: &all\n- - *all\n"))


def test_other_names_missing_files_and_limits_below_one_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"a.txt: expected a file whose name ends in .yml, .yaml, .jsonl"):
        read_conversations(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a.yml: expected a file"):
        read_conversations(tmp_path / "a.yml")
    with pytest.raises(ValueError, match="limit=0"):
        read_conversations(tmp_path / "a.yml", limit=0)


@pytest.mark.skipif(not CHATTERBOT.is_dir(), reason="needs the chatterbot corpus")
def test_chatterbots_own_files_are_read_whole():
    """Counted with `yaml.safe_load`: 2,026 items in English, 467 in Chinese, one of them a text in place of a list."""
    counts = {
        language: [len(turns) for file in (CHATTERBOT / language).glob("*.yml") for turns in read_conversations(file)]
        for language in ("english", "chinese")
    }
    assert {language: len(turns) for language, turns in counts.items()} == {"english": 2026, "chinese": 467}
    assert counts["english"].count(1) == 1 and max(counts["english"]) == 26


def test_what_is_held_out_depends_on_the_beginning_alone():
    conversations = [[user(f"question {i % 300}"), assistant(f"answer {i}")] for i in range(600)]
    rest, held_out = hold_out(conversations, 0.2)
    assert sorted(rest + held_out) == sorted(conversations)
    assert not {turns[0] for turns in rest} & {turns[0] for turns in held_out}
    assert 0.1 < len(held_out) / len(conversations) < 0.3
    fewer = hold_out(conversations[::-3], 0.2)[1]
    assert fewer and all(turns in held_out for turns in fewer)


# === Text ===


def test_the_text_of_a_conversation():
    turns = [Turn("system", "Be brief."), user("Hi!"), assistant("Hello.\nHow are you?"), user("Fine.")]
    text = "System: Be brief.\nUser: Hi!\nAssistant: Hello.\nHow are you?\nUser: Fine.\nAssistant:"
    assert prompt_text(turns) == text
    assert "".join(prompt_turns(turns)) == text and len(prompt_turns(turns)) == 4
    assert prompt_turns([]) == ["Assistant:"]


def test_each_answer_is_a_row_with_all_turns_before_it():
    first = [user("a"), assistant("b"), user("c"), assistant("d"), user("e")]
    rows = answer_rows([first, [user("alone")], [assistant("f")]])
    assert [b"".join(prompt).decode() for prompt in rows.prompts.to_list()] == [
        prompt_text(first[:1]), prompt_text(first[:3]), "Assistant:",
    ]  # fmt: skip
    assert rows.answers.numpy().tolist() == [b" b", b" d", b" f"]


def test_conversations_without_an_answer_are_an_error():
    with pytest.raises(ValueError, match=r"Expected conversations with answers.*Received: 1 conversations without any"):
        answer_rows([[user("alone")]])


# === Ids ===


@pytest.fixture(scope="module")
def tokenizer():
    return GPT2Tokenizer(*train_byte_level_bpe(["User: the fox runs\nAssistant: it's the dog's"] * 9, 290))


def wordpiece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "user", "assistant", ":", "天", "地", "fox", "##es"]
    return WordPieceTokenizer(pieces)


def ids_of(tokenizer, text):
    return tokenizer.tokenize(text).numpy().tolist()


def random_turns(random_, count):
    """Texts of what the split pattern treats in its own way: contractions, blanks of all kinds, marks, ideographs."""
    parts = ["fox", "'s", " ", "\n", "\t", "\u3000", "\u00a0", "12", "?!", "天地", "é", "'", "User:", ":", "", "\r\n"]
    texts = ["".join(random_.choices(parts, k=random_.randint(1, 6))).strip() or "x" for _ in range(count)]
    return [Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]


def test_tokens_of_the_parts_are_those_of_the_whole_text(tokenizer):
    """So a served model, which gets the text as one string, sees what it was trained on."""
    random_ = random.Random(0)
    conversations = [random_turns(random_, 2 * random_.randint(1, 4)) for _ in range(200)]
    last = [turns[-1] for turns in conversations]
    prompts = tf.ragged.constant([prompt_turns(turns[:-1]) for turns in conversations])
    parts = prompt_ids(tokenizer, prompts, 10**6, None).to_list()
    answers = tokenizer.tokenize(tf.constant([f" {turn.text}" for turn in last])).to_list()
    wholes = [f"{prompt_text(turns[:-1])} {turns[-1].text}" for turns in conversations]
    assert [a + b for a, b in zip(parts, answers, strict=True)] == tokenizer.tokenize(tf.constant(wholes)).to_list()


@pytest.mark.parametrize("add_start_token", [True, False])
def test_only_the_answer_and_its_end_have_weight(tokenizer, add_start_token):
    preprocessor = GPTCausalLMPreprocessor(tokenizer, add_start_token=add_start_token)
    rows = answer_rows([[user("the fox"), assistant("runs"), user("it's"), assistant("the dog")]])
    inputs, targets, weights = pack_answers(rows, preprocessor, 48)
    end = tokenizer.end_of_text_id
    for row, (prompt, answer) in enumerate(
        [
            ("User: the fox\nAssistant:", " runs"),
            ("User: the fox\nAssistant: runs\nUser: it's\nAssistant:", " the dog"),
        ]
    ):
        before = [end] * add_start_token + ids_of(tokenizer, prompt)
        after = [*ids_of(tokenizer, answer), end]
        padding = 49 - len(before) - len(after)
        ids = before + after + padding * [end]
        assert inputs["token_ids"][row].numpy().tolist() == ids[:-1]
        assert targets[row].numpy().tolist() == ids[1:]
        # One by one: the target of weight 1 at place i is token i + 1 of the row.
        assert weights[row].numpy().tolist() == (len(before) - 1) * [0.0] + len(after) * [1.0] + padding * [0.0]
        mask = inputs["padding_mask"][row].numpy().tolist()
        assert mask == (len(before) + len(after)) * [True] + (padding - 1) * [False]
        learnt = targets[row].numpy()[weights[row].numpy() == 1].tolist()
        assert learnt == after and learnt[-1] == end


def test_a_wordpiece_vocabulary_begins_with_cls_and_ends_with_sep():
    rows = answer_rows([[user("天"), assistant("foxes")]])
    inputs, targets, weights = pack_answers(rows, GPTCausalLMPreprocessor(wordpiece()), 12)
    assert inputs["token_ids"].numpy().tolist() == [[2, 5, 7, 8, 6, 7, 10, 11, 3, 0, 0, 0]]
    assert targets.numpy().tolist() == [[5, 7, 8, 6, 7, 10, 11, 3, 0, 0, 0, 0]]
    assert weights.numpy().tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0]]


def packed_slowly(tokenizer, prompt, answer, length):
    """The rule in plain Python: (ids, place of the first token of the answer)."""
    size, end = length + 1, tokenizer.end_of_text_id
    turns = [ids_of(tokenizer, turn) for turn in prompt]
    answer = [*ids_of(tokenizer, answer), end]
    room = max(size - len(answer), size // 2) - 1
    while len(turns) > 1 and sum(map(len, turns)) > room:
        turns = turns[1:]
    kept = [token for turn in turns for token in turn]
    kept = [end, *kept[len(kept) - min(len(kept), room) :]]
    return [*kept, *answer][:size], len(kept)


@pytest.mark.parametrize("length", [6, 15, 24, 40])
def test_what_does_not_fit_is_cut_from_the_front_by_whole_turns(tokenizer, length):
    random_ = random.Random(length)
    rows = answer_rows([random_turns(random_, 2 * random_.randint(1, 5)) for _ in range(40)])
    inputs, targets, weights = pack_answers(rows, GPTCausalLMPreprocessor(tokenizer), length)
    assert not weights.numpy().min(1).any() and weights.numpy().max(1).all()  # a row without a loss teaches nothing
    cases = zip(rows.prompts.to_list(), rows.answers.numpy(), strict=True)
    for row, (prompt, answer) in enumerate(cases):
        ids, first = packed_slowly(tokenizer, prompt, answer, length)
        padding = length + 1 - len(ids)
        got = [*inputs["token_ids"][row].numpy().tolist(), int(targets[row, -1])]
        assert got == ids + padding * [tokenizer.end_of_text_id]
        expected = np.arange(1, length + 1)
        expected = (expected >= first) & (expected < len(ids))
        np.testing.assert_array_equal(weights[row], expected.astype(np.float32))


def test_packing_is_the_same_in_a_graph_and_a_row_does_not_depend_on_others(tokenizer):
    preprocessor = GPTCausalLMPreprocessor(tokenizer)
    rows = answer_rows([random_turns(random.Random(1), 8)])
    dataset = tf.data.Dataset.from_tensor_slices(rows._asdict()).batch(3)
    batches = list(dataset.map(lambda batch: pack_answers(AnswerRows(**batch), preprocessor, 30)))
    together = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0).numpy(), *batches)
    tf.nest.map_structure(np.testing.assert_array_equal, together, pack_answers(rows, preprocessor, 30))


def test_a_prompt_for_generation_begins_with_the_start_and_fits_the_room():
    tokenizer = SimpleNamespace(tokenize=lambda text: tf.strings.unicode_decode(text, "UTF-8"))  # a letter, a token
    prompts = tf.ragged.constant([["ab\n", "cd\n", "ef:"], ["gh:"]])
    for room, expected in [
        (10, ["ab\ncd\nef:", "gh:"]),
        (9, ["cd\nef:", "gh:"]),
        (6, ["ef:", "gh:"]),
        (3, ["f:", "h:"]),
    ]:
        ids = prompt_ids(tokenizer, prompts, room, start_id=0)
        assert ["".join(map(chr, row)) for row in ids.to_list()] == ["\0" + text for text in expected]
