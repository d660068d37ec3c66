"""Every head gives the same answer in memory, over REST by rows and by columns, over gRPC, and without Python."""

import json
import urllib.request
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import albert_gpt_tf as agt
from albert_gpt_tf.exporters.warmup import read_warmup_requests
from albert_gpt_tf.serving.client import GrpcClient, RestClient
from albert_gpt_tf.serving.local_server import LocalServer
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece

TEXTS = [
    "The Fox of Ålesund met Anna Müller in 東京 🦊, twice.",
    "Return the sum of the array.",
    "",
    "a NUL \0 inside,   white \t space\n\n and “quotes”",
    "[MASK] [CLS] <pad> [SEP] ﬁne ＡＢＣ e\u0301",
    "far too long for one row of the model " * 8,
]
OTHER_TEXTS = ["Anna met a fox.", "", "The array is summed.", "日本語", "white", "too long " * 40]
MASKED = ["The [MASK] met [MASK] in 東京.", "Return the [MASK].", "no mask", "", "[MASK]", "[MASK] " * 40]
CHOICES = [["a fox", "", "🦊 in 東京"]] * 3 + [["twice", "sum", "array " * 30]] * 3
LABELS = ["none", "some", "all"]
TAGS = ["O", "B-PLACE", "I-PLACE", "B-ANIMAL"]


class Head(NamedTuple):
    """A task, whether it takes pairs, and rows of its inputs."""

    task: keras.Model
    text_pair: bool
    inputs: dict


@pytest.fixture(scope="module")
def heads():
    """Random models whose weights are large enough for rows to get answers of their own."""
    keras.utils.set_random_seed(0)
    tokenizer = agt.AlbertTokenizer(train_sentencepiece((TEXTS + OTHER_TEXTS + MASKED) * 20, 180))
    backbone = agt.AlbertBackbone(
        tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8,
        max_sequence_length=24, initializer_range=0.5,
    )  # fmt: skip
    text, pair = {"text": TEXTS}, {"text": TEXTS, "text_pair": OTHER_TEXTS}
    return {
        "pairs": Head(agt.AlbertTextClassifier(backbone, LABELS, tokenizer=tokenizer), True, pair),
        "numbers": Head(agt.AlbertTextClassifier(backbone, regression=True, tokenizer=tokenizer), True, pair),
        "tags": Head(agt.AlbertTokenClassifier(backbone, TAGS, tokenizer=tokenizer), False, text),
        "answers": Head(
            agt.AlbertQuestionAnswerer(backbone, tokenizer=tokenizer),
            False,
            {"question": OTHER_TEXTS, "context": TEXTS},
        ),
        "choices": Head(
            agt.AlbertMultipleChoice(backbone, tokenizer=tokenizer), False, {"context": TEXTS, "choices": CHOICES}
        ),
        "masks": Head(agt.AlbertMaskedLM(backbone, tokenizer=tokenizer), False, {"text": MASKED}),
        "vectors": Head(agt.AlbertTextEmbedder(backbone, tokenizer=tokenizer), False, text),
    }


@pytest.fixture(scope="module")
def exports(heads, tmp_path_factory):
    """Each head exported and checked once."""
    base = tmp_path_factory.mktemp("heads")
    return {
        name: agt.exporters.export_saved_model(head.task, base / name, text_pair=head.text_pair)
        for name, head in heads.items()
    }


@pytest.fixture(scope="module")
def server(exports):
    with LocalServer({name: path.parent for name, path in exports.items()}, rest_port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def answers(heads):
    """What the tasks answer in memory, strings as str."""
    return {name: in_memory(head, head.inputs) for name, head in heads.items()}


def in_memory(head, inputs):
    outputs = head.task.answer(**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: as_text(value.numpy()) for key, value in outputs.items()}


def as_text(array):
    array = np.asarray(array)
    if array.dtype.kind not in "SO":
        return array
    flat = np.empty(array.size, object)
    flat[:] = [value.decode() if isinstance(value, bytes) else value for value in array.ravel()]  # raises if not UTF-8
    return flat.reshape(array.shape)


def assert_same(got, want):
    """Strings and integers equal, floats within 1e-5."""
    assert set(got) == set(want)
    for name in want:
        value = as_text(got[name])
        assert value.shape == want[name].shape, name
        if want[name].dtype.kind == "f":
            np.testing.assert_allclose(value, want[name], rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(value, want[name], err_msg=name)


def ask(server, name, body, verb="predict"):
    """The JSON a server answers to a request, read strictly: invalid UTF-8 or a bare NaN raises."""
    url = f"http://{server.host}:{server.rest_port}/v1/models/{name}:{verb}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.loads(response.read().decode(), parse_constant=pytest.fail)


HEADS = ["pairs", "numbers", "tags", "answers", "choices", "masks", "vectors"]
over_heads = pytest.mark.parametrize("name", HEADS)


@over_heads
def test_the_saved_model_gives_the_answers_of_the_task(exports, heads, answers, name):
    signature = tf.saved_model.load(str(exports[name])).signatures["serving_default"]
    inputs = {key: tf.constant(value) for key, value in heads[name].inputs.items()}
    assert_same({key: value.numpy() for key, value in signature(**inputs).items()}, answers[name])


@over_heads
def test_the_clients_get_the_answers_of_the_task(server, heads, answers, name):
    rest = RestClient(f"http://{server.host}:{server.rest_port}")
    assert_same(rest.predict(name, heads[name].inputs), answers[name])
    with GrpcClient(f"{server.host}:{server.grpc_port}") as grpc:
        assert_same(grpc.predict(name, heads[name].inputs), answers[name])


@over_heads
def test_rows_over_rest_are_the_columns_turned(server, heads, answers, name):
    inputs = heads[name].inputs
    rows = [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]
    predictions = ask(server, name, {"instances": rows})["predictions"]
    if len(answers[name]) == 1:  # the server leaves the name of a single output out
        predictions = [{next(iter(answers[name])): value} for value in predictions]
    kinds = {key: value.dtype for key, value in answers[name].items()}
    got = {key: np.array([row[key] for row in predictions], kinds[key]) for key in kinds}
    assert_same(got, answers[name])


@over_heads
def test_a_process_without_python_gives_the_answers_of_the_task(exports, heads, answers, run_without_python, name):
    assert_same(run_without_python(exports[name], "serving_default", heads[name].inputs), answers[name])


@over_heads
def test_a_row_alone_gets_the_answer_that_it_gets_among_others(server, heads, answers, name):
    with GrpcClient(f"{server.host}:{server.grpc_port}") as grpc:  # REST does not tell [1, 0, 5] from [1, 0]
        for row in range(len(TEXTS)):
            alone = grpc.predict(name, {key: value[row : row + 1] for key, value in heads[name].inputs.items()})
            for key, value in alone.items():
                among = answers[name][key][row : row + 1]
                inside = among[tuple(slice(size) for size in value.shape)]
                assert_same({key: value}, {key: inside})
                if among.size > inside.size:  # beyond it there is padding
                    assert set(among[0].ravel()[inside.size :]) == {"" if among.dtype == object else -1}


@over_heads
def test_every_signature_is_warmed_up_with_one_row_and_with_two(exports, heads, name):
    more = {"pairs": ["classify"], "numbers": ["regress"]}.get(name, [])
    requests = read_warmup_requests(exports[name])
    rows = [(signature, len(next(iter(inputs.values())))) for signature, inputs in requests]
    assert rows == [(signature, count) for signature in ["serving_default", *more] for count in (1, 2)]
    assert set(requests[0][1]) == set(heads[name].inputs)
    if name == "masks":
        assert all(b"[MASK]" in text for text in requests[1][1]["text"])


def test_classify_and_regress_take_pairs(server, answers):
    rows = [{"text": text, "text_pair": other} for text, other in zip(TEXTS, OTHER_TEXTS, strict=True)]
    results = ask(server, "pairs", {"signature_name": "classify", "examples": rows}, "classify")["results"]
    assert [[label for label, _ in row] for row in results] == [LABELS] * len(TEXTS)
    scores = np.array([[score for _, score in row] for row in results])
    np.testing.assert_allclose(scores, answers["pairs"]["scores"], atol=1e-5)
    results = ask(server, "numbers", {"signature_name": "regress", "examples": rows}, "regress")["results"]
    np.testing.assert_allclose(results, answers["numbers"]["value"], rtol=1e-5, atol=1e-5)
    with GrpcClient(f"{server.host}:{server.grpc_port}") as grpc:
        np.testing.assert_allclose(grpc.regress("numbers", rows), answers["numbers"]["value"], rtol=1e-5, atol=1e-5)


def test_offsets_slice_the_text_of_the_caller(answers):
    found = answers["answers"]
    for row, context in enumerate(TEXTS):
        assert context[found["start"][row] : found["end"][row]] == found["answer"][row]
    assert any(not answer.isascii() for answer in found["answer"])  # bytes would not do
    tags = answers["tags"]
    rows, places = np.nonzero(tags["start"] >= 0)
    assert len(rows) > 3
    for row, place in zip(rows, places, strict=True):
        start, end = tags["start"][row, place], tags["end"][row, place]
        assert TEXTS[row][start:end] == tags["entity"][row, place] != ""
        assert tags["label"][row, place] in ("PLACE", "ANIMAL")


def test_rows_differ_so_that_there_is_something_to_compare(answers):
    for name, outputs in answers.items():
        floats = next(value for value in outputs.values() if value.dtype.kind == "f")
        assert len(np.unique(floats[:2])) > 1, name
    assert len(set(answers["pairs"]["label"])) > 1 or len(set(answers["choices"]["choice"])) > 1


def test_bytes_that_are_no_text_are_answered(server, heads):
    rest = RestClient(f"http://{server.host}:{server.rest_port}")
    for name, head in heads.items():
        hostile = [b"caf\xc3 \xff\xfe [MASK] \xf0\x9f\x98", b"\xed\xa0\x80", b"x" * 2**16]
        inputs = {key: [[text] * 3 for text in hostile] if key == "choices" else hostile for key in head.inputs}
        outputs = rest.predict(name, inputs)
        assert all(len(value) == len(hostile) for value in outputs.values())
        assert not any(np.isnan(value).any() for value in outputs.values() if value.dtype.kind == "f")


def test_choices_of_another_number_are_answered_too(server, heads):
    rest = RestClient(f"http://{server.host}:{server.rest_port}")
    for count in (1, 2, 5):
        inputs = {"context": ["a fox", "an array"], "choices": [["fox"] * count, ["sum"] * count]}
        assert_same(rest.predict("choices", inputs), in_memory(heads["choices"], inputs))
