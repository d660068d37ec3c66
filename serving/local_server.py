"""A local server with TensorFlow Serving's REST and gRPC APIs, for development and tests.

In production run `tensorflow_model_server` (`compose.yaml` beside this file). This one needs no Docker, serves any
SavedModel with a `serve` tag, and answers as the real server does, errors included, with these known differences:

* All versions of a model are loaded at start, and the directory is not watched: no reload, no version policy, no
  version labels, no warm-up file, no batching, no monitoring page, no gRPC health service, no TLS, no CORS.
* An input whose shape contradicts the signature is refused before the graph runs, with one fixed text; the real
  server lets whatever op of the graph notices complain. Errors of ops carry the same code and message, but not
  always the same node names; one that quotes bytes which are not UTF-8 comes as INVALID_ARGUMENT with them replaced.
  A function compiled with XLA runs here, and fails there unless XLA is switched on.
* REST in: the texts after "JSON Parse error:" are those of Python's parser; a body that is not UTF-8 is refused, where
  the real server passes raw bytes on; of a key given twice the last counts, not the first; numbers beyond the range
  of a double become infinite instead of an error; lists nested over 32 deep are refused. A body over
  `max_body_bytes` is answered with 413; the real server has no limit.
* REST out: replies are not indented, and a float32 has the fewest digits that say it (the real server writes six or
  nine). Quoted values in errors are cut after 1000 characters.
* REST over the time limit is answered with 504, but its thread runs to the end; gRPC deadlines end the call at the
  client and leave the thread to finish as well.
* Classify over gRPC replaces bytes that are not UTF-8 in `classes`, because Python's protobuf strings cannot hold them.
  MultiInference runs each task by itself, and does not ask that they share one input tensor.
* A TensorProto whose shape names over a million elements more than it gives is refused.
"""

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import uvicorn

from albert_gpt_tf.serving.grpc_api import grpc_server
from albert_gpt_tf.serving.loaded_model import LoadedModel, find_versions
from albert_gpt_tf.serving.rest_api import rest_application

START_SECONDS = 30.0
STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)


class LocalServer:
    """Serves SavedModels over REST and gRPC until it is stopped.

    Args:
        models: dict from the name in requests to a directory: the base path of numbered versions, or one version.
        host: str, the address to listen on, defaults to `"127.0.0.1"`, which only this machine reaches. There is
            neither encryption nor a login.
        rest_port: int, defaults to 8501; 0 picks a free one.
        grpc_port: int, defaults to 8500; 0 picks a free one.
        max_body_bytes: int, the longest request on either port, defaults to 64 MiB.
        max_concurrent_requests: int, how many requests run at a time on each port, defaults to 8; others wait.
        rest_timeout_seconds: float, defaults to 30 s, as in the real server; long generations need more.

    Raises:
        ValueError: if a directory holds no SavedModel or a number makes no sense.

    Example:
        with LocalServer({"sentiment": "exports/sentiment"}, rest_port=0, grpc_port=0) as server:
            print(RestClient(f"http://127.0.0.1:{server.rest_port}").predict("sentiment", {"text": ["good"]}))

    Reference: https://www.tensorflow.org/tfx/serving/api_rest
    """

    def __init__(
        self,
        models: dict[str, str | Path],
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        max_body_bytes: int = 64 * 2**20,
        max_concurrent_requests: int = 8,
        rest_timeout_seconds: float = 30.0,
    ):
        if not models:
            raise ValueError('Expected at least one model, such as {"sentiment": "exports/sentiment"}; received none.')
        for name in models:
            if not name or set(name) & set("/:"):
                raise ValueError(f"A model name must not be empty or contain '/' or ':'; received {name!r}.")
        for name, value in (
            ("max_body_bytes", max_body_bytes),
            ("max_concurrent_requests", max_concurrent_requests),
            ("rest_timeout_seconds", rest_timeout_seconds),
        ):
            if value <= 0:
                raise ValueError(f"{name} must be above 0; received {value}.")
        self.host = host
        self.rest_port = rest_port
        self.grpc_port = grpc_port
        self._directories = {name: find_versions(path) for name, path in models.items()}
        self._max_body_bytes = max_body_bytes
        self._max_concurrent_requests = max_concurrent_requests
        self._rest_timeout_seconds = rest_timeout_seconds
        self._stopped = threading.Event()
        self._running = False

    def start(self) -> "LocalServer":
        """Takes both ports, loads every model, and then answers requests in background threads.

        Returns:
            The server itself, with `rest_port` and `grpc_port` set.

        Raises:
            OSError: if a port is taken; nothing has been started then.
            ValueError: if TensorFlow cannot load a model; the ports are free again then.
        """
        if self._running:
            raise RuntimeError("The server is already running; stop() it before another start().")
        models: dict[str, dict[int, LoadedModel]] = {}
        rest_pool = ThreadPoolExecutor(self._max_concurrent_requests, "rest")
        grpc_pool = ThreadPoolExecutor(self._max_concurrent_requests, "grpc")
        rest_socket = _listen(self.host, self.rest_port)
        grpc_api = grpc_server(models, grpc_pool, self._max_body_bytes)
        try:
            grpc_port = _bind_grpc(grpc_api, self.host, self.grpc_port)
            for name, versions in self._directories.items():
                models[name] = {version: LoadedModel(name, version, path) for version, path in versions.items()}
            application = rest_application(models, rest_pool, self._max_body_bytes, self._rest_timeout_seconds)
            config = uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=int(STOP_SECONDS),
            )
            rest_server = uvicorn.Server(config)
            # uvicorn installs signal handlers in the main thread only, so none are installed here.
            rest_thread = threading.Thread(
                target=rest_server.run, kwargs={"sockets": [rest_socket]}, name="rest-server", daemon=True
            )
            rest_thread.start()
            _wait_for_start(rest_server, rest_thread)
        except BaseException:
            grpc_api.start()  # a gRPC server that never ran would keep its port, whatever stop() says
            grpc_api.stop(None).wait()
            rest_socket.close()
            raise
        grpc_api.start()
        self._rest_server, self._rest_thread, self._grpc_api = rest_server, rest_thread, grpc_api
        self._pools = (rest_pool, grpc_pool)
        self.rest_port, self.grpc_port = rest_socket.getsockname()[1], grpc_port
        self._stopped.clear()
        self._running = True
        shown = f"[{self.host}]" if ":" in self.host else self.host
        logger.warning(
            "Local server for development: REST on http://%s:%d, gRPC on %s:%d, models %s. In production run "
            "tensorflow_model_server.",
            shown,
            self.rest_port,
            shown,
            self.grpc_port,
            {name: sorted(versions) for name, versions in models.items()},
        )
        return self

    def stop(self) -> None:
        """Stops both servers; requests that run may end within 5 s. Stopping twice does nothing."""
        if not self._running:
            return
        self._running = False
        grpc_stopped = self._grpc_api.stop(STOP_SECONDS)
        self._rest_server.should_exit = True
        self._rest_thread.join(STOP_SECONDS + 1)
        grpc_stopped.wait(STOP_SECONDS + 1)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self._stopped.set()

    def wait(self) -> None:
        """Blocks until another thread calls `stop`, or until Ctrl-C, which stops the server."""
        try:
            self._stopped.wait()
        except KeyboardInterrupt:
            logger.info("Stopping.")
            self.stop()

    def __enter__(self) -> "LocalServer":
        return self.start()

    def __exit__(self, *exception) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except (OSError, OverflowError) as error:
        raise OSError(_port_message("REST", host, port, str(error))) from error


def _bind_grpc(server: grpc.Server, host: str, port: int) -> int:
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(_port_message("gRPC", host, port, "address in use or not allowed")) from error
    if not bound:
        raise OSError(_port_message("gRPC", host, port, "address in use or not allowed"))
    return bound


def _port_message(protocol: str, host: str, port: int, reason: str) -> str:
    argument = f"{protocol.lower()}_port"
    return (
        f"The {protocol} server cannot listen on {host}:{port} ({reason}); stop the program that holds the port, or "
        f"choose another {argument} (0 picks a free one)."
    )


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("The REST server did not start; its log says why.")
        time.sleep(0.01)
