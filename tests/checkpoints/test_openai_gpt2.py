"""OpenAI's GPT-2: checkpoints in the original's naming, and the original graph stated anew in NumPy."""

import json

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.checkpoints import openai_gpt2
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

HPARAMS = {"n_vocab": 50, "n_ctx": 16, "n_embd": 12, "n_head": 3, "n_layer": 2}


def draw(hparams=HPARAMS):
    """Every tensor of the original's graph, none too small to matter for the outputs."""
    h = hparams["n_embd"]
    shapes = {"wte": (hparams["n_vocab"], h), "wpe": (hparams["n_ctx"], h), "ln_f/g": (h,), "ln_f/b": (h,)}
    for layer in range(hparams["n_layer"]):
        for name, columns, rows in (
            ("attn/c_attn", 3 * h, h), ("attn/c_proj", h, h), ("mlp/c_fc", 4 * h, h), ("mlp/c_proj", h, 4 * h),
        ):  # fmt: skip
            shapes |= {f"h{layer}/{name}/w": (1, rows, columns), f"h{layer}/{name}/b": (columns,)}
        shapes |= {f"h{layer}/{name}/{part}": (h,) for name in ("ln_1", "ln_2") for part in "gb"}
    random = np.random.RandomState(0)
    return {f"model/{name}": random.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}


def write(directory, tensors, hparams=HPARAMS):
    """A directory as OpenAI releases it, less the vocabulary."""
    (directory / "hparams.json").write_text(json.dumps(hparams), encoding="utf-8")
    (directory / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"'
    )
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(directory / "model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=list(tensors.values()),
    )
    return directory


def assert_bit_equal(backbone, tensors):
    pairs = {
        "wte": backbone.token_embedding.embeddings, "wpe": backbone.position_embedding.position_embeddings,
        "ln_f/g": backbone.final_norm.gamma, "ln_f/b": backbone.final_norm.beta,
    }  # fmt: skip
    fused = {}
    for index, layer in enumerate(backbone.transformer_layers):
        for name, norm in (("ln_1", layer.attention_norm), ("ln_2", layer.feed_forward_norm)):
            pairs |= {f"h{index}/{name}/g": norm.gamma, f"h{index}/{name}/b": norm.beta}
        for name, dense in (
            ("attn/c_proj", layer.attention.output_dense),
            ("mlp/c_fc", layer.feed_forward.intermediate_dense),
            ("mlp/c_proj", layer.feed_forward.output_dense),
        ):
            pairs |= {f"h{index}/{name}/w": dense.kernel[None], f"h{index}/{name}/b": dense.bias}
        parts = [getattr(layer.attention, part) for part in ("query", "key", "value")]
        fused[f"h{index}/attn/c_attn/w"] = np.concatenate([part.kernel for part in parts], 1)[None]
        fused[f"h{index}/attn/c_attn/b"] = np.concatenate([part.bias for part in parts])
    assert len(pairs) + 3 * len(fused) == len(backbone.weights)
    for name, value in {**pairs, **fused}.items():
        np.testing.assert_array_equal(value, tensors[f"model/{name}"], err_msg=name)


# === Loading ===


def test_a_backbone_has_the_bits_of_the_checkpoint(tmp_path):
    tensors = draw()
    backbone = load_backbone(GPTBackbone, write(tmp_path, tensors))
    assert_bit_equal(backbone, tensors)
    assert (backbone.num_heads, backbone.max_sequence_length, backbone.layer_norm_epsilon) == (3, 16, 1e-5)
    assert (backbone.dropout, backbone.activation, backbone.norm_first) == (0.0, "gelu_new", True)


def test_an_untied_head_begins_as_the_token_embedding(tmp_path):
    tensors = draw()
    causal_lm = load_task(GPTCausalLM, write(tmp_path, tensors), tie_word_embeddings=False)
    assert_bit_equal(causal_lm.backbone, tensors)
    np.testing.assert_array_equal(causal_lm.lm_head.kernel, tensors["model/wte"].T)


def test_the_head_of_a_classifier_is_new(tmp_path, caplog):
    tensors = draw()
    classifier = load_task(GPTTextClassifier, write(tmp_path, tensors), labels=["ham", "spam"])
    assert_bit_equal(classifier.backbone, tensors)
    assert "new, to be trained: the output layer" in caplog.text


def test_what_does_not_fit_is_named_in_one_sentence(tmp_path):
    tensors = draw()
    del tensors["model/h1/ln_2/b"]
    tensors["model/h0/attn/c_attn/w"] = np.ones((1, 12, 35), "float32")
    tensors["model/h2/ln_1/g"] = np.ones(12, "float32")
    with pytest.raises(ValueError) as error:
        load_backbone(GPTBackbone, write(tmp_path, tensors))
    assert "\n" not in str(error.value)
    assert "1 missing: model/h1/ln_2/b" in str(error.value)
    assert "1 unexpected: model/h2/ln_1/g" in str(error.value)
    assert "model/h0/attn/c_attn/w [1, 12, 35] instead of [1, 12, 36]" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "Expected JSON"), ('{"n_vocab": 50, "n_ctx": 16}', "without n_embd, n_head, n_layer")],
)
def test_a_broken_configuration_gives_one_sentence(tmp_path, content, message):
    (tmp_path / "hparams.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_backbone(GPTBackbone, tmp_path)


# === Writing ===


def test_the_rules_lead_back_to_the_checkpoint(tmp_path):
    tensors = draw()
    backbone = load_backbone(GPTBackbone, write(tmp_path, tensors))
    written = {
        rule.name: rule.to_theirs(tuple(variable.numpy() for variable in rule.variables))
        for rule in openai_gpt2.rules(backbone)
    }
    assert written.keys() == tensors.keys()
    for name, value in written.items():
        np.testing.assert_array_equal(value, tensors[name])


# === Numbers ===


def norm(x, tensors, name):
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normed * tensors[f"{name}/g"] + tensors[f"{name}/b"]


def conv1d(x, tensors, name):
    return x @ tensors[f"{name}/w"][0] + tensors[f"{name}/b"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def attention(x, heads, tensors, name):
    def split(x):  # [batch, length, hidden] -> [batch, heads, length, head]
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    query, key, value = (split(part) for part in np.split(conv1d(x, tensors, f"{name}/attn/c_attn"), 3, axis=2))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    seen = np.tril(np.ones(scores.shape[-2:]))
    mixed = softmax(scores * seen - 1e10 * (1 - seen)) @ value
    return conv1d(mixed.transpose(0, 2, 1, 3).reshape(x.shape), tensors, f"{name}/attn/c_proj")


def original(hparams, tensors, ids):
    """The graph of `model.py`, in float64: hidden states after the last norm, and logits."""
    tensors = {name.removeprefix("model/"): value.astype("float64") for name, value in tensors.items()}
    x = tensors["wte"][ids] + tensors["wpe"][: ids.shape[1]]
    for layer in range(hparams["n_layer"]):
        x = x + attention(norm(x, tensors, f"h{layer}/ln_1"), hparams["n_head"], tensors, f"h{layer}")
        wide = gelu(conv1d(norm(x, tensors, f"h{layer}/ln_2"), tensors, f"h{layer}/mlp/c_fc"))
        x = x + conv1d(wide, tensors, f"h{layer}/mlp/c_proj")
    x = norm(x, tensors, "ln_f")
    return x, x @ tensors["wte"].T


def test_outputs_equal_the_original_graph(tmp_path):
    tensors = draw()
    causal_lm = load_task(GPTCausalLM, write(tmp_path, tensors))
    ids = np.random.RandomState(1).randint(50, size=(3, 16))
    inputs = {"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}
    hidden, logits = original(HPARAMS, tensors, ids)
    np.testing.assert_allclose(causal_lm.backbone(inputs), hidden, atol=1e-5, rtol=0)
    np.testing.assert_allclose(causal_lm(inputs), logits, atol=1e-5, rtol=0)
