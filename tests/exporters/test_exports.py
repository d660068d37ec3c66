import numpy as np
import pytest
import tensorflow as tf

import albert_gpt_tf as agt
from albert_gpt_tf.exporters.signatures import signatures_of
from albert_gpt_tf.exporters.warmup import read_warmup_requests
from albert_gpt_tf.serving.lite import LiteModel
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

TEXTS = ["the quick brown fox", "jumps over the lazy dog"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return agt.AlbertTokenizer(train_sentencepiece(TEXTS, 60))


@pytest.fixture(scope="module")
def classifier(tokenizer):
    backbone = agt.AlbertBackbone(
        tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, embedding_dim=8,
        max_sequence_length=16,
    )  # fmt: skip
    return agt.AlbertTextClassifier(backbone, labels=["fox", "dog", "cat"], tokenizer=tokenizer)


@pytest.fixture(scope="module")
def causal_lm():
    tokenizer = agt.GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 270))
    backbone = agt.GPTBackbone(tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=16)
    return agt.GPTCausalLM(backbone, tokenizer=tokenizer)


B, SERVED = [None], "serving_default"
STRINGS, FLOATS, INTS = ("string", B), ("float32", B), ("int32", B)
SAMPLING = {"prompt": STRINGS, "max_new_tokens": INTS, "temperature": FLOATS, "top_k": INTS, "top_p": FLOATS}
SAMPLING |= {"repetition_penalty": FLOATS, "seed": INTS}
GENERATED = {"text": STRINGS, "text_bytes": STRINGS, "token_count": INTS}
SPAN = {"start": INTS, "end": INTS, "score": FLOATS}
CLASSES = {"classes": ("string", [None, 3]), "scores": ("float32", [None, 3])}
LABELLED = {"label": STRINGS, "score": FLOATS, "scores": ("float32", [None, 3])}
# Task, whether it takes pairs, and for each signature (inputs, outputs) as name: (dtype, shape).
CONTRACT = {
    "AlbertTextClassifier": (
        False, {SERVED: ({"text": STRINGS}, LABELLED), "classify": ({"inputs": STRINGS}, CLASSES)}
    ),
    "AlbertTextClassifier of pairs": (
        True, {SERVED: ({"text": STRINGS, "text_pair": STRINGS}, LABELLED), "classify": ({"inputs": STRINGS}, CLASSES)}
    ),
    "AlbertTextClassifier of numbers": (
        False, {SERVED: ({"text": STRINGS}, {"value": FLOATS}), "regress": ({"inputs": STRINGS}, {"outputs": FLOATS})}
    ),
    "GPTTextClassifier of pairs": (
        True, {SERVED: ({"text": STRINGS, "text_pair": STRINGS}, LABELLED), "classify": ({"inputs": STRINGS}, CLASSES)}
    ),
    "AlbertTokenClassifier": (
        False,
        {SERVED: ({"text": STRINGS}, {"entity": ("string", [None, None]), "label": ("string", [None, None]),
                                      "start": ("int32", [None, None]), "end": ("int32", [None, None]),
                                      "score": ("float32", [None, None])})},
    ),
    "AlbertQuestionAnswerer": (
        False,
        {SERVED: ({"question": STRINGS, "context": STRINGS}, {"answer": STRINGS, **SPAN, "no_answer_score": FLOATS})},
    ),
    "AlbertMultipleChoice": (
        False,
        {SERVED: ({"context": STRINGS, "choices": ("string", [None, None])},
                  {"choice": INTS, "scores": ("float32", [None, None])})},
    ),
    "AlbertMaskedLM": (
        False,
        {SERVED: ({"text": STRINGS}, {"text": STRINGS, "token": ("string", [None, None, 5]),
                                      "score": ("float32", [None, None, 5])})},
    ),
    "AlbertTextEmbedder": (False, {SERVED: ({"text": STRINGS}, {"embedding": ("float32", [None, 16])})}),
    "GPTCausalLM": (
        False,
        {SERVED: ({"prompt": STRINGS}, GENERATED), "generate": (SAMPLING, GENERATED | {"log_probability": FLOATS}),
         "score": ({"text": STRINGS}, {"log_likelihood": FLOATS, "token_count": INTS, "perplexity": FLOATS})},
    ),
}  # fmt: skip


def task_named(name, classifier, causal_lm):
    """A task of a kind with a random head, on the backbone of another one."""
    kind, _, what = name.partition(" of ")
    of_kind = {"labels": ["fox", "dog", "cat"]} if kind.endswith(("TextClassifier", "TokenClassifier")) else {}
    of_kind = {"regression": True} if what == "numbers" else of_kind
    source = causal_lm if kind.startswith("GPT") else classifier
    return getattr(agt, kind)(source.backbone, tokenizer=source.preprocessor.tokenizer, **of_kind)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_task_has_the_documented_signatures_with_their_dtypes_and_shapes(classifier, causal_lm, name):
    text_pair, contract = CONTRACT[name]
    signatures = signatures_of(task_named(name, classifier, causal_lm), text_pair=text_pair)
    assert set(signatures.functions) == set(signatures.examples) == set(contract)
    for signature, (inputs, outputs) in contract.items():
        function = signatures.functions[signature].get_concrete_function()
        specs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
        assert {k: (v.dtype.name, v.shape.as_list()) for k, v in specs.items()} == inputs
        got = {k: (v.dtype.name, v.shape) for k, v in function.structured_outputs.items()}
        assert {k: dtype for k, (dtype, _) in got.items()} == {k: dtype for k, (dtype, _) in outputs.items()}
        for output, (_, shape) in outputs.items():  # a graph may not know all that is so
            assert got[output][1].rank == len(shape) and got[output][1].is_compatible_with(shape), output


def test_the_labels_of_pairs_depend_on_both_texts(classifier, tmp_path):
    path = agt.exporters.export_saved_model(classifier, tmp_path / "pairs", check=False, text_pair=True)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    one, other = ["the fox", "the fox"], ["jumps", "the lazy dog"]
    scores = served(text=tf.constant(one), text_pair=tf.constant(other))["scores"].numpy()
    np.testing.assert_allclose(scores, classifier.predict((one, other), verbose=0), atol=1e-6)
    assert np.abs(scores[0] - scores[1]).max() > 1e-6
    by_name = dict(read_warmup_requests(path))
    features = tf.train.Example.FromString(by_name["classify"]["inputs"][0]).features.feature
    assert sorted(features) == ["text", "text_pair"]


def test_text_pair_is_for_text_classifiers(classifier, tokenizer, tmp_path):
    embedder = agt.AlbertTextEmbedder(classifier.backbone, tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"text_pair=True\. Received: AlbertTextEmbedder"):
        agt.exporters.export_saved_model(embedder, tmp_path / "x", text_pair=True)


def test_a_pretrainer_is_refused_and_what_can_be_served_of_it_is_named(classifier, tokenizer, tmp_path):
    pretrainer = agt.AlbertPretrainer(classifier.backbone, tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"AlbertMaskedLM.from_preset\(...\) keeps the trained head"):
        agt.exporters.export_saved_model(pretrainer, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    pretrainer.save_to_preset(tmp_path / "preset")  # what the sentence says works
    masked_lm = agt.AlbertMaskedLM.from_preset(tmp_path / "preset")
    for got, want in zip(masked_lm.masked_lm_head.get_weights(), pretrainer.masked_lm_head.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_task_of_nobody_is_refused(tokenizer, tmp_path):
    class Mine:
        preprocessor = tokenizer

    with pytest.raises(ValueError, match=r"one of the library's tasks to export\. Received: Mine"):
        agt.exporters.export_saved_model(Mine(), tmp_path / "x")


def test_versions_count_up_and_hold_warmup_requests_for_every_signature(classifier, tmp_path):
    paths = [agt.exporters.export_saved_model(classifier, tmp_path / "animals", check=False) for _ in range(2)]
    assert [path.name for path in paths] == ["1", "2"]
    assert {name for name, _ in read_warmup_requests(paths[1])} == {"serving_default", "classify"}


def test_a_failing_export_leaves_no_version(classifier, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("broken rule")

    monkeypatch.setattr("albert_gpt_tf.exporters.saved_model.assert_servable", fail)
    with pytest.raises(ValueError, match="broken rule"):
        agt.exporters.export_saved_model(classifier, tmp_path / "animals")
    assert list((tmp_path / "animals").iterdir()) == []


def test_an_export_keeps_working_when_the_task_goes_on_training(classifier, tmp_path):
    path = agt.exporters.export_saved_model(classifier, tmp_path / "animals", check=False)
    before = classifier.predict(TEXTS[:2], verbose=0)
    classifier.fit(TEXTS, ["fox", "dog"] * 20, verbose=0)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS[:2]))["scores"]
    np.testing.assert_allclose(served, before, atol=1e-6)
    assert np.abs(classifier.predict(TEXTS[:2], verbose=0) - before).max() > 1e-6


@pytest.mark.parametrize("quantization, tolerance", [(None, 1e-5), ("float16", 1e-2), ("int8", 1e-1)])
def test_tflite_scores_are_those_of_the_task(classifier, tmp_path, quantization, tolerance):
    path = agt.exporters.export_tflite(classifier, tmp_path / "a.tflite", quantization=quantization)
    got = LiteModel(path).predict({"text": TEXTS[:2]})["scores"]
    np.testing.assert_allclose(got, classifier.predict(TEXTS[:2], verbose=0), atol=tolerance)


def test_tflite_has_no_custom_ops_but_those_of_tf_text(classifier, tmp_path):
    path = agt.exporters.export_tflite(classifier, tmp_path / "a.tflite")
    ops = {op["op_name"] for op in LiteModel(path).interpreter._get_ops_details()} - {"DELEGATE"}
    assert {op for op in ops if op != op.upper()} == {"RaggedTensorToTensor", "TFText>FastSentencepieceTokenize"}
    assert b"Flex" not in path.read_bytes()


def test_without_a_tokenizer_there_is_no_export(classifier, tmp_path):
    bare = agt.AlbertTextClassifier(classifier.backbone, labels=["fox", "dog"])
    for export in (agt.exporters.export_saved_model, agt.exporters.export_tflite):
        with pytest.raises(ValueError, match="tokenizer"):
            export(bare, tmp_path / "x")


@pytest.mark.parametrize("argument", [{"quantization": "int4"}, {"interface": "voice"}])
def test_unknown_tflite_arguments_are_refused(classifier, tmp_path, argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        agt.exporters.export_tflite(classifier, tmp_path / "a.tflite", **argument)


def test_a_language_model_is_not_written_as_tflite(causal_lm, tmp_path):
    with pytest.raises(ValueError, match="AlbertTextClassifier"):
        agt.exporters.export_tflite(causal_lm, tmp_path / "a.tflite")
