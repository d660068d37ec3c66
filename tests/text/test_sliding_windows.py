"""Windows over a context: those of google-research's loop and of tokenizers' truncation, the same in every graph."""

import random

import pytest
import tensorflow as tf

from albert_gpt_tf.text.sliding_windows import SlidingWindows, pack_sliding_windows

CLS, SEP, PAD = 101, 102, 0


def spans(length, room, stride):
    """google-research/albert, the loop over `_DocSpan`: (start, length) of every window."""
    found, start = [], 0
    while start < length:
        size = min(room, length - start)
        found.append((start, size))
        if start + size == length:
            break
        start += min(size, stride)
    return found or [(0, 0)]


def is_max_context(found, index, place):
    """google-research/albert, `_check_is_max_context`."""
    best_score, best = None, None
    for number, (start, length) in enumerate(found):
        end = start + length - 1
        if start <= place <= end:
            score = min(place - start, end - place) + 0.01 * length
            if best_score is None or score > best_score:
                best_score, best = score, number
    return index == best


def reference(questions, contexts, length, stride, max_question_length):
    rows = []
    for example, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        question = question[:max_question_length]
        found = spans(len(context), length - len(question) - 3, stride)
        for index, (start, size) in enumerate(found):
            before = [CLS, *question, SEP]
            window = context[start : start + size]
            padding = length - len(before) - size - 1
            best = [is_max_context(found, index, start + place) for place in range(size)]
            rows.append(
                (
                    before + window + [SEP] + [PAD] * padding,
                    [0] * len(before) + [1] * (size + 1) + [0] * padding,
                    [True] * (length - padding) + [False] * padding,
                    example,
                    start,
                    [False] * len(before) + best + [False] * (1 + padding),
                )
            )
    return [list(part) for part in zip(*rows, strict=True)]


def random_ids(rng, longest):
    return [rng.randrange(200, 9000) for _ in range(rng.randrange(longest + 1))]


def random_batch(rng, longest_question=9, longest_context=150):
    rows = rng.randrange(1, 7)
    return [random_ids(rng, longest_question) for _ in range(rows)], [
        random_ids(rng, rng.choice((3, 20, longest_context))) for _ in range(rows)
    ]


def ragged(rows):
    return tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)


def test_random_batches_equal_the_loops_of_google_research():
    rng = random.Random(0)
    for _ in range(150):
        questions, contexts = random_batch(rng)
        max_question_length = rng.randrange(1, 10)
        length = max_question_length + rng.randrange(4, 40)
        stride = rng.randrange(1, 45)
        ours = pack_sliding_windows(
            ragged(questions), ragged(contexts), length, stride, CLS, SEP, PAD, max_question_length
        )
        assert [part.numpy().tolist() for part in ours] == reference(
            questions, contexts, length, stride, max_question_length
        )


def test_squads_sizes_equal_the_loops_of_google_research():
    rng = random.Random(1)
    questions = [[rng.randrange(200, 9000) for _ in range(size)] for size in (12, 0, 80)]
    contexts = [[rng.randrange(200, 9000) for _ in range(size)] for size in (1500, 381, 382)]
    ours = pack_sliding_windows(ragged(questions), ragged(contexts), 384, 128, CLS, SEP, PAD)
    assert [part.numpy().tolist() for part in ours] == reference(questions, contexts, 384, 128, 64)


def test_every_token_of_the_context_is_shown_best_exactly_once():
    rng = random.Random(2)
    questions, contexts = [random_ids(rng, 9) for _ in range(5)], [random_ids(rng, 200) for _ in range(5)]
    windows = pack_sliding_windows(ragged(questions), ragged(contexts), 32, 7, CLS, SEP, PAD, 9)
    best = windows.is_max_context.numpy()
    for example, context in enumerate(contexts):
        mine = windows.example.numpy() == example
        assert windows.token_ids.numpy()[mine][best[mine]].tolist() == context


def test_an_empty_context_gives_one_window_and_no_rows_give_none():
    windows = pack_sliding_windows(ragged([[5, 6], []]), ragged([[], []]), 8, 2, CLS, SEP, PAD, 4)
    assert windows.token_ids.numpy().tolist() == [
        [CLS, 5, 6, SEP, SEP, PAD, PAD, PAD],
        [CLS, SEP, SEP, PAD, PAD, PAD, PAD, PAD],
    ]
    assert windows.segment_ids.numpy().tolist() == [[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]]
    assert windows.example.numpy().tolist() == [0, 1]
    assert not windows.is_max_context.numpy().any()
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
    windows = pack_sliding_windows(empty, empty, 8, 2, CLS, SEP, PAD, 4)
    assert [part.shape.as_list() for part in windows] == [[0, 8], [0, 8], [0, 8], [0], [0], [0, 8]]
    assert [part.dtype for part in windows] == [tf.int32, tf.int32, tf.bool, tf.int32, tf.int32, tf.bool]


def test_stride_is_the_room_less_the_overlap_that_tokenizers_call_stride():
    tokenizers = pytest.importorskip("tokenizers")
    words = [f"w{number}" for number in range(300)]
    vocabulary = {word: 200 + number for number, word in enumerate(words)} | {"[CLS]": CLS, "[SEP]": SEP, "[PAD]": PAD}
    other = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[PAD]"))
    other.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    other.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    rng = random.Random(3)
    for _ in range(100):
        question = [rng.randrange(300) for _ in range(rng.randrange(1, 8))]
        context = [rng.randrange(300) for _ in range(rng.randrange(1, 120))]
        length = 8 + rng.randrange(4, 30)
        room = length - 3 - len(question)
        overlap = rng.randrange(room)
        other.enable_truncation(length, stride=overlap, strategy="only_second")
        other.enable_padding(length=length, pad_id=PAD)
        encoding = other.encode(" ".join(words[i] for i in question), " ".join(words[i] for i in context))
        expected = [encoding, *encoding.overflowing]
        ours = pack_sliding_windows(
            ragged([[200 + i for i in question]]),
            ragged([[200 + i for i in context]]),
            length,
            room - overlap,
            CLS,
            SEP,
            PAD,
            max_question_length=8,
        )
        assert ours.token_ids.numpy().tolist() == [row.ids for row in expected]
        assert ours.segment_ids.numpy().tolist() == [row.type_ids for row in expected]
        assert ours.padding_mask.numpy().astype(int).tolist() == [row.attention_mask for row in expected]


class IdsPacker(tf.Module):
    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32, row_splits_dtype=tf.int64)] * 2)
    def pack(self, question, context):
        windows = pack_sliding_windows(question, context, 16, 5, CLS, SEP, PAD, max_question_length=6)
        assert windows.token_ids.shape.as_list() == [None, 16]
        return windows._asdict()


class PartsPacker(tf.Module):
    """Takes the parts of the RaggedTensors: TFLite has none."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)] * 2)
    def pack(self, question, question_splits, context, context_splits):
        question = tf.RaggedTensor.from_row_splits(question, question_splits, validate=False)
        context = tf.RaggedTensor.from_row_splits(context, context_splits, validate=False)
        return pack_sliding_windows(question, context, 16, 5, CLS, SEP, PAD, max_question_length=6)._asdict()


def test_a_saved_model_and_tf_data_give_the_same_windows(tmp_path):
    rng = random.Random(4)
    batches = [random_batch(rng) for _ in range(20)]
    packer = IdsPacker()
    tf.saved_model.save(packer, str(tmp_path), signatures=packer.pack)
    loaded = tf.saved_model.load(str(tmp_path))
    questions = [row for batch, _ in batches for row in batch]
    contexts = [row for _, batch in batches for row in batch]
    dataset = tf.data.Dataset.from_tensor_slices((ragged(questions), ragged(contexts))).ragged_batch(3)
    count = 0
    for windows in dataset.map(lambda q, c: pack_sliding_windows(q, c, 16, 5, CLS, SEP, PAD, max_question_length=6)):
        rows = slice(count, count + 3)
        count += 3
        expected = reference(questions[rows], contexts[rows], 16, 5, 6)
        assert [part.numpy().tolist() for part in windows] == expected
        ours = loaded.pack(ragged(questions[rows]), ragged(contexts[rows]))
        assert [ours[name].numpy().tolist() for name in windows._fields] == expected


def test_windows_convert_to_tflite_without_custom_ops_and_give_the_same_ids():
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    packer = PartsPacker()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([packer.pack.get_concrete_function()], packer)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = interpreters.Interpreter(model_content=converter.convert())
    run = interpreter.get_signature_runner()
    rng = random.Random(5)
    for _ in range(30):
        questions, contexts = random_batch(rng)
        question, context = ragged(questions), ragged(contexts)
        lite = run(
            question=question.values.numpy(),
            question_splits=question.row_splits.numpy(),
            context=context.values.numpy(),
            context_splits=context.row_splits.numpy(),
        )
        expected = reference(questions, contexts, 16, 5, 6)
        assert [lite[name].tolist() for name in SlidingWindows._fields] == expected


def test_impossible_requests_are_refused():
    ids = ragged([[5]])
    with pytest.raises(ValueError, match=r"at least max_question_length \+ 4 = 68"):
        pack_sliding_windows(ids, ids, 67, 5, CLS, SEP, PAD)
    with pytest.raises(ValueError, match="stride=0"):
        pack_sliding_windows(ids, ids, 128, 0, CLS, SEP, PAD)
    with pytest.raises(ValueError, match="max_question_length=0"):
        pack_sliding_windows(ids, ids, 128, 5, CLS, SEP, PAD, max_question_length=0)
