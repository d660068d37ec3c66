"""Multiple choice with ALBERT: which of several texts goes with a context."""

from collections.abc import Sequence

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.preprocessing import choose_preprocessor, named_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.packing import pack_segments


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertMultipleChoicePreprocessor(keras_nlp.models.Preprocessor):
    """A context and its choices to one row `[CLS] context [SEP] choice [SEP]` a choice.

    Args:
        tokenizer: an `AlbertTokenizer`.
        sequence_length: int, length of a packed row, special tokens included; longer texts are cut, the longer of
            context and choice first. Defaults to 128.
        choice_length: int, at most so many tokens of a choice are kept, the last ones, which in RACE are the option
            behind its question; 0 for no such limit. Defaults to 0.

    Raises:
        ValueError: `choice_length` is negative.

    Example:
        >>> preprocessor = AlbertMultipleChoicePreprocessor(tokenizer, sequence_length=16)
        >>> preprocessor((["what runs?"], [["a fox", "a stone", "a tree"]]))["token_ids"].shape
        TensorShape([1, 3, 16])

    Reference:
        google-research/albert, `race_utils.py`: `max_qa_length`.
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=128, choice_length=0, **kwargs):
        super().__init__(**kwargs)
        if choice_length < 0:
            raise ValueError(f"choice_length must be 1 or more, or 0 for no limit. Received: {choice_length}")
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.choice_length = choice_length

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs text.

        Args:
            x: a tuple (context, choices) of strings [batch] and [batch, choices], or of a scalar and [choices]; or a
                dict with these keys.
            y: int [batch], the index of the right choice. Defaults to `None`.
            sample_weight: float [batch]. Defaults to `None`.

        Returns:
            A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, choices,
            sequence_length]; with `y`, a tuple (dict, y) or (dict, y, sample_weight).

        Raises:
            ValueError: `x` is not a context and choices.
        """
        texts = named_texts(x, "context", "choices")
        if len(texts) != 2 or texts[1].shape.rank != texts[0].shape.rank + 1:
            raise ValueError(
                "Expected strings (context, choices) of shapes [batch] and [batch, choices]. Received: shapes "
                f"{[text.shape.as_list() for text in texts]}. Give every context the same number of choices."
            )
        contexts, choices = tf.broadcast_to(texts[0][..., None], tf.shape(texts[1])), texts[1]
        # Every choice is a row of its own: [batch * choices, sequence_length].
        contexts, rows = (self.tokenizer.tokenize(tf.reshape(texts, [-1])) for texts in (contexts, choices))
        if self.choice_length:
            rows = rows[:, -self.choice_length :]
        packed = pack_segments(
            [contexts, rows],
            self.sequence_length,
            start_id=self.tokenizer.cls_id,
            end_id=self.tokenizer.sep_id,
            pad_id=self.tokenizer.pad_id,
        )
        packed = dict(zip(("token_ids", "segment_ids", "padding_mask"), packed, strict=True))
        shape = tf.concat([tf.shape(choices), [self.sequence_length]], 0)
        packed = {name: tf.reshape(value, shape) for name, value in packed.items()}
        return keras.utils.pack_x_y_sample_weight(packed, y, sample_weight)

    def get_config(self):
        sizes = {"sequence_length": self.sequence_length, "choice_length": self.choice_length}
        return {**super().get_config(), **sizes}


class ChoicesAsRows(keras.layers.Layer):
    """[batch, choices, length] -> [batch * choices, length]."""

    def call(self, x):
        return tf.reshape(x, [-1, tf.shape(x)[2]])

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, x.shape[2]), dtype=x.dtype)


class RowsAsChoices(keras.layers.Layer):
    """float [batch * choices, 1], and anything [batch, choices, length] -> [batch, choices]."""

    def call(self, logits, x):
        return tf.reshape(logits, tf.shape(x)[:2])

    def compute_output_spec(self, logits, x):
        return keras.KerasTensor(x.shape[:2], dtype=logits.dtype)


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertMultipleChoice(Task):
    """ALBERT with a dense layer of one unit on the pooled first position of each choice's row.

    Inputs are those of the backbone with an axis for the choices, [batch, choices, length]; batches may differ in the
    number of choices. Called on a dict of them it returns logits [batch, choices]; `predict` returns probabilities.
    Targets are int [batch].

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertMultipleChoicePreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        dropout: float, dropout rate of the pooled output. Defaults to 0.1.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> model = AlbertMultipleChoice(backbone, tokenizer=tokenizer)
        >>> model.fit((["what runs?"], [["a fox", "a stone", "a tree"]]), np.array([0]), verbose=0)
        >>> model.choose(["what runs?"], [["a fox", "a stone"]])
        [0]

    Reference:
        Devlin et al., 2018, arXiv:1810.04805, section 4.4; Transformers, `AlbertForMultipleChoice`.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertMultipleChoicePreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, dropout=0.1, **kwargs):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, AlbertMultipleChoicePreprocessor)
        self.output_dropout = keras.layers.Dropout(dropout, dtype=backbone.dtype_policy, name="output_dropout")
        self.output_dense = keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Functional Model ===
        inputs = {
            name: keras.Input((None, None), dtype=tensor.dtype, name=name) for name, tensor in backbone.input.items()
        }
        rows = {
            name: ChoicesAsRows(dtype=tensor.dtype, name=f"{name}_as_rows")(tensor) for name, tensor in inputs.items()
        }
        pooled = backbone(rows)["pooled_output"]  # [batch * choices, hidden_dim]
        logits = self.output_dense(self.output_dropout(pooled))  # [batch * choices, 1]
        as_choices = RowsAsChoices(dtype=backbone.dtype_policy, name="rows_as_choices")
        logits = as_choices(logits, inputs["token_ids"])  # [batch, choices]
        super().__init__(inputs=inputs, outputs=logits, **kwargs)

        # === Config ===
        self.dropout = dropout

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.probabilities(x)

    def probabilities(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """A dict of ids [batch, choices, length] -> float32 [batch, choices]."""
        return tf.nn.softmax(tf.cast(self(ids, training=False), "float32"))

    def answer(self, context: tf.Tensor, choices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Chooses, as graph operations: what `choose`, the exports and their tests share.

        Args:
            context: strings [batch].
            choices: strings [batch, choices].

        Returns:
            `choice` int32 [batch], the index of the most probable choice; `scores` float32 [batch, choices].
        """
        scores = self.probabilities(self.preprocessor((context, choices)))
        return {"choice": tf.argmax(scores, -1, output_type=tf.int32), "scores": scores}

    def choose(self, contexts: Sequence[str], choices: Sequence[Sequence[str]], batch_size: int = 32) -> list[int]:
        """The index of the most probable choice for each context.

        Args:
            contexts: strings.
            choices: as many lists of strings, all of the same length.
            batch_size: int, contexts computed at a time. Defaults to 32.

        Returns:
            A list of ints.
        """
        rows = (list(contexts), [list(row) for row in choices])
        return self.predict(rows, batch_size=batch_size, verbose=0).argmax(-1).tolist()

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout}
