"""AlbertTextEmbedder: pooling and length."""

import numpy as np
import pytest
import tensorflow as tf

from albert_gpt_tf.tasks.albert_text_embedder import AlbertTextEmbedder


def expected_embedding(task, texts):
    ids = task.preprocessor(texts)
    hidden, mask = task.backbone(ids)["sequence_output"].numpy(), ids["padding_mask"].numpy()
    if task.pooling == "cls":
        vectors = hidden[:, 0]
    else:
        vectors = np.stack([row[real].mean(0) for row, real in zip(hidden, mask, strict=True)])
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) if task.normalize else vectors


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_are_pooled_over_the_real_tokens(make_albert, texts, pooling, normalize):
    task = make_albert(AlbertTextEmbedder, pooling=pooling, normalize=normalize)
    lines = ["", "a", *texts[:5]]
    expected = expected_embedding(task, lines)
    np.testing.assert_allclose(task.embed(lines), expected, atol=1e-5)
    np.testing.assert_allclose(tf.function(task.answer)(tf.constant(lines))["embedding"], expected, atol=1e-5)


def test_padding_changes_nothing(make_albert, texts):
    task = make_albert(AlbertTextEmbedder)
    ids = task.preprocessor(["a class"])
    length = int(np.sum(ids["padding_mask"]))
    short = task({name: value[:, :length] for name, value in ids.items()})
    np.testing.assert_allclose(task(ids), short, atol=1e-5)


def test_there_is_nothing_to_train(make_albert, texts):
    task = make_albert(AlbertTextEmbedder)
    for method in (task.fit, task.evaluate):
        with pytest.raises(ValueError, match="Expected a task with a loss to fit or evaluate"):
            method(texts[:2], np.zeros(2))


def test_another_pooling_is_refused(make_albert):
    with pytest.raises(ValueError, match=r"Expected pooling to be one of \('mean', 'cls'\). Received: pooling='max'"):
        make_albert(AlbertTextEmbedder, pooling="max")
