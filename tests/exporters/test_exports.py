import numpy as np
import pytest
import tensorflow as tf

import albert_gpt_tf as agt
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


def specs(path):
    loaded = tf.saved_model.load(str(path))
    return {
        name: ({k: v.dtype.name for k, v in f.structured_input_signature[1].items()},
               {k: v.dtype.name for k, v in f.structured_outputs.items()})
        for name, f in loaded.signatures.items()
    }  # fmt: skip


def test_classifier_export_has_the_documented_signatures(classifier, tmp_path):
    path = agt.exporters.export_saved_model(classifier, tmp_path / "animals")
    assert specs(path) == {
        "serving_default": ({"text": "string"}, {"label": "string", "score": "float32", "scores": "float32"}),
        "classify": ({"inputs": "string"}, {"classes": "string", "scores": "float32"}),
    }


def test_regression_export_has_the_documented_signatures_and_the_values_of_the_task(classifier, tokenizer, tmp_path):
    task = agt.AlbertTextClassifier(classifier.backbone, regression=True, tokenizer=tokenizer)
    path = agt.exporters.export_saved_model(task, tmp_path / "stars")
    assert specs(path) == {
        "serving_default": ({"text": "string"}, {"value": "float32"}),
        "regress": ({"inputs": "string"}, {"outputs": "float32"}),
    }
    served = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS[:2]))["value"]
    np.testing.assert_allclose(served, task.predict(TEXTS[:2], verbose=0), atol=1e-6)


def test_gpt_classifier_export_gives_the_scores_of_the_task(causal_lm, tmp_path):
    task = agt.GPTTextClassifier(causal_lm.backbone, labels=["fox", "dog"], tokenizer=causal_lm.preprocessor.tokenizer)
    path = agt.exporters.export_saved_model(task, tmp_path / "animals")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS[:2]))["scores"]
    np.testing.assert_allclose(served, task.predict(TEXTS[:2], verbose=0), atol=1e-6)


def test_language_model_export_has_the_documented_signatures(causal_lm, tmp_path):
    path = agt.exporters.export_saved_model(causal_lm, tmp_path / "lm", max_new_tokens=4)
    text = {"text": "string", "text_bytes": "string", "token_count": "int32"}
    sampling = {"prompt": "string", "max_new_tokens": "int32", "temperature": "float32", "top_k": "int32"}
    sampling |= {"top_p": "float32", "repetition_penalty": "float32", "seed": "int32"}
    assert specs(path) == {
        "serving_default": ({"prompt": "string"}, text),
        "generate": (sampling, text | {"log_probability": "float32"}),
        "score": ({"text": "string"}, {"log_likelihood": "float32", "token_count": "int32", "perplexity": "float32"}),
    }


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
