"""A server that polls the base path sees whole versions only."""

import os
import signal
import subprocess
import sys

import pytest

from albert_gpt_tf.exporters.versions import new_version, next_version

WRITER = """
import sys, time
from albert_gpt_tf.exporters.versions import new_version
with new_version(sys.argv[1]) as folder:
    (folder / "saved_model.pb").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)
"""


def integers(base_path):
    return sorted(name for name in os.listdir(base_path) if name.isdecimal())


def write(base_path, version=None):
    with new_version(base_path, version) as folder:
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"weights")


def start_writer(base_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(base_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip().startswith(str(base_path))
    return process


def test_versions_count_up_from_the_highest(tmp_path):
    base_path = tmp_path / "models" / "toy"
    assert next_version(base_path) == 1
    write(base_path)
    write(base_path, 7)
    (base_path / "notes").mkdir()
    (base_path / "-9").mkdir()
    write(base_path)
    assert integers(base_path) == ["1", "7", "8"] and next_version(base_path) == 9
    assert (base_path / "8" / "variables" / "data").read_bytes() == b"weights"
    assert sorted(os.listdir(base_path)) == ["-9", "1", "7", "8", "notes"]


def test_a_version_is_readable_by_a_server_of_another_user(tmp_path):
    write(tmp_path)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o777 & ~umask


def test_the_directory_is_no_integer_while_it_is_written(tmp_path):
    with new_version(tmp_path, 3) as folder:
        assert folder.parent == tmp_path and not folder.name.isdecimal() and integers(tmp_path) == []
    assert integers(tmp_path) == ["3"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(tmp_path, error):
    with pytest.raises(error), new_version(tmp_path) as folder:
        (folder / "saved_model.pb").write_bytes(b"half")
        raise error
    assert os.listdir(tmp_path) == []


def test_an_existing_version_is_refused_and_untouched(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(FileExistsError, match="Expected a version that does not exist yet"):
        write(tmp_path, 1)
    assert (tmp_path / "1" / "variables" / "data").read_bytes() == b"weights"
    # One that appears while we write, from a tool that takes no lock: rename would replace an empty directory.
    with pytest.raises(FileExistsError), new_version(tmp_path, 2) as folder:
        (tmp_path / "2").mkdir()
    assert not folder.exists()


@pytest.mark.parametrize("version", [0, -1, "2", 1.0, True])
def test_only_positive_integers_are_versions(tmp_path, version):
    with pytest.raises(ValueError, match="positive integer"):
        write(tmp_path, version)


def test_a_killed_export_is_never_seen_and_is_cleaned_up_by_the_next(tmp_path):
    writer = start_writer(tmp_path)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert integers(tmp_path) == [] and len(os.listdir(tmp_path)) == 2  # what it wrote, and its lock
    write(tmp_path)
    assert os.listdir(tmp_path) == ["1"]


def test_a_running_export_is_left_alone(tmp_path):
    writer = start_writer(tmp_path)
    try:
        with pytest.raises(BlockingIOError, match="another process is writing"):
            write(tmp_path)
        assert len(os.listdir(tmp_path)) == 2
    finally:
        writer.kill()
        writer.wait()
