"""Which tokens of a text a classifier's answer comes from: integrated gradients on the token embeddings."""

import contextlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
from albert_gpt_tf.text.packing import pack_segments

# Tokens that are computed at a time, of all points of the path together: what bounds the memory.
_TOKENS_AT_A_TIME = 1024
# How far the parts may be from adding up, as a share of what they should add up to, before more points are taken; and
# how often they are doubled. A model that turns sharply on the way needs them.
_TOLERANCE, _DOUBLINGS = 0.01, 4


class Span(NamedTuple):
    """A piece of a text, in characters, and what it adds to the answer."""

    text: int  # 0, or 1 for the second text of a pair
    start: int
    end: int
    attribution: float


class Explanation(NamedTuple):
    """An answer and where it comes from.

    Fields:
        label: the label that is explained, the most probable one; `None` for regression.
        scores: probability by label; for regression the number, under "value".
        explained: float, the label's log-odds log(p / (1 - p)), or the number of a regression.
        baseline: float, the same without the text, every token of which is replaced by `baseline_token`.
        baseline_token: str, `[MASK]`, padding or the unknown token.
        spans: the Spans of the texts, in order, which do not overlap; text outside of them is white space, or was cut.
        tokens: list of str, the row that the model reads, special tokens included.
        attributions: float [tokens], which add up to `explained - baseline`; 0 for special tokens.
        attentions: float32 [layers, heads, tokens, tokens], the attention of each token (third axis) to each.
    """

    label: str | None
    scores: dict[str, float]
    explained: float
    baseline: float
    baseline_token: str
    spans: list[Span]
    tokens: list[str]
    attributions: np.ndarray
    attentions: np.ndarray


def explain(task: Any, text: str, text_pair: str | None = None, steps: int = 50) -> Explanation:
    """Explains a classifier's answer.

    The text is compared with one of `[MASK]`, of padding or of unknown tokens: with that for which the model gives the
    label least, so that there is something to explain. A model may be as sure of many `[MASK]`s as it is of the text.
    A regression is compared with `[MASK]`, or padding if there is none.

    Args:
        task: an `AlbertTextClassifier` or a `GPTTextClassifier` with a preprocessor.
        text: str.
        text_pair: str, the second text of a pair. Defaults to `None`.
        steps: int, points of the path at which the gradient is computed; doubled, up to 4 times, until the parts add
            up to within 1 %. Defaults to 50.

    Returns:
        An `Explanation`.

    Raises:
        ValueError: the task has no preprocessor.

    Example:
        >>> explanation = explain(classifier, "win a prize")
        >>> explanation.label, sum(explanation.attributions), explanation.explained - explanation.baseline
        ('spam', 3.1, 3.1)

    Reference:
        Sundararajan et al., 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365, section 3
        (baselines with a score near 0).
    """
    if task.preprocessor is None:
        raise ValueError("explain needs text, hence a task made with tokenizer=... or preprocessor=...")
    tokenizer = task.preprocessor.tokenizer
    texts = [text] if text_pair is None else [text, text_pair]
    ids = task.preprocessor(tuple(tf.constant([one]) for one in texts) if text_pair is not None else tf.constant(texts))
    length = max(int(tf.math.count_nonzero(ids["padding_mask"])), 1)  # padding is on the right
    ids = {name: value[:, :length] for name, value in ids.items()}
    found = [tokenizer.tokenize_with_offsets(one) for one in texts]
    origin, position = origins(task, [len(token_ids) for token_ids, _, _ in found], length)

    if task.regression:
        label, explained = None, task.values
        scores = {"value": float(task.values(ids)[0])}
    else:
        probabilities = task.probabilities(ids)[0].numpy()
        best = int(probabilities.argmax())
        label, scores = task.labels[best], dict(zip(task.labels, map(float, probabilities), strict=True))

        def explained(some_ids):
            """A dict of ids [batch, length] -> float32 [batch]."""
            return log_odds(task.logits(some_ids) / task.temperature, best)

    known = [getattr(tokenizer, name, None) for name in ("mask_id", "pad_id", "unk_id")]
    without_text = {i: tf.where(origin >= 0, i, ids["token_ids"]) for i in known if i is not None}
    values = {i: float(explained({**ids, "token_ids": row})[0]) for i, row in without_text.items()}
    baseline_id = next(iter(values)) if task.regression else min(values, key=values.get)
    baseline_ids = without_text[baseline_id]

    value = float(explained(ids)[0])
    difference = value - values[baseline_id]
    for doublings in range(_DOUBLINGS + 1):
        points = steps * 2**doublings
        attributions = integrated_gradients(task.backbone.token_embedding, explained, ids, baseline_ids, points)
        if abs(attributions.sum() - difference) <= _TOLERANCE * abs(difference) + 1e-4:  # and what float32 loses
            break
    spans = []
    for index, (one, (_, starts, ends)) in enumerate(zip(texts, found, strict=True)):
        places = np.flatnonzero(origin == index)
        of_tokens = position[places]
        bytes_of_tokens = (starts.numpy()[of_tokens], ends.numpy()[of_tokens])
        spans += [Span(index, *span) for span in spans_of(one, *bytes_of_tokens, attributions[places])]
    return Explanation(
        label=label,
        scores=scores,
        explained=value,
        baseline=values[baseline_id],
        baseline_token=tokenizer.id_to_token(baseline_id),
        spans=spans,
        tokens=[tokenizer.id_to_token(int(token)) for token in ids["token_ids"][0]],
        attributions=attributions,
        attentions=np.stack([x[0].numpy() for x in task.backbone.inspect(ids)["attentions"]]),
    )


def integrated_gradients(
    embedding: Any, function: Any, ids: dict[str, tf.Tensor], baseline_ids: tf.Tensor, steps: int = 50
) -> np.ndarray:
    """What each token adds to a function, on the straight line from a baseline's embeddings to the tokens' own.

    The integral is computed by Gauss and Legendre's rule, whose error falls much faster with `steps` than that of equal
    parts.

    Args:
        embedding: the layer that embeds `token_ids`; it is called once inside of `function`.
        function: a function of a dict of ids [batch, length] -> float32 [batch], whose rows do not depend on each
            other.
        ids: dict of ids, each [1, length].
        baseline_ids: int [1, length], what `token_ids` are compared with.
        steps: int, points on the line. Defaults to 50.

    Returns:
        float64 [length]; the sum is function(ids) - function(ids with the baseline), up to the integral's error.

    Example:
        >>> layer = classifier.backbone.token_embedding
        >>> integrated_gradients(layer, lambda ids: classifier.logits(ids)[:, 1], ids, 0 * ids["token_ids"]).shape
        (12,)

    Reference:
        arXiv:1703.01365, equation 1; Captum's `IntegratedGradients` (method "gausslegendre").
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    fractions, weights = (nodes + 1) / 2, weights / 2  # from -1 ... 1 to 0 ... 1
    start = tf.cast(embedding(baseline_ids), "float32")  # [1, length, embedding_dim]
    line = tf.cast(embedding(ids["token_ids"]), "float32") - start
    length = ids["token_ids"].shape[1]
    at_a_time = max(_TOKENS_AT_A_TIME // length, 1)
    gradients = np.zeros(line.shape[1:], "float64")
    for first in range(0, steps, at_a_time):
        some = tf.constant(fractions[first : first + at_a_time, None, None], "float32")
        points = start + some * line  # [points, length, embedding_dim]
        repeated = {name: tf.repeat(value, len(points), 0) for name, value in ids.items()}
        with tf.GradientTape() as tape:
            tape.watch(points)
            with embedded_as(embedding, points):
                values = function(repeated)
        of_points = tf.convert_to_tensor(tape.gradient(values, points)).numpy()  # [points, length, embedding_dim]
        gradients += np.einsum("p,pld->ld", weights[first : first + at_a_time], of_points)
    return (gradients * line[0].numpy()).sum(-1)


@contextlib.contextmanager
def embedded_as(embedding: Any, rows: tf.Tensor):
    """Inside, the layer gives these rows for any ids, float [batch, length, embedding_dim]; `reverse` is as before."""
    call = embedding.call
    given = tf.cast(rows, embedding.compute_dtype)
    embedding.call = lambda inputs, reverse=False: call(inputs, reverse=True) if reverse else given
    try:
        yield
    finally:
        del embedding.call  # the method of the class is seen again


def log_odds(logits: tf.Tensor, index: int) -> tf.Tensor:
    """log(p / (1 - p)) of one class: float [batch, classes] -> float [batch]."""
    others = tf.concat([logits[:, :index], logits[:, index + 1 :]], 1)
    return logits[:, index] - tf.reduce_logsumexp(others, 1)


def origins(task: Any, counts: list[int], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Which token of which text stands at each position of the packed row.

    Args:
        task: the classifier.
        counts: list of int, the tokens of each text.
        length: int, positions of the row.

    Returns:
        int [length], the text (0 or 1), -1 for special tokens; and int [length], the token's number in its text.
    """
    # The row is packed anew with the tokens' numbers in place of their ids; numbers below 0 are no ids.
    numbers = -2 - np.arange(sum(counts), dtype="int32")
    parts = np.split(numbers, np.cumsum(counts)[:-1])
    segments = [tf.RaggedTensor.from_row_lengths(tf.constant(part), [len(part)]) for part in parts]
    if isinstance(task, GPTTextClassifier):
        packed, _ = task.preprocessor.pack(segments)
    else:
        packed, _, _ = pack_segments(segments, task.preprocessor.sequence_length, start_id=0, end_id=0, pad_id=0)
    packed = packed.numpy()[0, :length]
    number = np.where(packed <= -2, -2 - packed, -1)
    text = np.where(number < 0, -1, (number >= counts[0]).astype(int))
    return text, np.where(text == 1, number - counts[0], number)


def spans_of(text: str, starts: np.ndarray, ends: np.ndarray, attributions: np.ndarray) -> list[tuple[int, int, float]]:
    """Pieces of a text and their attributions, in characters; tokens that share a character are one piece.

    Args:
        text: str.
        starts, ends: int [tokens], the bytes of each token in the text as UTF-8, in order.
        attributions: float [tokens].

    Returns:
        A list of (start, end, attribution); a token without a character counts for the piece after it, or the last one.

    Example:
        >>> spans_of("é!", np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.5, 0.25, 1.0]))
        [(0, 1, 0.75), (1, 2, 1.0)]
    """
    # The character that each byte belongs to; one more for the end.
    of_byte = [i for i, character in enumerate(text) for _ in range(len(character.encode()))] + [len(text)]
    spans, waiting = [], 0.0
    for start, end, attribution in zip(starts, ends, attributions, strict=True):
        if end <= start:
            waiting += float(attribution)
            continue
        first, last = of_byte[start], of_byte[end - 1] + 1
        value, waiting = float(attribution) + waiting, 0.0
        if spans and first < spans[-1][1]:
            before = spans.pop()
            spans.append((before[0], max(before[1], last), before[2] + value))
        else:
            spans.append((first, last, value))
    if waiting and spans:
        start, end, value = spans.pop()
        spans.append((start, end, value + waiting))
    return spans
