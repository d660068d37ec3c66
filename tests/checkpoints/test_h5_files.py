"""HDF5 files of Keras and of Transformers' TensorFlow models are read by name."""

import h5py
import keras
import numpy as np
import pytest

from albert_gpt_tf.checkpoints.h5_files import open_h5, open_transformers_h5

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.standard_normal(shape).astype("float32")


def save_transformers(path, model, layers):
    """Writes {layer: {name below the layer's model: array}} as Keras 2 saved the weights of a subclassed model."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.create_group("top_level_model_weights").attrs["weight_names"] = []
        for layer, weights in layers.items():
            group = file.create_group(layer)
            names = [f"{model}/{name}:0" if model else f"{name}:0" for name in weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, weights.values(), strict=True):
                group[name] = array


# === Transformers ===


def test_albert_gets_the_names_and_axes_of_pytorch(tmp_path):
    inner = "albert/encoder/albert_layer_groups_._0/albert_layers_._0"
    wanted = {  # name in the file: (name in PyTorch, shape in the file, whether it is transposed)
        "albert/embeddings/word_embeddings/weight": ("albert.embeddings.word_embeddings.weight", (9, 4), False),
        "albert/embeddings/position_embeddings/embeddings": (
            "albert.embeddings.position_embeddings.weight",
            (5, 4),
            False,
        ),
        "albert/embeddings/LayerNorm/gamma": ("albert.embeddings.LayerNorm.weight", (4,), False),
        "albert/embeddings/LayerNorm/beta": ("albert.embeddings.LayerNorm.bias", (4,), False),
        "albert/encoder/embedding_hidden_mapping_in/kernel": (
            "albert.encoder.embedding_hidden_mapping_in.weight",
            (4, 6),
            True,
        ),
        f"{inner}/attention/query/kernel": (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight",
            (6, 6),
            True,
        ),
        f"{inner}/attention/LayerNorm/beta": (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.LayerNorm.bias",
            (6,),
            False,
        ),
        f"{inner}/ffn_output/kernel": (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight",
            (8, 6),
            True,
        ),
        f"{inner}/full_layer_layer_norm/gamma": (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.weight",
            (6,),
            False,
        ),
    }
    head = {
        "predictions/bias": ("predictions.bias", (9,), False),
        "predictions/decoder/bias": ("predictions.decoder.bias", (9,), False),
        "predictions/dense/kernel": ("predictions.dense.weight", (6, 4), True),
    }
    arrays = {name: random(*shape) for name, (_, shape, _) in (wanted | head).items()}
    layers = {"albert": {name: arrays[name] for name in wanted}, "predictions": {name: arrays[name] for name in head}}
    save_transformers(tmp_path / "tf_model.h5", "tf_albert_for_masked_lm", layers)
    tensors = open_transformers_h5(tmp_path / "tf_model.h5")
    assert set(tensors.names()) == {name for name, *_ in (wanted | head).values()}
    for h5_name, (name, _, is_transposed) in (wanted | head).items():
        array = arrays[h5_name].T if is_transposed else arrays[h5_name]
        assert tensors.shape(name) == array.shape
        np.testing.assert_array_equal(tensors.read(name), array)


def test_gpt2_keeps_the_axes_of_its_convolutions_and_its_biases_lose_one(tmp_path):
    arrays = {
        "transformer/wte/weight": random(9, 6),
        "transformer/wpe/embeddings": random(5, 6),
        "transformer/h_._0/ln_1/gamma": random(6),
        "transformer/h_._0/attn/c_attn/weight": random(6, 18),
        "transformer/h_._0/attn/c_attn/bias": random(1, 18),
        "transformer/h_._11/mlp/c_proj/weight": random(24, 6),
        "transformer/h_._11/mlp/c_proj/bias": random(1, 6),
        "transformer/ln_f/beta": random(6),
    }
    save_transformers(tmp_path / "tf_model.h5", "tfgp_t2lm_head_model", {"transformer": arrays})
    tensors = open_transformers_h5(tmp_path / "tf_model.h5")
    assert {name: tensors.shape(name) for name in tensors.names()} == {
        "transformer.wte.weight": (9, 6),
        "transformer.wpe.weight": (5, 6),
        "transformer.h.0.ln_1.weight": (6,),
        "transformer.h.0.attn.c_attn.weight": (6, 18),
        "transformer.h.0.attn.c_attn.bias": (18,),
        "transformer.h.11.mlp.c_proj.weight": (24, 6),
        "transformer.h.11.mlp.c_proj.bias": (6,),
        "transformer.ln_f.bias": (6,),
    }
    for h5_name, name in (("h_._0/attn/c_attn/bias", "h.0.attn.c_attn.bias"), ("h_._0/ln_1/gamma", "h.0.ln_1.weight")):
        np.testing.assert_array_equal(tensors.read(f"transformer.{name}"), arrays[f"transformer/{h5_name}"].reshape(-1))


@pytest.mark.parametrize("model", ["tf_albert_model", "tf_albert_model_1", "albert", ""])
def test_the_name_of_the_model_does_not_count(tmp_path, model):
    save_transformers(tmp_path / "a.h5", model, {"albert": {"albert/pooler/bias": random(3)}})
    assert open_transformers_h5(tmp_path / "a.h5").names() == ["albert.pooler.bias"]


def test_two_tensors_of_one_name_are_refused(tmp_path):
    both = {"albert/pooler/kernel": random(3, 3), "albert/pooler/weight": random(3, 3)}
    save_transformers(tmp_path / "a.h5", "tf_albert_model", {"albert": both})
    with pytest.raises(ValueError, match=r"Expected one tensor albert\.pooler\.weight"):
        open_transformers_h5(tmp_path / "a.h5")


# === Keras 3 ===


def small_model(dtype=None):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, dtype=dtype), keras.layers.Dense(2, dtype=dtype)])


def test_weights_of_keras_are_found_by_their_groups(tmp_path):
    model = small_model()
    model.save_weights(tmp_path / "model.weights.h5")
    tensors = open_h5(tmp_path / "model.weights.h5")
    assert tensors.names() == [f"layers/dense{end}/vars/{i}" for end in ("", "_1") for i in (0, 1)]
    for name, weight in zip(tensors.names(), model.weights, strict=True):
        assert tensors.shape(name) == tuple(weight.shape)
        np.testing.assert_array_equal(tensors.read(name), weight.numpy())


def test_bfloat16_of_keras_comes_as_float32(tmp_path):
    model = small_model(dtype="bfloat16")
    model.save_weights(tmp_path / "model.weights.h5")
    tensors = open_h5(tmp_path / "model.weights.h5")
    read = tensors.read("layers/dense/vars/0")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, model.weights[0].numpy().astype("float32"))


def test_weights_in_several_files_are_one_checkpoint(tmp_path):
    model = keras.Sequential([keras.Input((64,)), *(keras.layers.Dense(64) for _ in range(4))])
    model.save_weights(tmp_path / "model.weights.json", max_shard_size=20_000 / 1024**3)
    assert len(list(tmp_path.glob("*.weights.h5"))) > 2
    tensors = open_h5(tmp_path / "model.weights.json")
    assert len(tensors.names()) == 8
    read = {tensors.shape(name): None for name in tensors.names()}
    assert set(read) == {(64, 64), (64,)}
    for i, layer in enumerate(model.layers):
        group = f"layers/dense{f'_{i}' if i else ''}/vars"
        for k, weight in enumerate(layer.weights):
            np.testing.assert_array_equal(tensors.read(f"{group}/{k}"), weight.numpy())


@pytest.mark.parametrize("file", ["../other.weights.h5", ["model.weights.h5", "/etc/passwd"]])
def test_an_index_that_leaves_the_directory_is_refused(tmp_path, file):
    (tmp_path / "model.weights.json").write_text(f'{{"weight_map": {{"/vars": {file!r}}}}}'.replace("'", '"'))
    with pytest.raises(ValueError, match="Expected plain names of files in the weight_map"):
        open_h5(tmp_path / "model.weights.json")


def test_values_in_another_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 40)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", (10,), "float32", external=[(str(tmp_path / "secret"), 0, 40)])
    with pytest.raises(ValueError, match=r"Expected the values of w in .* itself\. Received: a reference"):
        open_h5(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        layout = h5py.VirtualLayout((10,), "float32")
        layout[:] = h5py.VirtualSource(str(tmp_path / "a.h5"), "w", (10,))
        file.create_virtual_dataset("w", layout)
    with pytest.raises(ValueError, match=r"Expected the values of w in .* itself\. Received: a reference"):
        open_h5(tmp_path / "b.h5")


def test_links_to_another_file_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = random(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own"] = random(3)
        file["linked"] = h5py.ExternalLink("other.h5", "/w")
    assert open_h5(tmp_path / "a.h5").names() == ["own"]


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_broken_file_is_refused_with_its_name(tmp_path, keep):
    path = tmp_path / "model.weights.h5"
    small_model().save_weights(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"Expected a whole HDF5 file at .*model\.weights\.h5"):
        open_h5(path)


@pytest.mark.parametrize("array", [np.float32(2.5), np.zeros((0, 3), "float32"), random(30, 40).astype("float16")])
def test_scalars_empty_and_compressed_tensors_are_read(tmp_path, array):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", data=array, compression="gzip" if array.size > 1 else None)
    read = open_h5(tmp_path / "a.h5").read("w")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
