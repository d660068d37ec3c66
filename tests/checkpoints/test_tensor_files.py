"""Checkpoints of TensorFlow and of OpenAI's GPT-1, and which file of a Hugging Face directory is read."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from albert_gpt_tf.checkpoints.tensor_files import open_hugging_face, open_openai_gpt1, open_tf_checkpoint

WEIGHTS = {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.arange(3, dtype="float32")}


class RunsCode:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


# === Hugging Face ===


def test_safetensors_come_before_a_shard_index_and_that_before_an_old_file(tmp_path):
    (tmp_path / "tf_model.h5").write_bytes(b"not opened")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not opened")
    safetensors.numpy.save_file(WEIGHTS, tmp_path / "model-00001.safetensors")
    index = {"weight_map": dict.fromkeys(WEIGHTS, "model-00001.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_hugging_face(tmp_path).source.endswith("index.json")
    safetensors.numpy.save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert open_hugging_face(tmp_path).source.endswith("model.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_a_pickle_is_never_opened_and_the_message_says_how_to_convert_it(tmp_path, name):
    mark = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(RunsCode(mark)))
    with pytest.raises(ValueError, match=f"Expected model.safetensors.*Received: {name}, a pickle.*save_pretrained"):
        open_hugging_face(tmp_path)
    assert not mark.exists()


def test_a_directory_without_weights_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Expected model.safetensors, .* in .*Received: none of them"):
        open_hugging_face(tmp_path)


# === TensorFlow ===


def save_tf(prefix, **arrays):
    """A checkpoint by name, as TensorFlow 1 writes it; "__" in a name stands for "/"."""
    names = [name.replace("__", "/") for name in arrays]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(arrays.values())
    )


def test_a_tf_checkpoint_gives_its_weights_as_they_are(tmp_path):
    save_tf(tmp_path / "model.ckpt-best", bert__w=WEIGHTS["w"], bert__b=WEIGHTS["b"])
    for place in (tmp_path, tmp_path / "model.ckpt-best"):
        tensors = open_tf_checkpoint(place)
        assert sorted(tensors.names()) == ["bert/b", "bert/w"]
        assert tensors.shape("bert/w") == (2, 3)
        np.testing.assert_array_equal(tensors.read("bert/w"), WEIGHTS["w"])
        assert tensors.source.endswith("model.ckpt-best")


def test_what_optimizers_keep_is_left_out(tmp_path):
    save_tf(
        tmp_path / "model.ckpt-7",
        w=WEIGHTS["w"],
        w__adam_m=WEIGHTS["w"],
        w__adam_v=WEIGHTS["w"],
        w__AdamWeightDecayOptimizer=WEIGHTS["w"],
        w__LAMBOptimizer_1=WEIGHTS["w"],
        LAMBOptimizer__w=WEIGHTS["w"],
        global_step=np.int64(7),
    )
    assert open_tf_checkpoint(tmp_path).names() == ["w"]


def test_the_module_prefix_of_hub_modules_is_left_out_and_their_subdirectory_is_found(tmp_path):
    (tmp_path / "variables").mkdir()
    save_tf(tmp_path / "variables" / "variables", module__bert__w=WEIGHTS["w"])
    assert open_tf_checkpoint(tmp_path).names() == ["bert/w"]


def test_of_several_checkpoints_the_named_one_is_taken_then_the_best(tmp_path):
    for name in ("model.ckpt-1", "model.ckpt-2"):
        save_tf(tmp_path / name, w=WEIGHTS["w"])
    with pytest.raises(ValueError, match=r"Expected one TensorFlow checkpoint.*Received: model.ckpt-1, model.ckpt-2"):
        open_tf_checkpoint(tmp_path)
    save_tf(tmp_path / "model.ckpt-best", w=WEIGHTS["w"])
    assert open_tf_checkpoint(tmp_path).source.endswith("model.ckpt-best")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/on/another/machine/model.ckpt-2"\n')
    assert open_tf_checkpoint(tmp_path).source == str(tmp_path / "model.ckpt-2")


def test_a_directory_without_a_tf_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Expected one TensorFlow checkpoint.*Received: none"):
        open_tf_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"Expected a whole TensorFlow checkpoint at .*nowhere"):
        open_tf_checkpoint(tmp_path / "nowhere")


def test_a_cut_tf_checkpoint_is_refused_before_anything_is_read(tmp_path):
    save_tf(tmp_path / "model.ckpt", **WEIGHTS)
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"Expected at least 36 bytes in .*Received: 32"):
        open_tf_checkpoint(tmp_path)
    index = tmp_path / "model.ckpt.index"
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(ValueError, match="Expected a whole TensorFlow checkpoint"):
        open_tf_checkpoint(tmp_path)


def test_bfloat16_of_tensorflow_comes_as_float32(tmp_path):
    numbers = tf.constant([1.0, -2.5, 3e38], tf.bfloat16)
    save_tf(tmp_path / "model.ckpt", w=numbers)
    read = open_tf_checkpoint(tmp_path).read("w")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, tf.cast(numbers, tf.float32))


# === OpenAI's GPT-1 ===


@pytest.fixture
def gpt1(tmp_path):
    """A directory of two layers in ten files, and the arrays it was cut from."""
    rng = np.random.default_rng(0)
    width = 4
    of_layer = [[1, width, 3 * width], [3 * width], [1, width, width], [width], [width], [width]]
    of_layer += [[1, width, 4 * width], [4 * width], [1, 4 * width, width], [width], [width], [width]]
    shapes = [[7, width], [11, width], *of_layer, *of_layer]
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    row = np.concatenate([array.reshape(-1) for array in arrays])
    for i, part in enumerate(np.array_split(row, 10)):
        np.save(tmp_path / f"params_{i}.npy", part)
    (tmp_path / "params_shapes.json").write_text(json.dumps(shapes))
    return tmp_path, arrays


def test_gpt1_is_cut_at_its_shapes_across_files(gpt1):
    directory, arrays = gpt1
    tensors = open_openai_gpt1(directory)
    assert tensors.names()[:4] == ["positions", "tokens", "h0/attn/c_attn/w", "h0/attn/c_attn/b"]
    assert tensors.names()[-2:] == ["h1/ln_2/g", "h1/ln_2/b"]
    for name, array in zip(tensors.names(), arrays, strict=True):
        assert tensors.shape(name) == array.shape
        np.testing.assert_array_equal(tensors.read(name), array)


def test_gpt1_names_fit_the_published_shapes():
    data = Path(__file__).parents[3] / "shared" / "data" / "tokenizers" / "gpt1"
    if not data.is_dir():
        pytest.skip("needs ../shared/data")
    from albert_gpt_tf.checkpoints.tensor_files import _gpt1_names, _gpt1_shapes

    shapes = _gpt1_shapes(data / "params_shapes.json")
    of_name = dict(zip(_gpt1_names(len(shapes)), shapes, strict=True))
    assert of_name["tokens"] == (40478, 768)
    assert {of_name[f"h{i}/mlp/c_proj/w"] for i in range(12)} == {(1, 3072, 768)}
    assert {of_name[f"h{i}/{norm}/{part}"] for i in range(12) for norm in ("ln_1", "ln_2") for part in "gb"} == {(768,)}


def test_gpt1_with_a_file_too_few_is_refused(gpt1):
    directory, arrays = gpt1
    (directory / "params_9.npy").unlink()
    with pytest.raises(ValueError, match=f"Expected {sum(a.size for a in arrays)} numbers .* Received: .* in 9 files"):
        open_openai_gpt1(directory)


def test_gpt1_with_a_cut_file_is_refused(gpt1):
    directory, _ = gpt1
    path = directory / "params_3.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"Expected a whole file of numbers at .*params_3\.npy"):
        open_openai_gpt1(directory)


def test_gpt1_with_a_pickle_in_it_is_refused_and_not_opened(gpt1):
    directory, _ = gpt1
    mark = directory / "ran"
    np.save(directory / "params_3.npy", np.array([RunsCode(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"Expected a whole file of numbers at .*params_3\.npy"):
        open_openai_gpt1(directory)
    shutil.copy(directory / "params_3.npy", directory / "params_4.npy")
    (directory / "params_3.npy").write_bytes(pickle.dumps(RunsCode(mark)))
    with pytest.raises(ValueError, match=r"Expected a whole file of numbers at .*params_3\.npy"):
        open_openai_gpt1(directory)
    assert not mark.exists()


@pytest.mark.parametrize("text", ["", "[[512, 768]]", '{"a": 1}', "[1, 2]", "[[-1, 2], [3, 4]]"])
def test_gpt1_with_broken_shapes_is_refused(gpt1, text):
    directory, _ = gpt1
    (directory / "params_shapes.json").write_text(text)
    with pytest.raises(ValueError, match=r"params_shapes\.json"):
        open_openai_gpt1(directory)


@pytest.mark.parametrize("change", [lambda row: row.astype("float64"), lambda row: row.reshape(-1, 1)])
def test_gpt1_of_other_numbers_is_refused(gpt1, change):
    directory, _ = gpt1
    np.save(directory / "params_3.npy", change(np.load(directory / "params_3.npy")))
    with pytest.raises(ValueError, match=r"Expected one row of float32 numbers in .*params_3\.npy"):
        open_openai_gpt1(directory)


def test_gpt1_with_an_archive_or_an_empty_file_is_refused(gpt1):
    directory, arrays = gpt1
    with (directory / "params_3.npy").open("wb") as file:
        np.savez(file, arrays[0])
    with pytest.raises(ValueError, match=r"Expected one row of float32 numbers in .*Received: an archive"):
        open_openai_gpt1(directory)
    (directory / "params_3.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"Expected a whole file of numbers at .*params_3\.npy"):
        open_openai_gpt1(directory)
