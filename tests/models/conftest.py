"""Hugging Face tensors into our backbones, and small backbones."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def reference():
    """The module make_reference.py. Tests are no packages (--import-mode=importlib), so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("make_reference", Path(__file__).parent / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(backbone, values):
    """Sets every weight of a backbone: list of (variable, array). None may be left out or set twice."""
    for variable, value in values:
        assert tuple(variable.shape) == value.shape, f"{variable.path}: {variable.shape} is not {value.shape}"
        variable.assign(value)
    assert sorted(id(variable) for variable, _ in values) == sorted(id(weight) for weight in backbone.weights)
    return backbone


def norm(layer, tensors, name):
    return [(layer.gamma, tensors[f"{name}.weight"]), (layer.beta, tensors[f"{name}.bias"])]


def linear(layer, tensors, name):
    """A PyTorch `Linear`, which stores [out, in]."""
    return [(layer.kernel, tensors[f"{name}.weight"].T), (layer.bias, tensors[f"{name}.bias"])]


def conv1d(layer, tensors, name):
    """A Transformers `Conv1D`, which stores [in, out]."""
    return [(layer.kernel, tensors[f"{name}.weight"]), (layer.bias, tensors[f"{name}.bias"])]


def albert_from_hugging_face(config, tensors):
    backbone = AlbertBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        embedding_dim=config["embedding_size"],
        num_groups=config.get("num_hidden_groups", 1),
        num_inner_repetitions=config.get("inner_group_num", 1),
        max_sequence_length=config["max_position_embeddings"],
        activation=config["hidden_act"],
        layer_norm_epsilon=config.get("layer_norm_eps", 1e-12),
    )
    values = [
        (backbone.token_embedding.embeddings, tensors["embeddings.word_embeddings.weight"]),
        (backbone.position_embedding.position_embeddings, tensors["embeddings.position_embeddings.weight"]),
        (backbone.segment_embedding.embeddings, tensors["embeddings.token_type_embeddings.weight"]),
        *norm(backbone.embedding_norm, tensors, "embeddings.LayerNorm"),
        *linear(backbone.embedding_projection, tensors, "encoder.embedding_hidden_mapping_in"),
        *linear(backbone.pooler, tensors, "pooler"),
    ]
    for group, layers in enumerate(backbone.groups):
        for index, layer in enumerate(layers):
            name = f"encoder.albert_layer_groups.{group}.albert_layers.{index}."
            values += [
                *linear(layer.attention.query, tensors, f"{name}attention.query"),
                *linear(layer.attention.key, tensors, f"{name}attention.key"),
                *linear(layer.attention.value, tensors, f"{name}attention.value"),
                *linear(layer.attention.output_dense, tensors, f"{name}attention.dense"),
                *norm(layer.attention_norm, tensors, f"{name}attention.LayerNorm"),
                *linear(layer.feed_forward.intermediate_dense, tensors, f"{name}ffn"),
                *linear(layer.feed_forward.output_dense, tensors, f"{name}ffn_output"),
                *norm(layer.feed_forward_norm, tensors, f"{name}full_layer_layer_norm"),
            ]
    return fill(backbone, values)


def gpt_from_hugging_face(config, tensors):
    backbone = GPTBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        hidden_dim=config["n_embd"],
        intermediate_dim=config.get("n_inner"),
        max_sequence_length=config["n_positions"],
        activation=config.get("activation_function", "gelu_new"),
        layer_norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
    )
    values = [
        (backbone.token_embedding.embeddings, tensors["wte.weight"]),
        (backbone.position_embedding.position_embeddings, tensors["wpe.weight"]),
        *norm(backbone.final_norm, tensors, "ln_f"),
    ]
    for index, layer in enumerate(backbone.transformer_layers):
        name = f"h.{index}."
        # c_attn holds query, key and value side by side.
        kernels = np.split(tensors[f"{name}attn.c_attn.weight"], 3, axis=1)
        biases = np.split(tensors[f"{name}attn.c_attn.bias"], 3)
        for dense, kernel, bias in zip(
            (layer.attention.query, layer.attention.key, layer.attention.value), kernels, biases, strict=True
        ):
            values += [(dense.kernel, kernel), (dense.bias, bias)]
        values += [
            *conv1d(layer.attention.output_dense, tensors, f"{name}attn.c_proj"),
            *conv1d(layer.feed_forward.intermediate_dense, tensors, f"{name}mlp.c_fc"),
            *conv1d(layer.feed_forward.output_dense, tensors, f"{name}mlp.c_proj"),
            *norm(layer.attention_norm, tensors, f"{name}ln_1"),
            *norm(layer.feed_forward_norm, tensors, f"{name}ln_2"),
        ]
    return fill(backbone, values)


@pytest.fixture(scope="session")
def from_hugging_face():
    """The function (configuration dict, tensors by Hugging Face name without prefix) -> a filled backbone."""
    return lambda config, tensors: (
        albert_from_hugging_face(config, tensors)
        if "embedding_size" in config
        else gpt_from_hugging_face(config, tensors)
    )


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """float32 tensors of a .safetensors file: header length (8 bytes), a JSON header, raw little-endian data."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32"
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(content[start + begin : start + end], "<f4").reshape(entry["shape"])
    return tensors


@pytest.fixture(scope="session")
def read_checkpoint():
    """The function (name of a folder with trained weights) -> folder, configuration and tensors; skips without it."""

    def read(name):
        folder = DATA / "weights" / name
        if not (folder / "model.safetensors").is_file():
            pytest.skip("the trained weights are not beside the repository (../shared/data/weights)")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return folder, config, read_safetensors(folder / "model.safetensors")

    return read


@pytest.fixture(scope="session")
def golden_gpt2_vectors():
    """What another implementation published for the weights of gpt2_basic; skips without them."""
    path = DATA / "golden" / "gpt2_basic_vectors.json"
    if not path.is_file():
        pytest.skip("the published values are not beside the repository (../shared/data/golden)")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def make_albert():
    """The function (changed arguments) -> a small AlbertBackbone, with weights large enough to matter."""
    arguments = dict(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8,
        max_sequence_length=12, initializer_range=0.3,
    )  # fmt: skip
    return lambda **changes: AlbertBackbone(**{**arguments, **changes})


@pytest.fixture(scope="session")
def make_gpt():
    """The function (changed arguments) -> a small GPTBackbone, with weights large enough to matter."""
    arguments = dict(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, max_sequence_length=12, initializer_range=0.3
    )
    return lambda **changes: GPTBackbone(**{**arguments, **changes})


def draw_ids(rows, length, seed=0):
    return np.random.RandomState(seed).randint(50, size=(rows, length)).astype("int32")


@pytest.fixture(scope="session")
def albert_inputs():
    """The function (ids, lengths of the rows) -> the input dict of an AlbertBackbone."""

    def make(ids, lengths=None):
        lengths = [ids.shape[1]] * len(ids) if lengths is None else lengths
        mask = np.arange(ids.shape[1])[None] < np.array(lengths)[:, None]
        return {"token_ids": ids, "segment_ids": ids % 2, "padding_mask": mask}

    return make


@pytest.fixture(scope="session")
def gpt_inputs(albert_inputs):
    """The function (ids, lengths of the rows) -> the input dict of a GPTBackbone."""
    return lambda ids, lengths=None: {k: v for k, v in albert_inputs(ids, lengths).items() if k != "segment_ids"}


@pytest.fixture(scope="session")
def make_ids():
    """The function (rows, length, seed) -> random ids."""
    return draw_ids
