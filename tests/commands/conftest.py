"""Runs the command line in this process, and tiny presets for it."""

import importlib
import sys
from types import SimpleNamespace

import pytest
from absl import flags

from albert_gpt_tf.commands import main as command_line

WORDS = ["red", "green", "blue", "one", "two", "three"]


def forget_flags(name):
    """Makes a command's file as if never imported: in one process two commands would define the same flags."""
    module = f"albert_gpt_tf.commands.{name}"
    own = [flag.name for flag in flags.FLAGS.flags_by_module_dict().get(module, [])]
    for flag in own + [flag for flag in flags.FLAGS if flag.startswith("config.")]:  # those of --config.key=value
        delattr(flags.FLAGS, flag)
    sys.modules.pop(module, None)


@pytest.fixture
def run(capsys, monkeypatch):
    """The function (*arguments, stdin=None) -> status, output and errors of `albert-gpt-tf *arguments`."""

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", iter(stdin.splitlines(keepends=True)))
        monkeypatch.setattr(sys, "argv", sys.argv)  # put back afterwards
        capsys.readouterr()
        for name in command_line.COMMANDS:
            forget_flags(name)  # a test's file may have imported one
        status = 0
        try:
            command_line.main(["albert-gpt-tf", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        finally:
            for name in command_line.COMMANDS:
                forget_flags(name)
            flags.FLAGS.unparse_flags()
        output, errors = capsys.readouterr()
        return SimpleNamespace(status=status, output=output, errors=errors)

    return run


@pytest.fixture(scope="session")
def presets(tmp_path_factory):
    """Directories of an untrained classifier and language model."""
    backbones = {name: importlib.import_module(f"albert_gpt_tf.models.{name}_backbone") for name in ("albert", "gpt")}
    from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
    from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
    from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
    from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
    from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

    folder = tmp_path_factory.mktemp("presets")
    texts = [f"{one} {other} {one}" for one in WORDS for other in WORDS]
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 16}
    tokenizer = AlbertTokenizer(train_sentencepiece(texts, 60))
    backbone = backbones["albert"].AlbertBackbone(tokenizer.vocabulary_size(), **sizes, embedding_dim=4)
    classifier = AlbertTextClassifier(backbone, labels=["cat", "dog"], tokenizer=tokenizer)
    classifier.save_to_preset(str(folder / "classifier"))
    tokenizer = GPT2Tokenizer(*train_byte_level_bpe(texts, 270))
    backbone = backbones["gpt"].GPTBackbone(tokenizer.vocabulary_size(), **sizes)
    GPTCausalLM(backbone, tokenizer=tokenizer).save_to_preset(str(folder / "causal_lm"))
    return SimpleNamespace(classifier=folder / "classifier", causal_lm=folder / "causal_lm")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A labelled file with columns of its own names."""
    path = tmp_path_factory.mktemp("table") / "rows.tsv"
    rows = [f"{word} one\t{'cat' if index % 2 else 'dog'}" for index, word in enumerate(WORDS)]
    path.write_text("\n".join(["message\tkind", *rows]) + "\n", encoding="utf-8")
    return path
