"""The quickstart's stages, with a few steps each."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "albert_gpt_tf.commands.main", "quickstart", "--fast"]


@pytest.mark.slow
def test_every_stage_runs_and_every_figure_and_file_is_there(tmp_path):
    result = subprocess.run([*COMMAND, f"--workdir={tmp_path}"], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "quickstart.json").read_text())
    for way in ("SavedModel", "REST", "gRPC", "TFLite"):
        assert rows[f"{way}: equal labels of 64"] == 64
        assert rows[f"{way}: largest score difference"] < (1e-4 if way == "TFLite" else 1e-5)
    assert rows["REST: greedy text equals Python's"] == "yes"
    for name in ("ALBERT, test accuracy", "GPT, validation bits per byte", "  zlib -9", "  majority label"):
        assert rows[name] > 0
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") == 2
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "https://matplotlib.org", ""
    ).replace("http://creativecommons.org", "")  # names in the SVG's metadata; nothing is fetched
    for path in ("albert/preset/task.json", "gpt/preset/task.json", "exported/docstrings/1", "exported/gpt/1"):
        assert (tmp_path / path).exists()
    assert (tmp_path / "docstrings.tflite").stat().st_size > 1000


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written(tmp_path, popen_that_takes_ctrl_c):
    process = popen_that_takes_ctrl_c(
        [*COMMAND, f"--workdir={tmp_path}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        for line in process.stdout:
            if "4. Export" in line:
                break
        time.sleep(3)
        for _ in range(3):  # one is enough, unless it comes in a place where Python ignores exceptions (`__del__`)
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=15)
                break
            except subprocess.TimeoutExpired:
                pass
    finally:
        process.kill()
    assert process.returncode == 130
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith(".partial") or name.startswith(".exporting")]
    assert "report.html" not in left
    for version in (tmp_path / "exported").rglob("1"):
        assert (version / "saved_model.pb").exists()
        assert (version / "assets.extra" / "tf_serving_warmup_requests").exists()
