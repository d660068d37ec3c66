"""The files for the real server: what can be checked of them without it."""

import re
from importlib import resources

import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

# The fields of BatchingParameters (session_bundle_config.proto) and of MonitoringConfig (monitoring_config.proto),
# which tensorflow-serving-api does not contain: name -> type. A wrapped type is written as `name { value: ... }`.
BATCHING_FIELDS = {
    "max_batch_size": "wrapped int",
    "batch_timeout_micros": "wrapped int",
    "max_enqueued_batches": "wrapped int",
    "num_batch_threads": "wrapped int",
    "thread_pool_name": "wrapped string",
    "allowed_batch_sizes": "int",
    "pad_variable_length_inputs": "bool",
    "enable_large_batch_splitting": "wrapped bool",
    "max_execution_batch_size": "wrapped int",
}
MONITORING_FIELDS = {"enable": "bool", "path": "string"}
VALUES = {"int": r"\d+", "bool": "true|false", "string": '"[^"]*"'}
FIELD = re.compile(r"(?P<name>\w+)\s*(?::\s*(?P<plain>\S+)|\{\s*value\s*:\s*(?P<wrapped>\S+)\s*\})\s*")


def read(name):
    return resources.files("albert_gpt_tf.serving").joinpath(name).read_text()


def fields_of(text, types):
    """Parses a flat text proto, checking names and types; returns a list of (name, value)."""
    text = re.sub(r"#.*", "", text).strip()
    found = []
    while text:
        match = FIELD.match(text)
        assert match, f"not a field: {text[:60]!r}"
        name, value = match["name"], match["plain"] or match["wrapped"]
        assert name in types, f"unknown field {name}"
        assert types[name].startswith("wrapped") == bool(match["wrapped"]), f"{name} is {types[name]}"
        assert re.fullmatch(VALUES[types[name].split()[-1]], value), f"{name}: {value}"
        found.append((name, value))
        text = text[match.end() :]
    return found


def test_models_config_is_a_model_server_config():
    config = text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())
    models = {model.name: model for model in config.model_config_list.config}
    assert set(models) == {"classifier", "generator"}
    assert all(model.base_path.startswith("/models/") for model in models.values())
    assert all(model.model_platform == "tensorflow" for model in models.values())


def test_batching_config_keeps_the_rules_of_the_server():
    fields = fields_of(read("batching.config"), BATCHING_FIELDS)
    sizes = [int(value) for name, value in fields if name == "allowed_batch_sizes"]
    single = {name: value for name, value in fields if name != "allowed_batch_sizes"}
    assert len(single) == len(fields) - len(sizes), "a field is given twice"
    assert sizes == sorted(set(sizes))
    assert single["enable_large_batch_splitting"] == "true"
    assert sizes[-1] == int(single["max_execution_batch_size"]) == int(single["max_batch_size"])
    assert single["pad_variable_length_inputs"] == "false"


def test_monitoring_config_enables_prometheus():
    match = re.fullmatch(r"prometheus_config\s*\{(.*)\}", re.sub(r"#.*", "", read("monitoring.config")).strip(), re.S)
    fields = dict(fields_of(match[1], MONITORING_FIELDS))
    assert fields == {"enable": "true", "path": '"/monitoring/prometheus/metrics"'}


def test_compose_file_mounts_the_configs_read_only_and_listens_on_loopback():
    service = yaml.safe_load(read("compose.yaml"))["services"]["tensorflow-serving"]
    for name in ("models", "batching", "monitoring"):
        assert f"./{name}.config:/config/{name}.config:ro" in service["volumes"]
        assert any(flag.endswith(f"=/config/{name}.config") for flag in service["command"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert [port.rsplit(":", 1)[0] for port in service["ports"]] == ["127.0.0.1:8500", "127.0.0.1:8501"]
    assert any(flag.startswith("--rest_api_timeout_in_ms=") for flag in service["command"])
    assert "/v1/models/classifier" in service["healthcheck"]["test"][-1]
