"""Models as Hugging Face directories: out and in again bit for bit, and as Transformers reads them."""

import json
import logging

import numpy as np
import pytest
from safetensors import safe_open

from albert_gpt_tf.checkpoints.save_hugging_face import save_to_hugging_face
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

TEXTS = ["the quick brown fox jumps, in 2010,", "over the lazy dog: it's a café"] * 20


def albert(vocabulary_size=50, **changes):
    sizes = dict(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, embedding_dim=4, max_sequence_length=16)
    return AlbertBackbone(vocabulary_size, **{**sizes, **changes})


def gpt(vocabulary_size=50, **changes):
    sizes = dict(num_layers=2, num_heads=2, hidden_dim=8, max_sequence_length=16)
    return GPTBackbone(vocabulary_size, **{**sizes, **changes})


def untied(backbone):
    causal_lm = GPTCausalLM(backbone, tie_word_embeddings=False)
    # A new output layer begins as the token embedding's copy, or by itself: make sure that it differs.
    causal_lm.lm_head.kernel.assign(np.random.RandomState(0).standard_normal(causal_lm.lm_head.kernel.shape))
    return causal_lm


MODELS = {
    "AlbertModel": lambda: albert(num_groups=2, activation="gelu", dropout=0.1, attention_dropout=0.2),
    "AlbertForPreTraining": lambda: AlbertPretrainer(albert(num_inner_repetitions=2)),
    "AlbertForMaskedLM": lambda: AlbertMaskedLM(albert(cross_layer_sharing="none")),
    "AlbertForSequenceClassification": lambda: AlbertTextClassifier(albert(embedding_dim=8), ["a", "b", "c"]),
    "AlbertForTokenClassification": lambda: AlbertTokenClassifier(albert(num_segments=3), ["O", "B", "I"]),
    "AlbertForQuestionAnswering": lambda: AlbertQuestionAnswerer(albert(activation="relu")),
    "AlbertForMultipleChoice": lambda: AlbertMultipleChoice(albert()),
    "GPT2Model": lambda: gpt(intermediate_dim=20, activation="relu", dropout=0.1, attention_dropout=0.2),
    "GPT2LMHeadModel": lambda: GPTCausalLM(gpt(scale_attention_by_layer=True, layer_norm_epsilon=1e-3)),
    "GPT2LMHeadModel, untied": lambda: untied(gpt()),
    "GPT2ForSequenceClassification": lambda: GPTTextClassifier(gpt(), ["a", "b"], head_bias=False),
    "OpenAIGPTModel": lambda: gpt(norm_first=False),
    "OpenAIGPTLMHeadModel": lambda: GPTCausalLM(gpt(norm_first=False, embedding_dropout=0.3)),
    "OpenAIGPTForSequenceClassification": lambda: GPTTextClassifier(gpt(norm_first=False), ["a", "b"], head_bias=False),
}


# === Out and in again ===


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_for_bit(tmp_path, name, caplog):
    model = MODELS[name]()
    save_to_hugging_face(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [name.partition(",")[0]]
    options = {"preprocessor": None} if hasattr(model, "backbone") else {}
    loaded = type(model).from_preset(tmp_path, **options)
    for ours, weight in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, weight, err_msg=weight.path)
    # Said in another way there, or not at all.
    other = {"dtype", "name", "trainable", "cross_layer_sharing", "num_groups"}
    other |= {"embedding_dropout", "attention_dropout"}
    configs = [getattr(one, "backbone", one).get_config() for one in (loaded, model)]
    first, second = ({key: value for key, value in config.items() if key not in other} for config in configs)
    assert first == second
    assert getattr(loaded, "labels", None) == getattr(model, "labels", None)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_dropout_rates_come_back(tmp_path):
    gpt(dropout=0.1, embedding_dropout=0.3).save_to_hugging_face(tmp_path / "gpt")
    loaded = GPTBackbone.from_preset(tmp_path / "gpt")
    assert (loaded.dropout, loaded.embedding_dropout, loaded.attention_dropout) == (0.1, 0.3, 0.1)
    classifier = AlbertTextClassifier(albert(dropout=0.2, attention_dropout=0.4), ["a", "b"], dropout=0.5)
    save_to_hugging_face(classifier, tmp_path / "albert")
    loaded = AlbertTextClassifier.from_preset(tmp_path / "albert", preprocessor=None)
    assert (loaded.backbone.dropout, loaded.backbone.attention_dropout, loaded.dropout) == (0.2, 0.4, 0.5)


def test_an_embedder_is_saved_as_its_encoder(tmp_path):
    embedder = AlbertTextEmbedder(albert())
    save_to_hugging_face(embedder, tmp_path)
    loaded = AlbertTextEmbedder.from_preset(tmp_path, preprocessor=None)
    for ours, weight in zip(loaded.weights, embedder.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)


def test_large_models_go_into_several_files_with_an_index(tmp_path):
    model = MODELS["AlbertForPreTraining"]()
    save_to_hugging_face(model, tmp_path, max_shard_size=1500)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert sorted(set(index["weight_map"].values())) == files
    assert index["metadata"]["total_size"] == 4 * model.count_params()
    for file in files:
        with safe_open(tmp_path / file, "numpy") as opened:
            assert opened.metadata() == {"format": "pt"}
    loaded = AlbertPretrainer.from_preset(tmp_path, preprocessor=None)
    for ours, weight in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, weight)


def test_half_precision_is_written_as_float32(tmp_path):
    model = albert(dtype="bfloat16")
    save_to_hugging_face(model, tmp_path)
    loaded = AlbertBackbone.from_preset(tmp_path)
    for ours, weight in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), weight.numpy().astype("float32"))


# === Directories ===


def test_what_was_there_is_replaced_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    save_to_hugging_face(albert(), tmp_path, max_shard_size=1500)
    save_to_hugging_face(albert(), tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]


def test_a_model_that_cannot_be_saved_leaves_the_directory_as_it_was(tmp_path):
    save_to_hugging_face(albert(), tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(ValueError, match="adapters"):
        save_to_hugging_face(albert(adapter_dim=2), tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"Expected a directory. Received: .*file"):
        save_to_hugging_face(albert(), tmp_path / "file")


# === What Transformers cannot express ===


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: albert(cross_layer_sharing="attention"), "Received: cross_layer_sharing='attention'"),
        (lambda: albert(cross_layer_sharing="ffn"), "Received: cross_layer_sharing='ffn'"),
        (lambda: albert(adapter_dim=2), "Received: adapters"),
        (lambda: albert(layer_gates=True), "Received: layer gates"),
        (lambda: albert(embedding_dim=8, use_embedding_projection=False), "Received: no embedding projection"),
        (lambda: gpt(head_dim=6), "GPT-2 can express. Received: head_dim=6"),
        (lambda: gpt(attention_window=4), "Received: attention_window=4"),
        (lambda: gpt(use_bias=False), "Received: use_bias=False"),
        (lambda: gpt(norm_first=False, intermediate_dim=20), "GPT-1 can express. Received: intermediate_dim=20"),
        (lambda: gpt(norm_first=False, activation="gelu"), "Received: activation='gelu'"),
        (lambda: gpt(norm_first=False, scale_attention_by_layer=True), "Received: scale_attention_by_layer=True"),
        (lambda: GPTCausalLM(gpt(), head_bias=True), "Received: head_bias=True"),
    ],
)
def test_it_is_refused_in_one_sentence(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        save_to_hugging_face(make(), tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_a_bias_of_a_gpt_classifier_is_refused_unless_it_is_zero(tmp_path):
    classifier = GPTTextClassifier(gpt(), ["a", "b"])
    save_to_hugging_face(classifier, tmp_path / "zero")
    classifier.output_dense.bias.assign([0.5, 0.0])
    with pytest.raises(ValueError, match=r"Received: one that is not zero. .* head_bias=False"):
        save_to_hugging_face(classifier, tmp_path / "model")


# === Tokenizers, and Transformers itself ===

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick", "fox", "##es"]
GPT1_VOCABULARY = {"<unk>": 0, "h": 1, "i": 2, "h</w>": 3, "i</w>": 4, "hi</w>": 5}
FINE_TUNING = ["_start_", "_delimiter_", "_classify_"]
TASKS = {
    "spiece": lambda: albert_with(AlbertTokenizer(train_sentencepiece(TEXTS, 60), reference="transformers")),
    "wordpiece": lambda: albert_with(WordPieceTokenizer(PIECES)),
    "gpt2": lambda: gpt2_with(GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 290))),
    "gpt1": lambda: gpt1_with(GPT1Tokenizer(GPT1_VOCABULARY, ["h i</w>"])),
    "gpt1 with special tokens": lambda: gpt1_with(GPT1Tokenizer(GPT1_VOCABULARY, ["h i</w>"], FINE_TUNING)),
}


def albert_with(tokenizer):
    return AlbertTextClassifier(albert(tokenizer.vocabulary_size()), ["a", "b", "c"], tokenizer=tokenizer)


def gpt2_with(tokenizer):
    return GPTCausalLM(gpt(tokenizer.vocabulary_size()), tokenizer=tokenizer)


def gpt1_with(tokenizer):
    backbone = gpt(tokenizer.vocabulary_size(), norm_first=False)
    return GPTTextClassifier(backbone, ["a", "b"], tokenizer=tokenizer, head_bias=False)


@pytest.mark.parametrize("name", TASKS)
def test_the_tokenizer_comes_back(tmp_path, name):
    task = TASKS[name]()
    save_to_hugging_face(task, tmp_path)
    ours, loaded = task.preprocessor.tokenizer, type(task).from_preset(tmp_path).preprocessor.tokenizer
    assert type(loaded) is type(ours)
    assert loaded.get_vocabulary() == ours.get_vocabulary()
    texts = [*TEXTS[:2], "hi _start_ hih [MASK] foxes"]
    assert loaded.tokenize(texts).to_list() == ours.tokenize(texts).to_list()


@pytest.mark.parametrize("name", TASKS)
def test_transformers_loads_everything_and_computes_the_same(tmp_path, name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    task = TASKS[name]()
    save_to_hugging_face(task, tmp_path)
    is_lm = isinstance(task, GPTCausalLM)
    auto = transformers.AutoModelForCausalLM if is_lm else transformers.AutoModelForSequenceClassification
    model, problems = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(problems.values()), problems
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS[:2], "hi hih [MASK] foxes"]:
        encoded = tokenizer(text, truncation=True, max_length=16)
        theirs = encoded["input_ids"]
        own = task.preprocessor.tokenizer.tokenize(text).numpy().tolist()
        frame = 1 if isinstance(task, AlbertTextClassifier) else 0
        assert theirs[frame : len(theirs) - frame] == own[: 16 - 2 * frame]
        ids = np.array([theirs])
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids, bool), "segment_ids": np.zeros_like(ids)}
        inputs = {key: value for key, value in inputs.items() if key in task.input}
        with torch.no_grad():
            expected = model(torch.tensor(ids)).logits.numpy()
        np.testing.assert_allclose(task(inputs), expected, atol=1e-5)


def test_pairs_get_their_segments_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    task = TASKS["spiece"]()
    save_to_hugging_face(task, tmp_path)
    encoded = transformers.AutoTokenizer.from_pretrained(tmp_path)("fox", "dog")
    ids = task.preprocessor((["fox"], ["dog"]))
    length = len(encoded["input_ids"])
    assert encoded["input_ids"] == ids["token_ids"].numpy()[0, :length].tolist()
    assert encoded["token_type_ids"] == ids["segment_ids"].numpy()[0, :length].tolist()


def test_a_tokenizer_json_is_written_where_the_tokenizer_came_from_one(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    save_to_hugging_face(TASKS["spiece"](), tmp_path / "first")
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path / "first")
    fast.save_pretrained(tmp_path / "second")  # a tokenizer.json
    ours = AlbertTokenizer.from_preset(tmp_path / "second")
    save_to_hugging_face(albert_with(ours), tmp_path / "third")
    assert (tmp_path / "third" / "tokenizer.json").is_file()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "third")
    for text in [*TEXTS[:2], "hi [MASK] ``foxes''"]:
        assert again(text)["input_ids"] == fast(text)["input_ids"]
        assert AlbertTokenizer.from_preset(tmp_path / "third").tokenize(text).numpy().tolist() == fast.encode(
            text, add_special_tokens=False
        )


def test_ids_of_google_research_are_not_promised_to_transformers(tmp_path, caplog):
    save_to_hugging_face(albert_with(AlbertTokenizer(train_sentencepiece(TEXTS, 60))), tmp_path)
    assert any("google-research" in record.getMessage() for record in caplog.records)


def test_tokens_that_our_preprocessor_adds_are_not_promised_to_transformers(tmp_path, caplog):
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 290))
    classifier = GPTTextClassifier(gpt(tokenizer.vocabulary_size()), ["a", "b"], tokenizer=tokenizer, head_bias=False)
    save_to_hugging_face(classifier, tmp_path)
    assert any("add_special_tokens" in record.getMessage() for record in caplog.records)
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] == tokenizer.pad_id


def test_a_token_that_text_can_give_is_no_padding(tmp_path):
    save_to_hugging_face(TASKS["gpt1"](), tmp_path)  # whose pad_id is the unknown token's
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] is None


def test_a_tokenizer_of_another_library_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a tokenizer among .* Received: object"):
        save_to_hugging_face(albert(), tmp_path / "model", tokenizer=object())
    assert not any(tmp_path.iterdir())
