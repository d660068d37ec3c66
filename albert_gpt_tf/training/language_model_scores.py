"""How well a language model predicts texts: log-likelihoods of tokens, perplexities, and the last words of LAMBADA."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from albert_gpt_tf.data.lambada import Passage

# Positions whose logits are computed at a time: with GPT-2's vocabulary they take 100 MB.
_POSITIONS = 512


class Row(NamedTuple):
    """What a model reads at once, int [length], and what follows the last of it, int [scored <= length]."""

    ids: np.ndarray
    targets: np.ndarray


# === Texts ===


def evaluate_language_model(
    task,
    texts: str | Sequence[str],
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    begin: bool | None = None,
    originals: str | Sequence[str] | None = None,
) -> dict[str, float]:
    r"""Perplexity of texts: per token, per word and per byte.

    Every token is scored once, see `token_log_likelihoods`. A text sees nothing of the one before; to have documents
    see each other, join them into one string. The end of a text is not scored.

    Args:
        task: a `GPTCausalLM` with a preprocessor.
        texts: a str, or list of str; at least one of them has a word.
        window, stride: int, in tokens, see `token_log_likelihoods`.
        batch_size: int, windows computed at a time. Defaults to 8.
        begin: bool, whether a text begins with the start token of the preprocessor, `<|endoftext|>` for GPT-2, so that
            its first token is scored, too; if not, the first token is only read. Defaults to None: as in training.
        originals: str or list of str, the texts whose words and bytes are counted, where `texts` are another form of
            them (WikiText without its marks). Defaults to None: `texts`.

    Returns:
        A dict of floats: `loss` (nats a scored token), `perplexity` (exp of it), `word_perplexity` (exp of all nats by
        the number of words, which are what white space separates), `byte_perplexity`, `bits_per_byte`, and the numbers
        of `tokens` that were scored, of `words` and of UTF-8 `bytes`.

    Raises:
        ValueError: no words, no preprocessor, no start token, or a window that cannot work.

    Example:
        >>> evaluate_language_model(task, "\n\n".join(articles), window=1024, stride=512, begin=False)["perplexity"]

    Reference:
        "Perplexity of fixed-length models" in the documentation of Transformers: one text, `begin=False`.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    originals = texts if originals is None else [originals] if isinstance(originals, str) else list(originals)
    words = sum(len(text.split()) for text in originals)
    if not words:
        raise ValueError(f"Expected texts to evaluate on. Received: {len(texts)} without a word. Check the file.")
    window, stride = checked_window(task, window, stride)
    start = start_tokens(task, begin)
    rows = [row for ids in token_ids(task, texts) for row in sliding_rows(np.concatenate([start, ids]), window, stride)]
    if not rows:
        raise ValueError("Expected a token with another one before it. Received: none. Set begin=True.")
    scores = score_rows(task, rows, batch_size, "Scoring windows")
    nats = -math.fsum(float(log_likelihoods.sum(dtype=np.float64)) for log_likelihoods, _ in scores)
    tokens = sum(len(row.targets) for row in rows)
    size = sum(len(text.encode()) for text in originals)
    return {
        "loss": nats / tokens,
        "perplexity": _exp(nats / tokens),
        "word_perplexity": _exp(nats / words),
        "byte_perplexity": _exp(nats / size),
        "bits_per_byte": nats / math.log(2) / size,
        "tokens": float(tokens),
        "words": float(words),
        "bytes": float(size),
    }


def token_log_likelihoods(
    task, ids: Sequence[int], window: int | None = None, stride: int | None = None, batch_size: int = 8
) -> np.ndarray:
    """Natural logarithm of the probability of each token but the first, given those before it in its window.

    Windows of `window` tokens begin `stride` tokens apart; a window scores its tokens that no window before did, so
    that these have at least `window - stride` tokens before them. Where windows do not overlap, each one also scores
    the token that follows it, which would else have nothing before it. A text that fits one window is computed as it
    is.

    Args:
        task: a `GPTCausalLM`; a preprocessor is not needed.
        ids: int [tokens]. Nothing is put before them: to score the first token, begin with an end of text.
        window: int, at least 1. Defaults to None: the `max_sequence_length` of the model.
        stride: int, 1 to `window`. Defaults to None: half of the window.
        batch_size: int, windows computed at a time. Defaults to 8.

    Returns:
        float32 [tokens - 1]: entry i belongs to `ids[i + 1]`.

    Raises:
        ValueError: a window that cannot work.

    Example:
        >>> token_log_likelihoods(task, [50256, 464, 3290], window=1024, stride=512).shape
        (2,)

    Reference:
        As `evaluate_language_model`; for `stride == window` the rolling windows of lm-evaluation-harness.
    """
    rows = sliding_rows(np.asarray(ids, np.int32), *checked_window(task, window, stride))
    scores = score_rows(task, rows, batch_size, "Scoring windows")
    return np.concatenate([np.zeros(0, np.float32), *(log_likelihoods for log_likelihoods, _ in scores)])


def sliding_rows(ids: np.ndarray, window: int, stride: int) -> list[Row]:
    """The windows of `token_log_likelihoods`, in the order of the text: int [tokens] -> rows."""
    rows, scored = [], 1
    last = window + 1 if stride == window else window  # tokens of a window, of which the last one is not read
    for begin in range(0, len(ids), stride):
        end = min(begin + last, len(ids))
        if end > scored:
            rows.append(Row(ids[begin : end - 1], ids[scored:end]))
            scored = end
        if end == len(ids):
            break
    return rows


def checked_window(task, window: int | None, stride: int | None) -> tuple[int, int]:
    """Window and stride with their defaults, or a ValueError."""
    longest = task.backbone.max_sequence_length
    window = longest if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= stride <= window <= longest:
        raise ValueError(
            f"Expected 1 <= stride <= window <= {longest}, the model's max_sequence_length. Received: "
            f"window={window}, stride={stride}. Choose others."
        )
    return window, stride


# === LAMBADA ===


def evaluate_lambada(
    task, passages: Sequence[Passage], batch_size: int = 16, begin: bool | None = False
) -> dict[str, float]:
    """Accuracy and perplexity of the last word of passages, with all of the passage before it given.

    A word counts as right if each of its tokens is the most probable one after the tokens before it. No word is left
    out and none is filtered: the GPT-2 paper's higher accuracy comes from a filter of stop words.

    Args:
        task: a `GPTCausalLM` with a preprocessor.
        passages: list of `Passage`, see `read_lambada`. Of a passage that is too long the last tokens are read.
        batch_size: int, passages computed at a time. Defaults to 16.
        begin: bool or None, see `evaluate_language_model`. Defaults to False, as in lm-evaluation-harness.

    Returns:
        A dict of floats: `accuracy`, 0 to 1; `perplexity`, exp of the mean nats of a word; `passages`, their number.

    Raises:
        ValueError: no passages, no preprocessor, or a passage without a word before the last.

    Example:
        >>> evaluate_lambada(task, read_lambada("lambada_test.jsonl"))["accuracy"]

    Reference:
        Paperno et al., 2016, section 4; the task lambada_openai of lm-evaluation-harness.
    """
    if not passages:
        raise ValueError("Expected passages to evaluate on. Received: none. Check the file.")
    start = start_tokens(task, begin)
    wholes = token_ids(task, [f"{passage.context} {passage.target}" for passage in passages])
    # White space at the end of a context is the beginning of the word's first token.
    contexts = token_ids(task, [passage.context.rstrip() for passage in passages])
    rows = []
    for number, (whole, context) in enumerate(zip(wholes, contexts, strict=True)):
        ids = np.concatenate([start, whole])
        target = whole[len(context) :]
        if not len(target) or len(target) == len(ids):
            raise ValueError(
                f"Expected a passage of at least two words, whose last one has tokens of its own. Received: number "
                f"{number}, {passages[number]}. Remove it."
            )
        ids = ids[-(task.backbone.max_sequence_length + 1) :]
        rows.append(Row(ids[:-1], target[-(len(ids) - 1) :]))
    scores = score_rows(task, rows, batch_size, "Scoring passages")
    log_likelihoods = [float(of_tokens.sum(dtype=np.float64)) for of_tokens, _ in scores]
    return {
        "accuracy": float(np.mean([is_best.all() for _, is_best in scores])),
        "perplexity": _exp(-math.fsum(log_likelihoods) / len(rows)),
        "passages": float(len(rows)),
    }


# === What both share ===


def token_ids(task, texts: Sequence[str]) -> list[np.ndarray]:
    """The tokens of texts, without a start: int32 [tokens] each."""
    if task.preprocessor is None:
        raise ValueError(
            "Expected a task with a preprocessor, to tokenize text. Received: preprocessor=None. Make it with "
            "tokenizer=..., or give ids to token_log_likelihoods."
        )
    ids = task.preprocessor.tokenizer.tokenize(tf.constant(texts, tf.string))
    return np.split(ids.flat_values.numpy().astype(np.int32), ids.row_splits.numpy()[1:-1])


def start_tokens(task, begin: bool | None) -> np.ndarray:
    """What stands before a text: int32 [0 or 1]. None begins a text as the task's training does."""
    preprocessor = task.preprocessor
    start_id = getattr(preprocessor, "start_id", None)
    if begin is None:
        begin = start_id is not None and preprocessor.add_start_token
    if begin and start_id is None:
        raise ValueError(
            "Expected a vocabulary with a token that begins a text. Received: one without. Set begin=False; then the "
            "first token of a text is only read."
        )
    return np.array([start_id] if begin else [], np.int32)


def score_rows(task, rows: Sequence[Row], batch_size: int, title: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each row the log-likelihoods of its targets, float32 [scored], and whether each is the most probable token.

    Args:
        task: a `GPTCausalLM`.
        rows: list of `Row`. Rows of about one length are computed together.
        batch_size: int.
        title: str, of the progress bar.
    """
    scorer = make_scorer(task)
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number].ids))  # the largest batch comes first
    batches = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    results: list = [None] * len(rows)
    console = Console(stderr=True)
    for numbers in track(batches, title, console=console, disable=not sys.stderr.isatty() or len(batches) < 2):
        batch = [rows[number] for number in numbers]
        lengths = np.array([len(row.ids) for row in batch], np.int32)
        ids = np.zeros([len(batch), lengths.max()], np.int32)
        for place, row in enumerate(batch):
            ids[place, : len(row.ids)] = row.ids
        counts = [len(row.targets) for row in batch]
        places = [
            (place, position)
            for place, row in enumerate(batch)
            for position in range(len(row.ids) - len(row.targets), len(row.ids))
        ]
        targets = np.concatenate([row.targets for row in batch]).astype(np.int32)
        outputs = scorer(ids, lengths, np.array(places, np.int32), targets)
        borders = np.cumsum(counts)[:-1]
        parts = (np.split(output.numpy(), borders) for output in outputs)
        for number, *of_row in zip(numbers, *parts, strict=True):
            results[number] = tuple(of_row)
    return results


def make_scorer(task) -> Callable:
    """The graph of `score_rows`: one trace for all batch sizes and lengths."""

    def score(ids, lengths, places, targets):
        mask = tf.sequence_mask(lengths, tf.shape(ids)[1])
        hidden = task.backbone({"token_ids": ids, "padding_mask": mask}, training=False)  # [batch, length, hidden_dim]
        hidden = tf.gather_nd(hidden, places)  # [scored, hidden_dim]: padding, and what it may hold, is left behind
        count = tf.shape(targets)[0]
        size = tf.minimum(count, _POSITIONS)
        missing = -count % size
        pieces = tf.reshape(tf.pad(hidden, [[0, missing], [0, 0]]), [-1, size, hidden.shape[-1]])
        targets = tf.reshape(tf.pad(targets, [[0, missing]]), [-1, size])

        def of_piece(piece):
            hidden, targets = piece
            logits = tf.cast(task.compute_logits(hidden), tf.float32)  # [positions, vocabulary]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
            return -losses, tf.argmax(logits, -1, tf.int32) == targets

        outputs = tf.map_fn(of_piece, (pieces, targets), fn_output_signature=(tf.float32, tf.bool))
        return tuple(tf.reshape(output, [-1])[:count] for output in outputs)

    shapes = {"ids": [None, None], "lengths": [None], "places": [None, 2], "targets": [None]}
    return tf.function(score, input_signature=[tf.TensorSpec(shape, tf.int32, n) for n, shape in shapes.items()])


def _exp(nats: float) -> float:
    """exp, and infinity where that is more than a float holds."""
    return math.exp(nats) if nats < 700 else math.inf
