"""The train step as a TPU needs it: one XLA program of static shapes, with the numbers of the plain graph.

No TPU was at hand. What is held here on a CPU is what a TPU's compiler requires: XLA takes the whole step, update
included, so no shape depends on values and no operation is without a kernel.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.training.optimizers import LAMB, AdamW
from albert_gpt_tf.training.schedules import WarmupSchedule

ROWS, LENGTH, MASKS, VOCABULARY, STEPS = 4, 8, 3, 29, 3


def make_pretrainer():
    backbone = AlbertBackbone(
        VOCABULARY, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8, dropout=0.0,
        max_sequence_length=LENGTH,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH)).astype("int32")
    x = {
        "token_ids": ids,
        "segment_ids": (np.arange(LENGTH) > 3).astype("int32") + 0 * ids,
        "padding_mask": np.arange(LENGTH) < rng.integers(5, LENGTH + 1, (ROWS, 1)),
        "mask_positions": rng.integers(0, 5, (ROWS, MASKS)).astype("int32"),
    }
    y = {
        "masked_lm": rng.integers(0, VOCABULARY, (ROWS, MASKS)).astype("int32"),
        "sentence_order": np.array([0, 1, 1, 0], "int32"),
    }
    weights = {
        "masked_lm": rng.integers(0, 2, (ROWS, MASKS)).astype("float32"),
        "sentence_order": np.ones(ROWS, "float32"),
    }
    return AlbertPretrainer(backbone), (x, y, weights)


def make_causal_lm():
    backbone = GPTBackbone(
        VOCABULARY, num_layers=1, num_heads=2, hidden_dim=16, dropout=0.0, max_sequence_length=LENGTH
    )
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, LENGTH + 1)).astype("int32")
    x = {"token_ids": ids[:, :-1], "padding_mask": np.ones((ROWS, LENGTH), bool)}
    return GPTCausalLM(backbone), (x, ids[:, 1:])


def weights_after_steps(make, optimizer_cls, micro_batches, jit_compile):
    keras.utils.set_random_seed(0)
    task, batch = make()
    # Epsilon: the gradient of the keys' bias is 0 but for rounding, of which Adam makes much if epsilon is small.
    optimizer = optimizer_cls(WarmupSchedule(1e-2, STEPS + 1, warmup_steps=2), epsilon=1e-6, global_clipnorm=0.5)
    task.compile(optimizer, micro_batches=micro_batches)
    optimizer.build(task.trainable_variables)
    step = tf.function(task.train_step, jit_compile=jit_compile)
    batch = tf.nest.map_structure(tf.constant, batch)
    logs = [step(batch) for _ in range(STEPS)]
    assert step.experimental_get_tracing_count() == 1
    return [weight.numpy() for weight in task.weights], [float(log["loss"]) for log in logs]


@pytest.mark.parametrize(
    ("make", "optimizer_cls", "micro_batches"),
    [
        (make_pretrainer, LAMB, 1),
        (make_pretrainer, AdamW, 2),
        (make_causal_lm, AdamW, 1),
    ],
)
def test_the_compiled_step_gives_the_weights_of_the_plain_one(make, optimizer_cls, micro_batches):
    initial = [weight.numpy() for weight in weights_of_new(make)]
    plain, plain_losses = weights_after_steps(make, optimizer_cls, micro_batches, jit_compile=False)
    compiled, compiled_losses = weights_after_steps(make, optimizer_cls, micro_batches, jit_compile=True)
    assert max(np.abs(one - other).max() for one, other in zip(plain, initial, strict=True)) > 1e-3
    np.testing.assert_allclose(plain_losses, compiled_losses, atol=1e-5)
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def weights_of_new(make):
    keras.utils.set_random_seed(0)
    return make()[0].weights


def test_fit_takes_jit_compile_on_one_device():
    task, batch = make_causal_lm()
    task.compile(AdamW(1e-2), jit_compile=True)
    dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
    losses = [task.fit(dataset, verbose=0).history["loss"][0] for _ in range(3)]
    assert losses[-1] < losses[0]
