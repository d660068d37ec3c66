"""SQuAD's scores against the published rules, written here in another way, and a task that is measured by them."""

import random
import re
import string

import numpy as np
import pytest

from albert_gpt_tf.data.squad import SquadRow
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.squad_scores import (
    answer_scores,
    best_no_answer_threshold,
    evaluate_question_answerer,
    normalize_answer,
    predict_answers,
    scores_at_threshold,
    squad_scores,
    tune_no_answer_threshold,
)

WORDS = [
    "the",
    "The",
    "a",
    "An",
    "fox",
    "Fox",
    "red",
    "den",
    "42",
    "U.S.",
    "theatre",
    "it's",
    "(a)",
    "“a”",
    "-",
    "—",
    "é",
]


# === The rules once more ===


def words_by_hand(text):
    """Lower case; punctuation goes without a trace; a, an and the go where they are words; white space parts."""
    kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
    words, word = [], ""
    for match in re.finditer(r"\w+|\W", kept):
        part = match[0]
        if part.isspace() or part in ("a", "an", "the"):  # an article leaves a blank behind
            words.append(word)
            word = ""
        else:
            word += part
    return [word for word in [*words, word] if word]


def overlap_by_hand(ours, right):
    left = list(right)
    for word in ours:
        if word in left:
            left.remove(word)
    return len(right) - len(left)


def f1_by_hand(prediction, answer, version):
    ours, right = words_by_hand(prediction), words_by_hand(answer)
    if version == "2.0" and (not ours or not right):
        return 1.0 if ours == right else 0.0
    same = overlap_by_hand(ours, right)
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(right)
    return 2 * precision * recall / (precision + recall)


def scores_by_hand(prediction, answers, version):
    if version == "2.0":
        answers = [answer for answer in answers if words_by_hand(answer)] or [""]
    exact = any(words_by_hand(prediction) == words_by_hand(answer) for answer in answers)
    return float(exact), max(f1_by_hand(prediction, answer, version) for answer in answers)


def random_answer(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(6)))


def random_rows(rng, count, impossible=0.0):
    rows = []
    for number in range(count):
        is_impossible = rng.random() < impossible
        answers = [] if is_impossible else [random_answer(rng) or "fox" for _ in range(rng.randrange(1, 4))]
        rows.append(SquadRow(str(number), "?", "", answers, [0] * len(answers), is_impossible))
    return rows


def guesses(rng, rows):
    """Right now and then, empty now and then."""
    kinds = [lambda row: random_answer(rng), lambda row: rng.choice(row.answers or [""]), lambda row: ""]
    return {row.id: rng.choices(kinds, [6, 3, 1])[0](row) for row in rows}


# === Scores ===


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Norman conquest.", "norman conquest"),
        ("theatre, an a-an the", "theatre aan"),
        ("U.S.", "us"),
        ("(the)", ""),
        ("“the” fox", "“ ” fox"),
        ("中国的 the", "中国的"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_published(text, normal):
    assert normalize_answer(text) == normal
    assert "".join(words_by_hand(text)) == normal.replace(" ", "")


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_scores_of_1000_random_answers_are_those_of_the_rules(version):
    rng = random.Random(0)
    rows = random_rows(rng, 1000, impossible=0.3 if version == "2.0" else 0.0)
    predictions = guesses(rng, rows)
    by_hand = {row.id: scores_by_hand(predictions[row.id], row.answers, version) for row in rows}
    for row in rows:
        assert answer_scores(predictions[row.id], row.answers, version) == pytest.approx(by_hand[row.id])
    results = squad_scores(rows, predictions)
    for name, members in {
        "": rows,
        "has_answer_": [row for row in rows if not row.is_impossible],
    }.items():
        if f"{name}f1" in results:
            exact, f1 = np.mean([by_hand[row.id] for row in members], axis=0)
            assert results[f"{name}exact_match"] == pytest.approx(100 * exact)
            assert results[f"{name}f1"] == pytest.approx(100 * f1)
    assert 20 < results["exact_match"] < 80 and results["exact_match"] < results["f1"]
    impossible = [row for row in rows if row.is_impossible]
    assert ("no_answer_accuracy" in results) == bool(impossible)
    if impossible:
        right = sum(not words_by_hand(predictions[row.id]) for row in impossible)
        assert results["no_answer_accuracy"] == pytest.approx(100 * right / len(impossible))


def test_the_versions_differ_where_nothing_is_left_of_an_answer():
    assert answer_scores("a", ["The"], "1.1") == (1.0, 0.0)
    assert answer_scores("a", ["The"], "2.0") == (1.0, 1.0)
    assert answer_scores("", ["The", "fox"], "1.1") == (1.0, 0.0)
    assert answer_scores("", ["The", "fox"], "2.0") == (0.0, 0.0)  # a right answer of nothing is left out
    with pytest.raises(ValueError, match=r'Expected version "1.1" or "2.0". Received: version=.3'):
        answer_scores("", [""], "3")


def test_a_question_without_a_prediction_is_wrong_in_1_1_and_refused_in_2_0():
    rows = [SquadRow("1", "?", "", ["fox"], [0], False), SquadRow("2", "?", "", ["den"], [0], False)]
    assert squad_scores(rows, {"1": "a fox"}) == {"exact_match": 50.0, "f1": 50.0}
    with pytest.raises(ValueError, match="none for 1, '2' the first"):
        squad_scores(rows, {"1": "a fox"}, version="2.0")
    with pytest.raises(ValueError, match="Received: no questions"):
        squad_scores([], {})


# === No answer ===


@pytest.mark.parametrize("metric", ["exact_match", "f1"])
@pytest.mark.parametrize("digits", [6, 1])  # with one, many odds are equal
def test_no_threshold_is_better_than_the_best_one(metric, digits):
    for seed in range(5):
        rng = random.Random(seed)
        rows = random_rows(rng, 60, impossible=(0.05, 0.5, 0.95)[seed % 3])
        answers = guesses(rng, rows)
        odds = {row.id: round(rng.gauss(float(row.is_impossible), 1), digits) for row in rows}
        threshold, best = best_no_answer_threshold(rows, answers, odds, metric)
        at = {t: scores_at_threshold(rows, answers, odds, t)[metric] for t in [-100.0, *odds.values()]}
        assert best == pytest.approx(max(at.values()))
        assert scores_at_threshold(rows, answers, odds, threshold)[metric] == pytest.approx(best)
        assert threshold <= min(t for t, score in at.items() if score > best - 1e-9) or best == at[-100.0]


def test_the_search_gives_what_the_published_one_gives_if_no_odds_are_equal():
    """The published search goes through the questions by their probability of no answer, and starts with 0."""
    rng = random.Random(3)
    # There an answer of which nothing is left would count as one.
    rows = [row for row in random_rows(rng, 300, impossible=0.5) if all(words_by_hand(a) for a in row.answers)]
    answers = {id: answer if words_by_hand(answer) else "" for id, answer in guesses(rng, rows).items()}
    probability = {row.id: min(0.999, max(0.001, rng.gauss(0.3 + 0.4 * row.is_impossible, 0.2))) for row in rows}
    probability = {id: p + 1e-7 * int(id) for id, p in probability.items()}
    now = best = sum(row.is_impossible for row in rows)
    best_threshold = 0.0
    for row in sorted(rows, key=lambda row: probability[row.id]):
        f1 = scores_by_hand(answers[row.id], row.answers, "2.0")[1]
        now += f1 if not row.is_impossible else -1 if answers[row.id] else 0
        if now > best:
            best, best_threshold = now, probability[row.id]
    threshold, score = best_no_answer_threshold(rows, answers, probability)
    assert score == pytest.approx(100 * best / len(rows)) and threshold == best_threshold > 0


def test_if_silence_is_best_the_threshold_lets_nothing_through():
    rows = [SquadRow(str(i), "?", "", [], [], True) for i in range(3)]
    odds = {"0": -5.0, "1": 0.0, "2": 4.0}
    threshold, score = best_no_answer_threshold(rows, dict.fromkeys(odds, "fox"), odds)
    assert threshold < -5 and score == 100
    with pytest.raises(ValueError, match="Expected at least one question"):
        best_no_answer_threshold([], {}, {})
    with pytest.raises(ValueError, match='Expected metric "f1" or "exact_match"'):
        best_no_answer_threshold(rows, {}, {}, "accuracy")


# === A task ===

CONTEXTS = ["the red fox lives in a den", "a dog runs to the theatre", "Über allem the fox", "", "in 1990 it was red"]


@pytest.fixture(scope="module")
def answerer():
    tokenizer = AlbertTokenizer(train_sentencepiece(CONTEXTS * 4, 50))
    backbone = AlbertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32,
        embedding_dim=8, max_sequence_length=24,
    )  # fmt: skip
    return AlbertQuestionAnswerer(backbone, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def rows():
    rows = [SquadRow(f"q{i}", "where is it?", context, [], [], True) for i, context in enumerate(CONTEXTS)]
    return [
        row if i % 2 else row._replace(answers=[row.context[:7]], starts=[0], is_impossible=False)
        for i, row in enumerate(rows)
    ]


def test_a_task_is_scored_by_what_it_answers(answerer, rows):
    answerer.no_answer_threshold = None
    given = answerer.answer([row.question for row in rows], [row.context for row in rows])["answer"].numpy()
    expected = squad_scores(rows, {row.id: answer.decode() for row, answer in zip(rows, given, strict=True)})
    assert evaluate_question_answerer(answerer, rows, batch_size=2) == pytest.approx(expected)


def test_tuning_sets_the_threshold_that_answers_follow(answerer, rows):
    threshold = tune_no_answer_threshold(answerer, rows, batch_size=3)
    assert answerer.no_answer_threshold == threshold
    answers, odds = predict_answers(answerer, rows)
    best = best_no_answer_threshold(rows, answers, odds)[1]
    assert evaluate_question_answerer(answerer, rows)["f1"] == pytest.approx(best)
    given = answerer.answer([row.question for row in rows], [row.context for row in rows])
    for i, row in enumerate(rows):
        assert (given["answer"].numpy()[i] == b"") == (odds[row.id] > threshold or not answers[row.id])
