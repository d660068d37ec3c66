"""The Beam pipeline writes the records that `write_token_shards` writes, and a manifest that says so."""

import gzip
import hashlib
import sys
from functools import partial

import pytest
import tensorflow as tf

from albert_gpt_tf.data.beam_pipeline import write_token_shards_with_beam
from albert_gpt_tf.data.files import DataError
from albert_gpt_tf.data.shard_manifest import read_manifest
from albert_gpt_tf.data.token_shards import open_token_shards
from albert_gpt_tf.data.write_token_shards import write_token_shards
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "##ish", "."]
OPTIONS = ["--runner=DirectRunner"]


@pytest.fixture
def load_tokenizer():
    return partial(WordPieceTokenizer, PIECES)


@pytest.fixture
def corpus(tmp_path):
    texts = [f"red {'greenish ' * (n % 7)}.\n{'red ' * (n % 5)}green" for n in range(100)]
    (tmp_path / "a.txt").write_bytes(("\ufeff" + "\n\n".join(texts[:60])).replace("\n", "\r\n").encode())
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("\n\n".join(texts[60:]).encode()))
    return str(tmp_path / "*.txt*")


def records_of(folder, manifest):
    names = [str(folder / shard["name"]) for shard in manifest["shards"]]
    return sorted(record.numpy() for record in tf.data.TFRecordDataset(names))


@pytest.mark.parametrize("format", ["documents", "sentences"])
def test_the_records_and_their_counts_are_those_of_one_machine(load_tokenizer, corpus, tmp_path, format):
    pytest.importorskip("apache_beam")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    expected = write_token_shards(corpus, load_tokenizer, ours, format, 0.001)
    manifest = write_token_shards_with_beam(corpus, load_tokenizer, theirs, format, 0.001, OPTIONS)
    assert records_of(theirs, manifest) == records_of(ours, expected)
    assert {**manifest, "shards": None} == {**expected, "shards": None}
    assert manifest == read_manifest(theirs, load_tokenizer())
    assert len(manifest["shards"]) > 1
    for shard in manifest["shards"]:
        assert shard["sha256"] == hashlib.sha256((theirs / shard["name"]).read_bytes()).hexdigest()
    for name in ("documents", "tokens"):
        assert manifest[name] == sum(shard[name] for shard in manifest["shards"])
    documents = [document for batch in open_token_shards(theirs, seed=0) for document in batch.to_list()]
    assert len(documents) == 100


def test_mistakes_are_told_before_or_by_the_pipeline(load_tokenizer, corpus, tmp_path):
    pytest.importorskip("apache_beam")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("Do not touch.")
    with pytest.raises(ValueError, match="Expected a new or empty directory"):
        write_token_shards_with_beam(corpus, load_tokenizer, tmp_path / "full", beam_options=OPTIONS)
    with pytest.raises(DataError, match="expected a file or a pattern"):
        write_token_shards_with_beam(str(tmp_path / "*.doc"), load_tokenizer, tmp_path / "new", beam_options=OPTIONS)
    (tmp_path / "c.txt").write_bytes(b"red\n\xff\n")
    with pytest.raises(Exception, match=r"c.txt:2: expected UTF-8"):
        write_token_shards_with_beam(tmp_path / "c.txt", load_tokenizer, tmp_path / "new", beam_options=OPTIONS)
    assert not (tmp_path / "new" / "manifest.json").exists()


def test_without_beam_the_error_says_how_to_install_it(load_tokenizer, corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install 'albert-gpt-tf\[beam\]'"):
        write_token_shards_with_beam(corpus, load_tokenizer, tmp_path / "new", beam_options=OPTIONS)
