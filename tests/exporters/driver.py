"""Builds savedmodel_driver.cc and talks to it. Tests use the fixtures in tests/conftest.py."""

import importlib.util
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.exporters.graph_rules import TEXT_OPS, read_meta_graph


def build_driver(folder) -> Path:
    """Compiles the driver into a folder, or skips the test if there is no compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed, so no process without Python can be built to run the SavedModel")
    source, driver, libraries = Path(__file__).with_name("savedmodel_driver.cc"), Path(folder) / "driver", _libraries()
    command = [compiler, "-O1", str(source), *tf.sysconfig.get_compile_flags(), *libraries, "-o", str(driver)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return driver


def run_signature(driver, saved_model_dir, signature_name: str, inputs: dict) -> dict[str, np.ndarray]:
    """Runs a signature in the driver.

    Args:
        driver: str or Path, what `build_driver` returned.
        saved_model_dir: str or Path, a SavedModel directory.
        signature_name: str.
        inputs: dict of input name to array or list; strings may be str or bytes.

    Returns:
        A dict of output name to array, strings as an object array of bytes.

    Raises:
        RuntimeError: The SavedModel does not load ("load: …") or the signature fails ("run: …").
    """
    signature = read_meta_graph(saved_model_dir).signature_def[signature_name]
    assert set(inputs) == set(signature.inputs), f"expected the inputs {sorted(signature.inputs)}"
    outputs = sorted(signature.outputs)
    request = [_integer(len(inputs))]
    for name, value in inputs.items():
        request += [_endpoint(signature.inputs[name]), _tensor(value, signature.inputs[name].dtype)]
    request += [_integer(len(outputs)), *(_endpoint(signature.outputs[name]) for name in outputs)]
    # On a machine with a GPU the server may use it; here results are compared with Python's on the CPU.
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [str(driver), str(saved_model_dir), *_op_libraries()]
    ran = subprocess.run(command, input=b"".join(request), capture_output=True, env=environment, timeout=300)
    if ran.returncode:
        lines = ran.stderr.decode("utf-8", "replace").splitlines()
        stages = [number for number, line in enumerate(lines) if line.startswith(("load: ", "run: ", "request: ", "/"))]
        raise RuntimeError("\n".join(lines[stages[-1] :] if stages else lines[-5:]) or f"exit code {ran.returncode}")
    answer = _Reader(ran.stdout)
    return {name: answer.tensor() for name in outputs}


def _libraries() -> list[str]:
    folder = tf.sysconfig.get_lib()
    names = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
    return [*(f"{folder}/{name}" for name in names), f"-Wl,-rpath,{folder}"]


def _op_libraries() -> list[str]:
    # Only those that TF Serving links: a graph that needs another fails here as it would there.
    folder = Path(importlib.util.find_spec("tensorflow_text").origin).parent
    return [str(folder / name) for name in sorted(TEXT_OPS)]


def _integer(value: int) -> bytes:
    return struct.pack("=q", value)


def _string(value: bytes) -> bytes:
    return _integer(len(value)) + value


def _endpoint(info) -> bytes:
    name, index = info.name.split(":")
    return _string(name.encode()) + _integer(int(index))


def _tensor(value, dtype: int) -> bytes:
    if dtype == tf.string.as_datatype_enum:
        array = np.asarray(value, object)
        elements = [_string(item.encode() if isinstance(item, str) else bytes(item)) for item in array.ravel()]
    else:
        array = np.asarray(value, tf.dtypes.as_dtype(dtype).as_numpy_dtype)
        elements = [array.tobytes()]
    return b"".join([_integer(dtype), _integer(array.ndim), *map(_integer, array.shape), *elements])


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def bytes(self, size: int) -> bytes:
        self.position += size
        return self.data[self.position - size : self.position]

    def integer(self) -> int:
        return struct.unpack("=q", self.bytes(8))[0]

    def tensor(self) -> np.ndarray:
        dtype = tf.dtypes.as_dtype(self.integer())
        shape = [self.integer() for _ in range(self.integer())]
        count = int(np.prod(shape))
        if dtype != tf.string:
            return np.frombuffer(self.bytes(count * dtype.size), dtype.as_numpy_dtype).reshape(shape)
        values = np.empty(count, object)
        values[:] = [self.bytes(self.integer()) for _ in range(count)]
        return values.reshape(shape)
