"""Language modelling with GPT: train on text, continue prompts, score texts."""

import functools
from collections.abc import Sequence
from numbers import Integral

import keras
import tensorflow as tf

from albert_gpt_tf.generation.generate import Continuation, generate
from albert_gpt_tf.generation.sampling import Sampling
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm_preprocessor import GPTCausalLMPreprocessor
from albert_gpt_tf.tasks.task import Task

# Inputs of `GPTCausalLM.answer`, one value a row: TF Serving merges the rows of several requests into one batch.
GENERATE_INPUTS = {
    "prompt": tf.TensorSpec([None], tf.string, "prompt"),
    "max_new_tokens": tf.TensorSpec([None], tf.int32, "max_new_tokens"),
    "temperature": tf.TensorSpec([None], tf.float32, "temperature"),
    "top_k": tf.TensorSpec([None], tf.int32, "top_k"),
    "top_p": tf.TensorSpec([None], tf.float32, "top_p"),
    "repetition_penalty": tf.TensorSpec([None], tf.float32, "repetition_penalty"),
    "seed": tf.TensorSpec([None], tf.int32, "seed"),
}


class LogitBias(keras.layers.Layer):
    """Adds a trained number to the logit of each token: float [..., vocabulary] -> the same shape.

    `kernel` is None, because the token embedding is the kernel that made the logits.
    """

    kernel = None

    def build(self, logits_shape):
        self.bias = self.add_weight(name="bias", shape=logits_shape[-1:], initializer="zeros")

    def call(self, logits):
        return logits + self.bias


@keras.saving.register_keras_serializable(package="albert_gpt_tf")
class GPTCausalLM(Task):
    """GPT with an output layer, in general its token embedding.

    Called on a dict of ids it returns logits `[batch, length, vocabulary]`.

    Args:
        backbone: a `GPTBackbone`.
        preprocessor: a `GPTCausalLMPreprocessor`, another callable with its contract, or `None`, for ids.
        tokenizer: a `GPT2Tokenizer`, `GPT1Tokenizer` or `WordPieceTokenizer`, from which the default preprocessor is
            made. Defaults to `None`.
        tie_word_embeddings: bool, whether the token embedding is the output layer's kernel; if not, `lm_head.kernel`
            [hidden_dim, vocabulary] is. Defaults to `True`.
        head_bias: bool, whether `lm_head.bias` [vocabulary] is added to the logits. Defaults to `False`. With neither
            `lm_head` is None.

    Raises:
        ValueError: both a preprocessor and a tokenizer.

    Example:
        >>> causal_lm = GPTCausalLM(backbone, tokenizer=tokenizer)
        >>> causal_lm.fit(["the fox runs", "the dog sleeps"], verbose=0)
        >>> causal_lm.generate("the", max_new_tokens=5)
        ' fox runs'

    Reference:
        Radford et al., 2019, section 2.
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTCausalLMPreprocessor

    def __init__(
        self, backbone, preprocessor=None, tokenizer=None, tie_word_embeddings=True, head_bias=False, **kwargs
    ):
        if preprocessor is not None and tokenizer is not None:
            raise ValueError("Give preprocessor=... or tokenizer=..., not both: a preprocessor holds its tokenizer.")
        if tokenizer is not None:
            preprocessor = GPTCausalLMPreprocessor(tokenizer, sequence_length=backbone.max_sequence_length)

        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.tie_word_embeddings = tie_word_embeddings
        self.head_bias = head_bias
        self.lm_head = None
        if not tie_word_embeddings:
            self.lm_head = keras.layers.Dense(
                backbone.vocabulary_size,
                use_bias=head_bias,
                kernel_initializer=keras.initializers.RandomNormal(stddev=backbone.initializer_range),
                dtype=backbone.dtype_policy,
                name="lm_head",
            )
        elif head_bias:
            self.lm_head = LogitBias(dtype=backbone.dtype_policy, name="lm_head")

        # === Functional Model ===
        hidden = backbone(backbone.input)  # [batch, length, hidden_dim]
        super().__init__(inputs=backbone.input, outputs=self.compute_logits(hidden), **kwargs)

    def compute_logits(self, hidden):
        """The output layer: float [..., hidden_dim] -> float [..., vocabulary]."""
        if self.tie_word_embeddings:
            hidden = self.backbone.token_embedding(hidden, reverse=True)
        return hidden if self.lm_head is None else self.lm_head(hidden)

    def get_config(self):
        own = {"tie_word_embeddings": self.tie_word_embeddings, "head_bias": self.head_bias}
        return {**super().get_config(), **own}

    # === Generation ===

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> str | list[str]:
        """Continues prompts.

        Args:
            prompts: a string or a list of them; an empty one starts a new text. The last tokens of a prompt that is
                too long for the context together with `max_new_tokens` are kept.
            max_new_tokens: int, tokens to generate at most. Defaults to 64.
            temperature: float, 0 for the most probable token at each step. Defaults to 0.
            top_k: int, sample from the k most probable tokens; 0 for all. Defaults to 0.
            top_p: float, sample from the most probable tokens that together reach p; 1 for all. Defaults to 1.
            repetition_penalty: float, above 1 makes tokens that the text already holds less likely. Defaults to 1.
            seed: int; row i of a list uses `seed + i`. Defaults to 0.

        Returns:
            The continuation, without the prompt; a list if `prompts` is one. Lists of ids in place of strings are
            taken when the task has no preprocessor, and lists of ids returned.

        Raises:
            ValueError: a parameter is out of range, or prompts are text where ids are needed or the reverse.
        """
        if max_new_tokens < 0 or top_p <= 0 or repetition_penalty <= 0:
            raise ValueError(
                "max_new_tokens must be 0 or more, top_p and repetition_penalty above 0. Received: "
                f"max_new_tokens={max_new_tokens}, top_p={top_p}, repetition_penalty={repetition_penalty}"
            )
        is_single = isinstance(prompts, str | bytes) or (len(prompts) > 0 and isinstance(prompts[0], Integral))
        prompts = [prompts] if is_single else list(prompts)
        if any(isinstance(prompt, str | bytes) == (self.preprocessor is None) for prompt in prompts):
            raise ValueError(
                "prompts must be strings for a task with a preprocessor, lists of ids for one without. Received: "
                f"preprocessor={self.preprocessor}, prompts={prompts}"
            )
        rows = len(prompts)
        parameters = {
            "max_new_tokens": tf.fill([rows], max_new_tokens),
            "temperature": tf.fill([rows], float(temperature)),
            "top_k": tf.fill([rows], top_k),
            "top_p": tf.fill([rows], float(top_p)),
            "repetition_penalty": tf.fill([rows], float(repetition_penalty)),
            "seed": tf.range(seed, seed + rows),
        }
        if self.preprocessor is None:
            ids = tf.RaggedTensor.from_row_splits(
                tf.constant([i for row in prompts for i in row], tf.int32),
                tf.cumsum([0] + [len(row) for row in prompts]),
            )
            continuation = self.continue_ids(ids, start_id=0, end_id=None, **parameters)  # no tokenizer, no end
            counts = continuation.token_count.numpy()
            outputs = [row[:n].tolist() for row, n in zip(continuation.token_ids.numpy(), counts, strict=True)]
        else:
            answer = self.compiled_answer(tf.constant(prompts, tf.string), **parameters)
            outputs = [text.decode() for text in answer["text"].numpy()]
        return outputs[0] if is_single else outputs

    def answer(
        self, prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed
    ) -> dict[str, tf.Tensor]:
        """Continues prompts, as graph operations: what `generate`, the exports and their tests share.

        Args:
            prompt: strings [batch].
            max_new_tokens, top_k, seed: int32 [batch].
            temperature, top_p, repetition_penalty: float32 [batch].

        Returns:
            `text` string [batch], valid UTF-8, without the prompt; `text_bytes`, the same as raw bytes;
            `token_count` int32 [batch]; `log_probability` float32 [batch], see `Continuation`.
        """
        preprocessor, tokenizer = self.preprocessor, self.preprocessor.tokenizer
        continuation = self.continue_ids(
            preprocessor.tokenize_text(prompt),
            max_new_tokens,
            temperature,
            top_k,
            top_p,
            repetition_penalty,
            seed,
            start_id=preprocessor.pad_id if preprocessor.start_id is None else preprocessor.start_id,
            end_id=preprocessor.end_id,
        )
        ids = tf.RaggedTensor.from_tensor(continuation.token_ids, lengths=continuation.token_count)
        text = tokenizer.detokenize(ids)
        return {
            "text": text,
            # A vocabulary of characters has no other bytes than those of its texts.
            "text_bytes": tokenizer.detokenize_bytes(ids) if hasattr(tokenizer, "detokenize_bytes") else text,
            "token_count": continuation.token_count,
            "log_probability": continuation.log_probability,
        }

    def continue_ids(
        self, ids, max_new_tokens, temperature, top_k, top_p, repetition_penalty, seed, start_id, end_id
    ) -> Continuation:
        """Continues ragged int32 ids [batch, (length)]; arguments as in `answer`.

        `start_id` stands in for a row without tokens; `end_id`, or None, ends a row.
        """
        context = self.backbone.max_sequence_length
        max_new_tokens = tf.clip_by_value(max_new_tokens, 0, context - 1)
        # A row without a token begins as a text does: one that has tokens drops this again.
        start = tf.fill([ids.nrows(), 1], start_id)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        ids = tf.concat([start, ids], 1)
        ends = tf.cast(ids.row_splits[1:], tf.int32)
        # Of what does not fit the context the last tokens are kept.
        kept = tf.minimum(tf.maximum(lengths, 1), context - max_new_tokens)
        ids = tf.gather(ids.values, tf.ragged.range(ends - kept, ends))
        return generate(
            self.backbone,
            self.compute_logits,
            ids.to_tensor(),
            kept,
            max_new_tokens,
            Sampling(temperature, top_k, top_p, repetition_penalty, seed),
            end_id,
        )

    # === Scoring ===

    def score(self, texts: Sequence[str]) -> dict[str, list]:
        """Log-likelihood of each text.

        Args:
            texts: strings. Only the first `max_sequence_length` tokens of a text are scored.

        Returns:
            A dict of lists, see `log_likelihood`.

        Raises:
            ValueError: the task has no preprocessor.
        """
        if self.preprocessor is None:
            raise ValueError("score needs text, hence a task made with tokenizer=... or preprocessor=...")
        result = self.compiled_log_likelihood(tf.constant(list(texts), tf.string))
        return {name: value.numpy().tolist() for name, value in result.items()}

    def log_likelihood(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores texts, as graph operations.

        With the preprocessor's start token (the default) the first token of a text has a probability too; without it
        the first token is only read.

        Args:
            text: strings [batch].

        Returns:
            `log_likelihood` float32 [batch], natural logarithm, summed over tokens; `token_count` int32 [batch];
            `perplexity` float32 [batch], exp(-log_likelihood / token_count), 1 for an empty text.
        """
        ids = self.preprocessor.tokenize_text(text)
        longest = tf.minimum(
            tf.reduce_max(tf.concat([ids.row_lengths(), [2]], 0)), self.backbone.max_sequence_length + 1
        )
        mask = tf.sequence_mask(ids.row_lengths(), longest)
        ids = ids.to_tensor(self.preprocessor.pad_id, shape=[None, None])[:, :longest]
        ids = tf.pad(ids, [[0, 0], [0, tf.cast(longest, tf.int32) - tf.shape(ids)[1]]])
        logits = self({"token_ids": ids[:, :-1], "padding_mask": mask[:, :-1]}, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids[:, 1:], tf.cast(logits, tf.float32))
        counts = tf.reduce_sum(tf.cast(mask[:, 1:], tf.float32), 1)
        total = tf.reduce_sum(tf.where(mask[:, 1:], losses, 0.0), 1)
        return {
            "log_likelihood": -total,
            "token_count": tf.cast(counts, tf.int32),
            "perplexity": tf.exp(tf.math.divide_no_nan(total, counts)),
        }

    # One trace each, for all batch sizes and lengths; the exports have the same signatures.

    @functools.cached_property
    def compiled_answer(self):
        return tf.function(self.answer, input_signature=list(GENERATE_INPUTS.values()))

    @functools.cached_property
    def compiled_log_likelihood(self):
        return tf.function(self.log_likelihood, input_signature=[tf.TensorSpec([None], tf.string, "text")])
