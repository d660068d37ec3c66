from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from albert_gpt_tf.data.token_dropout import drop_tokens

TOKENIZER = SimpleNamespace(pad_id=0, cls_id=2, sep_id=3, mask_id=4)
IDS = tf.constant(np.concatenate([np.full((200, 1), 2), np.random.default_rng(0).integers(5, 99, (200, 60)),
                                  np.full((200, 1), 3), np.zeros((200, 10))], 1), tf.int32)  # fmt: skip


def test_the_asked_share_of_tokens_is_replaced_and_special_tokens_stay():
    dropped = drop_tokens(IDS, 0.25, TOKENIZER, [0, 0]).numpy()
    changed = dropped != IDS.numpy()
    assert (dropped[changed] == 4).all()
    assert not changed[:, 0].any() and not changed[:, 61:].any()
    assert abs(changed[:, 1:61].mean() - 0.25) < 0.02  # 12,000 draws: standard deviation 0.004


def test_rate_0_changes_nothing_and_rate_1_everything_else():
    np.testing.assert_array_equal(drop_tokens(IDS, 0.0, TOKENIZER, [0, 0]), IDS)
    assert (drop_tokens(IDS, 1.0, TOKENIZER, [0, 0]).numpy()[:, 1:61] == 4).all()


def test_the_seed_decides():
    first, again, other = (drop_tokens(IDS, 0.5, TOKENIZER, seed).numpy() for seed in ([0, 1], [0, 1], [0, 2]))
    assert (first == again).all() and (first != other).any()
