"""Texts to inputs and targets of next-token prediction."""

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.packing import pack_causal


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTCausalLMPreprocessor(keras_nlp.models.Preprocessor):
    """Packs texts between the tokens that begin and end one.

    With a `GPT2Tokenizer` a text becomes `<|endoftext|> text <|endoftext|>`, with a `WordPieceTokenizer`
    `[CLS] text [SEP]`, as in the Chinese GPT-2 models; GPT-1's vocabulary has no such tokens, and the text stays as it
    is. It is cut to `sequence_length + 1` tokens: the model learns to begin a text, to go on and to end it. Inputs are
    all tokens but the last, targets all but the first, padding has weight 0.

    Args:
        tokenizer: a `GPT2Tokenizer`, `GPT1Tokenizer` or `WordPieceTokenizer`.
        sequence_length: int, length of the packed row; longer texts are cut. Defaults to 1024.
        add_start_token: bool, whether a text begins with `start_id`, in training, in `generate` and in `score` alike.
            Defaults to `True`; `False` is what Transformers does.

    Example:
        >>> ids, targets, weights = GPTCausalLMPreprocessor(tokenizer, sequence_length=8)(["a fox"])
        >>> targets.shape
        TensorShape([1, 8])
    """

    backbone_cls = GPTBackbone
    tokenizer_cls = GPT2Tokenizer  # where nothing is saved; a saved one comes back as what it was

    def __init__(self, tokenizer, sequence_length=1024, add_start_token=True, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.add_start_token = add_start_token

    # A loaded tokenizer gets its vocabulary later than it is made: ids are asked for when they are needed.

    @property
    def end_id(self) -> int | None:
        """The token that ends a text: `<|endoftext|>`, `[SEP]`, or None if the vocabulary has neither."""
        end_of_text_id = getattr(self.tokenizer, "end_of_text_id", None)
        return getattr(self.tokenizer, "sep_id", None) if end_of_text_id is None else end_of_text_id

    @property
    def start_id(self) -> int | None:
        """The token that begins a text: `[CLS]` if the vocabulary has it, else the one that ends the text before."""
        cls_id = getattr(self.tokenizer, "cls_id", None)
        return self.end_id if cls_id is None else cls_id

    @property
    def pad_id(self) -> int:
        """The token that pads; the mask tells it from text."""
        pad_id = getattr(self.tokenizer, "pad_id", None)
        return 0 if pad_id is None else pad_id

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def call(self, x, y=None, sample_weight=None):
        """Packs text.

        Args:
            x: strings [batch] or a scalar.
            y: must be `None`: the targets are the text's own tokens.
            sample_weight: float [batch], multiplies the weights of a text's tokens. Defaults to `None`.

        Returns:
            ({`token_ids` int32, `padding_mask` bool}, targets int32, weights float32), each [batch, sequence_length].
        """
        if y is not None:
            raise ValueError("Language modelling takes text alone: its targets are the text's own tokens. Received: y")
        text = tf.convert_to_tensor(x)
        is_scalar = text.shape.rank == 0
        ids = self.tokenize_text(text[None] if is_scalar else text)
        has_end = self.end_id is not None
        end_id = self.end_id if has_end else self.pad_id
        ids, mask = pack_causal(ids, self.sequence_length + 1, end_id, self.pad_id, add_end=has_end)
        inputs = {"token_ids": ids[:, :-1], "padding_mask": mask[:, :-1]}
        weights = tf.cast(mask[:, 1:], tf.float32)  # a target counts if it is a real token
        if sample_weight is not None:
            weights *= tf.cast(sample_weight, tf.float32)[..., None]
        packed = (inputs, ids[:, 1:], weights)
        return tf.nest.map_structure(lambda t: t[0], packed) if is_scalar else packed

    def tokenize_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Strings [batch] -> int32 [batch, (length)], with the start token if texts have one."""
        ids = self.tokenizer.tokenize(text)
        if not self.add_start_token or self.start_id is None:
            return ids
        return tf.concat([tf.fill([ids.nrows(), 1], self.start_id), ids], 1)

    def get_config(self):
        own = {"sequence_length": self.sequence_length, "add_start_token": self.add_start_token}
        return {**super().get_config(), **own}
