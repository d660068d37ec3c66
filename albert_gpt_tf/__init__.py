"""ALBERT and GPT in TensorFlow: train with Keras 3, serve text with TF Serving, ship TFLite.

    import albert_gpt_tf as agt

The public API is the list below. Its parts are imported when they are first used, so that the command line's help and
the serving clients start without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

# Name -> module that defines it.
_PUBLIC = {
    "AlbertTokenizer": "albert_gpt_tf.text.albert_tokenizer",
    "GPT2Tokenizer": "albert_gpt_tf.text.gpt2_tokenizer",
    "GPT1Tokenizer": "albert_gpt_tf.text.gpt1_tokenizer",
    "WordPieceTokenizer": "albert_gpt_tf.text.wordpiece_tokenizer",
    "AlbertBackbone": "albert_gpt_tf.models.albert_backbone",
    "GPTBackbone": "albert_gpt_tf.models.gpt_backbone",
    "AlbertPretrainer": "albert_gpt_tf.tasks.albert_pretrainer",
    "AlbertPreprocessor": "albert_gpt_tf.tasks.preprocessing",
    "AlbertMaskedLM": "albert_gpt_tf.tasks.albert_masked_lm",
    "AlbertMaskedLMPreprocessor": "albert_gpt_tf.tasks.albert_masked_lm",
    "AlbertTextClassifier": "albert_gpt_tf.tasks.albert_text_classifier",
    "AlbertTextClassifierPreprocessor": "albert_gpt_tf.tasks.albert_text_classifier",
    "AlbertTokenClassifier": "albert_gpt_tf.tasks.albert_token_classifier",
    "AlbertQuestionAnswerer": "albert_gpt_tf.tasks.albert_question_answerer",
    "AlbertQuestionAnswererPreprocessor": "albert_gpt_tf.tasks.albert_question_answerer",
    "AlbertMultipleChoice": "albert_gpt_tf.tasks.albert_multiple_choice",
    "AlbertMultipleChoicePreprocessor": "albert_gpt_tf.tasks.albert_multiple_choice",
    "AlbertTextEmbedder": "albert_gpt_tf.tasks.albert_text_embedder",
    "GPTCausalLM": "albert_gpt_tf.tasks.gpt_causal_lm",
    "GPTCausalLMPreprocessor": "albert_gpt_tf.tasks.gpt_causal_lm",
    "GPTTextClassifier": "albert_gpt_tf.tasks.gpt_text_classifier",
    "GPTTextClassifierPreprocessor": "albert_gpt_tf.tasks.gpt_text_classifier",
    "load_task": "albert_gpt_tf.tasks.load",
    "exporters": "albert_gpt_tf.exporters",
}

if TYPE_CHECKING:  # for editors and type checkers, which do not run `__getattr__`
    from albert_gpt_tf import exporters
    from albert_gpt_tf.models.albert_backbone import AlbertBackbone
    from albert_gpt_tf.models.gpt_backbone import GPTBackbone
    from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM, AlbertMaskedLMPreprocessor
    from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice, AlbertMultipleChoicePreprocessor
    from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
    from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer, AlbertQuestionAnswererPreprocessor
    from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier, AlbertTextClassifierPreprocessor
    from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
    from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
    from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM, GPTCausalLMPreprocessor
    from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier, GPTTextClassifierPreprocessor
    from albert_gpt_tf.tasks.load import load_task
    from albert_gpt_tf.tasks.preprocessing import AlbertPreprocessor
    from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
    from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
    from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
    from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

__all__ = [
    "AlbertBackbone",
    "AlbertMaskedLM",
    "AlbertMaskedLMPreprocessor",
    "AlbertMultipleChoice",
    "AlbertMultipleChoicePreprocessor",
    "AlbertPreprocessor",
    "AlbertPretrainer",
    "AlbertQuestionAnswerer",
    "AlbertQuestionAnswererPreprocessor",
    "AlbertTextClassifier",
    "AlbertTextClassifierPreprocessor",
    "AlbertTextEmbedder",
    "AlbertTokenClassifier",
    "AlbertTokenizer",
    "GPT1Tokenizer",
    "GPT2Tokenizer",
    "GPTBackbone",
    "GPTCausalLM",
    "GPTCausalLMPreprocessor",
    "GPTTextClassifier",
    "GPTTextClassifierPreprocessor",
    "WordPieceTokenizer",
    "exporters",
    "load_task",
]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'albert_gpt_tf' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if name == "exporters" else getattr(module, name)


def __dir__():
    return sorted([*globals(), *_PUBLIC])
