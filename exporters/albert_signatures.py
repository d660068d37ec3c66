"""The signatures of the ALBERT heads, and of the text classifiers of both families.

Each function returns a dict of signature name to `tf.function`, and a dict of signature name to rows to try it with.
What a signature answers is the task's own `answer`: its docstring says what each output means.
"""

import tensorflow as tf

from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

# The first row is also sent alone, and is what `albert-gpt-tf export` shows as an example.
SAMPLE_TEXTS = ["Some text", "The quick brown fox jumps over the lazy dog, and returns the sum of all elements."]
SAMPLE_PAIRS = ["More text", "A dog is jumped over."]


def strings(name: str, rank: int = 1) -> tf.TensorSpec:
    """A string input with the batch as its first axis and any size of all others."""
    return tf.TensorSpec([None] * rank, tf.string, name)


def text_classifier_signatures(task: AlbertTextClassifier | GPTTextClassifier, text_pair: bool) -> tuple[dict, dict]:
    """`serving_default`: one text or two to label, score, scores; or to value, for a regression.

    `classify` and `regress`: the same of tf.Examples with the features `text` and, for pairs, `text_pair`.
    """
    rows = {"text": SAMPLE_TEXTS, "text_pair": SAMPLE_PAIRS} if text_pair else {"text": SAMPLE_TEXTS}
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in rows}

    def answer_examples(inputs):
        return task.answer(**tf.io.parse_example(inputs, features))

    @tf.function(input_signature=[strings("text")])
    def one_text(text):
        return task.answer(text)

    @tf.function(input_signature=[strings("text"), strings("text_pair")])
    def two_texts(text, text_pair):
        return task.answer(text, text_pair)

    @tf.function(input_signature=[strings("inputs")])
    def classify(inputs):
        scores = answer_examples(inputs)["scores"]
        classes = tf.broadcast_to(tf.constant(task.labels)[None], tf.shape(scores))
        return {"classes": classes, "scores": scores}

    @tf.function(input_signature=[strings("inputs")])
    def regress(inputs):
        return {"outputs": answer_examples(inputs)["value"]}

    by_example = {"regress": regress} if task.regression else {"classify": classify}
    functions = {"serving_default": two_texts if text_pair else one_text, **by_example}
    return functions, {name: rows for name in functions}


def token_classifier_signatures(task: AlbertTokenClassifier) -> tuple[dict, dict]:
    """`serving_default`: text to entity, label, start, end, score, each [B, N]."""

    @tf.function(input_signature=[strings("text")])
    def serving_default(text):
        return task.answer(text)

    return {"serving_default": serving_default}, {"serving_default": {"text": SAMPLE_TEXTS}}


def question_answerer_signatures(task: AlbertQuestionAnswerer) -> tuple[dict, dict]:
    """`serving_default`: question and context to answer, start, end, score, no_answer_score."""

    @tf.function(input_signature=[strings("question"), strings("context")])
    def serving_default(question, context):
        return task.answer(question, context)

    contexts = ["The fox jumps over the dog.", SAMPLE_TEXTS[1]]
    rows = {"question": ["Who jumps?", "What does the quick brown fox return?"], "context": contexts}
    return {"serving_default": serving_default}, {"serving_default": rows}


def multiple_choice_signatures(task: AlbertMultipleChoice) -> tuple[dict, dict]:
    """`serving_default`: context [B] and choices [B, K] to choice, scores.

    The rows of one batch have equally many choices, also where a server merges requests.
    """

    @tf.function(input_signature=[strings("context"), strings("choices", rank=2)])
    def serving_default(context, choices):
        return task.answer(context, choices)

    contexts = ["The fox jumps.", SAMPLE_TEXTS[1]]
    choices = [["It lands.", "It is a stone.", "It is empty."], ["The dog sleeps on.", "It is a number.", "The end."]]
    rows = {"context": contexts, "choices": choices}
    return {"serving_default": serving_default}, {"serving_default": rows}


def masked_lm_signatures(task: AlbertMaskedLM) -> tuple[dict, dict]:
    """`serving_default`: text with `[MASK]` to text, token [B, M, 5], score [B, M, 5]."""

    @tf.function(input_signature=[strings("text")])
    def serving_default(text):
        return task.answer(text)

    texts = ["The [MASK] jumps.", "The quick brown [MASK] jumps over the lazy [MASK], and returns the sum."]
    return {"serving_default": serving_default}, {"serving_default": {"text": texts}}


def text_embedder_signatures(task: AlbertTextEmbedder) -> tuple[dict, dict]:
    """`serving_default`: text to embedding [B, hidden]."""

    @tf.function(input_signature=[strings("text")])
    def serving_default(text):
        return task.answer(text)

    return {"serving_default": serving_default}, {"serving_default": {"text": SAMPLE_TEXTS}}
