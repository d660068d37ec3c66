"""What `info` prints: exact, complete, at most 100 columns wide, and without building anything."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from albert_gpt_tf.commands.info import describe
from albert_gpt_tf.commands.info_tables import readable_bytes
from albert_gpt_tf.models.albert_backbone import AlbertBackbone
from albert_gpt_tf.models.sizes import NAMED_SIZES
from albert_gpt_tf.tasks.load import load_task

# Beside the repository, where a machine of the project has them.
WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"


def printed_number(output, name):
    """The first number in the row that begins with a name."""
    (row,) = [line for line in output.splitlines() if line.startswith(f"{name}  ")]
    return row.removeprefix(name).split()[0]


# === Named sizes ===


def test_all_sizes_are_listed_with_their_counts(run):
    result = run("info")
    assert result.status == 0, result.errors
    for name, count in (("albert-xxlarge", "222,595,584"), ("gpt1", "116,534,784"), ("gpt3-175B", "174,604,259,328")):
        (row,) = [line for line in result.output.splitlines() if line.startswith(f"{name} ")]
        assert count in row.split()
    assert [row["name"] for row in json.loads(run("info", "--json").output)] == list(NAMED_SIZES)


@pytest.mark.parametrize("name", [None, "albert-xxlarge", "gpt1", "gpt3-13B", "gpt3-175B"])
def test_nothing_is_wider_than_100_columns_or_cut(run, name):
    result = run("info", *([name] if name else []))
    assert result.status == 0, result.errors
    assert max(map(len, result.output.splitlines())) <= 100
    assert "…" not in result.output


def test_albert_tells_stored_parameters_from_those_it_computes_with(run):
    result = run("info", "albert-base")
    assert re.search(r"^total +11,683,584 +89,650,176$", result.output, re.M)
    assert printed_number(result.output, "attention") == "2,363,904"
    assert printed_number(result.output, "W, the transformer that layers share") == "11,683,584"
    assert printed_number(result.output, "A, adapters of layers") == printed_number(result.output, "G, gates of layers")
    assert printed_number(result.output, "+ masked language model") == "128,688"


@pytest.mark.parametrize(
    ("name", "printed", "square"),
    [("gpt3-1.3B", "1,517,123,584", "1,315,723,264"), ("gpt3-13B", "12,936,488,380", "12,952,938,780")],
)
def test_rows_of_gpt3_that_contradict_themselves_are_said_to(run, name, printed, square):
    output = " ".join(run("info", name).output.split())
    assert "The paper's row contradicts itself" in output
    assert printed in output and square in output


def test_no_other_row_of_gpt3_is_said_to_contradict_itself(run):
    for name in NAMED_SIZES:
        contradicts = any("contradicts itself" in note for note in describe(name)["notes"])
        assert contradicts == (name in ("gpt3-1.3B", "gpt3-13B")), name


def test_the_largest_is_described_without_tensorflow():
    code = (
        "import sys; from albert_gpt_tf.commands.info import describe; describe('gpt3-175B'); "
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["False", "False"], result.stderr


# === Memory and work ===


def test_batch_and_length_change_activations_alone(run):
    def figures(*flags):
        return json.loads(run("info", "gpt2-124M", "--json", *flags).output)

    short, long = figures("--batch_size=2", "--length=64"), figures("--batch_size=4", "--length=64")
    for policy in short["memory"]:
        less, more = (report["memory"][policy]["training"] for report in (short, long))
        for name in ("activations", "logits", "activations_with_recompute"):
            assert more[name] == 2 * less[name], name
        assert more["weights"] == less["weights"] == 4 * 124_439_808
        assert less["activations_with_recompute"] < less["activations"]
    assert figures()["length"] == 1024


def test_totals_are_the_sums_of_their_parts():
    for name in ("albert-large", "gpt3-6.7B"):
        for memory in describe(name, batch=3, length=100)["memory"].values():
            training = memory["training"]
            parts = sum(
                training.get(part, 0) for part in ("weights", "cast copy", "gradients", "activations", "logits")
            )
            assert training["total"] == {key: parts + slots for key, slots in training["optimizer_slots"].items()}
            assert training["total"]["AdamW"] == training["total"]["LAMB"] > training["total"]["SGD"]
            inference = memory["inference"]
            assert inference["total"] == inference["weights"] + inference["cast copy"] + inference["activations"]


def test_operations_of_a_token_are_those_of_the_formula():
    flops = describe("gpt2-124M")["flops_per_token"]
    assert flops == {"forward": 854_438_400 / 3, "training_step": 854_438_400}
    # Heads that are wider than the hidden width count with their own: 24 x 128 and not 2048.
    wide = 24 * (4 * 2048 * 3072 + 2 * 2048 * 8192) + 2048 * 50257
    assert describe("gpt3-1.3B")["flops_per_token"]["training_step"] == 6 * wide + 12 * 24 * 3072 * 2048


def test_rows_longer_than_the_positions_are_refused(run):
    result = run("info", "albert-base", "--length=513")
    assert result.status == 1
    assert "a length of at most 512, the model's positions. Received: 513" in result.errors


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**52, "4.0 PiB"),
        (2**62, "4,096.0 PiB"),
    ],
)
def test_bytes_are_printed_in_the_largest_unit(count, text):
    assert readable_bytes(count) == text


# === Directories ===


@pytest.mark.parametrize("preset", ["classifier", "causal_lm"])
def test_a_preset_is_described_from_its_configuration_alone(run, presets, preset, tmp_path):
    directory = getattr(presets, preset)
    task = load_task(directory)
    for name in ("config.json", "task.json", "preprocessor.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    report = json.loads(run("info", tmp_path, "--json").output)
    assert report["parameters"]["stored"] == task.backbone.count_params()
    assert report["architecture"] == type(task.backbone).__name__
    assert report["task"] == type(task).__name__
    assert report["sequence_length"] == 16
    if preset == "classifier":
        assert report["labels"] == ["cat", "dog"]
        head = report["heads"]["text or token classifier"]
        assert report["parameters"]["stored"] + head == task.count_params()
    table = run("info", tmp_path)
    assert table.status == 0, table.errors
    assert printed_number(table.output, "task") == type(task).__name__


def test_adapters_and_gates_of_a_preset_are_counted_apart(run, tmp_path):
    sizes = dict(vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, embedding_dim=4)
    backbone = AlbertBackbone(**sizes, adapter_dim=3, layer_gates=True)
    backbone.save_to_preset(str(tmp_path / "preset"))
    counts = json.loads(run("info", tmp_path / "preset", "--json").output)["parameters"]
    built = backbone.parameter_counts()
    assert {name: counts[name] for name in ("adapters", "gates", "trainable")}.items() <= built.items()
    assert counts["shared_weights"] == built["trainable"] - built["adapters"] - built["gates"]
    backbone.train_per_layer_parameters_only()
    assert counts["trainable_per_layer_only"] == backbone.parameter_counts()["trainable"]


@pytest.mark.parametrize(("name", "parameters"), [("rxnmapper_albert", 877_598), ("gpt2_basic/hf", 463_168)])
def test_a_hugging_face_directory_is_described(run, name, parameters):
    if not (WEIGHTS / name / "config.json").is_file():
        pytest.skip("the trained weights are not beside the repository (../shared/data/weights)")
    report = json.loads(run("info", WEIGHTS / name, "--json").output)
    # What the files hold beside the backbone: a masked LM head, with the tied table and its bias once more; an untied
    # head with bias.
    arguments, heads = report["arguments"], report["heads"]
    if name == "rxnmapper_albert":
        head = heads["masked language model"] + arguments["vocabulary_size"] * (arguments["embedding_dim"] + 1)
    else:
        head = heads["language model, untied, with bias"]
    assert report["parameters"]["stored"] + head == parameters


def test_openai_and_google_directories_are_described(run, tmp_path):
    gpt2 = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "hparams.json").write_text(json.dumps(gpt2))
    albert = {
        "vocab_size": 30000, "embedding_size": 128, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
        "type_vocab_size": 2, "num_hidden_groups": 1, "inner_group_num": 1,
    }  # fmt: skip
    (tmp_path / "albert").mkdir()
    (tmp_path / "albert" / "albert_config.json").write_text(json.dumps(albert))
    for name, count in (("gpt2", 124_439_808), ("albert", 11_683_584)):
        result = run("info", tmp_path / name, "--json")
        assert result.status == 0, result.errors
        assert json.loads(result.output)["parameters"]["stored"] == count


# === Refusals ===


def test_an_unknown_name_is_refused_with_the_nearest(run):
    result = run("info", "gpt2-124m")
    assert result.status == 1
    assert "Received: 'gpt2-124m'. Did you mean 'gpt2-124M'?" in result.errors


def test_two_models_are_refused(run, presets):
    for arguments in (["gpt1", "albert-base"], ["gpt1", f"--preset={presets.classifier}"]):
        result = run("info", *arguments)
        assert result.status == 1
        assert "Expected one model" in result.errors
