"""`albert-gpt-tf prepare`: text files to token shards, with the tokenizer of any directory."""

import json

import pytest

from albert_gpt_tf.commands.prepare_tokenizer import find_tokenizer
from albert_gpt_tf.data.token_shards import open_token_shards
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

DOCUMENTS = [["red one", "green two"], ["blue three", "one", "two red"], ["three"]]


@pytest.fixture
def corpus(tmp_path):
    texts = ["\n".join(lines) for lines in DOCUMENTS]
    (tmp_path / "a.txt").write_text("\n\n".join(texts[:2]))
    (tmp_path / "b.txt").write_text(texts[2])
    return f"{tmp_path}/a*.txt,{tmp_path}/b.txt"


def ids_of(folder, tokenizer):
    return [document for batch in open_token_shards(folder, tokenizer) for document in batch.to_list()]


def test_documents_become_shards_for_a_language_model(run, presets, corpus, tmp_path):
    arguments = ["prepare", f"--input={corpus}", f"--tokenizer={presets.causal_lm}", f"--output={tmp_path / 'shards'}"]
    result = run(*arguments, "--shard_size_mb=0.00001")
    assert result.status == 0, result.errors
    tokenizer = GPT2Tokenizer.from_preset(presets.causal_lm)
    expected = tokenizer.tokenize(["\n".join(lines) for lines in DOCUMENTS]).to_list()
    assert ids_of(tmp_path / "shards", tokenizer) == expected
    assert f"3 documents, {sum(map(len, expected))} tokens, 0.0 MB of text, 3 shards" in result.output
    assert "Tokenizing 3 shards" in result.errors
    again = run(*arguments, "--shard_size_mb=0.00001")
    assert again.status == 0 and again.output == result.output
    other = run(*arguments, "--shard_size_mb=1")
    assert other.status == 1 and "Received: other values of shard_size_mb" in other.errors


@pytest.mark.slow
def test_sentences_become_shards_for_albert_on_any_number_of_workers(run, presets, corpus, tmp_path):
    arguments = ["prepare", f"--input={corpus}", f"--tokenizer={presets.classifier}", "--format=sentences"]
    for workers in (1, 2):
        result = run(
            *arguments, f"--output={tmp_path / str(workers)}", f"--workers={workers}", "--shard_size_mb=0.00001"
        )
        assert result.status == 0, result.errors
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "12")
    assert one == two
    assert json.loads(one["manifest.json"])["sentences"] == 6
    tokenizer = AlbertTokenizer.from_preset(presets.classifier)
    assert ids_of(tmp_path / "1", tokenizer) == [tokenizer.tokenize(lines).to_list() for lines in DOCUMENTS]


def test_mistakes_are_one_line(run, presets, corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "shards"
    for changes, message in (
        ({"input": f"{tmp_path}/*.doc"}, "expected a file or a pattern"),
        ({"tokenizer": tmp_path / "empty"}, "Expected a directory with a tokenizer"),
        ({"tokenizer": tmp_path / "nothing"}, "Expected the directory of a preset"),
        ({"shard_size_mb": "0"}, "Expected a positive shard_size_mb"),
    ):
        flags = {"input": corpus, "tokenizer": presets.causal_lm, "output": output, **changes}
        result = run("prepare", *(f"--{name}={value}" for name, value in flags.items()))
        assert result.status == 1 and message in result.errors
        assert not output.exists()


def test_the_tokenizer_of_any_directory_is_found(presets, tmp_path):
    albert, gpt2 = find_tokenizer(presets.classifier), find_tokenizer(presets.causal_lm)
    assert (type(albert), type(gpt2)) == (AlbertTokenizer, GPT2Tokenizer)
    vocabularies = {
        AlbertTokenizer: {"spiece.model": albert.proto},
        GPT2Tokenizer: {
            "vocab.json": json.dumps({piece: id for id, piece in enumerate(gpt2.get_vocabulary())}),
            "merges.txt": "#version: 0.2\n",
        },
        GPT1Tokenizer: {
            "vocab.json": '{"<unk>": 0, "a": 1, "a</w>": 2, "aa</w>": 3}',
            "merges.txt": "#version: 0.2\na a</w>\n",
        },
        WordPieceTokenizer: {"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n"},
    }
    for expected, files in vocabularies.items():
        folder = tmp_path / expected.__name__
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert type(find_tokenizer(folder)) is expected
