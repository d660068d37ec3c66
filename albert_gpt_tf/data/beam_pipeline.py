"""Text files to token shards as an Apache Beam pipeline, for corpora that one machine is too small for.

The records are those of `write_token_shards`. Beam decides which shard a document goes to, so the order, and where
shards end, are its own. Files and shards may lie in any file system that Beam has (`gs://...`). A file is read by one
worker, so many files are read faster than a large one.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import tensorflow as tf

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
)
from albert_gpt_tf.data.token_records import Document, Record, documents_of, tokenize_documents

# Documents that a worker tokenizes at a time.
_FEWEST, _MOST = 64, 1024


def write_token_shards_with_beam(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    load_tokenizer: Callable[[], Any],
    output: str | os.PathLike,
    format: str = "documents",
    shard_size_mb: float = SHARD_SIZE_MB,
    beam_options: Sequence[str] = (),
) -> dict:
    """Tokenizes text files into token shards on any runner of Apache Beam.

    Args:
        paths: files or patterns, or a list of them, see `write_token_shards`.
        load_tokenizer: a function without arguments that returns the tokenizer, called on every worker: a function of a
            module, or a `functools.partial` of one.
        output: str or path, a new or empty directory. The manifest is written last: without it there are no shards.
        format: str, "documents" or "sentences", see `write_token_shards`. Defaults to "documents".
        shard_size_mb: float, megabytes of the files, as they are on disk, that a shard holds on average. Defaults to
            64.
        beam_options: list of str, options of the pipeline and its runner. Defaults to none, which is the DirectRunner,
            on this machine.

    Returns:
        The content of `manifest.json`, see `read_manifest`.

    Raises:
        ImportError: apache_beam is not installed.
        DataError: there is no such file, or there is no text in the files.
        ValueError: an argument that cannot work, or a directory that is not empty.

    Example:

    >>> load_tokenizer = functools.partial(GPT2Tokenizer.from_preset, "gpt2")  # doctest: +SKIP
    >>> options = ["--runner=FlinkRunner", "--flink_master=localhost:8081"]
    >>> write_token_shards_with_beam("corpus/*", load_tokenizer, "shards", beam_options=options)  # doctest: +SKIP

    Reference: https://beam.apache.org/documentation/programming-guide
    """
    try:
        import apache_beam as beam
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.utils.shared import Shared
    except ImportError as error:
        raise ImportError(
            f"Expected the package apache-beam. Received: {error}. Run pip install 'albert-gpt-tf[beam]'."
        ) from error

    check_arguments(format, shard_size_mb)
    output = os.fspath(output)
    FileSystems.set_options(options := PipelineOptions(list(beam_options)))
    if FileSystems.match([FileSystems.join(output, "*")])[0].metadata_list:
        raise ValueError(f"Expected a new or empty directory. Received: {output}, which holds files. Give another one.")
    names, sources = _find_files(paths)
    settings = describe_job(sources, load_tokenizer(), format, shard_size_mb)
    shard_count = max(1, math.ceil(sum(source["bytes"] for source in sources) / (shard_size_mb * 1e6)))

    with beam.Pipeline(options=options) as pipeline:
        records = (
            pipeline
            | "Files" >> beam.Create(names)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadDocuments" >> beam.FlatMap(_read_documents)
            | "SpreadDocuments" >> beam.Reshuffle()
            | "Batch" >> beam.BatchElements(_FEWEST, _MOST)
            | "Tokenize" >> beam.FlatMap(_tokenize, Shared(), load_tokenizer, format)
        )
        counts = records | "CountsOfRecord" >> beam.Map(_counts_of) | "AddCounts" >> beam.CombineGlobally(_add)
        _ = (
            records
            | "Content" >> beam.Map(_content_of)
            | "WriteShards"
            >> beam.io.WriteToTFRecord(
                FileSystems.join(output, "shard"),
                file_name_suffix=".tfrecord",
                num_shards=shard_count,
                shard_name_template="-SSSSS",
                compression_type=beam.io.filesystem.CompressionTypes.UNCOMPRESSED,
            )
            | "DescribeShard" >> beam.Map(_describe_shard)
            | "AllShards" >> beam.combiners.ToList()
            | "WriteManifest" >> beam.Map(_write_manifest, beam.pvalue.AsSingleton(counts), settings, output)
        )
    with FileSystems.open(FileSystems.join(output, MANIFEST)) as file:
        return json.loads(file.read())


def _find_files(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> tuple[list[str], list[dict]]:
    """Paths, and names and sizes for the manifest. Files of other machines are named in full."""
    from apache_beam.io.filesystems import FileSystems

    patterns = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    remote = [pattern for pattern in patterns if "://" in os.fspath(pattern)]
    if not remote:
        files = find_files(patterns)
        return [os.fspath(file.absolute()) for file in files], describe_files(files)
    if len(remote) < len(patterns):
        raise ValueError(
            "Expected all files in one place. Received: some on this machine and some on another. Copy them to one."
        )
    found = [
        (pattern, match.metadata_list) for pattern, match in zip(patterns, FileSystems.match(patterns), strict=True)
    ]
    for pattern, files in found:
        if not files:
            raise DataError(
                f"{pattern}: expected a file or a pattern that matches files, received none; check the path."
            )
    sizes = {file.path: file.size_in_bytes for _, files in found for file in files}
    return sorted(sizes), [{"name": name, "bytes": sizes[name]} for name in sorted(sizes)]


def _read_documents(name: str) -> Iterator[Document]:
    from apache_beam.io.filesystems import CompressionTypes, FileSystems

    is_compressed = name.lower().endswith(".gz")
    compression = CompressionTypes.GZIP if is_compressed else CompressionTypes.UNCOMPRESSED
    with FileSystems.open(name, compression_type=compression) as file:
        yield from documents_of(_lines(file, name))


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """As `read_lines`."""
    for number, line in enumerate(iter(file.readline, b""), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise DataError(f"{name}:{number}: expected UTF-8, received other bytes; convert the file.") from None


def _tokenize(documents: list[Document], shared: Any, load_tokenizer: Callable[[], Any], format: str) -> list[Record]:
    # All threads of a worker share one tokenizer.
    return list(tokenize_documents(documents, shared.acquire(load_tokenizer), format))


def _content_of(record: Record) -> bytes:
    return record.content


def _counts_of(record: Record) -> tuple[int, ...]:
    return 1, record.sentences, record.tokens, record.text_bytes


def _add(counts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    total = [0] * len(COUNTS)
    for some in counts:
        total = [a + b for a, b in zip(total, some, strict=True)]
    return tuple(total)


def _describe_shard(path: str) -> dict:
    from apache_beam.io.filesystems import FileSystems

    digest = hashlib.sha256()
    size = documents = tokens = 0
    with FileSystems.open(path) as file:
        # A record: its length in 8 bytes, their checksum in 4, the record, and its checksum in 4.
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            content, checksum = file.read(length), file.read(4)
            for part in (header, content, checksum):
                digest.update(part)
                size += len(part)
            documents += 1
            tokens += len(tf.train.Example.FromString(content).features.feature["ids"].int64_list.value)
    shard = {"name": path.rpartition("/")[2], "bytes": size, "sha256": digest.hexdigest()}
    return {**shard, "documents": documents, "tokens": tokens}


def _write_manifest(shards: list[dict], counts: tuple[int, ...], settings: dict, output: str) -> None:
    from apache_beam.io.filesystems import FileSystems

    # Beam writes as many shards as it was told to, some of them without a record if there are few documents.
    shards = sorted((shard for shard in shards if shard["documents"]), key=lambda shard: shard["name"])
    if not shards:
        raise DataError(f"{settings['sources'][0]['name']}: expected text, received files without any; check the path.")
    path = FileSystems.join(output, MANIFEST)
    with FileSystems.create(f"{path}.tmp") as file:
        file.write(dump_json(make_manifest(settings, counts, shards)))
    FileSystems.rename([f"{path}.tmp"], [path])
