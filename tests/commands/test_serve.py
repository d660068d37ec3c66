"""`albert-gpt-tf serve` as a user starts it."""

import re
import signal
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from albert_gpt_tf.serving.client import RestClient

COMMAND = [sys.executable, "-m", "albert_gpt_tf.commands.main", "serve"]


class Echo(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        return {"text": text}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "echo"
    module = Echo()
    tf.saved_model.save(module, str(path / "1"), signatures=module.serve)
    return path


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=100)


def test_it_answers_until_ctrl_c(export, popen_that_takes_ctrl_c):
    arguments = [f"--model=echo={export}", "--rest_port=0", "--grpc_port=0"]
    process = popen_that_takes_ctrl_c([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = re.search(r"http://127\.0\.0\.1:(\d+)/v1/models/echo:predict", process.stdout.readline())[1]
        assert list(RestClient(f"http://127.0.0.1:{port}").predict("echo", {"text": ["hello"]})["text"]) == ["hello"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (0, 130)
    assert "for development" in errors and "Traceback" not in errors


def test_a_port_in_use_is_named(export):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(f"--model=echo={export}", f"--rest_port={port}", "--grpc_port=0")
    assert result.returncode == 1
    assert str(port) in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_directory_that_is_not_a_saved_model_is_named(tmp_path):
    result = run(f"--model=echo={tmp_path}", "--rest_port=0", "--grpc_port=0")
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["--model=echo"]])
def test_a_model_needs_a_name_and_a_directory(arguments):
    result = run(*arguments)
    assert result.returncode == 1
    assert "--model=NAME=DIRECTORY" in result.stderr
