"""Scores of tags: conlleval's numbers, the baseline of words alone, every word of long sentences."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.tagging import TaggedSentence
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
from albert_gpt_tf.training.entity_scores import (
    entity_scores,
    evaluate_token_classifier,
    most_frequent_tag_baseline,
    predict_tags,
)


def chunks(tags):
    """Entities as conlleval counts them, told from its script: where a chunk ends and where one starts."""
    found, start, before = [], None, ("O", "")
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if start is not None and (prefix in ("O", "B", "S") or before[0] in ("E", "S") or kind != before[1]):
            found.append((before[1], start, place - 1))
            start = None
        if start is None and prefix != "O":
            start = place
        before = (prefix, kind)
    return found


def conlleval(gold, predicted, kind=None):
    """Precision, recall and F1 of entities of one type, or of all."""
    sets = [
        {(row, *chunk) for row, tags in enumerate(rows) for chunk in chunks(tags) if kind in (None, chunk[0])}
        for rows in (gold, predicted)
    ]
    right = len(sets[0] & sets[1])
    precision = right / len(sets[1]) if sets[1] else 0.0
    recall = right / len(sets[0]) if sets[0] else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_scores_are_those_of_conlleval_on_random_tags(prefixes):
    rng = np.random.default_rng(0)
    tags = ["O", *[f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "creative-work")]]
    gold = [list(rng.choice(tags, rng.integers(1, 12))) for _ in range(1000)]
    # Half of the words are right, so that some entities are.
    predicted = [[tag if rng.random() < 0.5 else rng.choice(tags) for tag in row] for row in gold]
    scores = entity_scores(gold, predicted)
    expected = {("precision", "recall", "f1"): conlleval(gold, predicted)}
    for kind in ("PER", "creative-work"):
        names = f"precision_{kind}", f"recall_{kind}", f"f1_{kind}"
        expected[names] = conlleval(gold, predicted, kind)
        assert scores[f"entities_{kind}"] == sum(chunk[0] == kind for row in gold for chunk in chunks(row))
    for names, values in expected.items():
        assert [scores[name] for name in names] == pytest.approx(values, abs=1e-12)
        assert min(values) > 0.1
    pairs = [pair for rows in zip(gold, predicted, strict=True) for pair in zip(*rows, strict=True)]
    assert scores["tag_accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_tags_without_a_scheme_have_an_accuracy_only():
    assert entity_scores([["DET", "NOUN"]], [["DET", "VERB"]]) == {"tag_accuracy": 0.5}


def test_no_entity_at_all_scores_nothing():
    assert entity_scores([["O"]], [["O"]]) == {"tag_accuracy": 1.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    missed = entity_scores([["B-X"]], [["O"]])
    assert missed["f1_X"] == missed["f1"] == 0.0 and missed["entities_X"] == 1.0


@pytest.mark.parametrize(("gold", "predicted"), [([], []), ([["O"]], []), ([["O"]], [["O", "O"]]), ([[]], [[]])])
def test_a_word_without_a_prediction_is_refused(gold, predicted):
    with pytest.raises(ValueError, match="Expected a predicted tag for every gold one"):
        entity_scores(gold, predicted)


def test_the_baseline_knows_words_and_guesses_the_most_frequent_tag():
    train = [TaggedSentence(["can", "can", "can", "a", "b", "c"], ["V", "N", "V", "N", "N", "D"])]
    test = [TaggedSentence(["can", "can", "c", "new", "new"], ["V", "N", "D", "N", "D"])]
    assert most_frequent_tag_baseline(train, test) == {"tag_accuracy": 0.6}
    tie = [TaggedSentence(["x", "x"], ["Z", "A"])]
    assert most_frequent_tag_baseline(tie, [TaggedSentence(["x"], ["A"])]) == {"tag_accuracy": 1.0}


# === A task ===


@pytest.fixture(scope="module")
def task():
    tokenizer = AlbertTokenizer(train_sentencepiece(["the quick brown fox won, twice! u.s. and again"] * 20, 60))
    backbone = AlbertBackbone(
        tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8,
        max_sequence_length=16,
    )  # fmt: skip
    classifier = AlbertTokenClassifier(
        backbone, labels=["B-X", "I-X", "O"], preprocessor=AlbertPreprocessor(tokenizer, 16), dropout=0.0
    )
    rng = np.random.RandomState(0)
    for weight in classifier.weights:
        if len(weight.shape) > 1:  # biases alone would make all words alike
            weight.assign(rng.standard_normal(weight.shape))
    return classifier


def test_a_word_has_the_label_of_its_first_token(task):
    words = ["the", "U.S.", "fox", "won", "!"]
    [tags], without = predict_tags(task, [TaggedSentence(words, [""] * 5)])
    text = " ".join(words)
    (_, starts, ends), probabilities = task.label_pieces(tf.constant([text]))
    tokens = list(zip(starts[0].numpy(), ends[0].numpy(), strict=True))
    # The first that is not a lone space symbol, which is empty.
    places = [next(n for n, (a, b) in enumerate(tokens) if a == text.index(word) and b > a) for word in words]
    assert tags == [task.labels[label] for label in probabilities.numpy()[places].argmax(-1)]
    assert without == 0 and len(set(tags)) > 1


def test_every_word_of_a_sentence_of_any_length_is_scored(task):
    rows = [
        TaggedSentence(["the", "fox"] * 40, ["B-X", "O"] * 40),
        TaggedSentence(["fox"], ["O"]),
        TaggedSentence(["a", "\x7f", "b"], ["B-X", "O", "O"]),  # cleaning leaves nothing of the second
        TaggedSentence(["do", "n't", "the", "n"], ["O"] * 4, [False, True, False, True]),
    ]
    tags, without = predict_tags(task, rows, batch_size=3)
    assert [len(row) for row in tags] == [80, 1, 3, 4] and without == 1
    assert tags[2][1] == "O"
    assert tags[0] == predict_tags(task, rows[:1])[0][0]  # with or without neighbours
    scores = evaluate_token_classifier(task, rows, batch_size=2)
    expected = entity_scores([row.tags for row in rows], tags)
    assert scores == expected | {"words": 88.0, "words_without_token": 1.0}
    assert 0 < scores["tag_accuracy"] < 1
