"""The warm-up file holds requests that were run, in the records that TF Serving replays."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from albert_gpt_tf.exporters.run_rules import serialized_examples
from albert_gpt_tf.exporters.warmup import read_warmup_requests, write_warmup_requests

GENERATE = {"prompt": ["a", "b"], "max_new_tokens": [1, 2], "temperature": [0.5, 1.0], "seed": [0, 1]}


@pytest.fixture
def saved_model(toy_export, tmp_path):
    return shutil.copytree(toy_export, tmp_path / "1")


def test_requests_come_back_and_run_again(saved_model):
    texts = [b"the quick fox", b"", b"caf\xc3\x00"]
    requests = [
        ("serving_default", {"text": texts}),
        ("generate", GENERATE),
        ("classify", {"text": texts}),
        ("classify", {"inputs": serialized_examples({"text": texts})}),
    ]
    file = write_warmup_requests(saved_model, "toy", requests)
    assert file == saved_model / "assets.extra" / "tf_serving_warmup_requests"
    replayed = read_warmup_requests(saved_model)
    assert [name for name, _ in replayed] == [name for name, _ in requests]
    assert replayed[0][1]["text"].tolist() == texts
    assert replayed[1][1]["max_new_tokens"].dtype == np.int32 and replayed[1][1]["seed"].dtype == np.int64
    np.testing.assert_array_equal(replayed[2][1]["inputs"], replayed[3][1]["inputs"])
    signatures = tf.saved_model.load(str(saved_model)).signatures
    for name, inputs in replayed:
        signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    write_warmup_requests(saved_model, "toy", replayed)
    assert len(read_warmup_requests(saved_model)) == 4 and len(list(file.parent.iterdir())) == 1


def test_records_name_the_model_and_signature(saved_model):
    file = write_warmup_requests(saved_model, "toy", [("generate", GENERATE), ("classify", {"text": ["a"]})])
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    predict, classify = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert predict.WhichOneof("log_type") == "predict_log" and classify.WhichOneof("log_type") == "classify_log"
    for spec in (predict.predict_log.request.model_spec, classify.classify_log.request.model_spec):
        assert spec.name == "toy"
    assert predict.predict_log.request.model_spec.signature_name == "generate"
    assert classify.classify_log.request.input.example_list.examples[0].features.feature["text"].bytes_list.value


@pytest.mark.parametrize(
    "requests, message",
    [
        ([], "Expected 1 to 1000"),
        ([("serving_default", {"text": ["a"]})] * 1001, "Expected 1 to 1000"),
        ([("nope", {"text": ["a"]})], "signature among"),
        ([("serving_default", {"txt": ["a"]})], "to have the inputs"),
        ([("generate", {"prompt": ["a"]})], "to have the inputs"),
        ([("serving_default", {"text": ["a"]}), ("serving_default", {"text": [1]})], "request 1 .* to succeed"),
        ([("generate", GENERATE | {"seed": [0, 1, 2]})], "to succeed"),
        ([("classify", {"inputs": [b"no example"]})], "to succeed"),
    ],
)
def test_a_request_that_fails_raises_and_nothing_is_written(saved_model, requests, message):
    with pytest.raises(ValueError, match=message):
        write_warmup_requests(saved_model, "toy", requests)
    assert not (saved_model / "assets.extra").exists() and read_warmup_requests(saved_model) == []


def test_the_file_is_read_by_the_process_without_python_too(saved_model, run_without_python):
    write_warmup_requests(saved_model, "toy", [("generate", GENERATE), ("classify", {"text": ["fox"]})])
    for name, inputs in read_warmup_requests(saved_model):
        assert run_without_python(saved_model, name, inputs)
