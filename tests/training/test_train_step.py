"""The train step on one device against the same mathematics written out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.training.optimizers import AdamW

ROWS, LENGTH, VOCABULARY = 6, 5, 17


def make_causal_lm():
    return GPTCausalLM(GPTBackbone(VOCABULARY, num_layers=1, num_heads=2, hidden_dim=8, max_sequence_length=LENGTH))


def make_classifier():
    backbone = AlbertBackbone(
        VOCABULARY, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, embedding_dim=4,
        max_sequence_length=LENGTH,
    )  # fmt: skip
    return AlbertTextClassifier(backbone, labels=["a", "b", "c"], dropout=0.0)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH + 1)).astype("int32")
    inputs = {"token_ids": ids[:, :-1], "padding_mask": np.ones((ROWS, LENGTH), bool)}
    return inputs, ids[:, 1:], rng.uniform(0, 3, (ROWS, LENGTH)).astype("float32")


@pytest.fixture
def labelled_batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH)).astype("int32")
    mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (ROWS, 1))
    inputs = {"token_ids": ids, "segment_ids": ids % 2, "padding_mask": mask}
    return inputs, rng.integers(0, 3, ROWS).astype("int32"), rng.uniform(0, 3, ROWS).astype("float32")


@pytest.mark.parametrize("make", [make_causal_lm, make_classifier])
def test_three_steps_equal_mathematics_in_numpy(make, request, numpy_adamw):
    """Log-softmax, weighted mean, clipping and AdamW in NumPy; only the derivative is TensorFlow's."""
    x, y, weights = request.getfixturevalue("batch" if make is make_causal_lm else "labelled_batch")
    keras.utils.set_random_seed(0)
    task = make()
    # Epsilon: see train_in_process.py.
    task.compile(AdamW(1e-2, weight_decay=0.1, global_clipnorm=0.3, epsilon=1e-6))
    reference = numpy_adamw(lambda step: 1e-2, weight_decay=0.1, clipnorm=0.3, epsilon=1e-6)
    for _ in range(3):
        with tf.GradientTape() as tape:
            logits = task(x, training=True)
            log_probabilities = logits - tf.reduce_logsumexp(logits, -1, keepdims=True)
            chosen = tf.reduce_sum(log_probabilities * tf.one_hot(y, logits.shape[-1]), -1)
            loss = -tf.reduce_sum(chosen * weights) / weights.sum()
        gradients = tape.gradient(loss, [v.value for v in task.trainable_variables])
        gradients = [tf.convert_to_tensor(g).numpy() for g in gradients]
        expected, norm = reference.update([v.numpy() for v in task.trainable_variables], gradients)
        accuracy = ((logits.numpy().argmax(-1) == y) * weights).sum() / weights.sum()

        logs = task.train_on_batch(x, y, weights, return_dict=True)
        assert logs["loss"] == pytest.approx(float(loss), abs=1e-5)
        assert logs["accuracy"] == pytest.approx(accuracy, abs=1e-5)
        assert logs["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        for variable, weight in zip(task.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), weight, atol=1e-5, err_msg=variable.path)


def test_a_last_batch_that_micro_batches_do_not_divide_gives_the_same_numbers(labelled_batch):
    x, y, weights = labelled_batch
    dataset = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(4)  # 4 rows, then 2
    results = []
    for micro_batches in (1, 3):
        keras.utils.set_random_seed(0)
        task = make_classifier()
        task.compile(AdamW(1e-2, epsilon=1e-6), micro_batches=micro_batches)
        history = task.fit(dataset, verbose=0).history
        results.append([*task.get_weights(), history["loss"][0], history["accuracy"][0]])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_evaluate_weighs_every_example_once(labelled_batch):
    """Whatever the batches: their means are not averaged."""
    x, y, weights = labelled_batch
    task = make_classifier()
    task.compile()
    whole = task.evaluate(x, y, batch_size=ROWS, sample_weight=weights, return_dict=True, verbose=0)
    parts = task.evaluate(x, y, batch_size=4, sample_weight=weights, return_dict=True, verbose=0)
    assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert parts["accuracy"] == pytest.approx(whole["accuracy"], abs=1e-5)


def test_a_batch_without_any_weight_changes_no_number_to_nan(batch):
    x, y, weights = batch
    task = make_causal_lm()
    task.compile(AdamW(1e-2))
    logs = task.train_on_batch(x, y, 0 * weights, return_dict=True)
    assert logs["loss"] == 0
    assert all(np.isfinite(weight).all() for weight in task.get_weights())


def test_bfloat16_trains_float32_weights(batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        task = make_causal_lm()
    finally:
        keras.config.set_dtype_policy("float32")
    task.compile(AdamW(1e-2), micro_batches=2)
    losses = [task.train_on_batch(*batch, return_dict=True)["loss"] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert {weight.dtype for weight in task.trainable_variables} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse"}, "brings its own loss and metrics.*loss='mse'"),
        ({"metrics": ["accuracy"]}, "brings its own loss and metrics"),
        ({"micro_batches": 0}, "micro_batches must be 1 or more. Received: micro_batches=0"),
        ({"micro_batch": 2}, "compile has no use for {'micro_batch': 2}"),
        ({"weighted_metrics": ["accuracy"]}, "compile has no use for"),
        ({"optimizer": keras.optimizers.Adam(gradient_accumulation_steps=4)}, r"compile\(micro_batches=4\)"),
    ],
)
def test_compile_refuses_what_it_cannot_do(arguments, message):
    task = make_causal_lm()
    with pytest.raises(ValueError, match=message):
        task.compile(**arguments)


def test_text_without_targets_is_an_error_that_says_so(labelled_batch):
    task = make_classifier()
    task.compile()
    with pytest.raises(ValueError, match="needs targets to train or evaluate"):
        task.fit(labelled_batch[0], verbose=0)
