"""Log-likelihoods and perplexities, against PyTorch Transformers and models whose probabilities are known."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from albert_gpt_tf.data.lambada import Passage
from albert_gpt_tf.models.gpt_backbone import GPTBackbone
from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe
from albert_gpt_tf.training.language_model_scores import (
    evaluate_lambada,
    evaluate_language_model,
    sliding_rows,
    token_log_likelihoods,
)

VOCABULARY, WIDTH, LAYERS, POSITIONS = 50, 16, 2, 12
IDS = np.random.RandomState(7).randint(VOCABULARY, size=30)
# What PyTorch Transformers 5.24 gives for the weights of `write_checkpoint`, windows of 12 tokens and a stride of 4.
STORED = [
    -4.700187, -4.114663, -6.100461, -5.327404, -6.914719, -4.714187, -3.747675, -5.364272, -6.033075, -3.958878,
    -5.293219, -5.868552, -5.379877, -3.241195, -4.022863, -5.271125, -1.788106, -5.664169, -8.042618, -7.500021,
    -3.808666, -6.491455, -3.827407, -4.159039, -5.733962, -4.113786, -8.148163, -5.85475, -5.466418,
]  # fmt: skip


def write_checkpoint(folder):
    """A GPT-2 of Transformers whose weights NumPy draws."""
    of_layer = {
        "ln_1.weight": (WIDTH,), "ln_1.bias": (WIDTH,), "attn.c_attn.weight": (WIDTH, 3 * WIDTH),
        "attn.c_attn.bias": (3 * WIDTH,), "attn.c_proj.weight": (WIDTH, WIDTH), "attn.c_proj.bias": (WIDTH,),
        "ln_2.weight": (WIDTH,), "ln_2.bias": (WIDTH,), "mlp.c_fc.weight": (WIDTH, 4 * WIDTH),
        "mlp.c_fc.bias": (4 * WIDTH,), "mlp.c_proj.weight": (4 * WIDTH, WIDTH), "mlp.c_proj.bias": (WIDTH,),
    }  # fmt: skip
    shapes = {"wte.weight": (VOCABULARY, WIDTH), "wpe.weight": (POSITIONS, WIDTH)}
    shapes |= {f"h.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in of_layer.items()}
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    random = np.random.RandomState(19)
    tensors = {}
    for name, shape in shapes.items():
        is_gain = len(shape) == 1 and name.endswith("weight")
        tensors[f"transformer.{name}"] = (0.3 * random.standard_normal(shape) + is_gain).astype("float32")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": VOCABULARY, "n_embd": WIDTH,
        "n_layer": LAYERS, "n_head": 2, "n_positions": POSITIONS, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def guide_windows(length, window, stride):
    """(begin, end, first place that is scored) by the loop of Transformers' guide on perplexity."""
    windows, previous_end = [], 0
    for begin in range(0, length, stride):
        end = min(begin + window, length)
        scored = min(end - previous_end, end - begin - 1)  # labels are shifted: the first token of a window has none
        windows.append((begin, end, end - scored))
        previous_end = end
        if end == length:
            break
    return windows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def task(checkpoint):
    return GPTCausalLM.from_preset(checkpoint)


@pytest.fixture(scope="module")
def text_task():
    """Has a vocabulary in which ` x` is one token; the same probabilities whatever was read, which `bias` decides."""
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(["a x x x x x x"], 258))
    assert tokenizer.tokenize([" x"]).shape[1] in (None, 1) and int(tokenizer.tokenize([" x"]).row_lengths()[0]) == 1
    backbone = GPTBackbone(258, num_layers=1, num_heads=1, hidden_dim=8, max_sequence_length=16)
    task = GPTCausalLM(backbone, tokenizer=tokenizer, head_bias=True)
    backbone.token_embedding.embeddings.assign(0 * backbone.token_embedding.embeddings)
    return task


@pytest.fixture
def set_bias(text_task):
    """The function (logit by token, 0 for the others) -> log-probabilities [vocabulary]."""

    def set_logits(**by_token):
        logits = np.zeros(258)
        for token, logit in by_token.items():
            logits[int(text_task.preprocessor.tokenizer.tokenize([token.replace("_", " ")]).values[0])] = logit
        text_task.lm_head.bias.assign(logits)
        return logits - np.logaddexp.reduce(logits)

    yield set_logits
    set_logits()


# === Windows ===


@pytest.mark.parametrize("window", [2, 3, 5, 8])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 24, 25, 30])
def test_overlapping_windows_are_those_of_the_guide(length, window):
    ids = np.arange(length)
    for stride in range(1, window):
        rows = [(row.ids.tolist(), row.targets.tolist()) for row in sliding_rows(ids, window, stride)]
        assert rows == [
            (list(range(begin, end - 1)), list(range(first, end)))
            for begin, end, first in guide_windows(length, window, stride)
            if first < end
        ]


def test_windows_that_do_not_overlap_are_the_rolling_ones_of_the_harness():
    rows = [(row.ids.tolist(), row.targets.tolist()) for row in sliding_rows(np.arange(23), 10, 10)]
    assert rows == [
        (list(range(0, 10)), list(range(1, 11))),
        (list(range(10, 20)), list(range(11, 21))),
        (list(range(20, 22)), list(range(21, 23))),
    ]


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (4, 1), (4, 3), (4, 4), (9, 5), (40, 40)])
def test_every_token_but_the_first_is_scored_once_after_the_one_before_it(window, stride):
    for length in range(41):
        rows = sliding_rows(np.arange(length), window, stride)
        assert [target for row in rows for target in row.targets] == list(range(1, length))
        for row in rows:
            assert len(row.targets) <= len(row.ids) <= window and row.ids[-1] == row.targets[-1] - 1
        for row in rows[1:]:
            assert len(row.ids) - len(row.targets) >= min(window - stride, window - 1) - 1


# === Log-likelihoods ===


def test_log_likelihoods_are_the_stored_ones_of_transformers(task):
    np.testing.assert_allclose(token_log_likelihoods(task, IDS, 12, 4), STORED, atol=2e-5)


@pytest.mark.parametrize(("window", "stride"), [(12, 4), (12, 6), (7, 3), (12, 11)])
def test_log_likelihoods_equal_transformers(task, checkpoint, window, stride):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    expected = []
    for begin, end, first in guide_windows(len(IDS), window, stride):
        with torch.no_grad():
            logits = model(torch.tensor(IDS[None, begin:end])).logits[0].double()
        log_probabilities = torch.log_softmax(logits, -1)
        expected += [float(log_probabilities[place - begin - 1, IDS[place]]) for place in range(first, end)]
    np.testing.assert_allclose(token_log_likelihoods(task, IDS, window, stride), expected, atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_their_padding_change_nothing(task, batch_size, monkeypatch):
    monkeypatch.setattr("albert_gpt_tf.training.language_model_scores._POSITIONS", 5)  # in several pieces, too
    whole = token_log_likelihoods(task, IDS, 12, 4, batch_size=batch_size)
    np.testing.assert_allclose(whole, STORED, atol=2e-5)


def test_a_text_of_one_window_is_computed_as_it_is(task):
    logits = task({"token_ids": IDS[None, :12], "padding_mask": np.ones([1, 12], bool)}).numpy()[0].astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = log_probabilities[np.arange(11), IDS[1:12]]
    np.testing.assert_allclose(token_log_likelihoods(task, IDS[:12]), expected, atol=2e-5)
    assert token_log_likelihoods(task, IDS[:1]).shape == token_log_likelihoods(task, []).shape == (0,)


def test_windows_that_cannot_work_are_told(task, text_task):
    for window, stride in ((13, 4), (8, 9), (8, 0), (0, 0)):
        with pytest.raises(ValueError, match="Expected 1 <= stride <= window <= 12"):
            token_log_likelihoods(task, IDS, window, stride)
    with pytest.raises(ValueError, match="Expected a task with a preprocessor"):
        evaluate_language_model(task, "text")
    with pytest.raises(ValueError, match="without a word"):
        evaluate_language_model(text_task, ["", " \n"])
    with pytest.raises(ValueError, match="Set begin=True"):
        evaluate_language_model(text_task, "a", begin=False)


# === Perplexities ===


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(text_task):
    texts = ["naïve b, " * 9, "", "a\nb"]
    size = sum(len(text.encode()) for text in texts)
    result = evaluate_language_model(text_task, texts, window=16, stride=4)
    assert result["tokens"] == result["bytes"] == size  # a token is a byte here, and the first one is scored
    assert result["words"] == 9 * 2 + 2
    assert result["loss"] == pytest.approx(math.log(258), rel=1e-6)
    assert result["perplexity"] == result["byte_perplexity"] == pytest.approx(258, rel=1e-5)
    assert result["bits_per_byte"] == pytest.approx(math.log2(258), rel=1e-6)
    assert result["word_perplexity"] == pytest.approx(258 ** (size / 20), rel=1e-4)


def test_whether_a_text_begins_with_the_end_of_one_is_a_switch(text_task):
    texts = ["abc", "de"]
    assert evaluate_language_model(text_task, texts)["tokens"] == 5  # as in training, which has a start
    assert evaluate_language_model(text_task, texts, begin=False)["tokens"] == 3
    assert evaluate_language_model(text_task, "abc", begin=False)["bytes"] == 3


def test_words_and_bytes_are_those_of_the_originals(text_task):
    text, original = "a-b, c", " a @-@ b , c "
    result = evaluate_language_model(text_task, text, originals=original)
    assert (result["tokens"], result["words"], result["bytes"]) == (6, 5, 13)
    assert result["word_perplexity"] == pytest.approx(258 ** (6 / 5), rel=1e-5)


def test_a_perplexity_beyond_all_floats_is_infinite(text_task, set_bias):
    set_bias(b=1000.0)
    assert evaluate_language_model(text_task, "aaa")["word_perplexity"] == math.inf


def test_the_likelihood_of_short_texts_is_that_of_score(checkpoint, text_task):
    tokenizer = text_task.preprocessor.tokenizer
    task = GPTCausalLM(
        GPTBackbone(258, num_layers=1, num_heads=2, hidden_dim=8, max_sequence_length=16), tokenizer=tokenizer
    )
    texts = ["some words", "a", "fourteen bytes"]
    expected = task.score(texts)
    result = evaluate_language_model(task, texts)
    assert result["tokens"] == sum(expected["token_count"])
    assert result["loss"] * result["tokens"] == pytest.approx(-sum(expected["log_likelihood"]), rel=1e-5)


# === LAMBADA ===


def test_a_word_is_right_if_each_of_its_tokens_is_the_most_probable(text_task, set_bias):
    log_probabilities = set_bias(_x=3.0, y=1.0)
    likely, other = log_probabilities.max(), log_probabilities[0]
    passages = [Passage("a b", "x"), Passage("c" * 40, "x"), Passage("d", "x x"), Passage("e", "y"), Passage("f", "xz")]
    result = evaluate_lambada(text_task, passages, batch_size=2)
    # Right are " x", " x" after a context that is cut, " x x"; not " ", "y" and not " x", "z".
    assert result["accuracy"] == pytest.approx(3 / 5) and result["passages"] == 5
    y = np.sort(np.unique(log_probabilities))[-2]
    nats = [likely, likely, 2 * likely, other + y, likely + other]
    assert result["perplexity"] == pytest.approx(math.exp(-np.mean(nats)), rel=1e-4)


def test_white_space_at_the_end_of_a_context_belongs_to_the_word(text_task, set_bias):
    log_probabilities = set_bias(_x=3.0)
    result = evaluate_lambada(text_task, [Passage("a\n", "x")])
    assert result["perplexity"] == pytest.approx(math.exp(-log_probabilities.max() - log_probabilities[0]), rel=1e-4)
    assert result["accuracy"] == 0


def test_passages_that_cannot_be_scored_are_told(text_task):
    with pytest.raises(ValueError, match="Expected passages"):
        evaluate_lambada(text_task, [])
    with pytest.raises(ValueError, match="passage of at least two words"):
        evaluate_lambada(text_task, [Passage("", "x")])
