"""google-research's ALBERT: checkpoints in the original's naming, and the original graph stated anew in NumPy."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.checkpoints import google_albert
from albert_gpt_tf.checkpoints.load import load_backbone, load_task
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.tasks.albert_masked_lm import AlbertMaskedLM
from albert_gpt_tf.tasks.albert_multiple_choice import AlbertMultipleChoice
from albert_gpt_tf.tasks.albert_pretrainer import AlbertPretrainer
from albert_gpt_tf.tasks.albert_question_answerer import AlbertQuestionAnswerer
from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder
from albert_gpt_tf.tasks.albert_token_classifier import AlbertTokenClassifier

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CONFIG = {
    "vocab_size": 50, "embedding_size": 8, "hidden_size": 12, "num_hidden_layers": 4, "num_hidden_groups": 2,
    "inner_group_num": 1, "num_attention_heads": 3, "intermediate_size": 20, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "max_position_embeddings": 16,
    "type_vocab_size": 2, "initializer_range": 0.02,
    # What the archives have besides, and nobody needs.
    "down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0, "layers_to_keep": [],
}  # fmt: skip
EQUAL_WIDTHS = {"embedding_size": 12, "num_hidden_groups": 1, "inner_group_num": 2}


def shapes(config, *heads):
    """Names and shapes of the tensors in the original's graph."""
    v, e, h, i = (config[name] for name in ("vocab_size", "embedding_size", "hidden_size", "intermediate_size"))
    dense, norms = {"bert/pooler/dense": (h, h)}, {"bert/embeddings/LayerNorm": e}
    found = {
        "bert/embeddings/word_embeddings": (v, e),
        "bert/embeddings/token_type_embeddings": (config["type_vocab_size"], e),
        "bert/embeddings/position_embeddings": (config["max_position_embeddings"], e),
    }
    if e != h:
        dense["bert/encoder/embedding_hidden_mapping_in"] = (e, h)
    for group in range(config["num_hidden_groups"]):
        for inner in range(config["inner_group_num"]):
            layer = f"bert/encoder/transformer/group_{group}/inner_group_{inner}"
            dense |= {f"{layer}/attention_1/self/{part}": (h, h) for part in ("query", "key", "value")}
            dense[f"{layer}/attention_1/output/dense"] = (h, h)
            dense[f"{layer}/ffn_1/intermediate/dense"] = (h, i)
            dense[f"{layer}/ffn_1/intermediate/output/dense"] = (i, h)
            norms |= {f"{layer}/LayerNorm": h, f"{layer}/LayerNorm_1": h}
    if "masked_lm" in heads:
        dense["cls/predictions/transform/dense"] = (h, e)
        norms["cls/predictions/transform/LayerNorm"] = e
        found["cls/predictions/output_bias"] = (v,)
    for head, (prefix, rows) in {
        "sentence_order": ("cls/seq_relationship/", 2), "classifier": ("", 3), "regression": ("", 1),
        "choices": ("", 1), "spans": ("cls/squad/", 2),
    }.items():  # fmt: skip
        if head in heads:
            found |= {f"{prefix}output_weights": (rows, h), f"{prefix}output_bias": (rows,)}
    if "spans_v2" in heads:
        dense |= {
            "start_logits/dense": (h, 1), "end_logits/dense_0": (2 * h, h), "end_logits/dense_1": (h, 1),
            "answer_class/dense_0": (2 * h, h),
        }  # fmt: skip
        norms["end_logits/LayerNorm"] = h
        found["answer_class/dense_1/kernel"] = (h, 1)
    for name, (rows, columns) in dense.items():
        found |= {f"{name}/kernel": (rows, columns), f"{name}/bias": (columns,)}
    for name, width in norms.items():
        found |= {f"{name}/gamma": (width,), f"{name}/beta": (width,)}
    return found


def draw(config, *heads, seed=0):
    random = np.random.RandomState(seed)
    # Not too small, so that every tensor matters for the outputs.
    return {name: random.normal(0, 0.3, shape).astype("float32") for name, shape in shapes(config, *heads).items()}


def write(directory, config, tensors):
    """A directory as google-research releases it, the optimizer's variables included."""
    extra = {}
    for name, value in tensors.items():
        extra |= {f"{name}/adam_m": np.zeros_like(value), f"{name}/adam_v": np.zeros_like(value)}
    extra["global_step"] = np.int64(125000)
    directory.mkdir(exist_ok=True)
    (directory / "albert_config.json").write_text(json.dumps(config), encoding="utf-8")
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        variables = [
            tf.compat.v1.Variable(value, name=name, use_resource=False) for name, value in {**tensors, **extra}.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables)
        saver.save(session, str(directory / "model.ckpt-best"))
    return directory


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A directory with the weights of pretraining, and these weights."""
    tensors = draw(CONFIG, "masked_lm", "sentence_order")
    return write(tmp_path_factory.mktemp("pretrained"), CONFIG, tensors), tensors


def values(model, tensors):
    """Pairs of (a variable's value, the tensor it must equal), by the names of the original."""
    backbone = getattr(model, "backbone", model)
    layers = {
        f"bert/encoder/transformer/group_{g}/inner_group_{i}": layer
        for g, group in enumerate(backbone.groups)
        for i, layer in enumerate(group)
    }
    dense, norms = {"bert/pooler/dense": backbone.pooler}, {"bert/embeddings/LayerNorm": backbone.embedding_norm}
    if backbone.embedding_projection is not None:
        dense["bert/encoder/embedding_hidden_mapping_in"] = backbone.embedding_projection
    for name, layer in layers.items():
        dense |= {f"{name}/attention_1/self/{p}": getattr(layer.attention, p) for p in ("query", "key", "value")}
        dense[f"{name}/attention_1/output/dense"] = layer.attention.output_dense
        dense[f"{name}/ffn_1/intermediate/dense"] = layer.feed_forward.intermediate_dense
        dense[f"{name}/ffn_1/intermediate/output/dense"] = layer.feed_forward.output_dense
        norms |= {f"{name}/LayerNorm": layer.attention_norm, f"{name}/LayerNorm_1": layer.feed_forward_norm}
    pairs = {
        "bert/embeddings/word_embeddings": backbone.token_embedding.embeddings,
        "bert/embeddings/token_type_embeddings": backbone.segment_embedding.embeddings,
        "bert/embeddings/position_embeddings": backbone.position_embedding.position_embeddings,
    }
    if hasattr(model, "masked_lm_head"):
        dense["cls/predictions/transform/dense"] = model.masked_lm_head.dense
        norms["cls/predictions/transform/LayerNorm"] = model.masked_lm_head.norm
        pairs["cls/predictions/output_bias"] = model.masked_lm_head.bias
    for name, layer in dense.items():
        pairs |= {f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias}
    for name, layer in norms.items():
        pairs |= {f"{name}/gamma": layer.gamma, f"{name}/beta": layer.beta}
    found = [(variable.numpy(), tensors[name]) for name, variable in pairs.items()]
    assert len(found) == len(backbone.weights) + (5 if hasattr(model, "masked_lm_head") else 0)
    return found


def assert_bit_equal(model, tensors):
    for ours, theirs in values(model, tensors):
        np.testing.assert_array_equal(ours, theirs)


# === Configuration ===


def test_the_configuration_gives_the_arguments_of_the_backbone(pretrained):
    arguments = google_albert.backbone_arguments(pretrained[0])
    backbone = AlbertBackbone(**arguments)
    assert (backbone.num_groups, backbone.num_heads, backbone.embedding_dim) == (2, 3, 8)
    assert (backbone.dropout, backbone.attention_dropout) == (0.1, 0.2)  # two rates, kept apart
    assert backbone.activation == "gelu_new"  # the original's gelu is the tanh form
    assert backbone.layer_norm_epsilon == 1e-12


def test_fields_that_are_left_out_mean_xxlarge(tmp_path):
    (tmp_path / "albert_config.json").write_text('{"vocab_size": 30000}')
    arguments = google_albert.backbone_arguments(tmp_path)
    assert (arguments["hidden_dim"], arguments["num_heads"], arguments["intermediate_dim"]) == (4096, 64, 16384)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "albert_config.json.*Received: none"),
        ("{", "Expected JSON"),
        ("[]", "vocab_size"),
        ('{"hidden_size": 8}', "without vocab_size"),
        ('{"vocab_size": "many"}', 'whole number as vocab_size.*"many"'),
        ('{"vocab_size": 9, "hidden_act": "mish"}', "activation.*mish"),
    ],
)
def test_a_broken_configuration_gives_one_sentence(tmp_path, content, message):
    if content is not None:
        (tmp_path / "albert_config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        google_albert.backbone_arguments(tmp_path)


# === Tensors ===


def test_a_backbone_has_the_bits_of_the_checkpoint(pretrained):
    directory, tensors = pretrained
    assert_bit_equal(load_backbone(AlbertBackbone, directory), tensors)


def test_the_pretrainer_has_both_heads_sentence_order_transposed(pretrained, caplog):
    directory, tensors = pretrained
    pretrainer = load_task(AlbertPretrainer, directory)
    assert_bit_equal(pretrainer, tensors)
    np.testing.assert_array_equal(
        pretrainer.sentence_order_dense.kernel, tensors["cls/seq_relationship/output_weights"].T
    )
    np.testing.assert_array_equal(pretrainer.sentence_order_dense.bias, tensors["cls/seq_relationship/output_bias"])
    assert "new" not in caplog.text


def test_the_masked_lm_leaves_sentence_order(pretrained):
    directory, tensors = pretrained
    assert_bit_equal(load_task(AlbertMaskedLM, directory), tensors)


@pytest.mark.parametrize(
    ("head", "name", "cls", "arguments"),
    [
        ("classifier", "", AlbertTextClassifier, {"labels": ["a", "b", "c"]}),
        ("regression", "", AlbertTextClassifier, {"regression": True}),
        ("classifier", "", AlbertTokenClassifier, {"labels": ["a", "b", "c"]}),
        ("choices", "", AlbertMultipleChoice, {}),
        ("spans", "cls/squad/", AlbertQuestionAnswerer, {}),
    ],
)
def test_a_fine_tuned_head_has_the_bits_of_the_checkpoint(tmp_path, caplog, head, name, cls, arguments):
    tensors = draw(CONFIG, head)
    task = load_task(cls, write(tmp_path, CONFIG, tensors), **arguments)
    assert_bit_equal(task, tensors)
    np.testing.assert_array_equal(task.output_dense.kernel, tensors[f"{name}output_weights"].T)
    np.testing.assert_array_equal(task.output_dense.bias, tensors[f"{name}output_bias"])
    assert "new" not in caplog.text


def test_a_task_on_a_pretrained_checkpoint_says_that_its_head_is_new(pretrained, caplog):
    directory, tensors = pretrained
    classifier = load_task(AlbertTextClassifier, directory, labels=["a", "b"])
    assert_bit_equal(classifier, tensors)
    assert "new, to be trained: the output layer" in caplog.text
    assert 0.005 < classifier.output_dense.kernel.numpy().std() < 0.03  # drawn with initializer_range


def test_an_embedder_needs_no_head(pretrained, caplog):
    directory, tensors = pretrained
    assert_bit_equal(load_task(AlbertTextEmbedder, directory), tensors)
    assert "new" not in caplog.text


def test_equal_widths_have_no_projection(tmp_path):
    config = {**CONFIG, **EQUAL_WIDTHS}
    tensors = draw(config)
    backbone = load_backbone(AlbertBackbone, write(tmp_path, config, tensors))
    assert backbone.embedding_projection is None
    assert_bit_equal(backbone, tensors)


def test_the_prefix_of_a_hub_module_is_left_out(tmp_path):
    tensors = draw(CONFIG, "classifier")
    named = {name if name.startswith("output_") else f"module/{name}": value for name, value in tensors.items()}
    classifier = load_task(AlbertTextClassifier, write(tmp_path, CONFIG, named), labels=["a", "b", "c"])
    assert_bit_equal(classifier, tensors)
    np.testing.assert_array_equal(classifier.output_dense.kernel, tensors["output_weights"].T)


# === Groups ===


@pytest.mark.parametrize("sharing", [{"num_groups": 4}, {"cross_layer_sharing": "none"}], ids=["groups", "none"])
def test_a_single_group_fills_all_groups(single_group, sharing):
    directory, everywhere = single_group
    backbone = load_backbone(AlbertBackbone, directory, **sharing)
    assert len(backbone.groups) == 4
    assert_bit_equal(backbone, everywhere)


@pytest.mark.parametrize(("sharing", "shared"), [("attention", "attention"), ("ffn", "feed_forward")])
def test_a_single_group_fills_partly_shared_layers(single_group, sharing, shared):
    directory, everywhere = single_group
    backbone = load_backbone(AlbertBackbone, directory, cross_layer_sharing=sharing)
    assert getattr(backbone.groups[0][0], shared) is getattr(backbone.groups[3][0], shared)
    for group, (layer,) in enumerate(backbone.groups):
        name = f"bert/encoder/transformer/group_{group}/inner_group_0"
        np.testing.assert_array_equal(layer.attention.query.kernel, everywhere[f"{name}/attention_1/self/query/kernel"])
        np.testing.assert_array_equal(
            layer.feed_forward.output_dense.kernel, everywhere[f"{name}/ffn_1/intermediate/output/dense/kernel"]
        )


@pytest.fixture(scope="module")
def single_group(tmp_path_factory):
    """A directory with one group, and its weights under the names of four."""
    config = {**CONFIG, "num_hidden_groups": 1}
    tensors = draw(config)
    everywhere = {name.replace("group_0/inner", f"group_{g}/inner"): v for name, v in tensors.items() for g in range(4)}
    return write(tmp_path_factory.mktemp("single_group"), config, tensors), everywhere


def test_groups_filled_from_one_have_memory_of_their_own(single_group):
    # A variable may keep the memory of the array that it is given, and a step of training writes into it.
    directory, everywhere = single_group
    backbone = load_backbone(AlbertBackbone, directory, num_groups=4, load_weights=False)
    rules = google_albert.rules(backbone, [name for name in everywhere if "/group_0/" in name])
    joined = [rule for rule in rules if len(rule.variables) == 4]
    assert len(joined) == 16
    for rule in joined:
        arrays = rule.to_ours(np.zeros(rule.shape, "float32"))
        assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2))


def test_groups_that_differ_do_not_fit_shared_layers(tmp_path):
    config = {**CONFIG, "num_hidden_groups": 4}
    directory = write(tmp_path, config, draw(config))
    with pytest.raises(ValueError, match=r"unexpected: .*group_1/inner_group_0/attention_1/\w+/"):
        load_backbone(AlbertBackbone, directory, num_groups=1, cross_layer_sharing="attention")


# === Refusals ===


def test_what_does_not_fit_is_named_in_one_sentence(tmp_path):
    tensors = draw(CONFIG)
    del tensors["bert/pooler/dense/bias"]
    tensors["bert/embeddings/LayerNorm/gamma"] = np.ones(9, "float32")
    tensors["bert/encoder/more/kernel"] = np.ones(2, "float32")
    with pytest.raises(ValueError) as error:
        load_backbone(AlbertBackbone, write(tmp_path, CONFIG, tensors))
    assert "\n" not in str(error.value)
    assert "1 missing: bert/pooler/dense/bias" in str(error.value)
    assert "1 unexpected: bert/encoder/more/kernel" in str(error.value)
    assert "bert/embeddings/LayerNorm/gamma [9] instead of [8]" in str(error.value)
    assert "adam" not in str(error.value)
    assert "global_step" not in str(error.value)


def test_half_a_head_is_missing_not_new(tmp_path):
    tensors = draw(CONFIG, "classifier")
    del tensors["output_bias"]
    with pytest.raises(ValueError, match="1 missing: output_bias"):
        load_task(AlbertTextClassifier, write(tmp_path, CONFIG, tensors), labels=["a", "b", "c"])


def test_another_number_of_labels_is_an_error(tmp_path):
    directory = write(tmp_path, CONFIG, draw(CONFIG, "classifier"))
    with pytest.raises(ValueError, match=r"output_weights \[3, 12\] instead of \[2, 12\]"):
        load_task(AlbertTextClassifier, directory, labels=["a", "b"])


def test_the_span_head_of_squad_2_is_refused_by_name(tmp_path):
    tensors = draw(CONFIG, "spans_v2")
    directory = write(tmp_path, CONFIG, tensors)
    with pytest.raises(ValueError, match=r"SQuAD 2.0 \((start_logits|end_logits|answer_class)/"):
        load_task(AlbertQuestionAnswerer, directory)
    assert_bit_equal(load_backbone(AlbertBackbone, directory), tensors)  # what is below the head is as good as any


@pytest.mark.parametrize(
    "name", ["bert/embeddings/word_embeddings_2", "bert/encoder/layer_shared/attention/self/query/kernel"]
)
def test_tensors_of_the_community_albert_zh_are_refused_by_name(tmp_path, name):
    directory = write(tmp_path, CONFIG, {**draw(CONFIG), name: np.ones((8, 12), "float32")})
    with pytest.raises(ValueError, match=f"{name}.*albert_tiny_zh"):
        load_backbone(AlbertBackbone, directory)


@pytest.mark.parametrize("size", ["tiny", "base", "large", "xlarge", "xxlarge"])
def test_configurations_of_the_community_albert_zh_are_refused_by_name(tmp_path, size):
    path = DATA / "tokenizers" / "albert_zh" / f"albert_config_{size}.json"
    if not path.is_file():
        pytest.skip("the configurations are not beside the repository (../shared/data/tokenizers)")
    (tmp_path / "albert_config.json").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"ln_type.*albert_tiny_zh"):
        load_backbone(AlbertBackbone, tmp_path)


# === Numbers ===


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, tensors, name):
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return normed * tensors[f"{name}/gamma"] + tensors[f"{name}/beta"]


def dense(x, tensors, name):
    return x @ tensors[f"{name}/kernel"] + tensors[f"{name}/bias"]


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def original_layer(x, mask, heads, tensors, name):
    def split(x):  # [batch, length, hidden] -> [batch, heads, length, head]
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    query, key, value = (split(dense(x, tensors, f"{name}/attention_1/self/{p}")) for p in ("query", "key", "value"))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1]) + (1 - mask[:, None, None, :]) * -10000.0
    mixed = (softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    x = layer_norm(x + dense(mixed, tensors, f"{name}/attention_1/output/dense"), tensors, f"{name}/LayerNorm")
    wide = gelu(dense(x, tensors, f"{name}/ffn_1/intermediate/dense"))
    wide = dense(wide, tensors, f"{name}/ffn_1/intermediate/output/dense")
    return layer_norm(x + wide, tensors, f"{name}/LayerNorm_1")


def original(config, tensors, ids, segments, mask):
    """The graph of `modeling.py` and the heads of `run_pretraining.py`, in float64."""
    tensors = {name: value.astype("float64") for name, value in tensors.items()}
    table = tensors["bert/embeddings/word_embeddings"]
    x = table[ids] + tensors["bert/embeddings/token_type_embeddings"][segments]
    x = layer_norm(
        x + tensors["bert/embeddings/position_embeddings"][: ids.shape[1]], tensors, "bert/embeddings/LayerNorm"
    )
    if config["embedding_size"] != config["hidden_size"]:
        x = dense(x, tensors, "bert/encoder/embedding_hidden_mapping_in")
    layers, groups = config["num_hidden_layers"], config["num_hidden_groups"]
    for layer in range(layers):
        for inner in range(config["inner_group_num"]):
            name = f"bert/encoder/transformer/group_{int(layer / layers * groups)}/inner_group_{inner}"
            x = original_layer(x, mask, config["num_attention_heads"], tensors, name)
    pooled = np.tanh(dense(x[:, 0], tensors, "bert/pooler/dense"))
    narrow = layer_norm(
        gelu(dense(x, tensors, "cls/predictions/transform/dense")), tensors, "cls/predictions/transform/LayerNorm"
    )
    weights, bias = (tensors[f"cls/seq_relationship/output_{part}"] for part in ("weights", "bias"))
    return {
        "sequence_output": x,
        "pooled_output": pooled,
        "masked_lm": narrow @ table.T + tensors["cls/predictions/output_bias"],
        "sentence_order": pooled @ weights.T + bias,
    }


@pytest.mark.parametrize("changes", [{}, EQUAL_WIDTHS], ids=["narrow embedding", "equal widths, two inner layers"])
def test_outputs_equal_the_original_graph(tmp_path, changes):
    config = {**CONFIG, **changes}
    tensors = draw(config, "masked_lm", "sentence_order")
    pretrainer = load_task(AlbertPretrainer, write(tmp_path, config, tensors))
    random = np.random.RandomState(1)
    ids, segments = random.randint(50, size=(3, 10)), random.randint(2, size=(3, 10))
    mask = np.arange(10)[None] < np.array([10, 7, 1])[:, None]
    inputs = {"token_ids": ids, "segment_ids": segments, "padding_mask": mask}
    theirs = original(config, tensors, ids, segments, mask)
    ours = pretrainer.backbone(inputs)
    logits = {
        "masked_lm": pretrainer.masked_lm_head(ours["sequence_output"]),
        "sentence_order": pretrainer.sentence_order_dense(ours["pooled_output"]),
    }
    for name, value in {**ours, **logits}.items():
        np.testing.assert_allclose(value, theirs[name], atol=1e-5, rtol=0, err_msg=name)
