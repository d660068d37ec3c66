"""What a configuration says about a run: which settings can work, the optimizer, and when something is due."""

from typing import NamedTuple

import keras

from albert_gpt_tf.training.optimizers import LAMB, AdamW
from albert_gpt_tf.training.parameter_efficient import TRAIN_ONLY
from albert_gpt_tf.training.schedules import WarmupSchedule

OPTIMIZERS = {"adamw": AdamW, "lamb": LAMB}
CHOICES = {
    "data.source": ("docstrings", "files", "glue", "shards", "wikitext"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
    "optimizer": tuple(OPTIMIZERS),
    "non_finite": ("stop", "skip"),
    "keep": ("best", "last"),
    "train_only": TRAIN_ONLY,
}
AT_LEAST_ONE = (
    "batch_size", "steps", "sequence_length", "log_every", "checkpoint_every", "keep_checkpoints", "adapter_dim",
    "lora_rank",
)  # fmt: skip
AT_LEAST_ZERO = ("micro_batch_size", "validate_every", "patience")


def check_settings(config, strategy) -> None:
    """Raises ValueError for settings that cannot work, before anything is read.

    Args:
        config: an `ml_collections.ConfigDict`, see `configs/`.
        strategy: a `tf.distribute.Strategy`.

    Example:
        >>> check_settings(get_config(), make_strategy("one_device"))
    """
    for name, choices in CHOICES.items():
        value = _read(config, name)
        if value not in choices:
            raise ValueError(f"config.{name} must be one of {choices}. Received: config.{name}={value!r}")
    for names, least in ((AT_LEAST_ONE, 1), (AT_LEAST_ZERO, 0)):
        for name in names:
            value = _read(config, name)
            if value < least:
                raise ValueError(f"config.{name} must be {least} or more. Received: {name}={value}")
    micro_batches(config, strategy)
    if config.steps % steps_between_validations(config):
        raise ValueError(
            "config.steps must be a multiple of config.validate_every. "
            f"Received: steps={config.steps}, validate_every={config.validate_every}"
        )
    if config.patience and not config.validate_every:
        raise ValueError(
            "config.patience counts validations, so config.validate_every must be 1 or more. "
            f"Received: patience={config.patience}, validate_every=0"
        )
    learning_rate(config)


def _read(config, name):
    value = config
    for part in name.split("."):
        if part not in value:
            raise ValueError(
                f"Expected a configuration with config.{name}. Received: one without it. Add it; "
                "configs/docstrings_gpt.py has every key with a word about it."
            )
        value = value[part]
    return value


def micro_batches(config, strategy) -> int:
    """Parts in which each replica computes its share of a batch, from `batch_size` and `micro_batch_size`.

    Raises:
        ValueError: the sizes do not divide.

    Example:
        >>> config.batch_size, config.micro_batch_size = 64, 8
        >>> micro_batches(config, strategy_of_two_replicas)
        4
    """
    replicas = strategy.num_replicas_in_sync
    rows = replicas * (config.micro_batch_size or 1)
    if config.batch_size % rows:
        raise ValueError(
            "config.batch_size must be divisible by replicas * micro_batch_size. Received: "
            f"batch_size={config.batch_size}, replicas={replicas}, micro_batch_size={config.micro_batch_size}"
        )
    return config.batch_size // rows if config.micro_batch_size else 1


def steps_between_validations(config) -> int:
    """Steps from one validation to the next; all steps if there is none on the way."""
    return min(config.validate_every or config.steps, config.steps)


def learning_rate(config) -> WarmupSchedule:
    """The learning rate over the steps of the run."""
    return WarmupSchedule(
        config.learning_rate, config.steps, config.warmup_steps, config.decay, config.floor, config.power
    )


def make_optimizer(config) -> keras.optimizers.Optimizer:
    """The optimizer that the configuration names; with float16 its gradients are scaled.

    Steps whose gradient is not finite change nothing, whatever `config.non_finite` says about going on.

    Example:
        >>> task.compile(make_optimizer(config), micro_batches=micro_batches(config, strategy))
    """
    optimizer = OPTIMIZERS[config.optimizer](
        learning_rate(config),
        weight_decay=config.weight_decay,
        global_clipnorm=config.global_clipnorm,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        bias_correction=config.bias_correction,
        skip_non_finite=True,
    )
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


class Due(NamedTuple):
    """Says what follows a step; steps count from 1."""

    steps: int
    log_every: int
    validate_every: int  # 0: no validation on the way
    checkpoint_every: int

    def log(self, step: int) -> bool:
        return step % self.log_every == 0 or step == self.steps

    def validation(self, step: int) -> bool:
        return bool(self.validate_every) and step % min(self.validate_every, self.steps) == 0

    def checkpoint(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.steps

    def anything(self, step: int) -> bool:
        return self.log(step) or self.validation(step) or self.checkpoint(step)
