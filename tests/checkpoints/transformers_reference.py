"""Models of PyTorch Transformers with weights drawn from a seed, compared with ours in outputs and gradients."""

import numpy as np
import tensorflow as tf

from albert_gpt_tf.checkpoints import hugging_face_albert, hugging_face_gpt

ALBERT = dict(
    vocab_size=50, embedding_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=12, pad_token_id=0, classifier_dropout_prob=0.0,
)  # fmt: skip
GPT = dict(
    vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=12, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    pad_token_id=0, bos_token_id=None, eos_token_id=None,
)  # fmt: skip
ROWS, LENGTH, CHOICES = 3, 7, 2


def make_model(name: str, directory, **changes):
    """A PyTorch model of the class `name`, saved in `directory`; its weights are large enough that a mistake shows."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cls = getattr(transformers, name)
    config = ALBERT if name.startswith("Albert") else GPT
    model = cls(cls.config_class(**{**config, **changes})).eval()
    generator = torch.Generator().manual_seed(2019)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                is_gain = key.endswith("weight")  # of a layer norm
                drawn = 0.1 * drawn + (1.0 if is_gain else 0.0)
            else:
                drawn = drawn / parameter.shape[-1] ** 0.5
            parameter.copy_(drawn)
    model.save_pretrained(directory)
    return model


def draw_inputs(name: str) -> dict[str, np.ndarray]:
    """Our inputs for their class: three rows, two of them with padding; for multiple choice [rows, choices, length]."""
    random = np.random.RandomState(7)
    shape = (ROWS, CHOICES, LENGTH) if "MultipleChoice" in name else (ROWS, LENGTH)
    lengths = random.randint(3, LENGTH, size=shape[:-1])
    lengths.reshape(-1)[0] = LENGTH
    mask = np.arange(LENGTH) < lengths[..., None]
    inputs = {"token_ids": np.where(mask, random.randint(1, 50, size=shape), 0), "padding_mask": mask}
    if name.startswith("Albert"):
        inputs["segment_ids"] = random.randint(2, size=shape)
    return inputs


def call_theirs(model, inputs):
    """The outputs of a PyTorch model for our inputs."""
    import torch

    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    return model(**{names[name]: torch.tensor(value.astype("int64")) for name, value in inputs.items()})


def compare(ours, theirs, outputs: dict[str, str]) -> tuple[float, float]:
    """How far our model and theirs are apart, in outputs and in gradients.

    Args:
        ours: our model, whose weights come from theirs.
        theirs: the PyTorch model.
        outputs: name of our output ("" for a single one) -> attribute of theirs.

    Returns:
        The largest difference of the outputs at real tokens, and of the gradients of all weights for a sum of the
        outputs with random factors, relative to a weight's largest gradient where that is above 1.
    """
    import torch

    inputs = draw_inputs(type(theirs).__name__)
    our_inputs = {name: tf.constant(value) for name, value in inputs.items()}
    if "mask_positions" in getattr(ours, "input", {}):
        our_inputs["mask_positions"] = tf.tile(tf.range(LENGTH)[None], [ROWS, 1])
    with tf.GradientTape() as tape:
        results = ours(our_inputs, training=False)
        results = results if isinstance(results, dict) else {"": results}
        factors = {name: _factors(results[name].shape, inputs["padding_mask"]) for name in outputs}
        loss = tf.add_n([tf.reduce_sum(results[name] * factors[name]) for name in outputs])

    expected = call_theirs(theirs, inputs)
    expected = {name: getattr(expected, attribute) for name, attribute in outputs.items()}
    difference = max(
        np.abs((results[name].numpy() - expected[name].detach().numpy()) * (factors[name] != 0)).max()
        for name in outputs
    )
    sum((expected[name] * torch.tensor(factors[name])).sum() for name in outputs).backward()
    gradients = {name: weight.grad.numpy() for name, weight in theirs.named_parameters() if weight.grad is not None}

    form = hugging_face_albert if type(theirs).__name__.startswith("Albert") else hugging_face_gpt
    rules = form.rules(ours, list(dict(theirs.named_parameters())))
    assert set(gradients) <= {rule.name for rule in rules}
    variables = [variable.value for rule in rules for variable in rule.variables]
    values = iter(tape.gradient(loss, variables, unconnected_gradients="zero"))
    differences = []
    for rule in rules:
        parts = tuple(tf.convert_to_tensor(next(values)).numpy() for _ in rule.variables)
        if rule.name in gradients:
            wanted = gradients[rule.name]
            differences.append(np.abs(rule.to_theirs(parts) - wanted).max() / max(1, np.abs(wanted).max()))
    return float(difference), float(max(differences))


def _factors(shape, mask):
    """Random factors, 0 at padding."""
    factors = np.random.RandomState(3).standard_normal(shape).astype("float32")
    is_per_token = len(shape) > 1 and shape[1] == LENGTH
    return factors * mask.reshape(*mask.shape, *[1] * (len(shape) - 2)) if is_per_token else factors
