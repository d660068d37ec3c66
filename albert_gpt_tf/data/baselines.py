"""What a model must beat: the simple classifiers and compressors that its figures are set beside."""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from albert_gpt_tf.data.language_model import count_bytes, token_stream


def majority_accuracy(train_labels: Sequence[str], test_labels: Sequence[str]) -> float:
    """Accuracy of always answering with the label that is most frequent in training.

    Args:
        train_labels: list of str. Of equally frequent labels the first in the alphabet is taken.
        test_labels: list of str.

    Returns:
        float, a share from 0 to 1.

    Example:

    >>> majority_accuracy(["a", "b", "b"], ["a", "b", "a", "a"])
    0.25
    """
    counts = Counter(train_labels)
    majority = min(counts, key=lambda label: (-counts[label], label))
    return sum(label == majority for label in test_labels) / len(test_labels)


def bag_of_words_accuracy(
    train_texts: Sequence[str],
    train_labels: Sequence[str],
    test_texts: Sequence[str],
    test_labels: Sequence[str],
    pairs: bool = False,
) -> float:
    """Accuracy of a logistic regression on the words of a text.

    The plain form counts words: runs of two or more letters and digits. With `pairs` it also sees punctuation marks
    and pairs of neighbours, which tell the style of a text; a word or pair that occurs n > 0 times then weighs
    (1 + ln n) * idf, and the weights of a text are scaled to length 1 (TF-IDF). The settings are the best on the
    validation split of `library_classification` of those tried: C of 10, 30 and 100 with pairs; without, counts as they
    are or scaled, C of 1 and 10.

    Args:
        train_texts: list of str.
        train_labels: list of str.
        test_texts: list of str.
        test_labels: list of str.
        pairs: bool, the stronger form. Defaults to False.

    Returns:
        float, a share from 0 to 1.

    Raises:
        ImportError: if scikit-learn is not installed.

    Example:

    >>> bag_of_words_accuracy(["good film", "bad film"] * 5, ["+", "-"] * 5, ["a good one"], ["+"])
    1.0
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise ImportError(
            "The bag-of-words baseline needs scikit-learn, which is not installed. "
            "Run: pip install albert-gpt-tf[quickstart]"
        ) from error
    if pairs:
        # min_df=2: a pair seen in one text says nothing of others, and most pairs are such.
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"[^\W_]+|[^\w\s]")
        model = make_pipeline(words, LogisticRegression(C=30, max_iter=300))
    else:
        model = make_pipeline(CountVectorizer(), LogisticRegression(C=1, max_iter=300))
    model.fit(train_texts, train_labels)
    return float(model.score(test_texts, test_labels))


def zlib_bits_per_byte(documents: Sequence[str]) -> float:
    """Bits per byte of zlib at level 9 over all documents in one stream, each followed by a zero byte.

    8 * compressed bytes / bytes of the documents. Unlike the models it has seen no training text, and learns from
    the documents as it goes along.

    Args:
        documents: list of str.

    Returns:
        float, bits per UTF-8 byte.

    Example:

    >>> zlib_bits_per_byte(["hello"])
    22.4
    """
    stream = b"".join(document.encode() + b"\0" for document in documents)
    return 8 * len(zlib.compress(stream, 9)) / count_bytes(documents)


def bigram_bits_per_byte(train_documents: Sequence[str], test_documents: Sequence[str], tokenizer=None) -> float:
    """Bits per byte of a bigram model with interpolated Kneser-Ney smoothing, over bytes or a tokenizer's tokens.

    With c(v w) the number of times w follows v in the training stream, N(w) the number of different symbols that w
    follows, N their sum, S(v) the number of different symbols that follow v, V the vocabulary size and d = n1 / (n1 +
    2 n2), where n1 and n2 count the pairs seen once and twice (d = 0.5 if either is 0):

        p(w | v) = (max(c(v w) - d, 0) + d S(v) q(w)) / c(v),  or q(w) where v was not seen
        q(w)     = (max(N(w) - d, 0) + d m / V) / N,  with m the number of different w seen

    The stream has a symbol for the end of a document before the first and after every document, and its cost counts.

    Args:
        train_documents: list of str.
        test_documents: list of str.
        tokenizer: a tokenizer with `tokenize`, `end_of_text_id` and `vocabulary_size()`, or None for bytes. Defaults
            to None.

    Returns:
        float, bits per UTF-8 byte of the test documents.

    Reference: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998.

    Example:

    >>> bits = bigram_bits_per_byte(documents["train"], documents["test"])
    """
    if tokenizer is None:
        train, test, vocabulary_size = _byte_stream(train_documents), _byte_stream(test_documents), 257
    else:
        train, test = token_stream(train_documents, tokenizer), token_stream(test_documents, tokenizer)
        vocabulary_size = tokenizer.vocabulary_size()
    probabilities = _kneser_ney(train.astype(np.int64), test.astype(np.int64), vocabulary_size)
    return float(-np.log2(probabilities).sum() / count_bytes(test_documents))


def _byte_stream(documents: Sequence[str]) -> np.ndarray:
    end = np.array([256], np.int16)
    parts = [end]
    for document in filter(None, documents):
        parts += [np.frombuffer(document.encode(), np.uint8), end]
    return np.concatenate(parts)


def _kneser_ney(train: np.ndarray, test: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Probability of every symbol of the test stream but the first, given the one before it."""
    pairs, pair_counts = np.unique(train[:-1] * vocabulary_size + train[1:], return_counts=True)
    first, second = np.divmod(pairs, vocabulary_size)
    seen_once, seen_twice = (pair_counts == 1).sum(), (pair_counts == 2).sum()
    discount = seen_once / (seen_once + 2 * seen_twice) if seen_once and seen_twice else 0.5

    predecessors = np.bincount(second, minlength=vocabulary_size)  # N(w)
    discounted = np.maximum(predecessors - discount, 0)
    backoff = (discounted + (predecessors.sum() - discounted.sum()) / vocabulary_size) / predecessors.sum()  # q(w)

    history_counts = np.bincount(train[:-1], minlength=vocabulary_size)  # c(v)
    successors = np.bincount(first, minlength=vocabulary_size)  # S(v)
    history, symbol = test[:-1], test[1:]
    asked = history * vocabulary_size + symbol
    places = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    counts = np.where(pairs[places] == asked, pair_counts[places], 0)
    total = np.maximum(history_counts[history], 1)
    interpolated = (np.maximum(counts - discount, 0) + discount * successors[history] * backoff[symbol]) / total
    return np.where(history_counts[history] > 0, interpolated, backoff[symbol])
