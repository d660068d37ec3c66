"""The backbones with small weights that somebody trained, against what other implementations compute from them.

Skipped where `../shared/data` is missing. The heads, which belong to other rooms, are computed here in NumPy.
"""

import numpy as np
import pytest
import tensorflow as tf


def strip(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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
