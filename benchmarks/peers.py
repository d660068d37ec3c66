"""The tokenizers that are compared, ours among them, made from one folder of vocabulary files.

The imports stand inside the functions, because the workers of the exactness check need none of them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import measure
from google_albert import GoogleAlbert, clean

# Nothing is downloaded; TensorFlow and Transformers say only what matters; nothing is kept in a cache.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true", TIKTOKEN_CACHE_DIR="")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

PACKAGES = ["albert-gpt-tf", "tensorflow", "tensorflow-text", "keras", "keras-hub", "numpy"]
PACKAGES += ["tokenizers", "transformers", "tiktoken", "sentencepiece"]
OURS = "albert_gpt_tf"
OURS_TRANSFORMERS = "albert_gpt_tf, as Transformers"
EAGER = "albert_gpt_tf, eager call"
KERAS_HUB = "KerasHub, in graph"
SENTENCEPIECE = "sentencepiece, of cleaned text"

Encode = Callable[[object], object]


@dataclass(frozen=True)
class Contender:
    """One tokenizer to be timed.

    Attributes:
        one: function str -> ids.
        batch: variant -> function texts -> ids; the fastest variant counts. Empty if it is timed on single texts only.
        takes_tensors: whether the texts of `batch` are a string tensor instead of a list of str.
    """

    one: Callable[[str], object]
    batch: dict[str, Encode] = field(default_factory=dict)
    takes_tensors: bool = False


def in_graph(tokenizer: Callable) -> Encode:
    """A tokenizer as a graph over strings of shape [None]."""
    import tensorflow as tf

    return tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])


def ours(data: Path, name: str) -> Callable:
    """Our tokenizer layer: `"gpt2"`, `"gpt2-special"`, `"albert"`, or `"albert-transformers"`."""
    import albert_gpt_tf as agt

    if name.startswith("gpt2"):
        folder = data / "tokenizers" / "gpt2"
        return agt.GPT2Tokenizer(
            str(folder / "encoder.json"), str(folder / "vocab.bpe"), parse_special_tokens=name == "gpt2-special"
        )
    proto = (data / "tokenizers" / "albert" / "spiece.model").read_bytes()
    if name == "albert":
        return agt.AlbertTokenizer(proto, reference="google-research", parse_special_tokens=False)
    return agt.AlbertTokenizer(proto, reference="transformers")


def keras_hub(data: Path, name: str) -> Callable:
    """KerasHub's tokenizer layer: `"gpt2"` or `"albert"`."""
    from keras_hub.models import AlbertTokenizer, GPT2Tokenizer

    if name == "gpt2":
        folder = data / "tokenizers" / "gpt2"
        # It expects merges without the line "#version: 0.2".
        merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
        return GPT2Tokenizer(vocabulary=str(folder / "encoder.json"), merges=merges)
    return AlbertTokenizer(proto=str(data / "tokenizers" / "albert" / "spiece.model"))


def tiktoken_gpt2(data: Path):
    """tiktoken's `Encoding` of GPT-2."""
    import tiktoken
    from tiktoken.load import data_gym_to_mergeable_bpe_ranks
    from tiktoken_ext.openai_public import r50k_pat_str

    folder = data / "tokenizers" / "gpt2"
    ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
    special = {"<|endoftext|>": len(ranks)}
    return tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special)


def tokenizers_gpt2(data: Path, parse_special_tokens: bool = False):
    """The `tokenizers` library's `Tokenizer` of GPT-2."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(data / "tokenizers" / "gpt2" / "tokenizer.json"))
    tokenizer.encode_special_tokens = not parse_special_tokens  # "encode" means as plain text
    return tokenizer


def transformers_albert(data: Path):
    """Transformers' `AlbertTokenizer`, from the original `spiece.model`."""
    from sentencepiece import sentencepiece_model_pb2
    from transformers import AlbertTokenizer

    model = (data / "tokenizers" / "albert" / "spiece.model").read_bytes()
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    # By its vocabulary: from_pretrained would break words at the user-defined symbols (docs/decisions.md).
    return AlbertTokenizer(
        vocab=[(piece.piece, piece.score) for piece in proto.pieces],
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
    )


def transformers_encode(tokenizer) -> Encode:
    """A batch call that returns ids and nothing else."""
    options = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    return lambda texts: tokenizer(texts, **options)["input_ids"]


def _graph_contender(layer: Callable) -> Contender:
    import tensorflow as tf

    encode = in_graph(layer)
    return Contender(lambda text: encode(tf.constant([text])), {"": encode}, takes_tensors=True)


def gpt2_contenders(data: Path) -> dict[str, Contender]:
    """All contenders for GPT-2, by name."""
    layer, hub, reference = ours(data, "gpt2"), tokenizers_gpt2(data), tiktoken_gpt2(data)
    threads = measure.cores()
    tiktoken_batch = {
        f"{threads} threads": lambda texts: reference.encode_ordinary_batch(texts, num_threads=threads),
        "1 thread": lambda texts: [reference.encode_ordinary(text) for text in texts],
    }
    hub_batch = {"encode_batch": hub.encode_batch, "encode_batch_fast": hub.encode_batch_fast}
    return {
        OURS: _graph_contender(layer),
        EAGER: Contender(layer),
        "tokenizers": Contender(hub.encode, hub_batch),
        "tiktoken": Contender(reference.encode_ordinary, tiktoken_batch),
        KERAS_HUB: _graph_contender(keras_hub(data, "gpt2")),
    }


def albert_contenders(data: Path) -> dict[str, Contender]:
    """All contenders for ALBERT, by name. sentencepiece is given cleaned text, see `as_given`."""
    layer, transformers = ours(data, "albert"), transformers_albert(data)
    hub = transformers.backend_tokenizer
    model = GoogleAlbert(data / "tokenizers" / "albert" / "spiece.model").model
    threads = measure.cores()
    transformers_call = transformers_encode(transformers)
    hub_batch = {
        "encode_batch": lambda texts: hub.encode_batch(texts, add_special_tokens=False),
        "encode_batch_fast": lambda texts: hub.encode_batch_fast(texts, add_special_tokens=False),
    }
    sentencepiece_batch = {
        f"{threads} threads": lambda texts: model.encode(texts, num_threads=threads),
        "1 thread": lambda texts: model.encode(texts, num_threads=1),
    }
    return {
        OURS: _graph_contender(layer),
        EAGER: Contender(layer),
        OURS_TRANSFORMERS: _graph_contender(ours(data, "albert-transformers")),
        "Transformers": Contender(transformers_call, {"": transformers_call}),
        "tokenizers (Transformers' backend)": Contender(
            lambda text: hub.encode(text, add_special_tokens=False), hub_batch
        ),
        SENTENCEPIECE: Contender(model.encode, sentencepiece_batch),
        KERAS_HUB: _graph_contender(keras_hub(data, "albert")),
    }


def as_given(name: str, texts: list[str]) -> list[str]:
    """The texts as the contender of this name gets them: sentencepiece's are cleaned before the clock starts."""
    return [clean(text) for text in texts] if name == SENTENCEPIECE else texts
