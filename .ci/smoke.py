"""Run in an environment that has the wheel alone: imports, trains a little, exports, reloads, asks."""

import tempfile
from pathlib import Path

import tensorflow as tf

import albert_gpt_tf as agt
from albert_gpt_tf.text.train_vocabulary import train_sentencepiece

assert ".venv" not in agt.__file__ and "site-packages" in agt.__file__, agt.__file__
texts = ["the quick brown fox", "jumps over the lazy dog"] * 20
tokenizer = agt.AlbertTokenizer(train_sentencepiece(texts, 60))
backbone = agt.AlbertBackbone(
    tokenizer.vocabulary_size(), num_layers=1, num_heads=1, hidden_dim=8, intermediate_dim=16, embedding_dim=8
)
classifier = agt.AlbertTextClassifier(backbone, labels=["fox", "dog"], tokenizer=tokenizer)
classifier.fit(texts, ["fox", "dog"] * 20, verbose=0)
with tempfile.TemporaryDirectory() as folder:
    version = agt.exporters.export_saved_model(classifier, Path(folder) / "animals")
    answer = tf.saved_model.load(str(version)).signatures["serving_default"](text=tf.constant(["a fox"]))
from albert_gpt_tf.serving.local_server import LocalServer  # noqa: E402, F401

configs = list(Path(agt.__file__).parent.joinpath("configs").glob("docstrings_*.py"))
served = list(Path(agt.__file__).parent.joinpath("serving").glob("*.config"))
assert len(configs) == 2 and len(served) == 3, (configs, served)
print(f"the wheel works: version {agt.__version__}, label {answer['label'].numpy()[0].decode()!r}")
