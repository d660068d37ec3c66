"""Question answering with ALBERT: the span of a context that answers a question, or none."""

import keras
import keras_nlp
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.answer_spans import (
    IMPOSSIBLE,
    best_spans,
    context_mask,
    positions_in_windows,
    tokens_of_span,
    top_spans,
    trim_windows,
)
from albert_gpt_tf.tasks.preprocessing import choose_preprocessor, named_texts
from albert_gpt_tf.tasks.task import Task
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.packing import pack_segments
from albert_gpt_tf.text.sliding_windows import SlidingWindows, pack_sliding_windows

INPUTS = ("token_ids", "segment_ids", "padding_mask")
# So many windows are computed at a time, whatever a request holds: this bounds the memory.
WINDOWS_AT_ONCE = 32


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertQuestionAnswererPreprocessor(keras_nlp.models.Preprocessor):
    """Questions and contexts to `[CLS] question [SEP] context [SEP]`, one row or several that overlap.

    Called, it gives one row a question, with padding to a fixed length, and cuts the context to fit. `windows` gives as
    many rows as the context needs, which is what `AlbertQuestionAnswerer.answer` reads.

    Args:
        tokenizer: an `AlbertTokenizer`, or a `WordPieceTokenizer` for the Chinese models.
        sequence_length: int, length of a packed row, special tokens included. Defaults to 384.
        stride: int, tokens from the start of a window to that of the next. Defaults to `None`: a third of
            `sequence_length`, which is 128 of 384.
        max_question_length: int, a longer question is cut at its end. Defaults to `None`: 64, or half of
            `sequence_length` if that is less.
        max_windows: int, windows of a context at most; what lies behind the last one is not read. 32 windows of 384
            are about 4,300 tokens. Defaults to 32.

    Example:
        >>> preprocessor = AlbertQuestionAnswererPreprocessor(tokenizer, sequence_length=32)
        >>> preprocessor((["what runs?"], ["the fox runs"]))["token_ids"].shape
        TensorShape([1, 32])

    Reference: google-research/albert, `run_squad_v1.py`: length 384, stride 128, 64 tokens of the question.
    """

    backbone_cls = AlbertBackbone
    tokenizer_cls = AlbertTokenizer

    def __init__(self, tokenizer, sequence_length=384, stride=None, max_question_length=None, max_windows=32, **kwargs):
        super().__init__(**kwargs)
        if max_windows < 1:
            raise ValueError(f"Expected max_windows of 1 or more. Received: max_windows={max_windows}. Raise it.")
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.stride = stride
        self.max_question_length = max_question_length
        self.max_windows = max_windows

    def build(self, input_shape=None):
        """Nothing to build: the tokenizer has its vocabulary."""

    def __call__(self, x, y=None, sample_weight=None):
        # KerasHub would take a pair of texts for a text and its target, unless `y` has its name.
        return super().__call__(x, y=y, sample_weight=sample_weight)

    def call(self, x, y=None, sample_weight=None):
        """Packs one row for each question.

        Args:
            x: a tuple (question, context) of strings [batch] or scalars, or a dict with these keys.
            y: dict of `start` and `end`, int [batch]: the first and the last token of the answer as positions in the
                packed row; 0 and 0, which is `[CLS]`, if there is no answer. Defaults to `None`.
            sample_weight: float [batch]. Defaults to `None`.

        Returns:
            A dict of `token_ids`, `segment_ids` (int32) and `padding_mask` (bool), each [batch, sequence_length];
            without the batch for scalars. With `y`, a tuple (dict, y) or (dict, y, sample_weight).

        Raises:
            ValueError: `x` is not two texts.
        """
        texts = named_texts(x, "question", "context")
        if len(texts) != 2:
            raise ValueError(
                f"Expected a question and a context. Received: {len(texts)} text. Give (question, context)."
            )
        is_scalar = texts[0].shape.rank == 0
        question, context = (self.tokenizer.tokenize(text[None] if is_scalar else text) for text in texts)
        segments = [question[:, : self.longest_question()], context]
        packed = pack_segments(segments, self.sequence_length, **self.frame_ids(), truncation="only_second")
        packed = {name: value[0] if is_scalar else value for name, value in zip(INPUTS, packed, strict=True)}
        return keras.utils.pack_x_y_sample_weight(packed, y, sample_weight)

    def longest_question(self) -> int:
        """Tokens of a question at most."""
        return min(64, self.sequence_length // 2) if self.max_question_length is None else self.max_question_length

    def frame_ids(self) -> dict[str, int]:
        """The ids around the texts."""
        return {"start_id": self.tokenizer.cls_id, "end_id": self.tokenizer.sep_id, "pad_id": self.tokenizer.pad_id}

    def windows(
        self, question: tf.Tensor, context: tf.Tensor
    ) -> tuple[SlidingWindows, tf.RaggedTensor, tf.RaggedTensor]:
        """Packs overlapping windows of each context, as graph operations.

        Args:
            question: strings [batch].
            context: strings [batch].

        Returns:
            The windows, see `pack_sliding_windows`; and the bytes where each token of the context starts and ends,
            ragged int32 [batch, None], up to the end of the last window.
        """
        question_ids = self.tokenizer.tokenize(question)[:, : self.longest_question()]
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(context)
        stride = max(1, self.sequence_length // 3) if self.stride is None else self.stride
        room = self.sequence_length - 3 - tf.cast(question_ids.row_lengths(), tf.int32)  # [batch]
        limit = room + (self.max_windows - 1) * tf.minimum(room, stride)
        index = tf.ragged.range(tf.cast(ids.row_lengths(), tf.int32), row_splits_dtype=tf.int64)
        is_read = index < limit[:, tf.newaxis]
        ids, starts, ends = (tf.ragged.boolean_mask(part, is_read) for part in (ids, starts, ends))
        windows = pack_sliding_windows(
            question_ids,
            ids,
            self.sequence_length,
            stride,
            **self.frame_ids(),
            max_question_length=self.longest_question(),
        )
        return windows, starts, ends

    def windows_with_targets(
        self, question: tf.Tensor, context: tf.Tensor, start: tf.Tensor, end: tf.Tensor
    ) -> tuple[SlidingWindows, dict[str, tf.Tensor]]:
        """Packs overlapping windows and finds the answer in each of them: training rows.

        Args:
            question: strings [batch].
            context: strings [batch].
            start: int32 [batch], the first character of the answer in the context; -1 if there is none.
            end: int32 [batch], the character after its last; -1 if there is none.

        Returns:
            The windows, and a dict of `start` and `end`, int32 [windows]: see `positions_in_windows`.

        Example:
            >>> windows, targets = preprocessor.windows_with_targets(["what runs?"], ["The Fox runs."], [4], [7])

        Reference: google-research/albert, `squad_utils.py`: `convert_examples_to_features`.
        """
        question, context = tf.convert_to_tensor(question), tf.convert_to_tensor(context)
        windows, starts, ends = self.windows(question, context)
        first, last = tokens_of_span(context, start, end, starts, ends)
        return windows, positions_in_windows(windows, first, last, tf.convert_to_tensor(start) >= 0)

    def get_config(self):
        return {
            **super().get_config(),
            "sequence_length": self.sequence_length,
            "stride": self.stride,
            "max_question_length": self.max_question_length,
            "max_windows": self.max_windows,
        }


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class AlbertQuestionAnswerer(Task):
    """ALBERT with a dense layer that says where the answer starts and where it ends.

    Called on a dict of ids it returns a dict of logits, `start` and `end`, each [batch, length]; `predict` returns
    probabilities, which are 0 outside of the context but for `[CLS]`, where no answer starts and ends. Targets are a
    dict of `start` and `end`, int [batch]; one outside of the row, whose answer was cut off, has no weight. The loss is
    the mean of both cross entropies over all positions; among the metrics, `start_loss` and `end_loss` are halved.
    ALBERT's release adds a second loss for questions without answer, of a head of its own; here `[CLS]` alone stands
    for no answer, as in BERT.

    Args:
        backbone: an `AlbertBackbone`.
        preprocessor: an `AlbertQuestionAnswererPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: an `AlbertTokenizer`, from which the default preprocessor is made. Defaults to `None`.
        no_answer_threshold: float, an answer is empty if the logits of no answer are more than this above those of the
            best span: log(no_answer_score / score) > no_answer_threshold. Defaults to `None`: there is always an
            answer, as in SQuAD 1.1. `tune_no_answer_threshold` finds one.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> answerer = AlbertQuestionAnswerer(backbone, tokenizer=tokenizer)
        >>> answerer.fit((["what runs?"], ["the fox runs"]), {"start": np.array([6]), "end": np.array([6])}, verbose=0)
        >>> answerer.answer(["what runs?"], ["The Fox runs."])["answer"].numpy()
        array([b'Fox'], dtype=object)

    Reference:
        Devlin et al., 2018, arXiv:1810.04805, sections 4.2 and 4.3; Transformers, `AlbertForQuestionAnswering`.
        Rajpurkar et al., 2018, arXiv:1806.03822, for questions without answer.
    """

    backbone_cls = AlbertBackbone
    preprocessor_cls = AlbertQuestionAnswererPreprocessor

    def __init__(self, backbone, preprocessor=None, tokenizer=None, no_answer_threshold=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        make = AlbertQuestionAnswererPreprocessor
        self.preprocessor = choose_preprocessor(backbone, preprocessor, tokenizer, make, sequence_length=384)
        self.output_dense = keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=backbone.initializer_range),
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # === Config ===
        self.no_answer_threshold = no_answer_threshold

        # === Functional Model ===
        logits = self.output_dense(backbone(backbone.input)["sequence_output"])  # [batch, length, 2]
        super().__init__(inputs=backbone.input, outputs={"start": logits[..., 0], "end": logits[..., 1]}, **kwargs)

    # === Training ===

    def by_output(self, data):
        """As in `Task`; positions outside of the row become 0 with weight 0."""
        x, targets, weights = super().by_output(data)
        length = tf.shape(x["token_ids"])[1]
        for name in targets:
            target = tf.cast(targets[name], tf.int32)
            is_inside = (target >= 0) & (target < length)
            targets[name] = tf.where(is_inside, target, 0)
            weights[name] = tf.where(is_inside, weights[name], 0.0)
        return x, targets, weights

    def elementwise_loss(self, name, targets, logits):
        """Half the cross entropy: the sum over start and end is then their mean."""
        return 0.5 * super().elementwise_loss(name, targets, logits)

    # === Answers ===

    def predict_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return {name: tf.exp(x) for name, x in self.log_probabilities(x).items()}

    def log_probabilities(self, ids: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A dict of ids [batch, length] -> `start` and `end`, each float32 [batch, length]."""
        is_possible = context_mask(ids) | (tf.range(tf.shape(ids["token_ids"])[1]) == 0)
        logits = self(ids, training=False)
        return {
            name: tf.nn.log_softmax(tf.where(is_possible, tf.cast(x, "float32"), IMPOSSIBLE))
            for name, x in logits.items()
        }

    def answer(self, question: tf.Tensor, context: tf.Tensor, max_answer_length: int = 30) -> dict[str, tf.Tensor]:
        """Finds the answer to a question in a context, as graph operations: what `evaluate` and the exports share.

        A context that is too long for a row is read in windows that overlap, `max_windows` of the preprocessor at most;
        what lies behind them is not read.

        Args:
            question: strings [batch].
            context: strings [batch].
            max_answer_length: int, tokens in an answer at most. Defaults to 30.

        Returns:
            `answer` string [batch], cut from the context as it was given; `start` and `end` int32 [batch], its place in
            the context in characters; `score` float32 [batch], the probability of the best span; `no_answer_score`
            float32 [batch], that of no answer. Where `no_answer_threshold` says that there is none, or the context has
            no token, the answer is empty, from 0 to 0; `score` is that of the best span even so, or 0 without one.

        Example:
            >>> answerer.answer(["what runs?"], ["The Fox runs."])["end"].numpy()
            array([7], dtype=int32)
        """
        spans = self.best_spans(question, context, max_answer_length)
        odds = spans.pop("no_answer_log_odds")
        if self.no_answer_threshold is None:
            return spans
        is_answered = odds <= self.no_answer_threshold
        of_none = {"answer": "", "start": 0, "end": 0}
        return {name: tf.where(is_answered, x, of_none[name]) if name in of_none else x for name, x in spans.items()}

    def best_spans(self, question: tf.Tensor, context: tf.Tensor, max_answer_length: int = 30) -> dict[str, tf.Tensor]:
        """The best span of each context, whatever `no_answer_threshold` is; see `answer_spans.best_spans`.

        Args:
            question, context, max_answer_length: see `answer`.

        Returns:
            What `answer` returns, and `no_answer_log_odds` float32 [batch], log(no_answer_score / score).
        """
        context, *logits_and_places = self.read_windows(question, context)
        return best_spans(context, *logits_and_places, max_answer_length)

    def best_answers(self, question: str, context: str, top: int = 20, max_answer_length: int = 30) -> list[dict]:
        """The best answers to one question, the best first; they may overlap.

        Args:
            question: str.
            context: str.
            top: int, answers at most. Defaults to 20.
            max_answer_length: int, tokens in an answer at most. Defaults to 30.

        Returns:
            A list of dicts of `answer` (str), `start`, `end` (int, characters) and `score` (float, the probability).

        Example:
            >>> [answer["answer"] for answer in answerer.best_answers("what runs?", "The Fox runs.", top=2)]
            ['Fox', 'The Fox']
        """
        return top_spans(*self.read_windows([question], [context]), max_answer_length, top)

    def read_windows(self, question, context):
        """Strings [batch] -> the context as a tensor, the windows, their logits, and the bytes of their tokens.

        Raises:
            ValueError: there is no preprocessor.
        """
        if self.preprocessor is None:
            raise ValueError(
                f"{type(self).__name__} received text but has no preprocessor. Make it with tokenizer=... or "
                "preprocessor=..., or give `predict` a dict of ids."
            )
        question, context = tf.convert_to_tensor(question, tf.string), tf.convert_to_tensor(context, tf.string)
        windows, starts, ends = self.preprocessor.windows(question, context)
        windows = trim_windows(windows)
        return context, windows, self.logits_of_windows(windows), starts, ends

    def logits_of_windows(self, windows: SlidingWindows) -> dict[str, tf.Tensor]:
        """`start` and `end`, each float32 [windows, length], a few windows at a time to bound the memory."""
        ids = {name: getattr(windows, name) for name in INPUTS}

        def add_some(done, start, end):
            logits = self({name: x[done : done + WINDOWS_AT_ONCE] for name, x in ids.items()}, training=False)
            start = tf.concat([start, tf.cast(logits["start"], "float32")], 0)
            return done + WINDOWS_AT_ONCE, start, tf.concat([end, tf.cast(logits["end"], "float32")], 0)

        none, shape = tf.zeros([0, tf.shape(windows.token_ids)[1]]), tf.TensorShape([None, None])
        _, start, end = tf.while_loop(
            lambda done, start, end: done < tf.size(windows.example),
            add_some,
            (0, none, none),
            shape_invariants=(tf.TensorShape([]), shape, shape),
        )
        return {"start": start, "end": end}

    def get_config(self):
        return {**super().get_config(), "no_answer_threshold": self.no_answer_threshold}
