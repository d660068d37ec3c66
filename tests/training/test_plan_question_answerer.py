"""The plan of a question answerer: windows as rows, a whole run, the threshold in the preset, and learning by heart."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from albert_gpt_tf.configs.squad import get_config
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.squad import read_squad
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswererPreprocessor
from albert_gpt_tf.tasks.load import load_task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training import plans, run
from albert_gpt_tf.training.plan_question_answerer import ids_and_targets, question_answerer, training_windows
from albert_gpt_tf.training.run import train
from albert_gpt_tf.training.squad_scores import evaluate_question_answerer
from albert_gpt_tf.training.strategies import make_strategy

ONE_DEVICE = make_strategy("one_device")
XQUAD = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "labelled" / "xquad" / "xquad.en.json"
NAMES, TOWNS = ("Ada", "Bob", "Cleo", "Dirk"), ("Rome", "Oslo", "Łódź", "Wien")


@pytest.fixture(autouse=True)
def one_plan_more(monkeypatch):
    monkeypatch.setattr(run, "measured_peak_flops", lambda dtype: 1e9)
    monkeypatch.setitem(plans.PLANS, "question_answerer", question_answerer)


def write_squad(path, rows):
    """Rows of (question, context, answer); an empty answer is none."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": f"q{number}",
                    "question": question,
                    "is_impossible": not answer,
                    "answers": [{"text": answer, "answer_start": context.index(answer)}] if answer else [],
                }
            ],
        }
        for number, (question, context, answer) in enumerate(rows)
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return str(path)


def people(impossible_every=0):
    """Questions about who lives where; each `impossible_every`-th has no answer."""
    rows = []
    for number, (name, town) in enumerate((name, town) for name in NAMES for town in TOWNS):
        is_impossible = impossible_every and number % impossible_every == 0
        context = f"As everybody knows, {name} has lived in {town} for {number} years."
        rows.append((f"Where does {'Nobody' if is_impossible else name} live?", context, "" if is_impossible else town))
    return rows


def without_accents(text):
    """As ALBERT's vocabularies have it."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))


def tiny_config(**changes):
    config = get_config()
    config.update(
        vocabulary_size=80, sequence_length=32, stride=8, max_question_length=12,
        backbone={
            "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "embedding_dim": 8,
            "max_sequence_length": 32,
        },
        batch_size=8, steps=5, warmup_steps=1, log_every=5, checkpoint_every=5,
    )  # fmt: skip
    config.update_from_flattened_dict(changes)
    return config


# === Rows ===


@pytest.fixture(scope="module")
def preprocessor():
    texts = [text for row in people() for text in row]
    return AlbertQuestionAnswererPreprocessor(AlbertTokenizer(train_sentencepiece(texts, 80)), 32, 8, 12)


def test_every_window_of_a_question_is_a_row_with_the_answer_or_with_none(preprocessor, tmp_path):
    rows = read_squad(write_squad(tmp_path / "train.json", people(impossible_every=3)))
    windows = training_windows(rows, preprocessor)
    ids, targets = ids_and_targets(windows)
    tokenizer, found = preprocessor.tokenizer, 0
    expected, _, _ = preprocessor.windows([row.question for row in rows], [row.context for row in rows])
    np.testing.assert_array_equal(ids["token_ids"], expected.token_ids)
    np.testing.assert_array_equal(ids["segment_ids"], expected.segment_ids)
    np.testing.assert_array_equal(ids["padding_mask"], expected.padding_mask)
    assert len(windows["length"]) > len(rows)
    for number, example in enumerate(expected.example.numpy()):
        row, start, end = rows[example], int(targets["start"][number]), int(targets["end"][number])
        if start:
            found += 1
            answer = tokenizer.detokenize(ids["token_ids"][number, start : end + 1]).numpy().decode()
            assert without_accents(row.answers[0]) in answer and not row.is_impossible
        else:
            assert end == 0
    assert found >= sum(not row.is_impossible for row in rows)


def test_rows_share_a_batch_with_rows_of_their_length(tmp_path):
    path = write_squad(tmp_path / "train.json", [*people(), ("Who?", "Ada.", "Ada")] * 4)
    config = tiny_config(**{"data.train": path, "batch_size": 4})
    ids, targets = next(iter(question_answerer(config, ONE_DEVICE).batches(0)))
    assert ids["token_ids"].shape[0] == targets["start"].shape[0] == 4
    assert ids["token_ids"].shape[1] in (16, 32)


# === Runs ===


def test_a_run_of_five_steps_leaves_scores_and_a_preset_that_gives_them_again(tmp_path):
    path = write_squad(tmp_path / "squad.json", people())
    config = tiny_config(**{"data.train": path, "data.validation": path, "data.limit": 12})
    results = train(config, tmp_path / "run", ONE_DEVICE)
    names = {"loss", "start_loss", "end_loss", "start_accuracy", "end_accuracy", "exact_match", "f1"}
    assert set(results) == {f"validation_{name}" for name in names}
    task = load_task(tmp_path / "run" / "preset")
    assert task.no_answer_threshold is None and task.preprocessor.stride == 8
    again = evaluate_question_answerer(task, read_squad(path, limit=12), batch_size=5)
    assert again == pytest.approx({name: results[f"validation_{name}"] for name in ("exact_match", "f1")}, abs=1e-6)


def test_impossible_questions_tune_the_threshold_that_the_preset_keeps(tmp_path):
    path = write_squad(tmp_path / "squad.json", people(impossible_every=2))
    config = tiny_config(**{"data.train": path, "data.validation": path, "data.test": path})
    results = train(config, tmp_path / "run", ONE_DEVICE)
    # No answer to anything would be right for the half that is impossible.
    assert results["validation_f1"] >= 50 and results["test_f1"] == pytest.approx(results["validation_f1"])
    task = load_task(tmp_path / "run" / "preset")
    assert task.no_answer_threshold == pytest.approx(results["validation_no_answer_threshold"])
    again = evaluate_question_answerer(task, read_squad(path))
    assert again["no_answer_accuracy"] == pytest.approx(results["validation_no_answer_accuracy"])
    given = task.answer([row[0] for row in people(2)], [row[1] for row in people(2)])["answer"].numpy()
    # A question that is impossible is answered rightly by no answer.
    assert 100 * np.mean(given[::2] == b"") == pytest.approx(results["validation_no_answer_accuracy"])

    # From the preset one can go on, with its head.
    config = tiny_config(**{"data.train": path, "preset": str(tmp_path / "run" / "preset")})
    more = question_answerer(config, ONE_DEVICE).task
    np.testing.assert_array_equal(more.output_dense.kernel.numpy(), task.output_dense.kernel.numpy())
    assert more.no_answer_threshold is None


def test_a_source_without_answers_and_a_broken_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config.data.source='files' for questions and answers"):
        question_answerer(tiny_config(**{"data.source": "docstrings"}), ONE_DEVICE)
    path = tmp_path / "broken.json"
    path.write_text(Path(write_squad(tmp_path / "s.json", people())).read_text().replace("Rome", "Roma", 1))
    with pytest.raises(DataError, match=r"question 1 \(id q0\)"):
        question_answerer(tiny_config(**{"data.train": str(path)}), ONE_DEVICE)


@pytest.mark.slow
@pytest.mark.skipif(not XQUAD.is_file(), reason="needs XQuAD beside the repository")
def test_64_questions_of_xquad_are_learned_by_heart(tmp_path):
    rows = []
    for row in read_squad(XQUAD, limit=64):
        begin = max(0, row.context.rfind(" ", 0, max(0, row.starts[0] - 60)))
        end = row.starts[0] + len(row.answers[0]) + 60
        context = row.context[begin:end].strip()
        rows.append((row.question, context, row.answers[0]))
    path = write_squad(tmp_path / "xquad.json", rows)
    config = tiny_config(**{
        "data.train": path, "data.validation": path, "vocabulary_size": 1500, "sequence_length": 96, "stride": 64,
        "max_question_length": 40, "batch_size": 32, "steps": 300, "warmup_steps": 30, "learning_rate": 2e-3,
        "checkpoint_every": 300, "log_every": 100, "backbone.num_layers": 2, "backbone.num_heads": 4,
        "backbone.hidden_dim": 64, "backbone.intermediate_dim": 128, "backbone.embedding_dim": 64,
        "backbone.max_sequence_length": 96,
    })  # fmt: skip
    results = train(config, tmp_path / "run", ONE_DEVICE)
    assert results["validation_exact_match"] == results["validation_f1"] == 100
