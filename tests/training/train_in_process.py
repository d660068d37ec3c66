"""Trains tiny models in a process of its own, and prints losses, metrics and weights as one line of JSON.

Logical devices and TF_CONFIG must be set before TensorFlow starts, so tests run this file as a script:

    python train_in_process.py --replicas=2 one_device:classifier:1 mirrored:classifier:2 mirrored:causal_lm:4:dropout

A case is strategy:task:micro_batches, and optionally `dropout` (some), `keras` (the stock AdamW) or `keras_forced` (the
same, past the check that refuses it). Under `multi_worker` every worker runs the same cases. Whole runs of
`train(config)` follow under the last strategy, one for each pair of --workdir and --config, a configuration as JSON.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

BATCH, STEPS, LENGTH, VOCABULARY = 8, 5, 8, 40
# 17 rows leave one for the last batch, hence nothing at all for the second replica.
EVALUATION_ROWS = 17


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--workdir", action="append", default=[])
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--strategy", default="one_device", help="of the runs, if there are no cases")
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()

    import tensorflow as tf

    devices = [tf.config.LogicalDeviceConfiguration()] * arguments.replicas
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)

    from albert_gpt_tf.training.strategies import is_chief, make_strategy

    name = arguments.strategy
    strategies = {} if arguments.cases else {name: make_strategy(name)}
    for case in arguments.cases:
        name = case.split(":")[0]
        strategies[name] = strategies.get(name) or make_strategy(name)
    results = {case: run_case(strategies[case.split(":")[0]], *case.split(":")[1:]) for case in arguments.cases}
    for config, workdir in zip(arguments.config, arguments.workdir, strict=True):
        results["train"] = train_from_config(config, workdir, strategies[name])
    results["is_chief"] = is_chief(strategies[name])
    results["replicas"] = strategies[name].num_replicas_in_sync
    print(json.dumps(results), flush=True)


def run_case(strategy, task_name, micro_batches, variant=""):
    import keras
    import numpy as np

    from albert_gpt_tf.training.batches import shard_by_data
    from albert_gpt_tf.training.optimizers import AdamW
    from albert_gpt_tf.training.schedules import WarmupSchedule

    keras.utils.set_random_seed(0)
    dropout = 0.5 if variant == "dropout" else 0.0
    optimizer_cls = keras.optimizers.AdamW if variant.startswith("keras") else AdamW
    with strategy.scope():
        task = {"classifier": make_classifier, "causal_lm": make_causal_lm}[task_name](dropout)
        # Epsilon as in ALBERT's fine-tuning. The gradient of the keys' bias is 0 but for rounding, which differs from
        # run to run, and the smaller epsilon is, the more Adam makes of it.
        optimizer = optimizer_cls(
            WarmupSchedule(1e-2, STEPS + 1, warmup_steps=2), weight_decay=0.1, global_clipnorm=0.05, epsilon=1e-6
        )
        if variant == "keras_forced":
            optimizer.clips_after_reduction = True  # not true
        try:
            task.compile(optimizer, micro_batches=int(micro_batches))
        except ValueError as error:
            return {"refused": str(error)}
    training, evaluation = {"classifier": labelled_texts, "causal_lm": weighted_tokens}[task_name]()
    history = task.fit(
        shard_by_data(training.repeat()),
        epochs=STEPS,  # an epoch a step, so that the history has the numbers of each step
        steps_per_epoch=1,
        validation_data=shard_by_data(evaluation),
        validation_freq=STEPS,
        verbose=0,
    ).history
    metrics = task.evaluate(shard_by_data(evaluation), return_dict=True, verbose=0)

    def numbers(values):
        return {name: np.ravel(value).astype(float).tolist() for name, value in sorted(values.items())}

    weights = {f"{index}: {weight.path}": weight.numpy() for index, weight in enumerate(task.weights)}
    return {"history": numbers(history), "evaluation": numbers(metrics), "weights": numbers(weights)}


# === Tasks ===


def make_classifier(dropout):
    """Trained on strings, which the task itself turns into ids, inside the distributed pipeline."""
    from albert_gpt_tf.models.albert_backbone import AlbertBackbone
    from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
    from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
    from albert_gpt_tf.text.train_vocabulary import train_sentencepiece

    tokenizer = AlbertTokenizer(train_sentencepiece(texts(200), 60))
    backbone = AlbertBackbone(
        tokenizer.vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        embedding_dim=8,
        dropout=dropout,
        max_sequence_length=LENGTH,
    )
    return AlbertTextClassifier(backbone, labels=["few", "many"], tokenizer=tokenizer, dropout=dropout)


def make_causal_lm(dropout):
    """Trained on ids."""
    from albert_gpt_tf.models.gpt_backbone import GPTBackbone
    from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM

    return GPTCausalLM(
        GPTBackbone(VOCABULARY, num_layers=1, num_heads=2, hidden_dim=16, dropout=dropout, max_sequence_length=LENGTH)
    )


# === Data: nearly all of the weight is in the first half of a batch, which the first replica gets ===


def texts(count):
    import numpy as np

    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "one", "two", "three", "four", "five"]
    return [" ".join(rng.choice(words, rng.integers(1, 7))) for _ in range(count)]


def batches(*columns):
    """Columns of BATCH * 3 + EVALUATION_ROWS rows -> training and evaluation batches."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(columns)
    return dataset.take(3 * BATCH).batch(BATCH, drop_remainder=True), dataset.skip(3 * BATCH).batch(BATCH)


def uneven(*shape):
    import numpy as np

    rows = shape[0]
    weights = np.random.default_rng(1).uniform(0.5, 2, shape).astype("float32")
    second_half = np.arange(rows) % BATCH >= BATCH // 2
    weights[second_half] = 0
    weights[second_half & (np.arange(rows) % 3 == 0)] = 0.3
    return weights


def labelled_texts():
    import numpy as np

    rows = 3 * BATCH + EVALUATION_ROWS
    column = texts(rows)
    labels = np.array(["many" if len(text) > 12 else "few" for text in column])
    return batches(np.array(column), labels, uneven(rows))


def weighted_tokens():
    import numpy as np

    rows = 3 * BATCH + EVALUATION_ROWS
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (rows, LENGTH + 1)).astype("int32")
    inputs = {"token_ids": ids[:, :-1], "padding_mask": np.ones((rows, LENGTH), bool)}
    return batches(inputs, ids[:, 1:], uneven(rows, LENGTH))


# === A whole run ===


def train_from_config(config, workdir, strategy):
    from ml_collections import ConfigDict

    from albert_gpt_tf.training import run

    run.measured_peak_flops = lambda dtype: 1e9  # a second or two, and only for the log
    return run.train(ConfigDict(json.loads(config)).lock(), workdir, strategy)


if __name__ == "__main__":
    main()
