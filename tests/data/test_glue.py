"""The nine tasks of GLUE as published: what is read, and the sentence that a broken row gets."""

import csv
import logging
from pathlib import Path

import pytest

from albert_gpt_tf.data.files import DataError, LabelledTexts, read_labelled_file
from albert_gpt_tf.data.glue import (
    GLUE_TASKS,
    glue_files,
    glue_task,
    read_glue_file,
    read_table_without_header,
)

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled"
needs_data = pytest.mark.skipif(not LABELLED.is_dir(), reason="needs ../shared/data")

# Headers as published. Of each task two rows with labels; the test file lacks the label's column.
HEADERS = {
    "cola": None,
    "sst2": "sentence\tlabel",
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "mnli": "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
    "qnli": "index\tquestion\tsentence\tlabel",
    "rte": "index\tsentence1\tsentence2\tlabel",
    "wnli": "index\tsentence1\tsentence2\tlabel",
}
ROWS = {
    "cola": ["gj04\t1\t\tFishing is fun.", "gj04\t0\t*\tFishing are fun."],
    "sst2": ["a fine film \t1", "dull \t0"],
    "mrpc": ['1\t1\t2\tHe said " no .\t" No , " he said .', "0\t3\t4\tIt rained .\tIt rains ."],
    "stsb": ["0\tnews\tMSRpar\t2012\t7\tnone\tnone\tIt rained.\tIt poured.\t4.250", "1\ta\tb\tc\td\te\tf\tg\th\t0"],
    "qqp": ["9\t1\t2\tWhat is a fox?\tWhat are foxes?\t1", "8\t3\t4\tWho?\tWhat?\t0"],
    "mnli": [
        "0\t1\t1e\tfiction\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tIt rained.\tIt was wet.\tentailment\tentailment",
        "1\t2\t2c\tfiction\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tIt rained.\tIt was dry.\tneutral\tcontradiction",
    ],
    "qnli": ["0\tWho rained?\tIt rained.\tentailment", "1\tWhere?\tIt rained.\tnot_entailment"],
    "rte": ["0\tIt rained.\tIt was wet.\tentailment", "1\tIt rained.\tIt was late.\tnot_entailment"],
    "wnli": ["0\tThe drain is clogged with hair. It has to be cleaned.\tThe hair has to be cleaned.\t0", "1\ta\tb\t1"],
}
EXPECTED = {
    "cola": (["Fishing is fun.", "Fishing are fun."], ["1", "0"], None),
    "sst2": (["a fine film ", "dull "], ["1", "0"], None),
    "mrpc": (['He said " no .', "It rained ."], ["1", "0"], ['" No , " he said .', "It rains ."]),
    "stsb": (["It rained.", "g"], [4.25, 0.0], ["It poured.", "h"]),
    "qqp": (["What is a fox?", "Who?"], ["1", "0"], ["What are foxes?", "What?"]),
    "mnli": (["It rained.", "It rained."], ["entailment", "contradiction"], ["It was wet.", "It was dry."]),
    "qnli": (["Who rained?", "Where?"], ["entailment", "not_entailment"], ["It rained.", "It rained."]),
    "rte": (["It rained.", "It rained."], ["entailment", "not_entailment"], ["It was wet.", "It was late."]),
    "wnli": (
        ["The drain is clogged with hair. It has to be cleaned.", "a"], ["0", "1"], ["The hair has to be cleaned.", "b"]
    ),
}  # fmt: skip
TEST_FILES = {
    "cola": "index\tsentence\n0\tFishing is fun.\n",
    "sst2": "index\tsentence\n0\ta fine film \n",
    "mrpc": 'index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tHe said " no .\t" No , " he said .\n',
    "qqp": "id\tquestion1\tquestion2\n0\tWhat is a fox?\tWhat are foxes?\n",
    "rte": "index\tsentence1\tsentence2\n0\tIt rained.\tIt was wet.\n",
}


def write(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(line for line in lines if line is not None) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", GLUE_TASKS)
def test_a_labelled_file_gives_texts_labels_and_pairs(name, tmp_path):
    path = write(tmp_path, "dev.tsv", HEADERS[name], *ROWS[name])
    assert read_glue_file(path, name) == LabelledTexts(*EXPECTED[name])
    assert read_glue_file(path, name, limit=1) == LabelledTexts(*(part and part[:1] for part in EXPECTED[name]))


@pytest.mark.parametrize("name", TEST_FILES)
def test_a_test_file_has_no_labels(name, tmp_path):
    texts, _, pairs = EXPECTED[name]
    path = write(tmp_path, "test.tsv", TEST_FILES[name])
    assert read_glue_file(path, name) == LabelledTexts(texts[:1], None, pairs and pairs[:1])


def test_the_order_of_labels_is_that_of_the_released_fine_tuning():
    # google-research/albert `classifier_utils.py`, `get_labels` of the processors.
    assert GLUE_TASKS["mnli"].labels == ("contradiction", "entailment", "neutral")
    assert GLUE_TASKS["qnli"].labels == GLUE_TASKS["rte"].labels == ("entailment", "not_entailment")
    assert all(GLUE_TASKS[name].labels == ("0", "1") for name in ("cola", "sst2", "mrpc", "qqp", "wnli"))
    assert [name for name, task in GLUE_TASKS.items() if task.labels is None] == ["stsb"]


def test_an_unknown_task_is_refused_with_the_nearest_one():
    with pytest.raises(
        ValueError, match=r"Expected a GLUE task among cola, .*Received: 'STS-B'. Did you mean 'stsb'\?"
    ):
        glue_task("STS-B")


# === Rows that are left out ===


def test_pairs_of_mnli_without_a_gold_label_are_left_out(tmp_path):
    undecided = ROWS["mnli"][0].removesuffix("entailment") + "-"
    path = write(tmp_path, "dev_matched.tsv", HEADERS["mnli"], undecided, *ROWS["mnli"])
    assert read_glue_file(path, "mnli", limit=2) == LabelledTexts(*EXPECTED["mnli"])


def test_questions_of_qqp_with_a_line_break_are_left_out_and_the_log_says_so(tmp_path, caplog):
    broken = ["7\t5\t6\tWhy?", "\tHow?\t0"]
    path = write(tmp_path, "train.tsv", HEADERS["qqp"], ROWS["qqp"][0], *broken, ROWS["qqp"][1])
    with caplog.at_level(logging.WARNING):
        assert read_glue_file(path, "qqp") == LabelledTexts(*EXPECTED["qqp"])
    assert "left out 2 lines" in caplog.text and "line 3" in caplog.text


# === Broken files ===


@pytest.mark.parametrize("name", sorted(set(GLUE_TASKS) - {"qqp"}))
@pytest.mark.parametrize("change", ["one field less", "one more"])
def test_a_row_with_another_number_of_fields_is_named(name, change, tmp_path):
    row = ROWS[name][1]
    broken = row.rsplit("\t", 1)[0] if change == "one field less" else row + "\tmore"
    path = write(tmp_path, "dev.tsv", HEADERS[name], ROWS[name][0], broken)
    line = 2 if name == "cola" else 3
    with pytest.raises(DataError, match=rf"dev\.tsv:{line}: expected \d+ fields, received \d+"):
        read_glue_file(path, name)


@pytest.mark.parametrize(
    "name, value, wanted",
    [
        ("sst2", "2", "one of 0, 1 in 'label'"),
        ("rte", "neutral", "one of entailment, not_entailment"),
        ("mnli", "", "one of contradiction, entailment, neutral in 'gold_label'"),
        ("wnli", "-", "one of 0, 1"),
        *[("stsb", value, "a number from 0 to 5 in 'score'") for value in ("5.1", "-1", "nan", "high", "")],
    ],
)
def test_a_label_that_the_task_does_not_have_is_named(name, value, wanted, tmp_path):
    broken = ROWS[name][1].rsplit("\t", 1)[0] + "\t" + value
    path = write(tmp_path, "train.tsv", HEADERS[name], ROWS[name][0], broken)
    with pytest.raises(DataError, match=rf"train\.tsv:3: expected {wanted}.*received '{value}'"):
        read_glue_file(path, name)


def test_the_file_of_another_task_a_missing_and_an_empty_one_are_refused(tmp_path):
    path = write(tmp_path, "dev.tsv", HEADERS["rte"], *ROWS["rte"])
    with pytest.raises(DataError, match=r"dev\.tsv:1: expected the columns question, sentence of qnli, received"):
        read_glue_file(path, "qnli")
    with pytest.raises(DataError, match="expected at least one row"):
        read_glue_file(write(tmp_path, "empty.tsv", HEADERS["rte"]), "rte")
    with pytest.raises(DataError, match=r"missing\.tsv: expected a file"):
        read_glue_file(tmp_path / "missing.tsv", "rte")
    with pytest.raises(ValueError, match="limit must be at least 1"):
        read_glue_file(path, "rte", limit=0)


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_bytes(b"sentence\tlabel\nfine\t1\nd\xff\t0\n")
    with pytest.raises(DataError, match=r"dev\.tsv:3: expected UTF-8"):
        read_glue_file(path, "sst2")


# === Folders ===


def test_the_folder_of_a_task_has_its_labelled_splits(tmp_path):
    for file in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"):
        write(tmp_path, file, HEADERS["mnli"], *ROWS["mnli"])
    write(tmp_path, "test_matched.tsv", HEADERS["mnli"].rsplit("\t", 2)[0])
    assert {split: path.name for split, path in glue_files(tmp_path, "mnli").items()} == {
        "train": "train.tsv", "validation": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv",
    }  # fmt: skip


def test_a_test_file_counts_only_with_labels(tmp_path):
    write(tmp_path, "train.tsv", HEADERS["rte"], *ROWS["rte"])
    write(tmp_path, "test.tsv", TEST_FILES["rte"])
    assert set(glue_files(tmp_path, "rte")) == {"train"}
    write(tmp_path, "test.tsv", HEADERS["rte"], *ROWS["rte"])
    assert set(glue_files(tmp_path, "rte")) == {"train", "test"}


def test_a_folder_without_a_file_to_train_on_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected a folder with train\.tsv or sts-train\.csv"):
        glue_files(tmp_path, "rte")


# === Tables without a header ===


def test_columns_can_be_named_for_a_file_that_has_no_header(tmp_path):
    path = write(tmp_path, "SMSSpamCollection", 'ham\tOk "lar...', "spam\tWin a prize")
    expected = LabelledTexts(['Ok "lar...', "Win a prize"], ["ham", "spam"], None)
    assert read_table_without_header(path, ["label", "text"]) == expected
    named = write(tmp_path, "named.tsv", "label\ttext", path.read_text(encoding="utf-8").rstrip("\n"))
    assert read_labelled_file(named) == expected
    swapped = read_table_without_header(path, ["kind", "body"], text="body", label="kind", limit=1)
    assert swapped == LabelledTexts(['Ok "lar...'], ["ham"], None)


def test_a_broken_row_or_a_wrong_column_of_a_file_without_a_header_is_refused(tmp_path):
    path = write(tmp_path, "a.tsv", "ham\tOk", "spam\tWin\ta prize")
    with pytest.raises(DataError, match=r"a\.tsv:2: expected 2 fields, received 3"):
        read_table_without_header(path, ["label", "text"])
    with pytest.raises(ValueError, match=r"Expected the columns text among those .* Received: label, body"):
        read_table_without_header(path, ["label", "body"])
    with pytest.raises(DataError, match=r"b\.tsv:1: expected a label in 'label'"):
        read_table_without_header(write(tmp_path, "b.tsv", " \tOk"), ["label", "text"])


# === Genuine files ===


@needs_data
def test_genuine_files_give_what_the_csv_module_reads():
    for split, file, count in (("train", "train.tsv", 5749), ("dev", "dev.tsv", 1500)):
        rows = read_glue_file(LABELLED / "stsb" / file, "stsb")
        with open(LABELLED / "stsb" / file, encoding="utf-8", newline="") as lines:
            expected = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert len(rows.texts) == len(expected) == count, split
        assert rows.texts == [row["sentence1"] for row in expected]
        assert rows.pairs == [row["sentence2"] for row in expected]
        assert rows.labels == [float(row["score"]) for row in expected]


@needs_data
def test_the_sts_benchmark_in_its_own_format_is_read_whole():
    assert glue_files(LABELLED / "stsb", "stsb")["test"].name == "sts-test.csv"
    rows = read_glue_file(LABELLED / "stsb" / "sts-test.csv", "stsb")
    assert len(rows.texts) == 1379  # as its readme says
    assert (rows.texts[0], rows.pairs[0], rows.labels[0]) == (
        "A girl is styling her hair.", "A girl is brushing her hair.", 2.5,
    )  # fmt: skip


@needs_data
def test_the_samples_of_mrpc_are_read_with_their_byte_order_mark_and_quotes():
    rows = read_glue_file(LABELLED / "hf_tests_samples" / "MRPC" / "dev.tsv", "mrpc")
    assert rows.labels == ["1", "0", "0", "1", "0", "1"]
    assert rows.pairs[0].startswith('" The foodservice pie business')
