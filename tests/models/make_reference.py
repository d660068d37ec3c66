"""Makes `reference/transformers.npz`: what PyTorch Transformers computes for weights that NumPy draws.

Run it from any folder, with the extra `parity` installed:

    pip install -e '.[parity]' && python tests/models/make_reference.py

Weights and inputs are drawn by `numpy.random.RandomState`, whose streams are frozen, in the order of the shape tables
below; only the outputs are stored. Shapes and names are those of Hugging Face checkpoints.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "reference" / "transformers.npz"

SMALL_ALBERT = dict(
    vocab_size=97,
    embedding_size=16,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=12,
    hidden_act="gelu_new",
)
SMALL_GPT2 = dict(vocab_size=101, n_embd=32, n_layer=2, n_head=4, n_positions=12)

# Name -> arguments of AlbertConfig or GPT2Config. The outputs of these are stored.
CASES = {
    "albert_tanh_gelu": SMALL_ALBERT,
    "albert_erf_gelu": {**SMALL_ALBERT, "hidden_act": "gelu"},
    "albert_three_groups": {**SMALL_ALBERT, "num_hidden_groups": 3},
    "albert_two_inner_layers": {**SMALL_ALBERT, "inner_group_num": 2},
    "gpt2_tanh_gelu": SMALL_GPT2,
    "gpt2_narrow_relu": {**SMALL_GPT2, "n_inner": 48, "activation_function": "relu", "layer_norm_epsilon": 1e-3},
}

# More shapes, for a machine that has PyTorch.
MORE_CASES = {
    "albert_two_groups_of_three": {**SMALL_ALBERT, "num_hidden_layers": 6, "num_hidden_groups": 2},
    "albert_one_head": {**SMALL_ALBERT, "num_attention_heads": 1, "embedding_size": 32},
    "albert_wide": {**SMALL_ALBERT, "hidden_size": 192, "intermediate_size": 768, "num_attention_heads": 12},
    "gpt2_erf_gelu": {**SMALL_GPT2, "activation_function": "gelu"},
    "gpt2_deep": {**SMALL_GPT2, "n_layer": 12},
    "gpt2_wide": {**SMALL_GPT2, "n_embd": 192, "n_head": 3},
}


def albert_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The tensors of an `AlbertModel`, in the order in which they are drawn."""
    embedding, hidden, inner = config["embedding_size"], config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], embedding),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], embedding),
        "embeddings.token_type_embeddings.weight": (2, embedding),
        "embeddings.LayerNorm.weight": (embedding,),
        "embeddings.LayerNorm.bias": (embedding,),
        "encoder.embedding_hidden_mapping_in.weight": (hidden, embedding),
        "encoder.embedding_hidden_mapping_in.bias": (hidden,),
    }
    for group in range(config.get("num_hidden_groups", 1)):
        for index in range(config.get("inner_group_num", 1)):
            layer = f"encoder.albert_layer_groups.{group}.albert_layers.{index}."
            for name in ("query", "key", "value", "dense"):
                shapes[f"{layer}attention.{name}.weight"] = (hidden, hidden)
                shapes[f"{layer}attention.{name}.bias"] = (hidden,)
            shapes[f"{layer}ffn.weight"] = (inner, hidden)
            shapes[f"{layer}ffn.bias"] = (inner,)
            shapes[f"{layer}ffn_output.weight"] = (hidden, inner)
            shapes[f"{layer}ffn_output.bias"] = (hidden,)
            for name in ("attention.LayerNorm", "full_layer_layer_norm"):
                shapes[f"{layer}{name}.weight"] = shapes[f"{layer}{name}.bias"] = (hidden,)
    return {**shapes, "pooler.weight": (hidden, hidden), "pooler.bias": (hidden,)}


def gpt2_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The tensors of a `GPT2Model`, in the order in which they are drawn."""
    hidden = config["n_embd"]
    inner = config.get("n_inner") or 4 * hidden
    shapes = {"wte.weight": (config["vocab_size"], hidden), "wpe.weight": (config["n_positions"], hidden)}
    for index in range(config["n_layer"]):
        layer = f"h.{index}."
        for name, width_in, width_out in (
            ("attn.c_attn", hidden, 3 * hidden),
            ("attn.c_proj", hidden, hidden),
            ("mlp.c_fc", hidden, inner),
            ("mlp.c_proj", inner, hidden),
        ):
            shapes[f"{layer}{name}.weight"] = (width_in, width_out)
            shapes[f"{layer}{name}.bias"] = (width_out,)
        for name in ("ln_1", "ln_2"):
            shapes[f"{layer}{name}.weight"] = shapes[f"{layer}{name}.bias"] = (hidden,)
    return {**shapes, "ln_f.weight": (hidden,), "ln_f.bias": (hidden,)}


def draw_weights(case: str, config: dict) -> dict[str, np.ndarray]:
    """Weights large enough that a wrong activation, epsilon, transpose or order of layers shows."""
    random = np.random.RandomState(2019)
    shapes = albert_shapes(config) if case.startswith("albert") else gpt2_shapes(config)
    weights = {}
    for name, shape in shapes.items():
        drawn = random.standard_normal(shape)
        if len(shape) == 2:
            is_table = "embeddings" in name or name in ("wte.weight", "wpe.weight")
            weights[name] = drawn if is_table else drawn / shape[0] ** 0.5
        else:
            weights[name] = 0.1 * drawn + (name.endswith("weight"))  # gains of layer norms are near 1
    return {name: weight.astype("float32") for name, weight in weights.items()}


def draw_inputs(config: dict) -> dict[str, np.ndarray]:
    """Two rows of seven tokens, the second one with three of padding."""
    random = np.random.RandomState(7)
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3])
    return {
        "input_ids": random.randint(config["vocab_size"], size=(2, 7)),
        "attention_mask": mask,
        "token_type_ids": random.randint(2, size=(2, 7)),
    }


def compute_with_transformers(case: str, config: dict) -> dict[str, np.ndarray]:
    """Name of an output -> its value, from PyTorch Transformers."""
    import torch
    import transformers

    kind = (
        (transformers.AlbertModel, transformers.AlbertConfig)
        if case.startswith("albert")
        else (transformers.GPT2Model, transformers.GPT2Config)
    )
    model = kind[0](kind[1](**config)).eval()
    weights = {name: torch.tensor(weight) for name, weight in draw_weights(case, config).items()}
    model.load_state_dict(weights, strict=True)
    inputs = {name: torch.tensor(value) for name, value in draw_inputs(config).items()}
    if case.startswith("gpt2"):
        del inputs["token_type_ids"]
    with torch.no_grad():
        outputs = model(**inputs)
    computed = {"hidden": outputs.last_hidden_state.numpy()}
    if case.startswith("albert"):
        computed["pooled"] = outputs.pooler_output.numpy()
    return computed


if __name__ == "__main__":
    stored = {
        f"{case}.{name}": value
        for case, config in CASES.items()
        for name, value in compute_with_transformers(case, config).items()
    }
    np.savez_compressed(FILE, **stored)
    print(f"{FILE.name}: {len(stored)} arrays, {FILE.stat().st_size} bytes")
