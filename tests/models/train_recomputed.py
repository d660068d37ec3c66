"""Trains a small GPT in a process of its own, with or without recomputation, and prints one line of JSON.

    python train_recomputed.py weights 1    on two replicas, in two micro-batches: {name: weights}
    python train_recomputed.py memory 1     one step on one device: {"megabytes": growth of the peak}

The second argument is 1 with recomputation and 0 without.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM


def draw(rows, length, vocabulary_size):
    ids = np.random.RandomState(0).randint(vocabulary_size, size=(rows, length + 1)).astype("int32")
    return {"token_ids": ids[:, :-1], "padding_mask": np.ones((rows, length), bool)}, ids[:, 1:]


def train_on_two_replicas(recompute):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.utils.set_random_seed(1)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        backbone = GPTBackbone(
            50, 3, 2, 16, dropout=0.2, attention_window=3, initializer_range=0.3, recompute=recompute
        )
        causal_lm = GPTCausalLM(backbone)
        causal_lm.compile(keras.optimizers.SGD(0.5), micro_batches=2)
    causal_lm.fit(*draw(8, 12, 50), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return {weight.path: weight.numpy().tolist() for weight in causal_lm.weights}


def measure_memory(recompute):
    causal_lm = GPTCausalLM(GPTBackbone(100, 12, 4, 128, dropout=0.1, max_sequence_length=256, recompute=recompute))
    causal_lm.compile(keras.optimizers.SGD(0.5))
    causal_lm.fit(*draw(1, 8, 100), verbose=0)  # the graph is made
    before = peak_megabytes()
    causal_lm.fit(*draw(10, 256, 100), verbose=0)
    return {"megabytes": peak_megabytes() - before}


def peak_megabytes():
    """The most memory this program held. `getrusage` would count what its parent held before it, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


measure = {"weights": train_on_two_replicas, "memory": measure_memory}[sys.argv[1]]
print(json.dumps(measure(sys.argv[2] == "1")))
