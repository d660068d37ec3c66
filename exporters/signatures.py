"""Which signatures each task has: what a caller sends and what comes back.

| task | signature | inputs | outputs |
|---|---|---|---|
| text classifier | `serving_default` | `text` [B]; of pairs `text`, `text_pair` | `label`, `score` [B], `scores` [B, classes] |
| | `classify` | `inputs` [B] tf.Examples with these features | `classes`, `scores` [B, classes] |
| regression | `serving_default` / `regress` | as above | `value` [B] / `outputs` [B] |
| token classifier | `serving_default` | `text` [B] | `entity`, `label`, `start`, `end`, `score` [B, N] |
| question answerer | `serving_default` | `question`, `context` [B] | `answer`, `start`, `end`, `score`, `no_answer_score` [B] |
| multiple choice | `serving_default` | `context` [B], `choices` [B, K] | `choice` [B], `scores` [B, K] |
| masked LM | `serving_default` | `text` [B] | `text` [B], `token`, `score` [B, M, 5] |
| embedder | `serving_default` | `text` [B] | `embedding` [B, hidden] |
| causal LM | `serving_default` | `prompt` [B] | `text`, `text_bytes`, `token_count` [B] |
| | `generate` | `prompt`, `max_new_tokens`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `seed` [B] | the same, `log_probability` [B] |
| | `score` | `text` [B] | `log_likelihood`, `token_count`, `perplexity` [B] |

Every input and output has the batch as its first axis, because TF Serving merges the rows of several requests; every
input is text or a number a row, because the tokenizer is in the graph. `start` and `end` count characters.
"""  # noqa: E501

from typing import NamedTuple

import tensorflow as tf

from albert_gpt_tf.exporters import albert_signatures
from albert_gpt_tf.exporters.gpt_signatures import causal_lm_signatures
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

TEXT_CLASSIFIERS = (AlbertTextClassifier, GPTTextClassifier)
ALBERT_HEADS = {
    AlbertTokenClassifier: albert_signatures.token_classifier_signatures,
    AlbertQuestionAnswerer: albert_signatures.question_answerer_signatures,
    AlbertMultipleChoice: albert_signatures.multiple_choice_signatures,
    AlbertMaskedLM: albert_signatures.masked_lm_signatures,
    AlbertTextEmbedder: albert_signatures.text_embedder_signatures,
}


class Signatures(NamedTuple):
    """The functions of an export and what they were tried with.

    Fields:
        functions: dict of signature name to `tf.function` with an input signature.
        examples: dict of signature name to dict of input name to a list of values, one a row. Those of `classify` and
            `regress` are features of tf.Examples.
    """

    functions: dict
    examples: dict


def holder_of(task) -> tf.Module:
    """A module that holds what the functions of a task use, its weights and its tokenizer's tables, and nothing else.

    The task itself will not do: Keras tracks its variables in a way that leaves them out of a TFLite conversion.
    """
    module = tf.Module()
    module.weights = [weight.value for weight in task.weights]
    module.tokenizer = task.preprocessor.tokenizer
    return module


def signatures_of(task, max_new_tokens: int = 64, text_pair: bool = False) -> Signatures:
    """Builds the signatures of a task.

    Args:
        task: any task with a preprocessor, but an `AlbertPretrainer`.
        max_new_tokens: int, what `serving_default` of a language model generates at most. Defaults to 64.
        text_pair: bool, whether a text classifier takes two texts a row. Defaults to `False`.

    Returns:
        `Signatures`.

    Raises:
        ValueError: the task has no preprocessor, or is of a kind that has no signatures; or it takes no pairs.

    Example:
        >>> sorted(signatures_of(classifier).functions)
        ['classify', 'serving_default']
    """
    kind = type(task).__name__
    if getattr(task, "preprocessor", None) is None:
        raise ValueError(
            f"An export takes text, so the task needs its tokenizer. Received: {kind} with preprocessor=None. Make the "
            "task with tokenizer=... ."
        )
    if text_pair and not isinstance(task, TEXT_CLASSIFIERS):
        raise ValueError(
            f"Expected a text classifier or a regression for text_pair=True. Received: {kind}. Leave text_pair out."
        )
    if isinstance(task, AlbertPretrainer):
        raise ValueError(
            "Expected a task that answers a question about a text. Received: AlbertPretrainer, which only trains. Save "
            "it with save_to_preset and load one of it: AlbertMaskedLM.from_preset(...) keeps the trained head and "
            "fills in [MASK], AlbertTextEmbedder.from_preset(...) embeds."
        )
    if isinstance(task, TEXT_CLASSIFIERS):
        return Signatures(*albert_signatures.text_classifier_signatures(task, text_pair))
    if isinstance(task, GPTCausalLM):
        return Signatures(*causal_lm_signatures(task, max_new_tokens))
    for head, build in ALBERT_HEADS.items():
        if isinstance(task, head):
            return Signatures(*build(task))
    raise ValueError(
        f"Expected one of the library's tasks to export. Received: {kind}, for which there are no signatures. Write a "
        "tf.function for it and save it with tf.saved_model.save, then run check_saved_model."
    )
