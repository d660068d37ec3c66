"""Small vocabularies trained once, and the genuine ones where they are at hand."""

import glob
import importlib.util
import json
import os
import random
from pathlib import Path

import pytest

from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.bpe_files import read_vocabulary_and_merges
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece

# Beside the repository, where a machine of the project has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

# Each of these once broke a tokenizer.
NASTY = [
    "",
    " ",
    "   ",
    "\n\n\n\nfoo",
    "a  b",
    "trailing  ",
    "  leading",
    "don't WE'LL 'tis 'S's 's's",
    "'''''s'll've're'm'd't",
    "\u00a0x \u00a0 x\u00a0",
    "x\u0085y",
    "\u3000x\u3000\u3000y",
    "\x1c\x1d a\x1fb",
    "a\x00b\x00\x00 c\x00",
    "६ ६६\u096c",
    "👍🏽 👩\u200d💻 \U0001f1e9\U0001f1ea",
    "<|endoftext|>abc<|endoftext|>",
    "[CLS] a [SEP] <pad> [MASK] <unk>",
    "12345678 1,000.50 Ⅷ ½ ²",
    "in 2010, and 1,050-",
    "9,000 9,000, 10,000,000, 1,2,3, 2,",
    "“typographic” ‘quotes’ and `` '' doubled",
    "000000000000 cccc eeee 8888 hahaha 11,111,",
    "[MASK][MASK]x[SEP] <PAD> <UNK> [mask]",
    "``quoted'' ''x``",
    "İstanbul ß ﬁ ① ŒUVRE É\u0301COLE ﬁne　ＡＢＣ",
    "日本語 한국어 각 中文，字。",
    "العَرَبِيَّة हिन्दी Ὀδυσσεύς",
    "\ufeffbom \ufffe\uffff \u2581x\u2581 \U0010ffff",
    "a\u0301 e\u0301 o\u0308 \u200bzero\u00adsoft",
    "\t\r\n\x0b\x0c mix \r\n\r\n x",
    "£5–10 (€6.-)",
    "the quick brown fox jumps over the lazy dog",
]


def random_texts(count: int, seed: int) -> list[str]:
    """Strings meant to break a pre-tokenizer: white space mixes, contractions, marks, emoji, any code point."""
    rng = random.Random(seed)
    pools = [
        "ab c.,'\n\t\rstdmlrev19",
        " \n\t\r\x0b\x0c\u00a0\u3000\u2003\u0085\x1c",
        "éß中文字अनमÅ①½²६\u0301\u200d😀🚀\U0001f1e9",
        "'sS'tT're've'm'll'd ",
        "def return self import \x00\x7f<|endoftext|>",
    ]
    texts = []
    for index in range(count):
        if index % 3 == 0:
            points = (rng.randrange(1, 0x2FFFF) for _ in range(rng.randrange(40)))
            texts.append("".join(chr(point) for point in points if not 0xD800 <= point < 0xE000))
        else:
            texts.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(80))))
    return texts


@pytest.fixture(scope="session")
def sources() -> list[str]:
    """A few hundred KB of text that every machine has: the standard library."""
    paths = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))
    texts, size = [], 0
    for path in paths:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        texts.append(text)
        size += len(text)
        if size > 500_000:
            break
    return texts


@pytest.fixture(scope="session")
def small_bpe(sources) -> tuple[dict[str, int], list[str]]:
    return train_byte_level_bpe(sources, 1500)


@pytest.fixture(scope="session")
def small_gpt2(small_bpe) -> GPT2Tokenizer:
    return GPT2Tokenizer(*small_bpe)


@pytest.fixture(scope="session")
def small_model(sources) -> bytes:
    return train_sentencepiece(sources, 1000)


@pytest.fixture(scope="session")
def small_albert(small_model) -> AlbertTokenizer:
    return AlbertTokenizer(small_model)


@pytest.fixture(scope="session")
def genuine_albert_model() -> bytes:
    path = DATA / "tokenizers" / "albert" / "spiece.model"
    if not path.is_file():
        pytest.skip("the released ALBERT vocabulary is not beside the repository (../shared/data)")
    return path.read_bytes()


@pytest.fixture(scope="session")
def genuine_gpt2_files() -> Path:
    folder = DATA / "tokenizers" / "gpt2"
    if not (folder / "encoder.json").is_file():
        pytest.skip("the released GPT-2 vocabulary is not beside the repository (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def nasty() -> list[str]:
    return NASTY


@pytest.fixture(scope="session")
def make_random_texts():
    return random_texts


@pytest.fixture(scope="session")
def albert_references():
    """The module albert_references.py beside this file. Tests are no packages, so it is loaded by its path."""
    path = Path(__file__).with_name("albert_references.py")
    spec = importlib.util.spec_from_file_location("albert_references", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden():
    """Function: name of a file of published expectations -> its content."""
    folder = DATA / "golden"
    if not folder.is_dir():
        pytest.skip("the published expectations are not beside the repository (../shared/data)")
    return lambda name: json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def google_albert(albert_references):
    return albert_references.GoogleResearch


@pytest.fixture(scope="session")
def transformers_albert(albert_references):
    pytest.importorskip("tokenizers")
    return albert_references.Transformers


@pytest.fixture(scope="session")
def albert_material(nasty, make_random_texts, sources):
    lines = [line for text in sources for line in text.split("\n")][:4000]
    rng = random.Random(5)
    numbers = [f"{rng.randrange(10 ** rng.randrange(1, 9)):,}, and {rng.randrange(3000)}," for _ in range(500)]
    runs = [rng.choice("a0e9.'-c") * rng.randrange(200) + " x" for _ in range(300)] + ["8" * 10_000, "e" * 9_999]
    return nasty + make_random_texts(4000, seed=0) + lines + numbers + runs


@pytest.fixture(scope="session")
def genuine_gpt1_files():
    folder = DATA / "tokenizers" / "gpt1"
    if not (folder / "encoder_bpe_40000.json").is_file():
        pytest.skip("the released GPT-1 vocabulary is not beside the repository (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def genuine_gpt1_tables(genuine_gpt1_files):
    return read_vocabulary_and_merges(
        genuine_gpt1_files / "encoder_bpe_40000.json", genuine_gpt1_files / "vocab_40000.bpe"
    )[:2]
