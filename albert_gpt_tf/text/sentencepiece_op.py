"""TF Text's SentencePiece op, whose model outlives TensorFlow's caches."""

import hashlib

import tensorflow as tf
import tensorflow_text as tf_text

# The ops and the class that tracks their resource: TF Text exports neither.
from tensorflow_text.python.ops import sentencepiece_tokenizer as tf_text_sentencepiece


class SentencepieceTokenizer(tf_text.SentencepieceTokenizer):
    """`tf_text.SentencepieceTokenizer` that survives `keras.utils.set_random_seed`.

    TF Text's model belongs to the op that made it. TensorFlow forgets such ops when it clears its caches, which setting
    a random seed does, and every later call fails with "SentencepieceResource does not exist". A model that has a
    shared name belongs to nobody and stays. The name is a hash of the model, so that equal models are one.

    Args:
        model: bytes, a serialized SentencePiece model.

    Example:
        >>> from albert_gpt_tf.text.train_vocabulary import train_sentencepiece
        >>> op = SentencepieceTokenizer(train_sentencepiece(["to be or not to be"] * 99, 20))
        >>> tf.random.set_seed(0)
        >>> op.detokenize(op.tokenize(["to be"])).numpy().tolist()
        [b'to be']
    """

    def __init__(self, model: bytes) -> None:
        # Not the parent's own `__init__`, which would make a second model: these are its defaults.
        super(tf_text.SentencepieceTokenizer, self).__init__()
        self.nbest_size, self.alpha, self.out_type = 0, 1.0, tf.int32
        self.reverse = self.add_bos = self.add_eos = self.return_nbest = False
        self._model_resource = _SharedModel(model, None)


class _SharedModel(tf_text_sentencepiece._SentencepieceModelResource):
    def _create_resource(self):
        name = f"sentencepiece_{hashlib.sha256(self._model).hexdigest()}"
        with tf.name_scope("SentenceTokenizerInitializer"):
            return tf_text_sentencepiece.gen_sentencepiece_tokenizer.sentencepiece_op(
                model=self._model, shared_name=name
            )
