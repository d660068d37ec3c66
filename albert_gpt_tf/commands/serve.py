"""Starts a local server with TF Serving's REST and gRPC APIs, for development.

    albert-gpt-tf serve --model=docstrings=exported/docstrings --model=gpt=exported/gpt
    curl http://127.0.0.1:8501/v1/models/docstrings:predict -d '{"inputs": {"text": ["Some text"]}}'

It listens on this machine only unless --host says otherwise. In production run `tensorflow_model_server`; the export
is the same.
"""

from absl import flags

_MODEL = flags.DEFINE_multi_string("model", None, "NAME=DIRECTORY of an export; may be given several times.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.")
_REST_PORT = flags.DEFINE_integer("rest_port", 8501, "Port of the REST API; 0 picks a free one.", 0, 65535)
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "Port of the gRPC API; 0 picks a free one.", 0, 65535)
_MAX_BODY_MB = flags.DEFINE_float("max_body_mb", 64.0, "Largest request body in MB.", lower_bound=0.001)


def main(arguments: list[str]) -> None:
    """Runs the command until Ctrl-C."""
    models = dict(pair.partition("=")[::2] for pair in _MODEL.value or [])
    if not models or not all(models.values()):
        raise ValueError(f"Expected --model=NAME=DIRECTORY, one or more. Received: {_MODEL.value}")

    from albert_gpt_tf.serving.local_server import LocalServer

    server = LocalServer(
        models,
        host=_HOST.value,
        rest_port=_REST_PORT.value,
        grpc_port=_GRPC_PORT.value,
        max_body_bytes=int(_MAX_BODY_MB.value * 1e6),
    )
    with server:
        for name in models:
            print(f"REST  http://{server.host}:{server.rest_port}/v1/models/{name}:predict")
        print(f"gRPC  {server.host}:{server.grpc_port}\nCtrl-C stops it.", flush=True)
        server.wait()
