"""Trains, exports and serves a small ALBERT and a small GPT on the documentation of this machine.

    albert-gpt-tf quickstart --workdir=quickstart_output

Nothing is downloaded. It takes about 8 minutes on 2 CPU cores and ends with a table of what it measured, where the
files are, and `report.html`. ALBERT learns which library a docstring comes from (library names masked), GPT to write
docstrings. Needs the extra `quickstart` (baselines, plots, LiteRT): pip install 'albert-gpt-tf[quickstart]'
"""

import importlib
import importlib.util
import json
import os
import time
from pathlib import Path

from absl import flags

_WORKDIR = flags.DEFINE_string("workdir", "quickstart_output", "Where everything goes.")
_FAST = flags.DEFINE_bool("fast", False, "A few steps and little data: checks that all stages run, learns nothing.")

PROMPTS = ["Returns the ", "Args:\n  ", "Raises a ValueError if "]


def main(arguments: list[str]) -> None:
    """Runs the command."""
    missing = [name for name in ("sklearn", "matplotlib", "ai_edge_litert") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            "Expected the packages of the extra `quickstart`. Received: no "
            f"{', '.join(missing)}. Run: pip install 'albert-gpt-tf[quickstart]'"
        )
    from rich.console import Console

    started = time.time()
    console = Console()
    workdir = Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)

    console.rule("1. The documentation of this machine")
    from albert_gpt_tf.data.docstrings import language_model_documents, library_classification, read_docstrings

    docstrings = read_docstrings()
    labelled, documents = library_classification(docstrings=docstrings), language_model_documents(docstrings)
    megabytes = sum(len(text.encode()) for split in documents.values() for text in split) / 1e6
    console.print(f"{len(docstrings):,} docstrings, {megabytes:.1f} MB of distinct text")

    console.rule("2. ALBERT learns which library a docstring comes from")
    classifier, classifier_results = train_classifier(workdir / "albert", labelled, console)

    console.rule("3. GPT learns to write docstrings")
    causal_lm, causal_lm_results = train_causal_lm(workdir / "gpt", documents, console)

    console.rule("4. Export")
    from albert_gpt_tf.exporters import export_saved_model, export_tflite

    with console.status("SavedModels, checked against TF Serving's rules; TFLite"):
        classifier_version = export_saved_model(classifier, workdir / "exported" / "docstrings")
        causal_lm_version = export_saved_model(causal_lm, workdir / "exported" / "gpt", max_new_tokens=32)
        tflite = export_tflite(classifier, workdir / "docstrings.tflite")
    console.print(f"{classifier_version}\n{causal_lm_version}\n{tflite}  {tflite.stat().st_size / 1e6:.1f} MB")

    console.rule("5. Serve, and ask over REST and gRPC")
    texts = labelled["test"][0][:64]
    agreement = ask_everywhere(classifier, causal_lm, classifier_version, causal_lm_version, tflite, texts)

    rows = {
        "ALBERT, test accuracy": classifier_results["test_accuracy"],
        "  word counts + logistic regression": classifier_results["word_counts"],
        "  words, punctuation, pairs (TF-IDF) + logistic regression": classifier_results["word_pairs"],
        "  majority label": classifier_results["majority"],
        "GPT, validation bits per byte": causal_lm_results["validation_bits_per_byte"],
        "  token bigram (Kneser-Ney)": causal_lm_results["token_bigram"],
        "  zlib -9": causal_lm_results["zlib"],
        "  byte bigram (Kneser-Ney)": causal_lm_results["byte_bigram"],
        **agreement,
        "minutes in all": (time.time() - started) / 60,
    }
    files = {
        "trained models": f"{workdir / 'albert' / 'preset'}, {workdir / 'gpt' / 'preset'}",
        "SavedModels": f"{classifier_version}, {causal_lm_version}",
        "TFLite": str(tflite),
        "report": str(workdir / "report.html"),
    }
    from albert_gpt_tf.commands.quickstart_report import print_table, write_report

    samples = list(
        zip(PROMPTS, causal_lm.generate(PROMPTS, max_new_tokens=48, temperature=0.7, top_p=0.9), strict=True)
    )
    write_report(workdir, rows, classifier, labelled["test"], samples)
    write_json(workdir / "quickstart.json", rows)
    print_table(console, rows, files)
    base = classifier_version.parent
    console.print(f"\nServe it yourself:  albert-gpt-tf serve --model=docstrings={base}", soft_wrap=True)


def train_classifier(workdir, labelled, console):
    """Trains ALBERT and measures what it has to beat."""
    from albert_gpt_tf.data.baselines import bag_of_words_accuracy, majority_accuracy
    from albert_gpt_tf.tasks.load import load_task

    results = dict(run_recipe("docstrings_albert", workdir))
    (train_texts, train_labels), test = labelled["train"], labelled["test"]
    every = 20 if _FAST.value else 1
    train = train_texts[::every], train_labels[::every]
    with console.status("bag-of-words baselines"):
        results["word_counts"] = bag_of_words_accuracy(*train, *test)
        results["word_pairs"] = bag_of_words_accuracy(*train, *test, pairs=True)
    results["majority"] = majority_accuracy(train_labels, test[1])
    console.print(
        f"test accuracy {results['test_accuracy']:.4f}; majority {results['majority']:.4f}, logistic regression on "
        f"word counts {results['word_counts']:.4f}, on words, punctuation and pairs {results['word_pairs']:.4f}"
    )
    return load_task(workdir / "preset"), results


def train_causal_lm(workdir, documents, console):
    """Trains GPT and measures what it has to beat, on the validation split."""
    from albert_gpt_tf.data.baselines import bigram_bits_per_byte, zlib_bits_per_byte
    from albert_gpt_tf.tasks.load import load_task

    results = dict(run_recipe("docstrings_gpt", workdir))
    causal_lm = load_task(workdir / "preset")
    tokenizer = causal_lm.preprocessor.tokenizer
    with console.status("zlib and bigram baselines"):
        results["zlib"] = zlib_bits_per_byte(documents["validation"])
        results["byte_bigram"] = bigram_bits_per_byte(documents["train"], documents["validation"])
        results["token_bigram"] = bigram_bits_per_byte(documents["train"], documents["validation"], tokenizer)
    console.print(
        f"validation bits per byte {results['validation_bits_per_byte']:.3f}; "
        f"token bigram {results['token_bigram']:.3f}, zlib -9 {results['zlib']:.3f}"
    )
    prompt = PROMPTS[0]
    console.print(f"[bold]{prompt}[/bold]{causal_lm.generate(prompt, max_new_tokens=32)}", highlight=False)
    return causal_lm, results


def run_recipe(name, workdir):
    """Trains what the recipe in `configs/` says."""
    from albert_gpt_tf.training.run import train
    from albert_gpt_tf.training.strategies import make_strategy

    config = importlib.import_module(f"albert_gpt_tf.configs.{name}").get_config()
    config.resume = False  # what it shows was measured today
    if _FAST.value:
        config.steps = config.validate_every = 4
        config.warmup_steps = 1
        config.data.limit = 500
        config.vocabulary_size = 1000
    return train(config, workdir, make_strategy("one_device"))


def ask_everywhere(classifier, causal_lm, classifier_version, causal_lm_version, tflite, texts):
    """Asks the same of the model in memory, the reloaded SavedModel, REST, gRPC and LiteRT; returns the differences."""
    import numpy as np
    import tensorflow as tf

    from albert_gpt_tf.serving.client import GrpcClient, RestClient
    from albert_gpt_tf.serving.lite import LiteModel
    from albert_gpt_tf.serving.local_server import LocalServer

    expected = classifier.predict(texts, batch_size=len(texts), verbose=0)
    reloaded = tf.saved_model.load(str(classifier_version)).signatures["serving_default"](text=tf.constant(texts))
    answers = {
        "SavedModel": ([label.decode() for label in reloaded["label"].numpy()], reloaded["scores"].numpy()),
    }
    models = {"docstrings": classifier_version.parent, "gpt": causal_lm_version.parent}
    with LocalServer(models, rest_port=0, grpc_port=0) as server:
        rest = RestClient(f"http://{server.host}:{server.rest_port}")
        with GrpcClient(f"{server.host}:{server.grpc_port}") as grpc:
            for name, client in (("REST", rest), ("gRPC", grpc)):
                answer = client.predict("docstrings", {"text": texts})
                answers[name] = (list(answer["label"]), answer["scores"])
            served_text = list(rest.predict("gpt", {"prompt": PROMPTS})["text"])
    answer = LiteModel(tflite).predict({"text": texts})
    answers["TFLite"] = (list(answer["label"]), answer["scores"])

    labels = [classifier.labels[i] for i in expected.argmax(-1)]
    rows = {}
    for name, (their_labels, their_scores) in answers.items():
        same = sum(a == b for a, b in zip(labels, their_labels, strict=True))
        rows[f"{name}: equal labels of {len(texts)}"] = same
        rows[f"{name}: largest score difference"] = float(np.abs(np.asarray(their_scores) - expected).max())
    in_memory = causal_lm.generate(PROMPTS, max_new_tokens=32)
    rows["REST: greedy text equals Python's"] = "yes" if served_text == in_memory else "no"
    return rows


def write_json(path: Path, content) -> None:
    """Writes a file that is whole or absent."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
