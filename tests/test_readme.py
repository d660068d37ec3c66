"""The README's Python runs as it stands, and its table of signatures is that of the exports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=["albert", "gpt"])
def test_snippet_runs(snippet, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=600, env=dict(os.environ)
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert list(tmp_path.rglob("saved_model.pb"))


def test_every_command_that_the_readme_names_exists():
    from albert_gpt_tf.commands.main import COMMANDS

    assert set(re.findall(r"albert-gpt-tf ([a-z]+) ", README)) <= set(COMMANDS)


def test_every_file_that_the_readme_names_exists():
    root = Path(__file__).parent.parent
    named = re.findall(r"`((?:albert_gpt_tf|exporters|serving|configs|docs)/[\w/]*\.\w+)`", README)
    assert named and all((root / name).exists() for name in named)
