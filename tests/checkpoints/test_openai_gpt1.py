"""OpenAI's GPT-1: files of numbers in the original's order, and the original graph stated anew in NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest

from albert_gpt_tf.checkpoints import openai_gpt1
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TOKENS, POSITIONS, WIDTH, HEADS, LAYERS = 50, 16, 24, 12, 2


def draw(tokens=TOKENS):
    """Every array of the original in its order; none too small to matter for the outputs."""
    h, random = WIDTH, np.random.RandomState(0)
    shapes = {"positions": (POSITIONS, h), "tokens": (tokens, h)}
    for i in range(LAYERS):
        shapes |= {
            f"h{i}/attn/c_attn/w": (1, h, 3 * h), f"h{i}/attn/c_attn/b": (3 * h,),
            f"h{i}/attn/c_proj/w": (1, h, h), f"h{i}/attn/c_proj/b": (h,),
            f"h{i}/ln_1/g": (h,), f"h{i}/ln_1/b": (h,),
            f"h{i}/mlp/c_fc/w": (1, h, 4 * h), f"h{i}/mlp/c_fc/b": (4 * h,),
            f"h{i}/mlp/c_proj/w": (1, 4 * h, h), f"h{i}/mlp/c_proj/b": (h,),
            f"h{i}/ln_2/g": (h,), f"h{i}/ln_2/b": (h,),
        }  # fmt: skip
    return {name: random.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}


def write(directory, tensors):
    """The directory `model` of finetune-transformer-lm: ten files, cut without regard to the arrays."""
    (directory / "params_shapes.json").write_text(json.dumps([value.shape for value in tensors.values()]))
    numbers = np.concatenate([value.ravel() for value in tensors.values()])
    for index, part in enumerate(np.array_split(numbers, 10)):
        np.save(directory / f"params_{index}.npy", part)
    return directory


def assert_bit_equal(backbone, tensors):
    pairs = {"positions": backbone.position_embedding.position_embeddings}
    pairs["tokens"] = backbone.token_embedding.embeddings[: len(tensors["tokens"])]
    for index, layer in enumerate(backbone.transformer_layers):
        for name, norm in (("ln_1", layer.attention_norm), ("ln_2", layer.feed_forward_norm)):
            pairs |= {f"h{index}/{name}/g": norm.gamma, f"h{index}/{name}/b": norm.beta}
        parts = [getattr(layer.attention, part) for part in ("query", "key", "value")]
        pairs[f"h{index}/attn/c_attn/w"] = np.concatenate([part.kernel for part in parts], 1)[None]
        pairs[f"h{index}/attn/c_attn/b"] = np.concatenate([part.bias for part in parts])
        for name, dense in (
            ("attn/c_proj", layer.attention.output_dense),
            ("mlp/c_fc", layer.feed_forward.intermediate_dense),
            ("mlp/c_proj", layer.feed_forward.output_dense),
        ):
            pairs |= {f"h{index}/{name}/w": dense.kernel[None], f"h{index}/{name}/b": dense.bias}
    assert pairs.keys() == tensors.keys()
    for name, value in pairs.items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)


# === Loading ===


def test_a_backbone_has_the_bits_of_the_files(tmp_path):
    tensors = draw()
    backbone = load_backbone(GPTBackbone, write(tmp_path, tensors))
    assert backbone.final_norm is None
    assert (backbone.norm_first, backbone.num_heads, backbone.dropout) == (False, 12, 0.1)
    assert (backbone.vocabulary_size, backbone.max_sequence_length, backbone.num_layers) == (50, 16, 2)
    assert_bit_equal(backbone, tensors)


def test_the_published_shapes_give_the_published_model(tmp_path):
    path = DATA / "tokenizers" / "gpt1" / "params_shapes.json"
    if not path.is_file():
        pytest.skip("the shapes are not beside the repository (../shared/data/tokenizers)")
    (tmp_path / "params_shapes.json").write_bytes(path.read_bytes())
    numbers = np.lib.format.open_memmap(tmp_path / "params_0.npy", "w+", "float32", (116_534_784,))  # a sparse file
    del numbers
    arguments = openai_gpt1.backbone_arguments(tmp_path)
    assert [arguments[name] for name in ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")] == [
        12, 12, 768, 3072,
    ]  # fmt: skip
    assert (arguments["vocabulary_size"], arguments["max_sequence_length"]) == (40478, 512)


def test_special_tokens_get_rows_of_their_own(tmp_path):
    tensors = draw(tokens=40478)
    write(tmp_path, tensors)
    backbone = load_backbone(GPTBackbone, tmp_path, vocabulary_size=40581)
    assert_bit_equal(backbone, tensors)
    added = backbone.token_embedding.embeddings.numpy()[40478:]
    assert 0.018 < added.std() < 0.022  # N(0, 0.02), as at fine-tuning
    untied = load_task(GPTCausalLM, tmp_path, vocabulary_size=40481, tie_word_embeddings=False)
    np.testing.assert_array_equal(untied.lm_head.kernel, untied.backbone.token_embedding.embeddings.numpy().T)


def test_the_head_of_a_classifier_is_new(tmp_path, caplog):
    tensors = draw()
    classifier = load_task(GPTTextClassifier, write(tmp_path, tensors), labels=["ham", "spam"])
    assert_bit_equal(classifier.backbone, tensors)
    assert "new, to be trained: the output layer" in caplog.text


def test_arguments_that_do_not_fit_are_named_in_one_sentence(tmp_path):
    write(tmp_path, draw())
    with pytest.raises(ValueError) as error:
        load_backbone(GPTBackbone, tmp_path, num_layers=3, vocabulary_size=51)
    assert "\n" not in str(error.value)
    assert "12 missing: h2/ln_1/g" in str(error.value)
    assert "tokens [50, 24] instead of [51, 24]" in str(error.value)
    with pytest.raises(ValueError, match="12 unexpected: h1/attn/c_attn/w"):
        load_backbone(GPTBackbone, tmp_path, num_layers=1)


def test_the_rules_lead_back_to_the_files(tmp_path):
    tensors = draw(tokens=40478)
    backbone = load_backbone(GPTBackbone, write(tmp_path, tensors), vocabulary_size=40481)
    written = {
        rule.name: rule.to_theirs(tuple(variable.numpy() for variable in rule.variables))
        for rule in openai_gpt1.rules(backbone)
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


def attention(x, tensors, name):
    def split(x):  # [batch, length, hidden] -> [batch, heads, length, head]
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    query, key, value = (split(part) for part in np.split(conv1d(x, tensors, f"{name}/attn/c_attn"), 3, axis=2))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(value.shape[-1])
    seen = np.tril(np.ones(scores.shape[-2:]))
    mixed = softmax(scores * seen - 1e9 * (1 - seen)) @ value
    return conv1d(mixed.transpose(0, 2, 1, 3).reshape(x.shape), tensors, f"{name}/attn/c_proj")


def original(tensors, ids):
    """The graph of `train.py`, in float64: one matrix for tokens, three special tokens and positions."""
    tensors = {name: value.astype("float64") for name, value in tensors.items()}
    table = np.concatenate([tensors["tokens"], np.zeros((3, WIDTH)), tensors["positions"]])
    places = np.arange(TOKENS + 3, TOKENS + 3 + ids.shape[1])
    x = table[ids] + table[places]
    for layer in range(LAYERS):
        x = norm(x + attention(x, tensors, f"h{layer}"), tensors, f"h{layer}/ln_1")
        wide = gelu(conv1d(x, tensors, f"h{layer}/mlp/c_fc"))
        x = norm(x + conv1d(wide, tensors, f"h{layer}/mlp/c_proj"), tensors, f"h{layer}/ln_2")
    return x, (x @ table.T)[..., :TOKENS]


def test_outputs_equal_the_original_graph(tmp_path):
    tensors = draw()
    causal_lm = load_task(GPTCausalLM, write(tmp_path, tensors))
    ids = np.random.RandomState(1).randint(TOKENS, size=(3, POSITIONS))
    inputs = {"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}
    hidden, logits = original(tensors, ids)
    np.testing.assert_allclose(causal_lm.backbone(inputs), hidden, atol=1e-5, rtol=0)
    np.testing.assert_allclose(causal_lm(inputs), logits, atol=1e-5, rtol=0)
