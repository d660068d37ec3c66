"""Numbered version directories that appear complete or not at all.

TF Serving polls a base path every second and loads the highest integer it finds there, so a version must never be seen
half written. It is written under a name that is no integer, flushed to disk and renamed.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

_UNFINISHED = ".exporting-"
_LOCK = ".exporting.lock"


def next_version(base_path) -> int:
    """Returns the number after the highest version under a base path.

    Args:
        base_path: str or Path, the directory that holds the versions; it need not exist.

    Returns:
        An int, 1 if there is no version yet.

    Example:
        >>> next_version("exported/sentiment")  # holds 1 and 2
        3
    """
    base_path = Path(base_path)
    names = [entry.name for entry in base_path.iterdir()] if base_path.is_dir() else []
    return max((int(name) for name in names if re.fullmatch("[0-9]+", name)), default=0) + 1


@contextlib.contextmanager
def new_version(base_path, version: int | None = None) -> Iterator[Path]:
    """Yields a directory to write into, which becomes the version when the block ends without an exception.

    The block's exception, Ctrl-C included, removes the directory. What a killed process left behind is removed by the
    next export to the same base path: a lock, which the system releases when its holder dies, shows that nobody else
    is writing.

    Args:
        base_path: str or Path, the directory that holds the versions, on a local or mounted file system; it is made
            if missing.
        version: int or None, the version's number. Defaults to `None`, one more than the highest.

    Yields:
        A Path, an empty directory inside of `base_path` whose name is not an integer.

    Raises:
        ValueError: `version` is not a positive integer.
        FileExistsError: The version exists.
        BlockingIOError: Another process is exporting to `base_path`.

    Example:
        >>> with new_version("exported/sentiment") as folder:
        ...     tf.saved_model.save(model, str(folder))
    """
    base_path = Path(base_path)
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise ValueError(
            f"Expected version to be a positive integer. Received: {version!r}. Pass None for the next free number."
        )
    base_path.mkdir(parents=True, exist_ok=True)
    with _locked(base_path):
        for leftover in base_path.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover)
        final = base_path / str(next_version(base_path) if version is None else version)
        _refuse_existing(final)
        # Not tempfile.mkdtemp: its mode 0700 would keep out a server that runs as another user.
        folder = base_path / f"{_UNFINISHED}{final.name}"
        folder.mkdir()
        try:
            yield folder
            _flush_to_disk(folder)
            _refuse_existing(final)
            folder.rename(final)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _flush(base_path)


def _refuse_existing(final: Path) -> None:
    if final.exists():
        raise FileExistsError(
            f"Expected a version that does not exist yet. Received: {str(final)!r}, which does. "
            "Pass version=None for the next free number, or remove the directory."
        )


@contextlib.contextmanager
def _locked(base_path: Path) -> Iterator[None]:
    path = base_path / _LOCK
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise BlockingIOError(
                f"Expected to be the only export to {str(base_path)!r}. Received: another process is writing there. "
                "Wait until it has finished, or stop it."
            ) from error
        # The last holder may have removed the file between our open and our lock: then nobody else sees our lock.
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            break
        os.close(file)
    try:
        yield
    finally:
        path.unlink()
        os.close(file)


def _flush_to_disk(folder: Path) -> None:
    # A rename can reach the disk before the bytes do, and a machine that loses power would wake to an empty version.
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(Path(parent, name))
        _flush(Path(parent))


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
