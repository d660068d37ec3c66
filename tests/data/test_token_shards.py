"""Token shards: the ids of the tokenizer, the same bytes however often the run was killed, the same windows as text."""

import fcntl
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.data.albert_pretraining import albert_evaluation_batches, albert_pretraining_batches
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.language_model import causal_windows, count_bytes, pack_documents
from albert_gpt_tf.data.shard_manifest import describe_tokenizer, read_manifest
from albert_gpt_tf.data.token_shards import open_token_shards
from albert_gpt_tf.data.write_token_shards import write_token_shards
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

WORDS = ["the", "rain", "in", "Spain", "stays", "mainly", "on", "naïve", "plains,", "平原", "and", "12", "hills"]


def random_documents(count, seed=0):
    """Documents, each a list of lines."""
    rng = random.Random(seed)

    def line():
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 9))) + "."

    return [[line() for _ in range(rng.randint(1, 6))] for _ in range(count)]


DOCUMENTS = random_documents(150)
DOCUMENTS[3].append("\x01")  # which an ALBERT tokenizer reads as nothing
TEXTS = ["\n".join(lines) for lines in DOCUMENTS]
SHARD_SIZE_MB = 0.002


def write_corpus(folder):
    """Three files: one with a byte order mark and Windows line breaks, one compressed, one without a last break."""
    folder.mkdir(exist_ok=True)
    parts = ["\n\n".join(TEXTS[:40]), "\n\n \n".join(TEXTS[40:90]), "\n\n".join(TEXTS[90:])]
    (folder / "a.txt").write_bytes(("\ufeff" + parts[0]).replace("\n", "\r\n").encode())
    (folder / "b.txt.gz").write_bytes(gzip.compress((parts[1] + "\n\n\n").encode(), mtime=0))
    (folder / "c.txt").write_bytes(parts[2].encode())
    return str(folder / "*.txt*")


@pytest.fixture(scope="module")
def loaders(tmp_path_factory):
    """Functions that load tokenizers, and that pickle."""
    folder = tmp_path_factory.mktemp("tokenizers")
    GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 300)).save_to_preset(str(folder / "gpt2"))
    AlbertTokenizer(train_sentencepiece(TEXTS, 80)).save_to_preset(str(folder / "albert"))
    return {
        "documents": partial(GPT2Tokenizer.from_preset, str(folder / "gpt2")),
        "sentences": partial(AlbertTokenizer.from_preset, str(folder / "albert")),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def shards(corpus, loaders, tmp_path_factory):
    """Directories of shards by format."""
    folder = tmp_path_factory.mktemp("shards")
    for format, load in loaders.items():
        write_token_shards(corpus, load, folder / format, format, SHARD_SIZE_MB)
    return {format: folder / format for format in loaders}


@pytest.fixture
def write(corpus, loaders, tmp_path):
    """`write_token_shards` with defaults."""

    def write(**changes):
        arguments = {"paths": corpus, "load_tokenizer": loaders["documents"], "output": tmp_path / "shards"}
        return write_token_shards(**{**arguments, "shard_size_mb": SHARD_SIZE_MB, **changes})

    return write


def ids_of(dataset):
    return [document for batch in dataset for document in batch.to_list()]


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# === Ids and windows ===


def test_documents_are_the_ids_of_the_tokenizer_in_the_order_of_the_text(shards, loaders):
    tokenizer = loaders["documents"]()
    assert ids_of(open_token_shards(shards["documents"], tokenizer)) == tokenizer.tokenize(TEXTS).to_list()


def test_sentences_are_the_ids_of_the_tokenizer_document_by_document(shards, loaders):
    tokenizer = loaders["sentences"]()
    documents = ids_of(open_token_shards(shards["sentences"], tokenizer))
    assert documents == [tokenizer.tokenize(lines).to_list() for lines in DOCUMENTS]
    assert documents[3][-1] == []


def test_windows_from_shards_are_those_from_text(shards, loaders):
    tokenizer = loaders["documents"]()
    windows = pack_documents(open_token_shards(shards["documents"], tokenizer), 32, tokenizer.end_of_text_id)
    batches = windows.batch(4, drop_remainder=True).map(lambda rows: (rows[:, :-1], rows[:, 1:]))
    expected = causal_windows(TEXTS, tokenizer, 32, 4)
    for batch, other in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(batch, other)


def test_pretraining_batches_from_shards_are_those_from_text(shards, loaders, tmp_path, monkeypatch):
    monkeypatch.setattr("albert_gpt_tf.data.albert_pretraining._LINES", 100)  # blocks end inside of documents
    tokenizer = loaders["sentences"]()
    expected = albert_evaluation_batches(DOCUMENTS, tokenizer, 32, 4)
    batches = albert_evaluation_batches(shards["sentences"], tokenizer, 32, 4)
    assert batches.element_spec == expected.element_spec
    for batch, other in zip(batches, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, other)
    # To train on, shards and documents come in an order of their own.
    training = albert_pretraining_batches(shards["sentences"], tokenizer, 32, 4, seed=0, shuffle_buffer=8)
    assert training.element_spec == expected.element_spec
    assert_resumes(training, 8, tmp_path)


# === Order ===


@pytest.mark.parametrize("format", ["documents", "sentences"])
def test_each_epoch_holds_every_document_once_in_an_order_of_its_own(shards, loaders, format):
    count = len(DOCUMENTS)
    inputs = {"directory": shards[format], "tokenizer": loaders[format](), "seed": 5, "shuffle_buffer": 20}
    in_order = ids_of(open_token_shards(shards[format]))
    dataset = open_token_shards(**inputs, repeat=True)
    two_epochs = ids_of(dataset.take(6))  # of batches of 64, 64 and 22
    first, second = two_epochs[:count], two_epochs[count:]
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert len({str(order) for order in (first, second, in_order)}) == 3
    assert ids_of(open_token_shards(**inputs)) == first
    assert ids_of(open_token_shards(**{**inputs, "seed": 6})) != first


@pytest.mark.parametrize("seed", [None, 0])
def test_workers_read_every_document_once(shards, seed):
    parts = [ids_of(open_token_shards(shards["documents"], seed=seed, num_workers=3, worker=i)) for i in range(3)]
    assert all(parts)
    assert sorted(document for part in parts for document in part) == sorted(
        ids_of(open_token_shards(shards["documents"]))
    )


def assert_resumes(dataset, count, folder):
    """`skip` and a checkpoint of the iterator give the elements that would have come."""
    expected = list(islice(dataset, count))
    for place in (1, count - 4):
        iterator = iter(dataset)
        for _ in range(place):
            next(iterator)
        path = tf.train.Checkpoint(iterator=iterator).save(str(folder / "state"))
        restored = iter(dataset)
        tf.train.Checkpoint(iterator=restored).restore(path)
        for resumed in (restored, iter(dataset.skip(place))):
            for element in expected[place:]:
                flat = [tf.nest.flatten(values, expand_composites=True) for values in (next(resumed), element)]
                for value, other in zip(*flat, strict=True):
                    np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize("format", ["documents", "sentences"])
def test_a_run_resumes_after_skipped_batches_and_from_a_checkpoint_of_the_iterator(shards, tmp_path, format):
    dataset = open_token_shards(shards[format], seed=0, repeat=True, num_workers=2, worker=1, shuffle_buffer=20)
    assert_resumes(dataset, 12, tmp_path)  # some epochs of two elements


# === The manifest ===


def test_the_manifest_counts_and_hashes_what_there_is(shards, loaders):
    tokenizer = loaders["documents"]()
    manifest = read_manifest(shards["documents"], tokenizer)
    assert manifest["documents"] == len(DOCUMENTS)
    assert manifest["sentences"] == sum(map(len, DOCUMENTS))
    assert manifest["tokens"] == len(tokenizer.tokenize(TEXTS).flat_values)
    assert manifest["bytes"] == count_bytes(TEXTS)
    assert manifest["tokenizer"] == describe_tokenizer(tokenizer)
    assert [source["name"] for source in manifest["sources"]] == ["a.txt", "b.txt.gz", "c.txt"]
    assert len(manifest["shards"]) > 5
    for shard in manifest["shards"]:
        content = (shards["documents"] / shard["name"]).read_bytes()
        assert shard["bytes"] == len(content) and shard["sha256"] == hashlib.sha256(content).hexdigest()
    for name in ("documents", "tokens"):
        assert manifest[name] == sum(shard[name] for shard in manifest["shards"])
    files = {"manifest.json", *(shard["name"] for shard in manifest["shards"])}
    assert files == set(content_of(shards["documents"]))


def test_the_same_text_in_another_folder_gives_the_same_bytes(shards, write, tmp_path):
    write(paths=write_corpus(tmp_path / "elsewhere"))
    assert content_of(tmp_path / "shards") == content_of(shards["documents"])


def test_a_tokenizer_is_known_by_its_pieces_and_its_rules_and_not_by_its_name(loaders, tmp_path):
    tokenizer = loaders["sentences"]()
    tokenizer.save_to_preset(str(tmp_path))
    assert describe_tokenizer(AlbertTokenizer.from_preset(str(tmp_path), name="other")) == describe_tokenizer(tokenizer)
    others = [AlbertTokenizer.from_preset(str(tmp_path), lowercase=False), loaders["documents"]()]
    assert describe_tokenizer(tokenizer) not in list(map(describe_tokenizer, others))


# === A run that stops, and goes on ===

# Worker processes, one of which kills the whole run in the middle of a shard, and would then go on for a minute.
KILLED = """
import os, signal, sys, time
from functools import partial
from albert_gpt_tf.data import token_records
from albert_gpt_tf.data.write_token_shards import write_token_shards
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer

token_records._BYTES_PER_CHUNK = 100


class Killer:
    def __init__(self, preset, marked):
        self.tokenizer, self.marked = GPT2Tokenizer.from_preset(preset), marked.encode()

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def tokenize(self, texts):
        if self.marked in texts.numpy():
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return self.tokenizer.tokenize(texts)


Killer.__name__ = "GPT2Tokenizer"

if __name__ == "__main__":
    paths, preset, marked, output = sys.argv[1:]
    write_token_shards(paths, partial(Killer, preset, marked), output, shard_size_mb=0.002, workers=2)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes(write, corpus, loaders, shards, tmp_path):
    output, script = tmp_path / "shards", tmp_path / "killed.py"
    script.write_text(KILLED)
    expected = content_of(shards["documents"])
    # The text of a document in the middle of a shard, some shards on.
    documents_of_shards = np.cumsum([shard["documents"] for shard in json.loads(expected["manifest.json"])["shards"]])
    marked = TEXTS[documents_of_shards[3] + 3]
    command = [sys.executable, script, corpus, loaders["documents"].args[0], marked, output]
    result = subprocess.run(command, stderr=subprocess.PIPE)  # waits for the workers, too, which hold the pipe
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    there = content_of(output)
    finished = sorted(name for name in there if name.endswith(".tfrecord"))
    assert 3 <= len(finished) < len(expected) - 1
    assert all(there[name] == expected[name] for name in finished)  # half of a shard has another name
    assert any(name.startswith("shard-00004.tfrecord.tmp-") for name in there)
    with pytest.raises(DataError, match=r"expected the manifest of token shards"):
        open_token_shards(output)

    times = {name: (output / name).stat().st_mtime_ns for name in finished}
    write()
    assert content_of(output) == expected
    assert {name: (output / name).stat().st_mtime_ns for name in finished} == times


def test_a_run_that_stops_at_a_broken_file_goes_on_once_it_is_mended(write, shards, tmp_path):
    paths = write_corpus(tmp_path / "corpus")
    whole = (tmp_path / "corpus" / "c.txt").read_bytes()
    (tmp_path / "corpus" / "c.txt").write_bytes(whole + b"\xff")
    with pytest.raises(DataError, match=r"c.txt:\d+: expected UTF-8"):
        write(paths=paths)
    first = tmp_path / "shards" / "shard-00000.tfrecord"
    time = first.stat().st_mtime_ns
    (tmp_path / "corpus" / "c.txt").write_bytes(whole)
    write(paths=paths)
    assert content_of(tmp_path / "shards") == content_of(shards["documents"]) and first.stat().st_mtime_ns == time


def test_what_was_edited_in_between_is_done_again(write, tmp_path):
    paths = write_corpus(tmp_path / "corpus")
    text = (tmp_path / "corpus" / "a.txt").read_bytes()
    (tmp_path / "corpus" / "a.txt").write_bytes(text.replace(b"hills", b"rocks"))  # of the same length
    (tmp_path / "corpus" / "c.txt").write_bytes(b"\xff")
    with pytest.raises(DataError):
        write(paths=paths)
    write_corpus(tmp_path / "corpus")
    write(paths=paths)
    write(paths=paths, output=tmp_path / "anew")
    assert content_of(tmp_path / "shards") == content_of(tmp_path / "anew")


def test_a_finished_run_is_not_done_again(write, tmp_path):
    manifest = write()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    assert write() == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()} == times


# === Errors ===


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "lines"}, "Expected a format among documents, sentences"),
        ({"shard_size_mb": 0}, "Expected a positive shard_size_mb"),
        ({"workers": 0}, "Expected at least one of workers"),
        ({"paths": []}, "Expected files to read"),
        ({"paths": "nothing/*.txt"}, "expected a file or a pattern"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(write, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(**changes)
    assert not (tmp_path / "shards").exists()


def test_a_directory_of_something_else_is_left_alone(write, loaders, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("Do not touch.")
    with pytest.raises(ValueError, match="Expected a new or empty directory"):
        write(output=tmp_path / "other")
    write()
    for changes, name in (
        ({"shard_size_mb": 1}, "shard_size_mb"),
        ({"format": "sentences"}, "format"),
        ({"load_tokenizer": loaders["sentences"]}, "tokenizer"),
    ):
        with pytest.raises(ValueError, match=f"was begun with. Received: other values of {name}"):
            write(**changes)


def test_two_runs_do_not_write_to_one_directory(write, tmp_path):
    (tmp_path / "shards").mkdir()
    descriptor = os.open(tmp_path / "shards", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another run is at work"):
        write()
    os.close(descriptor)
    write()


def test_text_without_documents_is_refused(write, tmp_path):
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(DataError, match="expected text"):
        write(paths=tmp_path / "blank.txt")


def test_shards_that_are_not_whole_are_refused_before_the_first_batch(write, loaders, tmp_path):
    write()
    folder = tmp_path / "shards"
    shard = folder / "shard-00002.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(DataError, match=rf"00002.tfrecord: expected a shard of {len(content)} bytes, received"):
        open_token_shards(folder)
    shard.unlink()
    with pytest.raises(DataError, match="received none; copy it again"):
        open_token_shards(folder)
    shard.write_bytes(content)
    manifest = (folder / "manifest.json").read_text()
    for wrong, message in (
        (manifest.replace('"format_version": 1', '"format_version": 2'), "expected format_version 1, received 2"),
        (manifest[:-9], "expected the manifest of token shards"),
        ("{}", "expected the manifest of token shards"),
    ):
        (folder / "manifest.json").write_text(wrong)
        with pytest.raises(DataError, match=message):
            open_token_shards(folder)


def test_shards_of_another_tokenizer_or_for_other_uses_are_refused(shards, loaders):
    with pytest.raises(ValueError, match=r"Expected the tokenizer that .* come from, a GPT2Tokenizer of 300"):
        open_token_shards(shards["documents"], loaders["sentences"]())
    with pytest.raises(ValueError, match="Expected the tokenizer"):
        albert_pretraining_batches(shards["documents"], loaders["sentences"](), 32, 4, seed=0)
    with pytest.raises(ValueError, match="Expected token shards of sentences"):
        albert_pretraining_batches(shards["documents"], loaders["documents"](), 32, 4, seed=0)
    with pytest.raises(DataError, match="expected at least 999 shards"):
        open_token_shards(shards["documents"], num_workers=999)
    for changes, message in (
        ({"num_workers": 0}, "num_workers of at least 1"),
        ({"shuffle_buffer": 0}, "shuffle_buffer of at least 1"),
        ({"num_workers": 2, "worker": 2}, "Expected a worker from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            open_token_shards(shards["documents"], **changes)
