"""GPT-2 and GPT-1 from Hugging Face: the same numbers and gradients as PyTorch; what a configuration may say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from albert_gpt_tf.checkpoints.hugging_face_gpt import backbone_arguments, is_buffer, rules
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def reference():
    """The module transformers_reference.py; skips without PyTorch Transformers."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    path = Path(__file__).parent / "transformers_reference.py"
    spec = importlib.util.spec_from_file_location("transformers_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# === The same numbers as PyTorch ===

SHAPES = {
    "GPT2Model": [
        {},
        {"n_inner": 40},
        {"activation_function": "relu"},
        {"activation_function": "gelu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True},
        {"layer_norm_epsilon": 1e-3},
    ],
    "OpenAIGPTModel": [{}, {"afn": "relu"}, {"layer_norm_epsilon": 1e-3}],
}


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in SHAPES for shape in SHAPES[name]])
def test_a_backbone_computes_what_pytorch_does(reference, tmp_path, name, shape):
    theirs = reference.make_model(name, tmp_path, **shape)
    ours = load_backbone(GPTBackbone, tmp_path)
    difference, of_gradients = reference.compare(ours, theirs, {"": "last_hidden_state"})
    assert difference < 1e-5
    assert of_gradients < 1e-4


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "OpenAIGPTLMHeadModel"])
def test_a_language_model_computes_what_pytorch_does(reference, tmp_path, name, is_tied):
    theirs = reference.make_model(name, tmp_path, tie_word_embeddings=is_tied)
    ours = load_task(GPTCausalLM, tmp_path)
    assert (ours.lm_head is None) == is_tied
    difference, of_gradients = reference.compare(ours, theirs, {"": "logits"})
    assert difference < 1e-5
    assert of_gradients < 1e-4


@pytest.mark.parametrize("name", ["GPT2ForSequenceClassification", "OpenAIGPTForSequenceClassification"])
def test_a_classifier_computes_what_pytorch_does(reference, tmp_path, name):
    theirs = reference.make_model(name, tmp_path, num_labels=3)
    difference, of_gradients = reference.compare(load_task(GPTTextClassifier, tmp_path), theirs, {"": "logits"})
    assert difference < 1e-5
    assert of_gradients < 1e-4


def test_trained_weights_give_the_logits_that_were_published_with_them():
    folder, golden = DATA / "weights" / "gpt2_basic" / "hf", DATA / "golden" / "gpt2_basic_vectors.json"
    if not (folder / "model.safetensors").is_file() or not golden.is_file():
        pytest.skip("the trained weights are not beside the repository (../shared/data)")
    causal_lm = load_task(GPTCausalLM, folder, preprocessor=None, head_bias=True)
    # The file of the bias lies beside the model: Transformers has no place for it.
    causal_lm.lm_head.bias.assign(np.load(folder / "lm_head_bias.npy").reshape(-1))
    for prompt in json.loads(golden.read_text(encoding="utf-8")):
        ids = np.array([prompt["tokens"]])
        logits = causal_lm({"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}).numpy()[0, -1]
        # 0.05: the values come from a fixed-point implementation.
        for token, value in prompt["top"].items():
            assert logits[int(token)] == pytest.approx(value, abs=0.05)


# === Configuration ===


def write_config(folder, **fields):
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **fields}), encoding="utf-8")
    return folder


def test_fields_that_are_left_out_have_the_values_of_the_smallest_published_models(tmp_path):
    arguments = backbone_arguments(write_config(tmp_path))
    sizes = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")
    assert [arguments[name] for name in sizes] == [50257, 12, 12, 768, None, 1024]
    arguments = backbone_arguments(write_config(tmp_path, model_type="openai-gpt"))
    assert not arguments["norm_first"]
    assert (arguments["vocabulary_size"], arguments["max_sequence_length"]) == (40478, 512)


def test_three_dropout_rates_are_kept(tmp_path):
    arguments = backbone_arguments(write_config(tmp_path, resid_pdrop=0.3, embd_pdrop=0, attn_pdrop=0.2))
    assert [arguments[name] for name in ("dropout", "embedding_dropout", "attention_dropout")] == [0.3, 0.0, 0.2]


@pytest.mark.parametrize(("model_type", "field"), [("gpt2", "activation_function"), ("openai-gpt", "afn")])
def test_gelu_means_the_error_function_in_gpt2_and_tanh_in_gpt1(tmp_path, model_type, field):
    arguments = backbone_arguments(write_config(tmp_path, **{"model_type": model_type, field: "gelu"}))
    assert arguments["activation"] == {"gpt2": "gelu", "openai-gpt": "gelu_new"}[model_type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_embd": 768.5}, "Expected a whole number as n_embd in .*config.json. Received: 768.5"),
        ({"n_inner": "3072"}, "Expected a whole number as n_inner"),
        ({"activation_function": "gelu_9"}, "as activation_function .* Received: 'gelu_9'"),
        ({"add_cross_attention": True}, "Expected add_cross_attention other than true"),
        ({"scale_attn_weights": False}, "Expected scale_attn_weights other than false"),
        ({"scale_attn_by_inverse_layer_idx": "yes"}, "Expected true or false as scale_attn_by_inverse_layer_idx"),
        ({"model_type": "gpt_neo"}, "Expected model_type 'gpt2' or 'openai-gpt' .* Received: 'gpt_neo'"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        backbone_arguments(write_config(tmp_path, **fields))


# === Names ===

SIZES = dict(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, max_sequence_length=12)


def write_checkpoint(folder, model, **fields):
    """The tensors of a model under Transformers' names, and the configuration that they need."""
    tensors = {}
    for rule in rules(model):
        values = rule.to_theirs(tuple(variable.numpy() for variable in rule.variables))
        tensors[rule.name] = np.ascontiguousarray(values)
    save_file(tensors, folder / "model.safetensors")
    sizes = dict(vocab_size=50, n_layer=2, n_head=2, n_embd=16, n_positions=12)
    write_config(folder, **{**sizes, **fields})
    return tensors


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_files_with_and_without_the_prefix_are_read(tmp_path, prefix):
    backbone = GPTBackbone(**SIZES)
    tensors = write_checkpoint(tmp_path, backbone)
    save_file({prefix + name: value for name, value in tensors.items()}, tmp_path / "model.safetensors")
    for cls, load in ((GPTBackbone, load_backbone), (GPTCausalLM, load_task)):
        loaded = load(cls, tmp_path)
        for ours, weight in zip(loaded.weights, backbone.weights, strict=True):
            np.testing.assert_array_equal(ours, weight)


def test_buffers_of_old_files_are_no_weights(tmp_path):
    tensors = write_checkpoint(tmp_path, GPTBackbone(**SIZES))
    tensors["h.0.attn.bias"] = np.ones((1, 1, 12, 12), "uint8")
    tensors["h.0.attn.masked_bias"] = np.array(-1e4, "float32")
    save_file(tensors, tmp_path / "model.safetensors")
    load_backbone(GPTBackbone, tmp_path)
    assert not is_buffer("h.0.attn.c_attn.bias")
    assert is_buffer("transformer.h.11.attn.bias")


# === Output layer ===


@pytest.mark.parametrize("says_tied", [True, False])
@pytest.mark.parametrize("is_equal", [True, False])
def test_an_output_layer_that_differs_is_untied_whatever_the_configuration_says(tmp_path, is_equal, says_tied):
    tensors = write_checkpoint(tmp_path, GPTBackbone(**SIZES), tie_word_embeddings=says_tied)
    head = tensors["wte.weight"] + (0 if is_equal else 1)
    save_file({**tensors, "lm_head.weight": head}, tmp_path / "model.safetensors")
    causal_lm = load_task(GPTCausalLM, tmp_path)
    is_tied = causal_lm.lm_head is None
    assert is_tied == (says_tied and is_equal)
    if not is_tied:
        np.testing.assert_array_equal(causal_lm.lm_head.kernel, head.T)


def test_a_bias_of_the_output_layer_is_kept(tmp_path):
    tensors = write_checkpoint(tmp_path, GPTBackbone(**SIZES))
    tensors |= {"lm_head.weight": tensors["wte.weight"] + 1, "lm_head.bias": np.arange(50, dtype="float32")}
    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load_task(GPTCausalLM, tmp_path).lm_head.bias, np.arange(50))


def test_an_output_layer_that_differs_cannot_be_tied_by_hand(tmp_path):
    tensors = write_checkpoint(tmp_path, GPTBackbone(**SIZES))
    save_file({**tensors, "lm_head.weight": tensors["wte.weight"] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"Expected lm_head.weight to be the same as wte.weight .* other values"):
        load_task(GPTCausalLM, tmp_path, tie_word_embeddings=True)


def test_an_untied_model_without_output_layer_is_an_error(tmp_path):
    write_checkpoint(tmp_path, GPTBackbone(**SIZES), tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"1 missing: lm_head.weight"):
        load_task(GPTCausalLM, tmp_path)


def test_a_classifier_has_no_bias_as_in_transformers(tmp_path):
    tensors = write_checkpoint(tmp_path, GPTBackbone(**SIZES))
    score = np.random.RandomState(0).standard_normal((3, 16)).astype("float32")
    save_file({**tensors, "score.weight": score}, tmp_path / "model.safetensors")
    classifier = load_task(GPTTextClassifier, tmp_path, labels=["a", "b", "c"])
    assert classifier.output_dense.bias is None
    np.testing.assert_array_equal(classifier.output_dense.kernel, score.T)


def test_the_tensors_survive_being_read_as_they_were_written(tmp_path):
    backbone = GPTBackbone(**SIZES, norm_first=False)
    tensors = write_checkpoint(tmp_path, backbone, model_type="openai-gpt")
    assert load_file(tmp_path / "model.safetensors").keys() == tensors.keys()
    for ours, weight in zip(load_backbone(GPTBackbone, tmp_path).weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)
