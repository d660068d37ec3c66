"""Training of a few parameters upon a model that stays as it is: `config.train_only`."""

import inspect

from albert_gpt_tf.tasks.task import Task

# What is trained beside the head of the task.
TRAIN_ONLY = ("all", "head", "adapters", "gates", "lora")


def with_trained_parts(task: Task, config) -> Task:
    """Freezes what `config.train_only` leaves out, and adds what it names.

    Args:
        task: a task made of `config.preset`, before it is compiled.
        config: has `preset`, `train_only`, `adapter_dim` (width) and `lora_rank`.

    Returns:
        The task; with adapters or gates a new one, with the same weights beside them. Its head is trained, and of its
        backbone the adapters, the gates or LoRA's factors of query and value.

    Raises:
        ValueError: the model has no such parameters, or nothing to train, or there is no preset to train upon.

    Example:
        >>> config.preset, config.train_only = "hf://albert/albert-base-v2", "lora"
        >>> classifier = AlbertTextClassifier.from_preset(config.preset, labels=["ham", "spam"])
        >>> sum(w.numpy().size for w in with_trained_parts(classifier, config).backbone.trainable_weights)
        24576

    Reference:
        Houlsby et al., 2019, arXiv:1902.00751 (adapters); Hu et al., 2021, arXiv:2106.09685 (LoRA).
    """
    train_only = config.train_only
    if train_only == "all":
        return task
    if not config.preset:
        raise ValueError(
            f"Expected config.preset for config.train_only={train_only!r}. Received: ''. Name the model to train upon, "
            "or set config.train_only='all'."
        )
    if train_only in ("adapters", "gates"):
        if not hasattr(task.backbone, "with_per_layer_parameters"):
            raise ValueError(
                f"Expected config.train_only among ['all', 'head', 'lora'] for {type(task).__name__}. Received: "
                f"{train_only!r}, which ALBERT's layers have. Take 'lora'."
            )
        added = {"adapters": {"adapter_dim": config.adapter_dim}, "gates": {"layer_gates": True}}[train_only]
        task = with_backbone(task, task.backbone.with_per_layer_parameters(**added))
        task.backbone.train_per_layer_parameters_only()
    elif train_only == "lora":
        task.backbone.enable_lora(config.lora_rank)
        for layer in task.backbone._flatten_layers():
            if getattr(layer, "lora_enabled", False) and layer.bias is not None:
                layer.bias.trainable = False  # Keras leaves it to be trained: the base must stay as it is
    else:
        task.backbone.trainable = False
    if not task.trainable_weights:
        raise ValueError(
            f"Expected weights to train. Received: config.train_only={train_only!r} and a {type(task).__name__}, whose "
            "output layer is the token embedding. Take 'lora'."
        )
    return task


def with_backbone(task: Task, backbone) -> Task:
    """The same task with the same head upon another backbone."""
    names = inspect.signature(type(task).__init__).parameters
    arguments = {name: value for name, value in task.get_config().items() if name in names}
    new = type(task)(**{**arguments, "preprocessor": task.preprocessor, "backbone": backbone})
    heads = [[w for w in t.weights if not any(w is other for other in t.backbone.weights)] for t in (new, task)]
    for weight, old in zip(*heads, strict=True):
        weight.assign(old)
    return new
