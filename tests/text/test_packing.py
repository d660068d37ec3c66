"""Packing: rows of one length, the same in TensorFlow and TFLite."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.text.packing import pack_causal, pack_segments

CLS, SEP, PAD, END = 101, 102, 0, 103


def reference_pack(a, b, length, truncation="longest_first"):
    """google-research/albert: `_truncate_seq_pair`, then the template."""
    a, b = list(a), None if b is None else list(b)
    room = length - (2 if b is None else 3)
    while len(a) + len(b or []) > room:
        if b is None:
            cut = a
        elif truncation == "longest_first":
            cut = a if len(a) > len(b) else b
        else:
            first, second = (b, a) if truncation == "only_second" else (a, b)
            cut = first or second
        cut.pop()
    ids = [CLS, *a, SEP] + ([] if b is None else [*b, SEP])
    types = [0] * (len(a) + 2) + ([] if b is None else [1] * (len(b) + 1))
    padding = [PAD] * (length - len(ids))
    return ids + padding, types + [0] * len(padding), [True] * len(ids) + [False] * len(padding)


def rows(lengths, first):
    return tf.ragged.constant([list(range(first, first + length)) for length in lengths], tf.int32, ragged_rank=1)


@pytest.mark.parametrize("truncation", ["longest_first", "only_second", "only_first"])
@pytest.mark.parametrize("length", [3, 4, 5, 8, 9, 16])
def test_pairs_and_single_segments_equal_the_reference_for_all_lengths(length, truncation):
    lengths_a = [a for a in range(12) for _ in range(12)]
    lengths_b = [b for _ in range(12) for b in range(12)]
    a, b = rows(lengths_a, 10), rows(lengths_b, 50)
    for segments in ([a, b], [a]):
        packed = [tensor.numpy().tolist() for tensor in pack_segments(segments, length, CLS, SEP, PAD, truncation)]
        pairs = zip(a.to_list(), b.to_list() if len(segments) == 2 else [None] * len(lengths_a), strict=True)
        expected = [reference_pack(*pair, length, truncation) for pair in pairs]
        assert packed == [list(part) for part in zip(*expected, strict=True)]


def test_what_may_not_be_cut_is_cut_only_when_it_does_not_fit_alone():
    question, context = rows([3, 9], 10), rows([9, 4], 50)
    ids, _, _ = pack_segments([question, context], 8, CLS, SEP, PAD, truncation="only_second")
    assert ids.numpy().tolist() == [[CLS, 10, 11, 12, SEP, 50, 51, SEP], [CLS, 10, 11, 12, 13, 14, SEP, SEP]]
    ids, _, _ = pack_segments([question, context], 8, CLS, SEP, PAD, truncation="only_first")
    assert ids.numpy().tolist() == [[CLS, SEP, 50, 51, 52, 53, 54, SEP], [CLS, 10, SEP, 50, 51, 52, 53, SEP]]


@pytest.mark.parametrize("truncation", ["longest_first", "only_second", "only_first"])
def test_a_batch_gets_the_smallest_length_that_holds_it_and_the_same_tokens(truncation):
    lengths = (4, 6, 9, 16)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)] * 2)
    def pack(a, b):
        results = []
        for length in (lengths, lengths[-1]):
            results.append(pack_segments([a, b], length, CLS, SEP, PAD, truncation))
            results.append(pack_segments([a], length, CLS, SEP, PAD, truncation))
            results.append(pack_causal(a, length, END, PAD, add_end=True))
            results.append(pack_causal(a, length, END, PAD, add_end=False))
        return results

    seen = set()
    for size_a in range(20):
        for size_b in range(0, 20, 3):
            results = pack(rows([size_a, 0, size_a // 2], 10), rows([size_b // 2, 0, size_b], 50))
            for bucketed, static in zip(results[:4], results[4:], strict=True):
                longest = int(static[-1].numpy().sum(1).max())
                length = min(size for size in lengths if size >= longest)
                assert bucketed[0].shape == (3, length)
                for ours, expected in zip(bucketed, static, strict=True):
                    np.testing.assert_array_equal(ours, expected[:, :length])
                seen.add(length)
    assert seen == set(lengths)
    for packed in pack(rows([], 0), rows([], 0))[:4]:
        assert all(tensor.shape == (0, 4) for tensor in packed)


def test_zero_rows_keep_their_shapes_and_types():
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
    for segments in ([empty], [empty, empty]):
        ids, types, mask = pack_segments(segments, 8, CLS, SEP, PAD)
        assert ids.shape == types.shape == mask.shape == (0, 8)
        assert (ids.dtype, types.dtype, mask.dtype) == (tf.int32, tf.int32, tf.bool)
    ids, mask = pack_causal(empty, 8, END, PAD, add_end=True)
    assert ids.shape == mask.shape == (0, 8)


def test_the_static_length_is_known_while_tracing():
    def trace(ids):
        packed = pack_segments([ids, ids], 7, CLS, SEP, PAD) + pack_causal(ids, 7, END, PAD, True)
        assert all(tensor.shape.as_list() == [None, 7] for tensor in packed)
        return packed

    tf.function(trace).get_concrete_function(tf.RaggedTensorSpec([None, None], tf.int32))


def test_causal_rows_are_cut_or_padded_and_only_whole_texts_end():
    ids = rows([0, 2, 3, 4, 9], 10)
    token_ids, mask = pack_causal(ids, 4, END, PAD, add_end=True)
    assert token_ids.numpy().tolist() == [
        [END, PAD, PAD, PAD],
        [10, 11, END, PAD],
        [10, 11, 12, END],
        [10, 11, 12, 13],
        [10, 11, 12, 13],
    ]
    assert mask.numpy().sum(1).tolist() == [1, 3, 4, 4, 4]
    token_ids, mask = pack_causal(ids, 4, END, PAD, add_end=False)
    assert token_ids.numpy().tolist()[:2] == [[PAD] * 4, [10, 11, PAD, PAD]]
    assert mask.numpy().sum(1).tolist() == [0, 2, 3, 4, 4]


def test_impossible_requests_are_refused():
    a = rows([1], 10)
    with pytest.raises(ValueError, match="at least 2"):
        pack_segments([a], 1, CLS, SEP, PAD)
    with pytest.raises(ValueError, match="at least 3"):
        pack_segments([a, a], 2, CLS, SEP, PAD)
    with pytest.raises(ValueError, match="one or two segments"):
        pack_segments([a, a, a], 9, CLS, SEP, PAD)
    with pytest.raises(ValueError, match="at least 1"):
        pack_causal(a, 0, END, PAD, True)
    with pytest.raises(ValueError, match="Expected one of longest_first, only_second, only_first"):
        pack_segments([a, a], 9, CLS, SEP, PAD, truncation="longest")
    for lengths in ((), (8, 8), (16, 8)):
        with pytest.raises(ValueError, match="several that increase"):
            pack_segments([a], lengths, CLS, SEP, PAD)
        with pytest.raises(ValueError, match="several that increase"):
            pack_causal(a, lengths, END, PAD, True)


def test_text_to_packed_ids_converts_to_tflite_and_gives_the_same_ids(small_albert):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    from tensorflow_text import tflite_registrar

    class Model(tf.Module):
        def __init__(self, tokenizer):
            super().__init__()
            self.tokenizer = tokenizer

        def _pack(self, *texts, sequence_length=12, truncation="longest_first"):
            tokenizer = self.tokenizer
            segments = [tokenizer.tokenize(text) for text in texts]
            special_ids = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
            packed = pack_segments(segments, sequence_length, *special_ids, truncation)
            return dict(zip(("token_ids", "segment_ids", "padding_mask"), packed, strict=True))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def single(self, text):
            return self._pack(text)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")])
        def pair(self, text, text_pair):
            return self._pack(text, text_pair)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")])
        def buckets(self, text, text_pair):
            return self._pack(text, text_pair, sequence_length=(6, 12, 24), truncation="only_second")

    model = Model(small_albert)
    texts = ["Hello  World", "", "far too long to fit " * 20, "日本語 naïve \x00 😀", "É"]
    both = ["text", "text_pair"]
    for function, names in ((model.single, ["text"]), (model.pair, both), (model.buckets, both)):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = True
        interpreter = interpreters.InterpreterWithCustomOps(
            model_content=converter.convert(), custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
        )
        custom = {op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != op["op_name"].upper()}
        assert custom == {"RaggedTensorToTensor", "TFText>FastSentencepieceTokenize"}
        run = interpreter.get_signature_runner()
        for count in (5, 1, 0):
            batch = dict(zip(names, (texts[:count], texts[::-1][:count]), strict=False))
            ours = function(**{name: tf.constant(value, tf.string) for name, value in batch.items()})
            lite = run(**{name: np.array(value, object) for name, value in batch.items()})
            for name, value in ours.items():
                np.testing.assert_array_equal(lite[name], value)
