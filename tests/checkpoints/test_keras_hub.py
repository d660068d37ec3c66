"""KerasHub's presets: written by KerasHub, computed by KerasHub, and the same numbers from ours."""

import json

import h5py
import kagglehub
import keras_nlp
import numpy as np
import pytest

from albert_gpt_tf.checkpoints import keras_hub
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

ALBERT = dict(
    vocabulary_size=50, num_layers=8, num_heads=3, embedding_dim=8, hidden_dim=12, intermediate_dim=20, num_groups=2,
    num_inner_repetitions=2, max_sequence_length=16, dropout=0.1,
)  # fmt: skip
# More than ten layers: as text, "transformer_decoder_10" comes before "transformer_decoder_2".
GPT2 = dict(
    vocabulary_size=50, num_layers=11, num_heads=3, hidden_dim=12, intermediate_dim=20, max_sequence_length=16,
)  # fmt: skip
CORPUS = ["to be or not to be, that is the question"] * 20


def with_large_weights(model):
    """The model with weights large enough that each one matters for the outputs."""
    random = np.random.RandomState(0)
    for weight in model.weights:
        if weight.dtype == "float32" and weight.ndim:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def albert(tmp_path_factory):
    """KerasHub's ALBERT with the masked LM head, and its preset."""
    directory = tmp_path_factory.mktemp("albert")
    task = with_large_weights(
        keras_nlp.models.AlbertMaskedLM(keras_nlp.models.AlbertBackbone(**ALBERT), preprocessor=None)
    )
    task.save_to_preset(directory)
    return task, directory


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """KerasHub's GPT-2 as a language model, and its preset."""
    directory = tmp_path_factory.mktemp("gpt2")
    task = with_large_weights(keras_nlp.models.GPT2CausalLM(keras_nlp.models.GPT2Backbone(**GPT2), preprocessor=None))
    task.save_to_preset(directory)
    return task, directory


@pytest.fixture(scope="module")
def inputs():
    random = np.random.RandomState(1)
    ids = random.randint(50, size=(3, 10))
    mask = np.arange(10)[None] < np.array([10, 7, 2])[:, None]
    return {"token_ids": ids, "segment_ids": random.randint(2, size=ids.shape), "padding_mask": mask}


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


# === Numbers ===


def test_an_albert_backbone_gives_the_numbers_of_keras_hub(albert, inputs):
    theirs, directory = albert
    ours = load_backbone(AlbertBackbone, directory)
    assert (ours.num_groups, ours.num_inner_repetitions, ours.layer_norm_epsilon) == (2, 2, 1e-12)
    assert (ours.dropout, ours.attention_dropout) == (0.1, 0.1)  # KerasHub has one rate
    assert ours.count_params() == theirs.backbone.count_params()
    expected = theirs.backbone(inputs)
    for name, value in ours(inputs).items():
        assert_close(value, expected[name])


def test_a_gpt_backbone_gives_the_numbers_of_keras_hub(gpt2, inputs):
    theirs, directory = gpt2
    inputs = {name: inputs[name] for name in ("token_ids", "padding_mask")}
    ours = load_backbone(GPTBackbone, directory)
    assert (ours.intermediate_dim, ours.layer_norm_epsilon, ours.dropout) == (20, 1e-5, 0.1)
    assert ours.count_params() == theirs.backbone.count_params()
    seen = inputs["padding_mask"]
    assert_close(ours(inputs)[seen], theirs.backbone(inputs)[seen])
    assert_close(load_task(GPTCausalLM, directory)(inputs)[seen], theirs(inputs)[seen])


def test_the_masked_lm_head_gives_the_numbers_of_keras_hub(albert, inputs):
    theirs, directory = albert
    ours = load_task(AlbertMaskedLM, directory)
    positions = np.array([[0, 3], [2, 6], [1, 0]])
    hidden = ours.backbone(inputs)["sequence_output"]
    expected = theirs({**inputs, "mask_positions": positions})
    assert ours.masked_lm_head.norm.epsilon == 1e-12  # the checkpoints'; KerasHub's head has 1e-5
    ours.masked_lm_head.norm.epsilon = 1e-5
    assert_close(ours.masked_lm_head(hidden, positions), expected)


def test_the_pretrainer_says_that_sentence_order_is_new(albert, caplog):
    theirs, directory = albert
    ours = load_task(AlbertPretrainer, directory)
    assert "new, to be trained: the sentence-order head" in caplog.text
    (bias,) = [weight for weight in theirs.masked_lm_head.weights if tuple(weight.shape) == (50,)]
    np.testing.assert_array_equal(ours.masked_lm_head.bias, bias)


def test_a_text_classifier_gives_the_numbers_of_keras_hub(tmp_path, inputs):
    theirs = keras_nlp.models.AlbertTextClassifier(
        keras_nlp.models.AlbertBackbone(**ALBERT), num_classes=3, preprocessor=None
    )
    with_large_weights(theirs).save_to_preset(tmp_path)
    ours = load_task(AlbertTextClassifier, tmp_path, labels=["a", "b", "c"])
    assert_close(ours(inputs), theirs(inputs))


def test_the_head_of_another_task_is_left_and_ours_is_new(albert, caplog):
    theirs, directory = albert
    ours = load_task(AlbertQuestionAnswerer, directory)
    np.testing.assert_array_equal(ours.backbone.pooler.kernel, theirs.backbone.get_layer("pooled_dense").kernel)
    assert "new, to be trained: the output layer" in caplog.text


# === Files ===


def test_a_sharded_preset_loads(tmp_path, gpt2, inputs):
    theirs, _ = gpt2
    theirs.backbone.save_to_preset(tmp_path, max_shard_size=2e-5)  # in gigabytes
    assert (tmp_path / "model.weights.json").is_file()
    assert len(list(tmp_path.glob("*.weights.h5"))) > 1
    assert_same_weights(load_backbone(GPTBackbone, tmp_path), theirs.backbone)


def assert_same_weights(ours, theirs):
    np.testing.assert_array_equal(ours.token_embedding.embeddings, theirs.token_embedding.embeddings)
    for ours_layer, theirs_layer in zip(ours.transformer_layers, theirs.transformer_layers, strict=True):
        np.testing.assert_array_equal(
            ours_layer.feed_forward.intermediate_dense.kernel, theirs_layer._feedforward_intermediate_dense.kernel
        )
        kernel = theirs_layer._self_attention_layer.key_dense.kernel.numpy()  # [hidden, heads, head_dim]
        np.testing.assert_array_equal(ours_layer.attention.key.kernel, kernel.reshape(len(kernel), -1))


@pytest.mark.parametrize("layers", ["layers", "_layer_checkpoint_dependencies"])
def test_the_keys_of_older_files_are_read_as_keras_hub_reads_them(tmp_path, gpt2, layers):
    theirs, directory = gpt2
    (tmp_path / "config.json").write_bytes((directory / "config.json").read_bytes())
    with (
        h5py.File(directory / "model.weights.h5") as new,
        h5py.File(tmp_path / "model.weights.h5", "w") as old,
    ):
        new.copy(new["layers"], old, name=layers)
        for name, group in old[layers].items():
            if name.startswith("transformer_decoder"):
                for part in ("query", "key", "value", "output"):
                    group["_self_attention_layer"].move(f"{part}_dense", f"_{part}_dense")
    assert_same_weights(load_backbone(GPTBackbone, tmp_path), theirs.backbone)


def test_what_does_not_fit_is_named_in_one_sentence(tmp_path, gpt2):
    _, directory = gpt2
    (tmp_path / "config.json").write_bytes((directory / "config.json").read_bytes())
    (tmp_path / "model.weights.h5").write_bytes((directory / "model.weights.h5").read_bytes())
    with h5py.File(tmp_path / "model.weights.h5", "a") as file:
        del file["layers/layer_normalization/vars/1"]
        file["layers/dense/vars/0"] = np.ones(3, "float32")
        del file["layers/position_embedding/vars/0"]
        file["layers/position_embedding/vars/0"] = np.ones((9, 12), "float32")
    with pytest.raises(ValueError) as error:
        load_backbone(GPTBackbone, tmp_path)
    assert "\n" not in str(error.value)
    assert "1 missing: layers/layer_normalization/vars/1" in str(error.value)
    assert "1 unexpected: layers/dense/vars/0" in str(error.value)
    assert "layers/position_embedding/vars/0 [9, 12] instead of [16, 12]" in str(error.value)


def test_a_preset_without_weights_is_refused(tmp_path, gpt2):
    (tmp_path / "config.json").write_bytes((gpt2[1] / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"model\.weights\.h5 or model\.weights\.json .* neither"):
        load_backbone(GPTBackbone, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"registered_name": "keras_hub>BertBackbone", "config": {}}, "keras_hub>BertBackbone.*with KerasHub"),
        ({"registered_name": "keras_hub>GPT2Backbone", "config": {"num_heads": 2}}, "vocabulary_size.*none of"),
        ({"registered_name": "keras_hub>GPT2Backbone"}, "without config"),
    ],
)
def test_another_model_or_a_broken_configuration_gives_one_sentence(tmp_path, content, message):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_backbone(GPTBackbone, tmp_path)


def test_the_rules_lead_back_to_the_preset(albert):
    _, directory = albert
    backbone, tensors = load_backbone(AlbertBackbone, directory), keras_hub.open_tensors(directory)
    rules = keras_hub.rules(backbone)
    assert {rule.name for rule in rules} == {name for name in tensors.names() if not name.startswith("task/")}
    for rule in rules:
        written = rule.to_theirs(tuple(variable.numpy() for variable in rule.variables))
        np.testing.assert_array_equal(written, tensors.read(rule.name))


# === Tokenizers ===


def test_the_tokenizer_of_an_albert_preset_is_found(tmp_path):
    proto = train_sentencepiece(CORPUS, 40)
    keras_nlp.models.AlbertTokenizer(proto).save_to_preset(tmp_path)
    tokenizer = keras_hub.tokenizer(tmp_path)
    assert isinstance(tokenizer, AlbertTokenizer)
    expected = AlbertTokenizer(proto).tokenize(["To be, or not?"]).to_list()
    assert tokenizer.tokenize(["To be, or not?"]).to_list() == expected


def test_the_tokenizer_of_a_gpt2_preset_is_found(tmp_path):
    vocabulary, merges = train_byte_level_bpe(CORPUS, 280)
    theirs = keras_nlp.models.GPT2Tokenizer(vocabulary, merges)
    theirs.save_to_preset(tmp_path)
    tokenizer = keras_hub.tokenizer(tmp_path)
    assert isinstance(tokenizer, GPT2Tokenizer)
    assert tokenizer.tokenize("to be or not").numpy().tolist() == list(theirs("to be or not"))


def test_a_preset_without_a_tokenizer_gives_none(gpt2):
    assert keras_hub.tokenizer(gpt2[1]) is None


# === Presets by name ===


def test_a_preset_is_downloaded_by_its_name(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(kagglehub, "model_download", lambda handle: asked.append(handle) or str(tmp_path))
    assert keras_hub.download("albert_base_en_uncased") == tmp_path
    assert keras_hub.download("gpt2_base_en") == tmp_path
    assert [handle.rsplit("/", 1)[0] for handle in asked] == [
        "keras/albert/keras/albert_base_en_uncased", "keras/gpt2/keras/gpt2_base_en",
    ]  # fmt: skip


def test_no_connection_and_no_such_preset_give_one_sentence(monkeypatch):
    def fail(handle):
        raise ConnectionError("no route")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    with pytest.raises(ValueError, match=r"gpt2_base_en.*no route.*give its path"):
        keras_hub.download("gpt2_base_en")
    with pytest.raises(ValueError, match=r"albert_base_en_uncased.*Received: 'bert_base_en'"):
        keras_hub.download("bert_base_en")
