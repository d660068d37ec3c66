"""`albert-gpt-tf`: finds the sub-command, parses its flags and runs it.

TensorFlow is imported by a sub-command's `main`, not by its file, so that help answers at once.
"""

import difflib
import importlib
import os
import sys

from absl import flags, logging

COMMANDS = {
    "quickstart": "train, export and serve two small models on the documentation of this machine",
    "prepare": "tokenize text files into shards to pretrain on",
    "train": "train a model as a configuration says",
    "evaluate": "loss and scores of a model on a file",
    "predict": "answers for the rows of a file, or for texts",
    "generate": "continue prompts",
    "chat": "talk with a model of conversations",
    "calibrate": "make a classifier's scores the chances that it is right",
    "explain": "which words a classifier's answer comes from, as an HTML page",
    "export": "write a model as a SavedModel or a .tflite file",
    "serve": "start a local server for exports (for development)",
    "convert": "write a model of another library as a preset, or the other way round",
    "info": "parameters, memory and work of a size or a model",
}

USAGE = """usage: albert-gpt-tf COMMAND [flags]

{commands}

albert-gpt-tf COMMAND --help shows the flags of a command. -v=1 shows tracebacks.
"""


def main(argv: list[str] | None = None) -> None:
    """Runs `albert-gpt-tf`; exits with 0, 1 (it failed), 2 (wrong usage) or 130 (Ctrl-C).

    Args:
        argv: list of str, program name first. Defaults to `sys.argv`.
    """
    argv = list(sys.argv if argv is None else argv)
    if len(argv) < 2 or argv[1] in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())))
        sys.exit(0)
    name = argv[1]
    if name == "--version":
        print(importlib.import_module("albert_gpt_tf").__version__)
        sys.exit(0)
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        fail(f"there is no command {name!r}.{hint} `albert-gpt-tf --help` lists them.", 2)

    sys.argv = argv  # ml_collections takes --config.key=value from there
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes
    command = importlib.import_module(f"albert_gpt_tf.commands.{name}")
    if {"--help", "-h", "-help"} & set(argv[2:]):
        print(command.__doc__)
        print(flags.FLAGS.module_help(command.__name__))
        sys.exit(0)
    try:
        arguments = flags.FLAGS([f"albert-gpt-tf {name}", *getattr(command, "complete", list)(argv[2:])])[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:  # the last four: --config.key
        fail(str(error).strip("'\""), 2)
    logging.use_absl_handler()
    shows_tracebacks = flags.FLAGS.verbosity >= 1
    logging.set_verbosity(logging.INFO if shows_tracebacks else logging.WARNING)
    try:
        command.main(arguments)
    except KeyboardInterrupt:
        fail("stopped", 130)
    except (ValueError, OSError, ImportError) as error:  # a user's mistake, told in one sentence
        if shows_tracebacks:
            raise
        fail(str(error), 1)


def fail(message: str, status: int) -> None:
    """Prints one line to stderr and exits."""
    print(f"albert-gpt-tf: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
