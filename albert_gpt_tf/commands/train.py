"""Trains a model as a configuration says.

    albert-gpt-tf train --config=docstrings_albert --workdir=runs/docstrings_albert
    albert-gpt-tf train --config=docstrings_albert --config.steps=100 --workdir=runs/short --strategy=mirrored

A configuration is the name of one that is installed (see `configs/`) or the path of a Python file with `get_config()`;
what stands behind a colon is given to it (`albert_pretraining:large`). `--config.key=value` changes a value; an unknown
key is an error.

The same command goes on with a run that was stopped, from its newest checkpoint; Ctrl-C and SIGTERM (status 143) write
one first. --dry_run reads the data, computes two steps, prints the plan and writes nothing.
"""

import json
from pathlib import Path

from absl import flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Name or path of the configuration.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run: logs, results and the trained preset.")
_STRATEGY = flags.DEFINE_enum(
    "strategy", "one_device", ["one_device", "mirrored", "multi_worker", "tpu"], "Where to compute (tpu: untested)."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan of the run after two steps, and write nothing.")


def complete(argv: list[str]) -> list[str]:
    """Replaces the name of an installed configuration by its path."""
    folder = configs_folder()
    return [
        f"--config={folder / recipe}.py{colon}{size}"
        if name == "--config" and equals and (folder / f"{recipe}.py").is_file()
        else argument
        for argument in argv
        for name, equals, value in [argument.partition("=")]
        for recipe, colon, size in [value.partition(":")]
    ]


def configs_folder() -> Path:
    """Where the installed configurations are."""
    import albert_gpt_tf.configs

    return Path(albert_gpt_tf.configs.__file__).parent


def main(arguments: list[str]) -> None:
    """Runs the command."""
    if _CONFIG.value is None or not (_WORKDIR.value or _DRY_RUN.value):
        names = sorted(path.stem for path in configs_folder().glob("[!_]*.py"))
        raise ValueError(
            f"Expected --config (one of {names}, or a file) and --workdir. See `albert-gpt-tf train --help`."
        )
    from albert_gpt_tf.training.strategies import make_strategy

    strategy = make_strategy(_STRATEGY.value)  # before any other TensorFlow operation

    if _DRY_RUN.value:
        from albert_gpt_tf.commands.train_plan import print_plan

        print_plan(_CONFIG.value, strategy)
        return
    from albert_gpt_tf.training.run import train

    results = train(_CONFIG.value, _WORKDIR.value, strategy)
    print(json.dumps(results, indent=2))
