"""How good tags are: entities found, words tagged right, and what the words alone give as a baseline."""

from collections import Counter
from collections.abc import Sequence

import seqeval.metrics
import tensorflow as tf

from albert_gpt_tf.data.tagging import TaggedSentence, sentence_texts
from albert_gpt_tf.tasks.entities import OUTSIDE, label_scheme, pieces_of_words


def entity_scores(gold_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of entities, and the share of words with the right tag.

    An entity counts if its type, its first word and its last word are right.

    Args:
        gold_tags: list of sentences, each a list of str, one a word.
        predicted_tags: likewise, of the same lengths.

    Returns:
        A dict of `tag_accuracy`, from 0 to 1. If the tags have a scheme (`B-`, `I-`, `E-`, `S-` and `O`), also of
        `precision`, `recall` and `f1` of all entities together, and `precision_TYPE`, `recall_TYPE`, `f1_TYPE` and
        `entities_TYPE` (how many there are in truth) of each type; what would be divided by 0 is 0.

    Raises:
        ValueError: there is no word, or the lengths differ.

    Example:
        >>> entity_scores([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])["f1"]
        0.0

    Reference:
        conlleval of the CoNLL-2000 shared task, by seqeval in its default mode.
    """
    if [len(tags) for tags in gold_tags] != [len(tags) for tags in predicted_tags] or not any(map(len, gold_tags)):
        raise ValueError(
            "Expected a predicted tag for every gold one, and at least one. Received: "
            f"{sum(map(len, gold_tags))} gold tags in {len(gold_tags)} sentences and {sum(map(len, predicted_tags))} "
            f"predicted ones in {len(predicted_tags)}. Tag every word."
        )
    gold, predicted = ([list(tags) for tags in rows] for rows in (gold_tags, predicted_tags))
    scores = {"tag_accuracy": float(seqeval.metrics.accuracy_score(gold, predicted))}
    tags = {tag for row in [*gold, *predicted] for tag in row}
    if not has_scheme(tags):
        return scores
    if tags == {OUTSIDE}:  # seqeval would take the maximum of nothing
        return scores | {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    report = seqeval.metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
    averages = {name: report.pop(f"{name} avg") for name in ("micro", "macro", "weighted")}
    scores |= {name: float(averages["micro"][key]) for name, key in _NAMES.items()}
    for type, values in report.items():
        scores |= {f"{name}_{type}": float(values[key]) for name, key in _NAMES.items()}
        scores[f"entities_{type}"] = float(values["support"])
    return scores


_NAMES = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


def has_scheme(tags) -> bool:
    """Whether tags say where entities begin, and do not name the words alone, as parts of speech do."""
    return not label_scheme(sorted(tags)).stands_alone.any()


def most_frequent_tag_baseline(train: Sequence[TaggedSentence], test: Sequence[TaggedSentence]) -> dict[str, float]:
    """The scores of a tagger that gives each word its most frequent tag, and unknown words the most frequent of all.

    Args:
        train: sentences to count in. Of two tags that are equally frequent the first in alphabetical order is taken.
        test: sentences to tag.

    Returns:
        What `entity_scores` returns.

    Example:
        >>> most_frequent_tag_baseline([TaggedSentence(["a", "b"], ["X", "Y"])], [TaggedSentence(["b"], ["Y"])])
        {'tag_accuracy': 1.0}

    Reference: Charniak et al., 1993, "Equations for part-of-speech tagging".
    """
    counts: dict[str, Counter] = {}
    overall = Counter()
    for row in train:
        for word, tag in zip(row.words, row.tags, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
            overall[tag] += 1

    def most_frequent(counter):
        return min(counter, key=lambda tag: (-counter[tag], tag))

    of_words, default = {word: most_frequent(counter) for word, counter in counts.items()}, most_frequent(overall)
    predicted = [[of_words.get(word, default) for word in row.words] for row in test]
    return entity_scores([row.tags for row in test], predicted)


def predict_tags(task, rows: Sequence[TaggedSentence], batch_size: int = 32) -> tuple[list[list[str]], int]:
    """The tag of every word: that of its first token, however long the sentence is.

    Args:
        task: an `AlbertTokenClassifier` with a preprocessor.
        rows: sentences; their tags are not looked at.
        batch_size: int, sentences computed at a time. Defaults to 32.

    Returns:
        The tags of each sentence, one a word; and how many words have no token, as cleaning left nothing of them. These
        get the tag `O`, or the first label if there is no `O`.

    Example:
        >>> predict_tags(task, [TaggedSentence(["Ada", "writes"], ["", ""])])
        ([['B-PER', 'O']], 0)
    """
    default = task.labels.index(OUTSIDE) if OUTSIDE in task.labels else 0

    offset_spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), offset_spec, offset_spec])
    def best_labels(text, word_starts, word_ends):
        (_, starts, ends), probabilities = task.label_pieces(text)
        best = tf.concat([[default], tf.argmax(probabilities, -1, output_type=tf.int32)], 0)
        place = pieces_of_words(starts, ends, word_starts, word_ends)
        return word_starts.with_flat_values(tf.gather(best, place + 1)), tf.math.count_nonzero(place < 0)

    texts, *offsets = sentence_texts(rows)
    offsets = [tf.ragged.constant(column, tf.int32, ragged_rank=1) for column in offsets]
    columns = (tf.constant(texts, tf.string), *offsets)
    tags, without_token = [], 0
    for batch in tf.data.Dataset.from_tensor_slices(columns).batch(batch_size):
        labels, missing = best_labels(*batch)
        tags += [[task.labels[label] for label in row] for row in labels.to_list()]
        without_token += int(missing)
    return tags, without_token


def evaluate_token_classifier(task, rows: Sequence[TaggedSentence], batch_size: int = 32) -> dict[str, float]:
    """Scores of a token classifier over every word of some sentences.

    Args:
        task: an `AlbertTokenClassifier` with a preprocessor.
        rows: sentences, with their true tags.
        batch_size: int, sentences computed at a time. Defaults to 32.

    Returns:
        What `entity_scores` returns, `words` and `words_without_token`, see `predict_tags`.

    Example:
        >>> evaluate_token_classifier(task, read_tagged_file("test.conll"))["f1"]
        0.9
    """
    tags, without_token = predict_tags(task, rows, batch_size)
    scores = entity_scores([row.tags for row in rows], tags)
    return scores | {"words": float(sum(map(len, tags))), "words_without_token": float(without_token)}
