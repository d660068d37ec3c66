"""`from_preset` with other libraries' checkpoints: which format, which head, which labels, which tokenizer."""

import json
import logging

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from albert_gpt_tf.checkpoints.find_task import class_name_for
from albert_gpt_tf.checkpoints.save_hugging_face import save_to_hugging_face
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

TEXTS = ["the quick brown fox jumps", "over the lazy dog"] * 20
SIZES = dict(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=16)


@pytest.fixture(scope="module")
def albert_tokenizer():
    return AlbertTokenizer(train_sentencepiece(TEXTS, 60), reference="transformers")


def new_backbone(tokenizer=None, **changes):
    size = 60 if tokenizer is None else tokenizer.vocabulary_size()
    return AlbertBackbone(size, **{**SIZES, "embedding_dim": 4, **changes})


@pytest.fixture(scope="module")
def classifier_directory(tmp_path_factory, albert_tokenizer):
    """A classifier with three labels, as Transformers has it."""
    directory = tmp_path_factory.mktemp("classifier")
    labels = ["bad", "fair", "good"]
    classifier = AlbertTextClassifier(new_backbone(albert_tokenizer), labels, tokenizer=albert_tokenizer, dropout=0.3)
    save_to_hugging_face(classifier, directory)
    return directory


@pytest.fixture(scope="module")
def masked_lm_directory(tmp_path_factory):
    """A masked LM, whose file has no pooler."""
    directory = tmp_path_factory.mktemp("masked_lm")
    save_to_hugging_face(AlbertMaskedLM(new_backbone()), directory)
    change_tensors(directory, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    return directory


def change_tensors(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def change_config(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def copied(directory, tmp_path):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def messages(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# === What is asked for, and what is there ===


def test_the_other_architecture_is_refused_in_one_sentence(classifier_directory, tmp_path):
    with pytest.raises(ValueError, match=r"Expected a checkpoint of GPTBackbone in .* one of AlbertBackbone"):
        GPTBackbone.from_preset(classifier_directory)
    save_to_hugging_face(GPTBackbone(50, num_layers=1, num_heads=2, hidden_dim=8), tmp_path / "gpt")
    with pytest.raises(ValueError, match=r"Expected a checkpoint of AlbertBackbone in .* one of GPTBackbone"):
        AlbertMaskedLM.from_preset(tmp_path / "gpt")


def test_another_model_type_is_refused_with_its_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"model_type .* Received: 'bert'"):
        AlbertBackbone.from_preset(tmp_path)


def test_our_own_presets_are_still_read(tmp_path):
    backbone = new_backbone()
    backbone.save_to_preset(str(tmp_path))
    for ours, weight in zip(AlbertBackbone.from_preset(tmp_path).weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)


@pytest.mark.parametrize("name", ["pooler.weight", "embeddings.word_embeddings.weight", "ffn.bias"])
@pytest.mark.parametrize("change", ["missing", "of another shape", "unexpected"])
def test_tensors_of_the_encoder_that_do_not_fit_are_named(classifier_directory, tmp_path, name, change):
    directory = copied(classifier_directory, tmp_path)

    def spoil(tensors):
        full = next(key for key in tensors if key.endswith(name))
        if change == "missing":
            del tensors[full]
        elif change == "unexpected":
            tensors[f"{full}_2"] = tensors[full]
        else:
            tensors[full] = np.zeros((3, 3), "float32")

    change_tensors(directory, spoil)
    with pytest.raises(ValueError, match=rf"1 {change}: \S*{name}"):
        AlbertTextClassifier.from_preset(directory)


# === Heads ===


def test_a_head_that_the_file_lacks_is_new_and_one_warning_says_so(masked_lm_directory, caplog):
    AlbertTextClassifier.from_preset(masked_lm_directory, labels=["a", "b"], preprocessor=None)
    (warning,) = messages(caplog, logging.WARNING)
    assert warning.startswith("AlbertTextClassifier: new, to be trained: the output layer and the pooler (")
    assert "model.safetensors" in warning


def test_a_pretrainer_of_a_file_without_sentence_order_says_that_its_head_is_new(masked_lm_directory, caplog):
    pretrainer = AlbertPretrainer.from_preset(masked_lm_directory, preprocessor=None)
    (warning,) = messages(caplog, logging.WARNING)
    assert "the sentence-order head and the pooler" in warning
    assert np.std(pretrainer.sentence_order_dense.kernel) > 0


def test_a_pooler_that_is_not_used_may_be_missing_without_a_warning(masked_lm_directory, caplog):
    caplog.set_level(logging.INFO)
    AlbertMaskedLM.from_preset(masked_lm_directory, preprocessor=None)
    assert not messages(caplog, logging.WARNING)
    assert any("pooler" in message for message in messages(caplog, logging.INFO))


def test_a_backbone_without_pooler_says_so(masked_lm_directory, caplog):
    AlbertBackbone.from_preset(masked_lm_directory)
    (warning,) = messages(caplog, logging.WARNING)
    assert "AlbertBackbone: new, to be trained: the pooler" in warning


def test_a_whole_checkpoint_gives_no_warning(classifier_directory, caplog):
    AlbertTextClassifier.from_preset(classifier_directory)
    assert not messages(caplog, logging.WARNING)


def test_half_a_head_is_an_error(classifier_directory, tmp_path):
    directory = copied(classifier_directory, tmp_path)
    change_tensors(directory, lambda tensors: tensors.pop("classifier.bias"))
    with pytest.raises(ValueError, match=r"1 missing: classifier.bias"):
        AlbertTextClassifier.from_preset(directory)


@pytest.mark.parametrize("cls", [AlbertTokenClassifier, AlbertMultipleChoice, AlbertQuestionAnswerer])
def test_the_output_layer_of_another_task_is_not_taken_for_ones_own(classifier_directory, cls, caplog):
    labels = {"labels": ["x", "y", "z"]} if cls is AlbertTokenClassifier else {}
    task = cls.from_preset(classifier_directory, preprocessor=None, **labels)
    assert "the output layer" in messages(caplog, logging.WARNING)[0]
    assert np.std(task.output_dense.kernel) > 0


@pytest.mark.parametrize("keeps", [{"weight"}, {"bias"}, {"weight", "bias"}, {"bias", "only"}])
def test_tied_tensors_may_be_there_too(masked_lm_directory, tmp_path, keeps):
    directory = copied(masked_lm_directory, tmp_path)

    def add(tensors):
        if "weight" in keeps:
            tensors["predictions.decoder.weight"] = tensors["albert.embeddings.word_embeddings.weight"].copy()
        if "bias" in keeps:
            tensors["predictions.bias"] = np.arange(60, dtype="float32")
            tensors["predictions.decoder.bias"] = tensors["predictions.bias"].copy()
        if "only" in keeps:
            del tensors["predictions.bias"]

    change_tensors(directory, add)
    masked_lm = AlbertMaskedLM.from_preset(directory, preprocessor=None)
    np.testing.assert_array_equal(masked_lm.masked_lm_head.bias, np.arange(60) if "bias" in keeps else np.zeros(60))


def test_a_masked_lm_head_that_is_not_tied_is_refused(masked_lm_directory, tmp_path):
    directory = copied(masked_lm_directory, tmp_path)
    change_tensors(
        directory, lambda tensors: tensors.update({"predictions.decoder.weight": np.ones((60, 4), "float32")})
    )
    with pytest.raises(ValueError, match=r"Expected predictions.decoder.weight to be the same as albert.embeddings"):
        AlbertMaskedLM.from_preset(directory, preprocessor=None)


# === Labels ===


def test_labels_and_dropout_come_from_the_configuration(classifier_directory):
    classifier = AlbertTextClassifier.from_preset(classifier_directory)
    assert classifier.labels == ["bad", "fair", "good"]
    assert classifier.dropout == 0.3


def test_own_labels_replace_those_of_the_file(classifier_directory):
    assert AlbertTextClassifier.from_preset(classifier_directory, labels=list("xyz")).labels == list("xyz")


def test_another_number_of_labels_than_the_file_has_is_refused(classifier_directory):
    with pytest.raises(ValueError, match=r"Expected 3 labels, as the output layer .* has. Received: 2. Give 3, or"):
        AlbertTextClassifier.from_preset(classifier_directory, labels=["x", "y"])


def test_a_new_output_layer_needs_labels(masked_lm_directory):
    with pytest.raises(ValueError, match=r"Expected an output layer with labels .* Give labels"):
        AlbertTextClassifier.from_preset(masked_lm_directory)


def test_numbers_stand_for_labels_that_the_file_does_not_name(classifier_directory, tmp_path):
    directory = copied(classifier_directory, tmp_path)
    change_config(directory, id2label=None)
    assert AlbertTextClassifier.from_preset(directory).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_one_output_is_a_regression(tmp_path):
    save_to_hugging_face(AlbertTextClassifier(new_backbone(), regression=True), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["problem_type"] == "regression"
    assert AlbertTextClassifier.from_preset(tmp_path, preprocessor=None).regression


# === Arguments ===


def test_arguments_replace_those_of_the_checkpoint(classifier_directory):
    backbone = AlbertBackbone.from_preset(classifier_directory, dropout=0.5, dtype="bfloat16")
    assert backbone.dropout == 0.5
    assert backbone.compute_dtype == "bfloat16"
    classifier = AlbertTextClassifier.from_preset(classifier_directory, attention_dropout=0.4, dropout=0.2)
    assert (classifier.backbone.attention_dropout, classifier.backbone.dropout, classifier.dropout) == (0.4, 0.0, 0.2)


def test_adapters_and_gates_are_new_and_change_nothing_yet(classifier_directory, caplog):
    ids = np.arange(1, 6)[None]
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids > 0}
    plain = AlbertTextClassifier.from_preset(classifier_directory)
    adapted = AlbertTextClassifier.from_preset(classifier_directory, adapter_dim=3, layer_gates=True)
    assert len(adapted.backbone.adapters) == len(adapted.backbone.gates) == 2
    np.testing.assert_allclose(adapted(inputs), plain(inputs), atol=1e-6)
    assert not messages(caplog, logging.WARNING)


def test_without_weights_a_model_of_the_same_shape_is_new(classifier_directory):
    first, second = (AlbertTextClassifier.from_preset(classifier_directory, load_weights=False) for _ in range(2))
    assert first.labels == ["bad", "fair", "good"]
    assert not np.array_equal(first.output_dense.kernel, second.output_dense.kernel)


# === Tokenizers ===


def test_the_tokenizer_of_the_directory_is_used(classifier_directory, albert_tokenizer):
    tokenizer = AlbertTextClassifier.from_preset(classifier_directory).preprocessor.tokenizer
    assert tokenizer.reference == "transformers"
    np.testing.assert_array_equal(tokenizer.tokenize(TEXTS[0]), albert_tokenizer.tokenize(TEXTS[0]))


def test_a_vocab_txt_is_a_wordpiece_vocabulary(masked_lm_directory, tmp_path):
    directory = copied(masked_lm_directory, tmp_path)
    (directory / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fox"]) + "\n")
    masked_lm = AlbertMaskedLM.from_preset(directory)
    assert isinstance(masked_lm.preprocessor.tokenizer, WordPieceTokenizer)


def test_without_a_vocabulary_the_task_takes_ids_and_says_so(masked_lm_directory, caplog):
    assert AlbertMaskedLM.from_preset(masked_lm_directory).preprocessor is None
    assert any("holds no vocabulary" in message for message in messages(caplog, logging.WARNING))


def test_a_language_model_of_hugging_face_begins_texts_as_transformers_does(tmp_path):
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 270))
    backbone = GPTBackbone(tokenizer.vocabulary_size(), num_layers=1, num_heads=2, hidden_dim=8, max_sequence_length=16)
    save_to_hugging_face(GPTCausalLM(backbone, tokenizer=tokenizer), tmp_path)
    preprocessor = GPTCausalLM.from_preset(tmp_path).preprocessor
    assert not preprocessor.add_start_token
    assert isinstance(preprocessor.tokenizer, GPT2Tokenizer)


# === The class for a directory ===


def test_the_class_is_that_of_the_configuration(classifier_directory, masked_lm_directory, tmp_path):
    assert class_name_for(classifier_directory) == "AlbertTextClassifier"
    assert class_name_for(masked_lm_directory) == "AlbertMaskedLM"
    for architectures, name in ((["AlbertModel"], "AlbertBackbone"), (None, "AlbertBackbone")):
        directory = copied(masked_lm_directory, tmp_path)
        change_config(directory, architectures=architectures)
        assert class_name_for(directory) == name
    change_config(tmp_path, model_type="gpt2", architectures=["GPT2DoubleHeadsModel"])
    assert class_name_for(tmp_path) == "GPTCausalLM"
