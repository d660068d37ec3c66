"""Fixtures for every folder of tests."""

import importlib.util
import signal
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def popen_that_takes_ctrl_c():
    """`subprocess.Popen`, but the process takes SIGINT even where the tests run with it ignored, in the background."""
    return lambda *args, **kwargs: subprocess.Popen(
        *args, **kwargs, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )


@pytest.fixture(scope="session")
def savedmodel_driver(tmp_path_factory):
    """The module tests/exporters/driver.py and the path of the driver it built, once a session."""
    # Tests are no packages (--import-mode=importlib), so a module beside them is loaded by its path.
    spec = importlib.util.spec_from_file_location(
        "savedmodel_driver", Path(__file__).parent / "exporters" / "driver.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def run_without_python(savedmodel_driver):
    """The function (saved_model_dir, signature_name, inputs) -> outputs, run in a process without Python.

    Inputs are a dict of lists or arrays, outputs a dict of arrays (strings as bytes). A SavedModel that does not load,
    or a signature that fails, raises RuntimeError with the message of TensorFlow. XLA is off, and only the op libraries
    that TF Serving links are there. Skips if g++ is not installed.
    """
    module, driver = savedmodel_driver
    return lambda saved_model_dir, signature_name, inputs: module.run_signature(
        driver, saved_model_dir, signature_name, inputs
    )
