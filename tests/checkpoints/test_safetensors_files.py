"""Safetensors files, whole and in shards, hold what they say, or are refused in one sentence."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from albert_gpt_tf.checkpoints.safetensors_files import open_safetensors, open_sharded_safetensors

RNG = np.random.default_rng(0)
WEIGHTS = {
    "matrix": RNG.standard_normal((5, 7)).astype("float32"),
    "half": RNG.standard_normal((3, 2)).astype("float16"),
    "double": RNG.standard_normal(4),
    "brain": RNG.standard_normal((4, 3)).astype(ml_dtypes.bfloat16),
    "scalar": np.array(2.5, "float32"),
    "empty": np.zeros((0, 3), "float32"),
}


def by_hand(header, data=b""):
    """A file whose header nobody checked."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_tensors_come_as_they_were_saved_and_bfloat16_as_float32(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(WEIGHTS, path, metadata={"format": "pt"})
    tensors = open_safetensors(path)
    assert set(tensors.names()) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        read = tensors.read(name)
        assert tensors.shape(name) == read.shape == array.shape
        assert read.dtype == (np.float32 if name == "brain" else array.dtype)
        np.testing.assert_array_equal(read, array.astype(read.dtype))


def test_every_read_gives_a_new_array(tmp_path):
    safetensors.numpy.save_file(WEIGHTS, tmp_path / "a")
    tensors = open_safetensors(tmp_path / "a")
    tensors.read("matrix")[:] = 0
    np.testing.assert_array_equal(tensors.read("matrix"), WEIGHTS["matrix"])


def test_all_numbers_of_sixteen_bits_are_widened_as_ml_dtypes_does(tmp_path):
    every = np.arange(1 << 16, dtype="uint16").view(ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"every": every}, tmp_path / "a")
    read = open_safetensors(tmp_path / "a").read("every")
    np.testing.assert_array_equal(read.view("uint32") >> 16, np.arange(1 << 16))  # bits, as some are no numbers
    np.testing.assert_array_equal(read, every.astype("float32"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"this is no safetensors file, but long enough for a length",
        by_hand(b"{no json"),
        by_hand({"a": tensor(offsets=(4, 8))}, b"\0" * 8),  # a gap
        by_hand({"a": tensor(offsets=(0, 8))}, b"\0" * 8),  # longer than the shape says
        by_hand({"a": tensor(), "b": tensor()}, b"\0" * 4),  # one over the other
        by_hand({"a": tensor(shape=(-1,))}, b"\0" * 4),
        by_hand({"a": tensor(dtype="PICKLE")}, b"\0" * 4),
        by_hand({"a": tensor()}, b"\0" * 5),  # bytes after the end
        by_hand({"a": tensor()}, b"\0" * 3),  # cut off
        struct.pack("<Q", 1 << 60) + b"{}",
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path, content):
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a whole safetensors file at .*bad\.safetensors\. Received: .+"):
        open_safetensors(tmp_path / "bad.safetensors")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(WEIGHTS, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="Expected a whole safetensors file"):
            open_safetensors(path)


def test_a_file_that_becomes_shorter_after_it_was_opened_is_an_error(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.ones(100, "float32")}, path)
    tensors = open_safetensors(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"Received: 300.*The file changed after it was opened"):
        tensors.read("a")


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "uint8"])
def test_a_weight_that_is_no_floating_point_is_refused_and_others_beside_it_are_not(tmp_path, dtype):
    safetensors.numpy.save_file({"a": np.ones(3, dtype), "b": np.ones(3, "float32")}, tmp_path / "a")
    tensors = open_safetensors(tmp_path / "a")
    assert set(tensors.names()) == {"a", "b"}
    assert tensors.shape("b") == (3,)
    for call in (tensors.shape, tensors.read):
        with pytest.raises(ValueError, match=f"Expected a in .* to hold one of float16, .*Received: {dtype}"):
            call("a")


def test_eight_bit_floats_are_refused_by_their_name(tmp_path):
    (tmp_path / "a").write_bytes(by_hand({"a": tensor("F8_E4M3", (4,))}, b"\0" * 4))
    with pytest.raises(ValueError, match="Received: F8_E4M3"):
        open_safetensors(tmp_path / "a").read("a")


# === Shards ===


@pytest.fixture
def shards(tmp_path):
    """An index of two files, and its contents to be changed."""
    names = list(WEIGHTS)
    files = {"model-1.safetensors": names[:3], "model-2.safetensors": names[3:]}
    for file, held in files.items():
        safetensors.numpy.save_file({name: WEIGHTS[name] for name in held}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in files.items() for name in held}}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    return path, index


def test_shards_are_one_checkpoint(shards):
    tensors = open_sharded_safetensors(shards[0])
    assert tensors.names() == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(tensors.read(name), array.astype(tensors.read(name).dtype))


@pytest.mark.parametrize(
    "file", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "c:a", "..\\a", "a\0b", 5, None]
)
def test_a_shard_outside_the_directory_is_refused_before_anything_is_opened(shards, file, monkeypatch):
    path, index = shards
    index["weight_map"]["matrix"] = file
    path.write_text(json.dumps(index))
    monkeypatch.setattr(safetensors, "safe_open", lambda *_, **__: pytest.fail("a file was opened"))
    with pytest.raises(ValueError, match="Expected plain names of files in the weight_map"):
        open_sharded_safetensors(path)


def test_a_missing_shard_is_named(shards):
    path, _ = shards
    (path.parent / "model-2.safetensors").unlink()
    with pytest.raises(ValueError, match=r"Received: no model-2\.safetensors\. Download"):
        open_sharded_safetensors(path)


def test_a_tensor_that_is_not_in_its_shard_is_named(shards):
    path, index = shards
    index["weight_map"]["absent"] = "model-1.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"Received: no absent in model-1\.safetensors \(1 such tensors\)"):
        open_sharded_safetensors(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": ["a"]}', "\udcff"])
def test_a_broken_index_is_named(shards, text):
    path, _ = shards
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="Expected JSON with a weight_map in"):
        open_sharded_safetensors(path)
