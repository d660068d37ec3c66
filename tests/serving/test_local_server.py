"""The server as a whole: start, stop, ports, many callers, and surviving what nobody expected."""

import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from albert_gpt_tf.serving.client import GrpcClient, RestClient, ServingError
from albert_gpt_tf.serving.loaded_model import LoadedModel, find_versions
from albert_gpt_tf.serving.local_server import LocalServer


def clients(server):
    return RestClient(f"http://127.0.0.1:{server.rest_port}"), GrpcClient(f"127.0.0.1:{server.grpc_port}")


def test_versions_are_positive_integer_directories(export):
    assert find_versions(export) == {1: export / "1", 2: export / "2"}
    assert find_versions(str(export / "2")) == {2: export / "2"}
    assert find_versions(os.path.relpath(export / "2")) == {2: Path(os.path.relpath(export / "2"))}


def test_wrong_directories_are_refused_with_what_was_found(tmp_path, export):
    with pytest.raises(ValueError, match="does not exist or is not a directory"):
        LocalServer({"toy": tmp_path / "none"})
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(ValueError, match=r"it holds \['readme.txt'\]"):
        LocalServer({"toy": tmp_path})
    (tmp_path / "7").mkdir()
    with pytest.raises(ValueError, match=r"Version 7 of the model .* holds no saved_model.pb"):
        LocalServer({"toy": tmp_path})
    with pytest.raises(ValueError, match="at least one model"):
        LocalServer({})
    with pytest.raises(ValueError, match="must not be empty or contain"):
        LocalServer({"a/b": export})
    with pytest.raises(ValueError, match="max_body_bytes must be above 0"):
        LocalServer({"toy": export}, max_body_bytes=0)


def test_a_broken_saved_model_frees_the_ports_again(tmp_path, export):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no protobuf")
    rest_port, grpc_port = free_port(), free_port()
    broken = LocalServer({"toy": tmp_path}, rest_port=rest_port, grpc_port=grpc_port)
    with pytest.raises(ValueError, match="TensorFlow cannot load it"):
        broken.start()
    with LocalServer({"toy": export / "1"}, rest_port=rest_port, grpc_port=grpc_port) as server:
        assert clients(server)[0].status("toy") == {1: "AVAILABLE"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_taken_port_is_an_os_error_that_names_it(server, export):
    with pytest.raises(OSError, match=rf"REST server cannot listen on 127.0.0.1:{server.rest_port} .*rest_port"):
        LocalServer({"toy": export}, rest_port=server.rest_port, grpc_port=0).start()
    rest_port = free_port()
    second = LocalServer({"toy": export}, rest_port=rest_port, grpc_port=server.grpc_port)
    with pytest.raises(OSError, match=rf"gRPC server cannot listen on 127.0.0.1:{server.grpc_port} .*grpc_port"):
        second.start()
    with socket.socket() as probe:  # the REST port, taken first, is free again
        probe.bind(("127.0.0.1", rest_port))


def test_start_says_what_it_is_and_stop_ends_wait(export, caplog):
    server = LocalServer({"toy": export / "1"}, rest_port=0, grpc_port=0)
    server.stop()  # before the start it does nothing
    with caplog.at_level(logging.WARNING):
        server.start()
    assert "for development" in caplog.text
    assert "tensorflow_model_server" in caplog.text
    with pytest.raises(RuntimeError, match="already running"):
        server.start()
    rest, over_grpc = clients(server)
    assert rest.status("toy") == over_grpc.status("toy") == {1: "AVAILABLE"}
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    started = time.monotonic()
    server.stop()
    server.stop()
    waiting.join(10)
    assert not waiting.is_alive()
    assert time.monotonic() - started < 10  # far less than the two grace periods together
    with pytest.raises(ServingError):
        rest.status("toy")
    with server:  # once more, on the ports it had
        assert rest.status("toy") == {1: "AVAILABLE"}


def test_eight_callers_get_their_own_answers(server):
    rest, over_grpc = clients(server)

    def call(worker):
        client = rest if worker % 2 else over_grpc
        for index in range(20):
            texts = ["x" * (worker * 20 + index), "y" * worker]
            lengths = client.predict("toy", {"text": texts})["scores"][:, 0]
            assert lengths.tolist() == [len(text) for text in texts]
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == [True] * 8


def test_an_unexpected_exception_is_logged_and_the_server_lives_on(server, monkeypatch, caplog):
    rest, over_grpc = clients(server)
    with monkeypatch.context() as patch:
        patch.setattr(LoadedModel, "run", lambda *args: 1 / 0)
        reply = httpx.post(f"{rest.base_url}/v1/models/toy:predict", json={"inputs": ["x"]}, trust_env=False)
        assert reply.status_code == 500
        assert reply.json()["error"].startswith("Internal error: ZeroDivisionError")
        with pytest.raises(ServingError) as caught:
            over_grpc.predict("toy", {"text": ["x"]})
        assert caught.value.code == "INTERNAL"
    assert caplog.text.count("ZeroDivisionError: division by zero") == 2
    assert rest.predict("toy", {"text": ["good"]})["label"][0] == "short"
    assert over_grpc.predict("toy", {"text": ["good"]})["label"][0] == "short"


def test_a_slow_reply_is_504_and_does_not_block_others(export, monkeypatch):
    run, release = LoadedModel.run, threading.Event()

    def slow(self, signature_name, inputs, output_filter=()):
        if signature_name == "raw":
            release.wait(20)
        return run(self, signature_name, inputs, output_filter)

    monkeypatch.setattr(LoadedModel, "run", slow)
    with LocalServer({"toy": export / "1"}, rest_port=0, grpc_port=0, rest_timeout_seconds=0.5) as server:
        rest = RestClient(f"http://127.0.0.1:{server.rest_port}")
        rest.metadata("toy")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(rest.predict, "toy", {"text": ["x"]}, "raw")
            assert rest.predict("toy", {"text": ["good"]})["label"][0] == "short"
            with pytest.raises(ServingError) as caught:
                waiting.result()
        assert caught.value.code == "DEADLINE_EXCEEDED"
        assert "longer limit" in caught.value.message  # the server's words, not the client's own timeout
        release.set()


def test_half_requests_and_noise_do_not_hurt(server):
    for data in (b"\x00\xff garbage\r\n\r\n", b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"):
        for port in (server.rest_port, server.grpc_port):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(data)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        noise = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError):
            noise(b"\xff\xff\xff", timeout=10)
    rest, over_grpc = clients(server)
    assert rest.status("toy") == over_grpc.status("toy")


def test_names_that_need_quoting(export):
    with LocalServer({"two words é%": export / "1"}, rest_port=0, grpc_port=0) as server:
        for client in clients(server):
            assert client.predict("two words é%", {"text": ["good"]})["label"][0] == "short"
            with pytest.raises(ServingError, match=r"Latest\(two\)"):
                client.predict("two", {"text": ["good"]})
