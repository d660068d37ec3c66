"""The backbones with small weights that somebody trained, against what other implementations compute from them.

Skipped where `../shared/data` is missing. The heads, which belong to other rooms, are computed here in NumPy.
"""

import json

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def gpt2_basic(read_checkpoint, from_hugging_face):
    """The backbone and the function from hidden states to logits: an untied head with a bias."""
    folder, config, tensors = read_checkpoint("gpt2_basic/hf")
    bias = np.load(folder / "lm_head_bias.npy")
    backbone = from_hugging_face(config, strip(tensors, "transformer."))
    return backbone, lambda hidden: hidden @ tensors["lm_head.weight"].T + bias.reshape(-1)


def test_gpt2_basic_gives_the_published_values(gpt2_basic, golden_gpt2_vectors):
    backbone, compute_logits = gpt2_basic
    for prompt in golden_gpt2_vectors:
        ids = np.array([prompt["tokens"]])
        hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}).numpy()[0, -1]
        logits = compute_logits(hidden)
        # 0.05: the values come from a fixed-point implementation.
        for place, value in prompt["phases"]["final_ln"].items():
            assert hidden[int(place)] == pytest.approx(value, abs=0.05)
        for token, value in prompt["top"].items():
            assert logits[int(token)] == pytest.approx(value, abs=0.05)
        # Tokens that are closer than the rounding may change places.
        assert set(np.argsort(-logits)[:6].tolist()) <= {int(token) for token in prompt["top"]}


def test_gpt2_basic_equals_transformers(read_checkpoint, gpt2_basic):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, config, _ = read_checkpoint("gpt2_basic/hf")
    model = transformers.GPT2Model.from_pretrained(folder).eval()
    ids = np.random.RandomState(0).randint(config["vocab_size"], size=(2, 100))
    with torch.no_grad():
        theirs = model(torch.tensor(ids)).last_hidden_state.numpy()
    ours = gpt2_basic[0]({"token_ids": ids, "padding_mask": np.ones_like(ids, bool)}).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_rxnmapper_albert_gives_the_hidden_states_and_logits_of_transformers(read_checkpoint, from_hugging_face):
    folder, config, tensors = read_checkpoint("rxnmapper_albert")
    backbone = from_hugging_face(config, strip(tensors, "albert."))
    reference = np.load(folder / "hf_reference.npz")
    outputs = backbone(
        {
            "token_ids": reference["input_ids"],
            "segment_ids": reference["token_type_ids"],
            "padding_mask": reference["attention_mask"].astype(bool),
        }
    )
    hidden = outputs["sequence_output"].numpy()
    # Only what real tokens give, which is all that anyone reads. 5e-5: both are 2e-5 from what float64 gives here.
    is_token = reference["attention_mask"].astype(bool)
    np.testing.assert_allclose(hidden[is_token], reference["hidden_states"][-1][is_token], atol=5e-5, rtol=0)
    np.testing.assert_allclose(outputs["pooled_output"], reference["pooler_output"], atol=1e-5)

    head = strip(tensors, "predictions.")
    transformed = tf.nn.gelu(hidden @ head["dense.weight"].T + head["dense.bias"], approximate=False).numpy()
    centred = transformed - transformed.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
    normed = normed * head["LayerNorm.weight"] + head["LayerNorm.bias"]
    logits = normed @ tensors["albert.embeddings.word_embeddings.weight"].T + head["bias"]
    np.testing.assert_allclose(logits[is_token], reference["logits"][is_token], atol=1e-4, rtol=1e-5)


def test_rxnmapper_albert_gives_the_attention_maps_of_transformers(read_checkpoint, from_hugging_face):
    folder, config, tensors = read_checkpoint("rxnmapper_albert")
    backbone = from_hugging_face(config, strip(tensors, "albert."))
    reference = np.load(folder / "hf_reference.npz")
    is_token = reference["attention_mask"].astype(bool)
    ids, segments = reference["input_ids"], reference["token_type_ids"]
    outputs = backbone.inspect({"token_ids": ids, "segment_ids": segments, "padding_mask": is_token})
    for ours, theirs in zip(outputs["hidden_states"], reference["hidden_states"], strict=True):
        np.testing.assert_allclose(ours.numpy()[is_token], theirs[is_token], atol=5e-5, rtol=0)
    for index, name in ((0, "attn_layer1_index0"), (10, "attn_layer11_index10")):
        # [batch, heads, query, key] -> [batch, query, heads, key], the rows of real tokens
        ours, theirs = (x.swapaxes(1, 2)[is_token] for x in (outputs["attentions"][index].numpy(), reference[name]))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_rxnmapper_albert_gives_the_published_attention_maps(read_checkpoint, from_hugging_face):
    # Head 5 of layer 10 (both counted from 0) is the one that maps atoms to atoms.
    folder, config, tensors = read_checkpoint("rxnmapper_albert")
    backbone = from_hugging_face(config, strip(tensors, "albert."))
    golden = folder.parents[1] / "golden"
    cases = json.loads((golden / "rxnmapper_expected.json").read_text(encoding="utf-8"))
    maps = np.load(golden / "rxnmapper_attention_layer10_head5.npz")
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    for index, case in enumerate(cases):
        known = [token if token in pieces else "[UNK]" for token in case["tokens"]]
        ids = np.array([[pieces.index(token) for token in known]])
        inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": np.ones_like(ids, bool)}
        attention = backbone.inspect(inputs)["attentions"][10][0, 5]
        np.testing.assert_allclose(attention, maps[f"case{index}"], atol=1e-5)


def strip(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
