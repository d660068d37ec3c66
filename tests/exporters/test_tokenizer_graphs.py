"""Every tokenizer, with offsets and back to text, inside a SavedModel that TF Serving can serve."""

import pytest
import tensorflow as tf

from albert_gpt_tf.exporters.check_saved_model import check_saved_model
from albert_gpt_tf.exporters.graph_rules import read_meta_graph
from albert_gpt_tf.text.albert_tokenizer import AlbertTokenizer
from albert_gpt_tf.text.gpt1_tokenizer import GPT1Tokenizer
from albert_gpt_tf.text.gpt2_tokenizer import GPT2Tokenizer
from albert_gpt_tf.text.train_vocabulary import train_byte_level_bpe, train_sentencepiece
from albert_gpt_tf.text.wordpiece_tokenizer import WordPieceTokenizer

TEXTS = [f"The quick brown fox number {i}, jumped over 日本 and the lazy dog." for i in range(200)]


def make_albert(reference):
    return AlbertTokenizer(train_sentencepiece(TEXTS, 90), reference=reference)


def make_gpt2():
    return GPT2Tokenizer(*train_byte_level_bpe(TEXTS, 300), special_tokens=["<|user|>"], parse_special_tokens=True)


def make_wordpiece():
    words = ["the", "quick", "fox", "##es", "日", "本", ",", "."]
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])


def make_gpt1():
    symbols = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = ["<unk>", *symbols, *(symbol + "</w>" for symbol in symbols), "th", "the</w>"]
    return GPT1Tokenizer({token: id for id, token in enumerate(vocabulary)}, ["t h", "th e</w>"])


class Server(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(text)
        return {
            "ids": ids.to_tensor(-1, shape=[None, 64]),
            "start": starts.to_tensor(-1, shape=[None, 64]),
            "end": ends.to_tensor(-1, shape=[None, 64]),
            "same": tf.cast(tf.reduce_all((ids == self.tokenizer.tokenize(text)).to_tensor(True), 1), tf.int32),
            "text": self.tokenizer.detokenize(ids[:, :64]),
        }


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_albert("google-research"),
        lambda: make_albert("transformers"),
        make_gpt2,
        make_wordpiece,
        make_gpt1,
    ],
    ids=["albert", "albert as transformers", "gpt2", "wordpiece", "gpt1"],
)
def test_a_tokenizer_in_a_saved_model_keeps_every_rule_of_tf_serving(make, tmp_path):
    server = Server(make())
    tf.saved_model.save(server, str(tmp_path), signatures=server.serve)
    assert check_saved_model(tmp_path) == []
    graph = read_meta_graph(tmp_path).graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not [node.op for node in nodes if "Mutable" in node.op or "PyFunc" in node.op]
    texts = ["The quick fox 日本", "", " x"]
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](text=tf.constant(texts))
    assert served["same"].numpy().tolist() == [1, 1, 1]
    ids = server.tokenizer.tokenize(texts)
    assert served["ids"].numpy().tolist() == ids.to_tensor(-1, shape=[None, 64]).numpy().tolist()
