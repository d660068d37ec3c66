"""Text files to token shards: sharded TFRecords of ids, with a manifest.

A shard is written to a temporary name and renamed; beside it goes a file of its counts and of the hash of its text, by
which a run that was killed, or that stopped at a broken file, knows what is finished when it is started again. The
manifest, written last, takes the place of these files. Where one shard ends and the next begins follows from the text
alone, so shards are the same bytes whoever writes them, and whenever.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.shard_manifest import (
    COUNTS,
    MANIFEST,
    SHARD_SIZE_MB,
    check_arguments,
    describe_files,
    describe_job,
    dump_json,
    find_files,
    make_manifest,
    read_manifest,
)
from albert_gpt_tf.data.token_records import Document, read_documents, tokenize_documents

_SETTINGS = "unfinished.json"

_tokenizer_of_worker: Any = None


def write_token_shards(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    load_tokenizer: Callable[[], Any],
    output: str | os.PathLike,
    format: str = "documents",
    shard_size_mb: float = SHARD_SIZE_MB,
    workers: int = 1,
    progress: bool = False,
) -> dict:
    """Tokenizes text files into token shards; a run that was killed goes on where it stopped.

    Args:
        paths: files or patterns (`corpus/**/*.txt.gz`), or a list of them: UTF-8, with blank lines between documents. A
            document ends with its file.
        load_tokenizer: a function without arguments that returns the tokenizer. With more than one worker it must be
            one that pickles: a function of a module, or a `functools.partial` of one.
        output: str or path, a directory: new, empty, or one that an earlier run with the same arguments began.
        format: str, "documents", for language models, or "sentences": a line is a sentence, and sentences are kept
            apart, for ALBERT's pretraining. Defaults to "documents".
        shard_size_mb: float, megabytes of text in a shard, more if a document is larger. A worker holds one in memory.
            Defaults to 64.
        workers: int, processes that tokenize. They do not change the shards. Defaults to 1, this process.
        progress: bool, whether a bar on standard error shows how much is done. Defaults to False.

    Returns:
        The content of `manifest.json`, see `read_manifest`. The same input gives the same bytes in all files.

    Raises:
        DataError: a file that is missing, broken or not UTF-8, or no text at all. Finished shards are kept: once the
            file is mended, the run goes on from there.
        ValueError: an argument that cannot work, or a directory that holds something else.

    Example:

    >>> load_tokenizer = functools.partial(GPT2Tokenizer.from_preset, "gpt2")  # doctest: +SKIP
    >>> write_token_shards("corpus/*.txt", load_tokenizer, "shards")["tokens"]  # doctest: +SKIP
    2428614
    """
    check_arguments(format, shard_size_mb, workers)
    files = find_files(paths)
    folder = Path(output)
    tokenizer = load_tokenizer()
    settings = describe_job(describe_files(files), tokenizer, format, shard_size_mb)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one_run(folder):
        if (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
            _check_same_job(folder, {name: manifest.get(name) for name in settings}, settings)
        else:
            _begin(folder, {name: value for name, value in settings.items() if name != "sources"})
            shards = _write_all(folder, files, tokenizer, load_tokenizer, settings, workers, progress)
            if not shards:
                raise DataError(
                    f"{files[0]}: expected text, received files without any; check that they are the right ones."
                )
            for path in set(folder.glob("shard-*.tfrecord")) - {folder / shard["name"] for shard in shards}:
                path.unlink()  # the text was longer before
            counts = [sum(shard[name.replace("bytes", "text_bytes")] for shard in shards) for name in COUNTS]
            manifest = make_manifest(settings, counts, shards)
            _write_whole(folder / MANIFEST, dump_json(manifest))
        for path in [*folder.glob("shard-*.json"), folder / _SETTINGS]:
            path.unlink(missing_ok=True)
    return manifest


# === The directory ===


@contextmanager
def _only_one_run(folder: Path) -> Iterator[None]:
    # The lock is the system's: it ends with the process, however that ends, and leaves no file behind.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Expected a directory that nobody else writes to. Received: {folder}, where another run is at work. "
                "Wait for it, or give another directory."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _begin(folder: Path, settings: dict) -> None:
    """Writes down what the run is about, or checks that the run that it goes on with was about the same."""
    path = folder / _SETTINGS
    for temporary in folder.glob("*.tmp-*"):
        temporary.unlink(missing_ok=True)
    if path.is_file():
        _check_same_job(folder, json.loads(path.read_text(encoding="utf-8")), settings)
    elif any(folder.iterdir()):
        raise ValueError(
            f"Expected a new or empty directory, or one that a run has begun. Received: {folder}, which holds other "
            "files. Give another one."
        )
    else:
        _write_whole(path, dump_json(settings))


def _check_same_job(folder: Path, begun: dict, settings: dict) -> None:
    different = [name for name, value in settings.items() if begun.get(name) != value]
    if different:
        raise ValueError(
            f"Expected the text, the tokenizer and the arguments that {folder} was begun with. Received: other values "
            f"of {', '.join(different)}. Give the same, or a new directory."
        )


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(content)
    _rename(temporary, path)


def _rename(temporary: Path, path: Path) -> None:
    # The content has to be on the disk before the name is, else a power cut leaves a name without content.
    descriptor = os.open(temporary, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    temporary.replace(path)


# === Shards ===


def _write_all(
    folder: Path,
    files: Sequence[Path],
    tokenizer: Any,
    load_tokenizer: Callable[[], Any],
    settings: dict,
    workers: int,
    progress: bool,
) -> list[dict]:
    format = settings["format"]
    is_compressed = any(file.suffix.lower() == ".gz" for file in files)
    total = None if is_compressed else sum(source["bytes"] for source in settings["sources"])
    finished: dict[int, dict] = {}
    columns = [TextColumn("Tokenizing {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=total)

        def finish(shard: dict) -> None:
            finished[int(shard["name"].split(".")[0].split("-")[1])] = shard
            bar.update(task, advance=shard["text_bytes"], description=f"{len(finished)} shards")

        def unfinished() -> Iterator[tuple[int, list[Document]]]:
            for number, documents in enumerate(_cut(read_documents(files), settings["shard_size_mb"] * 1e6)):
                shard = _finished_shard(folder, number, documents)
                if shard is None:
                    yield number, documents
                else:
                    finish(shard)

        if workers == 1:
            for number, documents in unfinished():
                finish(_write_shard(folder, number, documents, tokenizer, format))
        else:
            _write_in_workers(folder, unfinished(), load_tokenizer, format, workers, finish)
    return [finished[number] for number in range(len(finished))]


def _cut(documents: Iterable[Document], size: float) -> Iterator[list[Document]]:
    shard: list[Document] = []
    held = 0
    for document in documents:
        shard.append(document)
        held += sum(map(len, document))
        if held >= size:
            yield shard
            shard, held = [], 0
    if shard:
        yield shard


def _finished_shard(folder: Path, number: int, documents: Sequence[Document]) -> dict | None:
    counts, path = _paths(folder, number)
    if not counts.is_file():
        return None
    shard = json.loads(counts.read_text(encoding="utf-8"))
    is_whole = path.is_file() and path.stat().st_size == shard["bytes"]
    return shard if is_whole and shard["text_sha256"] == _hash_of_text(documents) else None


def _hash_of_text(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for lines in documents:
        digest.update(b"\n".join(lines) + b"\n\n")
    return digest.hexdigest()


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"shard-{number:05}.json", folder / f"shard-{number:05}.tfrecord"


def _write_shard(folder: Path, number: int, documents: Sequence[Document], tokenizer: Any, format: str) -> dict:
    counts, path = _paths(folder, number)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    sentences = tokens = text_bytes = 0
    with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
        for record in tokenize_documents(documents, tokenizer, format):
            writer.write(record.content)
            sentences += record.sentences
            tokens += record.tokens
            text_bytes += record.text_bytes
    with temporary.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    shard = {"name": path.name, "bytes": temporary.stat().st_size, "sha256": sha256, "documents": len(documents)}
    shard |= {"sentences": sentences, "tokens": tokens, "text_bytes": text_bytes}
    shard["text_sha256"] = _hash_of_text(documents)
    counts.unlink(missing_ok=True)  # those of another text
    _rename(temporary, path)
    _write_whole(counts, dump_json(shard))
    return shard


# === Workers ===


def _write_in_workers(
    folder: Path,
    shards: Iterator[tuple[int, list[Document]]],
    load_tokenizer: Callable[[], Any],
    format: str,
    workers: int,
    finish: Callable[[dict], None],
) -> None:
    # Not forked: TensorFlow's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(load_tokenizer,))
    pending: set[Future] = set()
    try:
        for number, documents in shards:
            pending.add(pool.submit(_write_in_worker, folder, number, documents, format))
            if len(pending) > workers:  # the next shard is ready when a worker is
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    finish(future.result())
        for future in pending:
            finish(future.result())
    finally:
        pool.shutdown(cancel_futures=True)  # shards that are being written are finished


def _start_worker(load_tokenizer: Callable[[], Any]) -> None:
    global _tokenizer_of_worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the first one tells the others
    # Else a worker would wait for ever for the next shard of a process that was killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizer_of_worker = load_tokenizer()


def _end_with_parent() -> None:
    wait_for_end([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_in_worker(folder: Path, number: int, documents: Sequence[Document], format: str) -> dict:
    return _write_shard(folder, number, documents, _tokenizer_of_worker, format)
