"""Files of a user's own: what is read, and the sentence that a broken one gets."""

import csv
import gzip
import json

import pytest

from albert_gpt_tf.data.files import DataError, LabelledTexts, read_labelled_file, read_lines, read_text_file


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_three_formats_give_the_same_rows(tmp_path):
    expected = LabelledTexts(["A fine film.", "Dull, and long."], ["positive", "negative"], ["yes", "no"])
    files = [
        write(tmp_path, "a.tsv", "text\tlabel\tpair\nA fine film.\tpositive\tyes\nDull, and long.\tnegative\tno\n"),
        write(tmp_path, "a.csv", 'pair,label,text\r\nyes,positive,A fine film.\r\nno,negative,"Dull, and long."\r\n'),
        write(
            tmp_path,
            "a.jsonl",
            '{"text": "A fine film.", "label": "positive", "pair": "yes", "id": 1}\n\n'
            '{"label": "negative", "text": "Dull, and long.", "pair": "no"}',
        ),
    ]
    for file in files:
        assert read_labelled_file(file, text_pair="pair") == expected


def test_columns_that_are_not_asked_for_are_none(tmp_path):
    path = write(tmp_path, "a.csv", "sentence\none\ntwo\n")
    assert read_labelled_file(path, text="sentence", label=None) == LabelledTexts(["one", "two"], None, None)


def test_tsv_takes_quotes_as_plain_characters(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"a" 5" disc\tx\n')
    assert read_labelled_file(path).texts == ['"a" 5" disc']


def test_csv_fields_hold_line_breaks_and_later_lines_keep_their_numbers(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"one\ntwo ""three""",x\nfour,\n')
    with pytest.raises(DataError, match=r"a\.csv:4: "):
        read_labelled_file(path)
    assert read_labelled_file(path, limit=1).texts == ['one\ntwo "three"']


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name):
    content = '{"text": "é", "label": "x"}' if name == "a.jsonl" else "text,label\né,x\n"
    content = content.replace(",", "\t") if name == "a.tsv" else content
    path = write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
    assert read_labelled_file(path).texts == ["é"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_a_megabyte_in_one_field_and_odd_characters_are_read(tmp_path, name):
    text = "long " * 200_000 + "\0\u2028\x85end"
    if name == "a.jsonl":
        content = json.dumps({"text": text, "label": "x"}, ensure_ascii=False)
    else:
        content = f"text,label\n{text},x\n".replace(",", "\t" if name == "a.tsv" else ",")
    limit = csv.field_size_limit()
    assert read_labelled_file(write(tmp_path, name, content)).texts == [text]
    assert csv.field_size_limit() == limit


def test_limit_reads_no_further(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\none\tx\ntwo\ty\nbroken\n")
    assert read_labelled_file(path, limit=2).labels == ["x", "y"]
    with pytest.raises(ValueError, match="at least 1"):
        read_labelled_file(path, limit=0)


BROKEN = {
    "no such column": (
        "a.tsv",
        "text\tLabels\na\tx\n",
        r"a\.tsv:1: expected a column 'label'.*'text', 'Labels'.*mean 'Labels'",
    ),
    "empty file": ("a.csv", "", r"a\.csv:1: expected a column 'text', received nothing"),
    "header only": ("a.csv", "text,label\n", r"a\.csv:1: expected at least one row"),
    "column twice": ("a.csv", "text,label,text\na,b,c\n", r"a\.csv:1: expected one column 'text', received several"),
    "empty label": ("a.tsv", "text\tlabel\na\tx\nb\t \n", r"a\.tsv:3: expected a label in 'label', received ' '"),
    "too few fields": (
        "a.tsv",
        "text\tlabel\na\tx\n\nb\n",
        r"a\.tsv:4: expected 2 fields as in the header, received 1",
    ),
    "too many fields": ("a.csv", "text,label\na,b,c\n", r"a\.csv:2: expected 2 fields as in the header, received 3"),
    "open quote": ("a.csv", 'text,label\na,x\n"b,y\nc,z\n', r"a\.csv:3: .*broken quotes"),
    "text after quote": ("a.csv", 'text,label\n"a"b,y\n', r"a\.csv:2: .*broken quotes"),
    "broken JSON": ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": \n', r"a\.jsonl:2: expected one JSON object"),
    "deep JSON": ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: expected one JSON object"),
    "JSON list": ("a.jsonl", '["a", "x"]\n', r"a\.jsonl:1: expected a JSON object, received \[\"a\", \"x\"\]"),
    "no such key": ("a.jsonl", '{"txt": "a", "label": "x"}\n', r"a\.jsonl:1: expected a column 'text'.*mean 'txt'"),
    "number": ("a.jsonl", '\n{"text": "a", "label": 3}\n', r"a\.jsonl:2: expected a string in 'label', received 3"),
    "null": ("a.jsonl", '{"text": null, "label": "x"}\n', r"a\.jsonl:1: expected a string in 'text', received null"),
    "surrogate": ("a.jsonl", '{"text": "\\ud800", "label": "x"}\n', r"a\.jsonl:1: .*half of a surrogate pair"),
    "Latin-1": (
        "a.tsv",
        b"text\tlabel\na\tx\nna\xefve\ty\n",
        r"a\.tsv:3: expected UTF-8, received the byte 0xef at byte 3",
    ),
    "UTF-16": ("a.csv", "text,label\na,x\n".encode("utf-16"), r"a\.csv:1: expected UTF-8"),
    "other format": ("a.xlsx", "text", r"a\.xlsx: expected a file whose name ends in \.tsv, \.csv, \.jsonl"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_reported_with_file_line_and_remedy(tmp_path, case):
    name, content, message = BROKEN[case]
    with pytest.raises(DataError, match=message):
        read_labelled_file(write(tmp_path, name, content))


@pytest.mark.parametrize("read", [read_labelled_file, read_text_file])
def test_missing_file_and_folder_are_reported_with_their_path(tmp_path, read):
    with pytest.raises(DataError, match=r"gone\.tsv: expected a file"):
        read(tmp_path / "gone.tsv")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(DataError, match=r"folder\.tsv: expected a file"):
        read(tmp_path / "folder.tsv")


def test_blank_lines_separate_the_documents_of_a_text_file(tmp_path):
    path = write(tmp_path, "a.txt", "\ufeff\n\none\r\ntwo\r\n \r\n\r\nthree\n\nfour")
    assert read_text_file(path) == ["one\ntwo", "three", "four"]
    assert read_text_file(path, limit=2) == ["one\ntwo", "three"]


def test_blank_and_invalid_text_files_are_reported(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt:1: expected text"):
        read_text_file(write(tmp_path, "a.txt", " \n\n"))
    with pytest.raises(DataError, match=r"a\.txt:2: expected UTF-8"):
        read_text_file(write(tmp_path, "a.txt", b"one\n\xff\n"))


def test_lines_of_many_files_come_in_order_plain_or_compressed(tmp_path, monkeypatch):
    write(tmp_path, "b.txt", "\ufeffthree\r\n\n fo\u2028ur \x85")
    write(tmp_path, "a.txt", "one\ntwo\n")
    write(tmp_path, "c.txt.gz", gzip.compress(b"\xef\xbb\xbffive\nsix") + gzip.compress(b"\nseven\n"))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path, "deep/er/d.txt", "eight\n")
    write(tmp_path, "[e].txt", "nine")
    plain, packed = ["one", "two", "three", "", " fo\u2028ur \x85"], ["five", "six", "seven"]
    assert list(read_lines(tmp_path / "a.txt")) == ["one", "two"]
    assert list(read_lines(str(tmp_path / "[ab].txt"))) == plain
    assert list(read_lines([tmp_path / "c.txt.gz", tmp_path / "a.txt"])) == [*packed, "one", "two"]
    assert list(read_lines([str(tmp_path / "?.txt*"), tmp_path / "a.txt"])) == plain + packed
    assert list(read_lines(tmp_path / "[e].txt")) == ["nine"]
    monkeypatch.chdir(tmp_path)
    assert list(read_lines("deep/**/*.txt")) == ["eight"]


def test_lines_are_read_as_they_are_asked_for(tmp_path):
    path = write(tmp_path, "a.txt", b"one\ntwo\n\xff\n")
    lines = read_lines(path)
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(DataError, match=r"a\.txt:3: expected UTF-8, received the byte 0xff at byte 1"):
        next(lines)


def test_the_progress_bar_counts_the_bytes_on_disk_and_goes_to_standard_error(tmp_path, capsys):
    lines = [f"line {number} " + "x" * 100 for number in range(40_000)]
    write(tmp_path, "a.txt", "\n".join(lines))
    write(tmp_path, "b.txt.gz", gzip.compress("\n".join(lines).encode()))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert list(read_lines(str(tmp_path / "*"), progress=True)) == lines * 2
    shown = capsys.readouterr()
    megabytes = f"{size / 1e6:.1f}"
    assert shown.out == "" and f"{megabytes}/{megabytes} MB" in shown.err
    assert list(read_lines(str(tmp_path / "*"))) == lines * 2
    assert capsys.readouterr() == ("", "")


def test_files_that_are_not_there_are_reported_before_the_first_line(tmp_path):
    write(tmp_path, "a.txt", "one\n")
    for missing in ("gone.txt", "*.text", "**/*.gz"):
        with pytest.raises(DataError, match=r"expected a file or a pattern that matches files, received one where"):
            read_lines([tmp_path / "a.txt", str(tmp_path / missing)])
    with pytest.raises(DataError, match=r"expected a file, received a folder; give a pattern, such as .*\*\.txt"):
        read_lines(tmp_path)
    with pytest.raises(DataError, match="empty list"):
        read_lines([])


def test_broken_compressed_files_are_reported(tmp_path):
    whole = gzip.compress(b"one\n" * 1000 + bytes(range(128)) * 50)
    broken = [whole[:-9], whole[:40] + b"\0\0\0\0" + whole[44:], b"plain text"]
    for number, content in enumerate(broken):
        path = write(tmp_path, f"{number}.txt.gz", content)
        with pytest.raises(DataError, match=rf"{number}\.txt\.gz: expected a whole gzip file"):
            list(read_lines(path))
    assert read_text_file(write(tmp_path, "whole.txt.gz", gzip.compress(b"one\ntwo\n\nthree"))) == ["one\ntwo", "three"]
