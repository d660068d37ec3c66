"""GPTTextClassifier: the last real token, the auxiliary language model, pairs, every tokenizer, presets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_text_classifier import (
    FINE_TUNING_TOKENS,
    GPTTextClassifier,
    GPTTextClassifierPreprocessor,
    LastToken,
    next_tokens,
)
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

TEXTS = ["a class of objects", "returns a function", "this module", "a module of classes"]
NAMES = ["class", "function", "module", "module"]


def make_gpt1_tokenizer(special_tokens):
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "of</w>"]
    return GPT1Tokenizer({token: id for id, token in enumerate(tokens)}, ["o f</w>"], special_tokens=special_tokens)


def make_wordpiece_tokenizer():
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return WordPieceTokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    )


@pytest.fixture(scope="module")
def tokenizers(gpt_tokenizer):
    return {
        "gpt2": gpt_tokenizer,
        "gpt1": make_gpt1_tokenizer(()),
        "gpt1 fine-tuning": make_gpt1_tokenizer(FINE_TUNING_TOKENS),
        "wordpiece": make_wordpiece_tokenizer(),
    }


@pytest.fixture(scope="module")
def make(tokenizers, labels):
    """The function (name of a tokenizer, changed arguments) -> a tiny classifier, the same at every call."""

    def make(tokenizer="gpt2", dtype=None, **changes):
        tokenizer = tokenizers[tokenizer]
        backbone = GPTBackbone(
            vocabulary_size=tokenizer.vocabulary_size(), num_layers=2, num_heads=2, hidden_dim=16,
            max_sequence_length=24, dtype=dtype,
        )  # fmt: skip
        changes = {"labels": labels, **changes}
        classifier = GPTTextClassifier(backbone, **{"tokenizer": tokenizer, "dropout": 0.0, **changes})
        random = np.random.RandomState(3)
        for weight in classifier.weights:
            scale = 0.1 if len(weight.shape) == 1 else 0.5
            weight.assign(random.standard_normal(weight.shape) * scale + ("gamma" in weight.path))
        return classifier

    return make


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


# === Logits ===


def test_logits_are_those_of_the_last_real_token_of_each_row(make):
    classifier = make()
    ids = np.random.RandomState(0).randint(50, size=(4, 9)).astype("int32")
    lengths = np.array([9, 1, 5, 8])
    inputs = {"token_ids": ids, "padding_mask": np.arange(9) < lengths[:, None]}
    hidden = classifier.backbone(inputs).numpy()
    kernel, bias = (weight.numpy() for weight in (classifier.output_dense.kernel, classifier.output_dense.bias))
    expected = hidden[np.arange(4), lengths - 1] @ kernel + bias
    np.testing.assert_allclose(classifier(inputs), expected, atol=1e-5)
    # What stands in the padding does not matter.
    changed = {**inputs, "token_ids": np.where(inputs["padding_mask"], ids, 7)}
    np.testing.assert_allclose(classifier(changed), expected, atol=1e-5)


def test_padding_on_the_left_leaves_the_last_token_the_last():
    hidden = np.arange(24, dtype="float32").reshape(2, 4, 3)
    mask = np.array([[False, True, True, True], [False, False, False, False]])
    np.testing.assert_array_equal(LastToken()(hidden, mask), [hidden[0, 3], hidden[1, 0]])


def test_a_head_without_bias_has_a_kernel_alone(make):
    classifier = make(head_bias=False)
    assert [tuple(weight.shape) for weight in classifier.output_dense.weights] == [(16, 3)]


def test_logits_are_those_of_transformers(make):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    classifier = make(head_bias=False)
    backbone = classifier.backbone
    config = transformers.GPT2Config(
        vocab_size=backbone.vocabulary_size, n_positions=24, n_embd=16, n_layer=2, n_head=2, num_labels=3,
        pad_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    theirs = transformers.GPT2ForSequenceClassification(config).eval()

    def norm(name, layer):
        return {f"{name}.weight": layer.gamma, f"{name}.bias": layer.beta}

    def dense(name, *layers):
        kernel = np.concatenate([layer.kernel.numpy() for layer in layers], -1)
        return {f"{name}.weight": kernel, f"{name}.bias": np.concatenate([layer.bias.numpy() for layer in layers])}

    tensors = {
        "transformer.wte.weight": backbone.token_embedding.embeddings,
        "transformer.wpe.weight": backbone.position_embedding.position_embeddings,
        "score.weight": classifier.output_dense.kernel.numpy().T,
        **norm("transformer.ln_f", backbone.final_norm),
    }
    for index, layer in enumerate(backbone.transformer_layers):
        prefix = f"transformer.h.{index}"
        attention, feed_forward = layer.attention, layer.feed_forward
        tensors |= {
            **norm(f"{prefix}.ln_1", layer.attention_norm),
            **norm(f"{prefix}.ln_2", layer.feed_forward_norm),
            **dense(f"{prefix}.attn.c_attn", attention.query, attention.key, attention.value),
            **dense(f"{prefix}.attn.c_proj", attention.output_dense),
            **dense(f"{prefix}.mlp.c_fc", feed_forward.intermediate_dense),
            **dense(f"{prefix}.mlp.c_proj", feed_forward.output_dense),
        }
    theirs.load_state_dict({name: torch.tensor(np.array(value)) for name, value in tensors.items()})
    ids = np.random.RandomState(0).randint(1, 50, size=(3, 8)).astype("int32")  # 0 is padding there
    mask = np.arange(8) < np.array([8, 3, 6])[:, None]
    with torch.no_grad():
        expected = theirs(torch.tensor(np.where(mask, ids, 0)).long(), attention_mask=torch.tensor(mask).long()).logits
    np.testing.assert_allclose(classifier({"token_ids": ids, "padding_mask": mask}), expected.numpy(), atol=1e-5)


# === Loss ===


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_is_that_of_the_paper_computed_with_numpy(make, weight):
    classifier = make(auxiliary_lm_weight=weight)
    classifier.compile()
    indices, sample_weight = np.array([0, 1, 2, 2]), np.array([1.0, 2.0, 0.5, 1.0])
    results = classifier.evaluate(TEXTS, NAMES, sample_weight=sample_weight, verbose=0, return_dict=True)
    inputs = {name: value.numpy() for name, value in classifier.preprocessor(TEXTS).items()}
    outputs = classifier(inputs)
    logits = (outputs["label"] if weight else outputs).numpy()
    label_losses = -log_softmax(logits)[np.arange(4), indices]
    expected = (sample_weight * label_losses).sum() / sample_weight.sum()
    if weight:
        assert results["label_loss"] == pytest.approx(expected, abs=1e-5)
        assert results["label_accuracy"] == pytest.approx(
            (sample_weight * (logits.argmax(-1) == indices)).sum() / sample_weight.sum()
        )
        states = classifier.backbone(inputs).numpy()
        tokens = log_softmax(states @ classifier.backbone.token_embedding.embeddings.numpy().T)
        total, count = 0.0, 0.0
        for row, length in enumerate(inputs["padding_mask"].sum(-1)):
            for place in range(length - 1):
                total -= sample_weight[row] * tokens[row, place, inputs["token_ids"][row, place + 1]]
                count += sample_weight[row]
        assert results["language_model_loss"] == pytest.approx(weight * total / count, abs=1e-4)
        expected += weight * total / count
    assert results["loss"] == pytest.approx(expected, abs=1e-4)


def test_targets_of_the_language_model_are_the_next_real_tokens():
    targets, weights = next_tokens([[5, 6, 7, 0], [0, 8, 9, 4]], [[True] * 3 + [False], [False] + [True] * 3])
    assert targets.numpy().tolist() == [[6, 7, 0, 0], [8, 9, 4, 0]]
    assert weights.numpy().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("tokenizer", "weight"), [("gpt2", 0.0), ("gpt2", 0.5), ("gpt1 fine-tuning", 0.5), ("wordpiece", 0.0)]
)
def test_a_few_rows_are_learned_by_heart(make, tokenizer, weight):
    classifier = make(tokenizer, auxiliary_lm_weight=weight, dropout=0.1)
    classifier.compile(keras.optimizers.Adam(0.01))
    ids, indices = classifier.preprocessor(TEXTS, NAMES)
    rows = tf.data.Dataset.from_tensors((ids, indices)).repeat(15)
    history = classifier.fit(rows, epochs=2, verbose=0).history
    assert classifier.classify(TEXTS) == NAMES
    assert history["loss"][-1] < history["loss"][0]
    if weight:
        assert history["language_model_loss"][-1] < history["language_model_loss"][0]


def test_the_auxiliary_language_model_has_an_output_and_no_weights_of_its_own(make, assert_same_weights):
    alone, beside = make(), make(auxiliary_lm_weight=0.5)
    assert not isinstance(alone.output, dict) and set(beside.output) == {"label", "language_model"}
    assert_same_weights(alone, beside, atol=0)


def test_training_gives_the_same_from_text_and_from_ids_in_parts(make, assert_same_weights, moved):
    from_text, from_ids = make(auxiliary_lm_weight=0.5), make(auxiliary_lm_weight=0.5)
    for classifier, parts in ((from_text, 1), (from_ids, 2)):
        classifier.compile(keras.optimizers.SGD(0.05), micro_batches=parts)
    from_text.fit(TEXTS, NAMES, verbose=0)
    ids = {name: value.numpy() for name, value in from_ids.preprocessor(TEXTS).items()}
    from_ids.fit(ids, NAMES, verbose=0)
    assert moved(from_text, make()) > 1e-3
    assert_same_weights(from_text, from_ids, atol=1e-6)


def test_regression_learns_numbers(make):
    regressor = make(labels=None, regression=True, auxiliary_lm_weight=0.1)
    regressor.compile(keras.optimizers.Adam(0.01))
    values = np.array([0.0, 1.0, 2.0, -1.0], "float32")
    rows = tf.data.Dataset.from_tensors((dict(regressor.preprocessor(TEXTS)), values)).repeat(60)
    regressor.fit(rows, verbose=0)
    predicted = regressor.predict(TEXTS, verbose=0)
    np.testing.assert_allclose(predicted, values, atol=0.4)
    results = regressor.evaluate(TEXTS, values, verbose=0, return_dict=True)
    assert results["label_mean_absolute_error"] == pytest.approx(np.abs(predicted - values).mean(), abs=1e-5)
    assert results["label_loss"] == pytest.approx(((predicted - values) ** 2).mean(), abs=1e-5)
    np.testing.assert_allclose(regressor.answer(tf.constant(TEXTS))["value"], predicted, atol=1e-5)


# === Preprocessor ===


def test_a_text_is_framed_by_end_of_text_tokens_for_gpt2(gpt_tokenizer):
    end, (ids,) = gpt_tokenizer.end_of_text_id, gpt_tokenizer.tokenize(["a class"]).to_list()
    packed = GPTTextClassifierPreprocessor(gpt_tokenizer, sequence_length=12)(["a class"])
    row = [end, *ids, end]
    assert packed["token_ids"][0].numpy().tolist() == row + [gpt_tokenizer.pad_id] * (12 - len(row))
    assert packed["padding_mask"][0].numpy().tolist() == [True] * len(row) + [False] * (12 - len(row))


def test_a_pair_is_joined_as_in_gpt1s_fine_tuning():
    tokenizer = make_gpt1_tokenizer(FINE_TUNING_TOKENS)
    start, delimiter, classify = (tokenizer.token_to_id(token) for token in FINE_TUNING_TOKENS)
    first, second = tokenizer.tokenize(["ab of", "c"]).to_list()
    packed = GPTTextClassifierPreprocessor(tokenizer, sequence_length=9)((["ab of", ""], ["c", "c"]))
    rows = [[start, *first, delimiter, *second, classify], [start, delimiter, *second, classify]]
    for row, ids, mask in zip(rows, packed["token_ids"].numpy(), packed["padding_mask"].numpy(), strict=True):
        assert ids[mask].tolist() == row
        assert not mask[len(row) :].any()


def test_a_pair_is_joined_by_the_end_of_text_for_gpt2_and_by_sep_for_wordpiece(tokenizers):
    for name, frame in (("gpt2", ("end_of_text_id",) * 3), ("wordpiece", ("cls_id", "sep_id", "sep_id"))):
        tokenizer = tokenizers[name]
        start, delimiter, end = (getattr(tokenizer, id) for id in frame)
        packed = GPTTextClassifierPreprocessor(tokenizer, sequence_length=12)({"text": ["ab"], "text_pair": ["c"]})
        first, second = tokenizer.tokenize(["ab", "c"]).to_list()
        ids = packed["token_ids"].numpy()[packed["padding_mask"].numpy()]
        assert ids.tolist() == [start, *first, delimiter, *second, end], name


def test_pairs_that_are_too_long_are_cut_and_keep_their_frame():
    tokenizer = make_gpt1_tokenizer(FINE_TUNING_TOKENS)
    start, delimiter, classify = (tokenizer.token_to_id(token) for token in FINE_TUNING_TOKENS)
    packed = GPTTextClassifierPreprocessor(tokenizer, sequence_length=8)((["a b c d e f"], ["g h i j k"]))
    ids = packed["token_ids"].numpy()[0].tolist()
    assert (ids[0], ids[-1], ids.count(delimiter)) == (start, classify, 1)
    assert 3 <= ids.index(delimiter) <= 4  # about as much of each


@pytest.mark.parametrize("tokenizer", ["gpt1", "gpt2"])
def test_without_a_frame_a_row_is_the_texts_own_tokens(tokenizers, tokenizer):
    add = tokenizer == "gpt1"  # which has no such tokens
    preprocessor = GPTTextClassifierPreprocessor(tokenizers[tokenizer], sequence_length=6, add_special_tokens=add)
    texts = ["ab c", "", "a b c d e f g h"]
    packed = preprocessor(texts)
    for row, ids in enumerate(tokenizers[tokenizer].tokenize(texts).to_list()):
        assert packed["token_ids"][row].numpy()[packed["padding_mask"][row].numpy()].tolist() == ids[:6]
    with pytest.raises(ValueError, match=r"special token to put between the texts of a pair.*special_tokens="):
        preprocessor((["a"], ["b"]))


def test_a_scalar_gives_the_row_of_a_batch(make):
    preprocessor = make().preprocessor
    row, batch = preprocessor(TEXTS[0]), preprocessor(TEXTS[:1])
    for name in batch:
        np.testing.assert_array_equal(row[name], batch[name][0])


# === Answers ===


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_predict_classify_answer_and_a_graph_agree(make, texts, labels, weight):
    # Read at the text's own last token: the frame's last token would draw all these random models to one label.
    classifier = make(auxiliary_lm_weight=weight)
    classifier.preprocessor.add_special_tokens = False
    scores = classifier.predict(texts[:9], verbose=0)
    assert scores.shape == (9, 3)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)
    names = [labels[index] for index in scores.argmax(-1)]
    assert len(set(names)) > 1
    assert classifier.classify(texts[:9]) == names
    for answer in (classifier.answer, tf.function(classifier.answer)):
        result = answer(tf.constant(texts[:9]))
        assert [name.decode() for name in result["label"].numpy()] == names
        np.testing.assert_allclose(result["scores"], scores, atol=1e-6)


def test_pairs_give_the_same_from_every_form_and_differ_from_their_first_text(make, texts):
    classifier = make()
    pair = (texts[:4], texts[4:8])
    expected = classifier.predict(pair, verbose=0)
    assert abs(expected - classifier.predict(pair[0], verbose=0)).max() > 1e-3
    np.testing.assert_allclose(
        classifier.predict({"text": pair[0], "text_pair": pair[1]}, verbose=0), expected, atol=1e-6
    )
    answer = classifier.answer(tf.constant(pair[0]), tf.constant(pair[1]))
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)


def test_bad_text_goes_through_and_changes_no_neighbour(make, bad_texts):
    classifier = make(auxiliary_lm_weight=0.5)
    classifier.preprocessor.add_special_tokens = False  # an empty text has no token at all then
    scores = classifier.predict([*bad_texts, TEXTS[0].encode()], verbose=0)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(scores[-1], classifier.predict([TEXTS[0]], verbose=0)[0], atol=1e-6)
    classifier.compile(keras.optimizers.SGD(0.01))
    history = classifier.fit(bad_texts, np.arange(len(bad_texts)) % 3, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_mixed_precision_gives_nearly_the_same(make):
    mixed, full = make(dtype="mixed_bfloat16", auxiliary_lm_weight=0.5), make()
    scores = mixed.answer(tf.constant(TEXTS))["scores"]
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, full.answer(tf.constant(TEXTS))["scores"], atol=0.1)


# === Presets and refusals ===


@pytest.mark.parametrize("tokenizer", ["gpt2", "gpt1", "gpt1 fine-tuning", "wordpiece"])
def test_a_classifier_comes_back_with_its_tokenizer(make, tokenizer, tmp_path):
    task = make(tokenizer, auxiliary_lm_weight=0.5, head_bias=False, dropout=0.2)
    task.save_to_preset(str(tmp_path / "preset"))
    again = GPTTextClassifier.from_preset(str(tmp_path / "preset"))
    assert type(again.preprocessor.tokenizer) is type(task.preprocessor.tokenizer)
    for name in ("labels", "dropout", "auxiliary_lm_weight", "head_bias", "regression"):
        assert getattr(again, name) == getattr(task, name)
    assert again.preprocessor.get_config()["labels"] == task.labels
    expected, result = (one.answer(tf.constant(TEXTS))["scores"] for one in (task, again))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_trained_classifier_comes_back_without_its_run_and_trains_on(make, tmp_path):
    task = make(auxiliary_lm_weight=0.5)
    task.compile(keras.optimizers.Adam(0.01))
    task.fit(TEXTS, NAMES, verbose=0)
    task.save_to_preset(str(tmp_path / "preset"))
    again = GPTTextClassifier.from_preset(str(tmp_path / "preset"))
    np.testing.assert_allclose(again.predict(TEXTS, verbose=0), task.predict(TEXTS, verbose=0), atol=1e-6)
    again.compile(keras.optimizers.Adam(0.003))
    before = again.evaluate(TEXTS, NAMES, return_dict=True, verbose=0)["loss"]  # without dropout
    again.fit(TEXTS, NAMES, epochs=10, verbose=0)
    assert again.evaluate(TEXTS, NAMES, return_dict=True, verbose=0)["loss"] < before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["one"]}, r"two or more different names. Received: labels="),
        ({"labels": None}, r"labels=\[...\] to classify, or regression=True"),
        ({"regression": True}, r"labels=\[...\] to classify, or regression=True"),
        ({"auxiliary_lm_weight": -0.5}, r"0 or more. Received: auxiliary_lm_weight=-0.5"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_special_tokens_without_rows_in_the_embedding_are_refused(make, labels):
    backbone = make("gpt1").backbone
    with pytest.raises(ValueError, match=r"at most 54 ids, as the backbone has. Received: 57 ids"):
        GPTTextClassifier(backbone, labels, tokenizer=make_gpt1_tokenizer(FINE_TUNING_TOKENS))


def test_an_unknown_label_is_refused_with_the_known_ones(make):
    classifier = make(auxiliary_lm_weight=0.5)
    for preprocess in (classifier.preprocessor, classifier.preprocess_samples):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"not one of the labels.*class.*module"):
            preprocess(TEXTS, y=[*NAMES[:-1], "method"])
