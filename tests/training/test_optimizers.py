import keras
import numpy as np
import pytest

from albert_gpt_tf.training.optimizers import AdamW
from albert_gpt_tf.training.schedules import WarmupSchedule

STEPS = 25
SHAPES = {"kernel": (3, 4), "per_head": (2, 3, 4), "bias": (4,), "gain": (3,)}


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape).astype("float32"), name=name) for name, shape in SHAPES.items()]


@pytest.fixture(scope="module")
def gradients():
    """Norms on both sides of 1."""
    rng = np.random.default_rng(1)
    return [
        [(rng.normal(size=shape) * scale).astype("float32") for shape in SHAPES.values()]
        for scale in np.linspace(0.02, 2, STEPS)
    ]


def run(optimizer, variables, gradients):
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("clipnorm", [1.0, None])
def test_adamw_equals_the_paper_in_numpy(variables, gradients, numpy_adamw, clipnorm):
    def rate(step):
        return 0.01 * min(step + 1, 5) / 5 if step < 5 else 0.01 * (1 - (step - 4) / 26)

    schedule = WarmupSchedule(0.01, total_steps=30, warmup_steps=5)
    ours = AdamW(schedule, weight_decay=0.1, global_clipnorm=clipnorm, beta_2=0.95)
    reference = numpy_adamw(rate, weight_decay=0.1, clipnorm=clipnorm, beta_2=0.95)
    expected = [variable.numpy().astype("float64") for variable in variables]
    norms = []
    for step in gradients:
        expected, norm = reference.update(expected, step)
        run(ours, variables, [step])
        assert float(ours.gradient_norm) == pytest.approx(norm, rel=1e-5)
        norms.append(norm)
        for variable, weight in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), weight, atol=1e-5)
    assert min(norms) < 1 < max(norms)  # both sides of the clipping were seen


def test_decay_is_for_rank_2_and_more(variables):
    zeros = [[np.zeros(shape, "float32") for shape in SHAPES.values()]]
    before = [variable.numpy() for variable in variables]
    after = run(AdamW(0.1, weight_decay=0.5), variables, zeros)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old * (0.95 if old.ndim > 1 else 1.0), rtol=1e-6)


def test_clipping_is_by_the_norm_of_all_gradients_together(variables):
    """Two gradients of norm 3 and 4 have norm 5 together; with plain Adam, scale is lost, so look at m."""
    optimizer = AdamW(0.1, weight_decay=0.0, global_clipnorm=1.0)
    one, other = variables[2], variables[3]
    optimizer.apply([keras.ops.array([3.0, 0, 0, 0]), keras.ops.array([0, 4.0, 0])], [one, other])
    moments = [variable.numpy() for variable in optimizer.variables if "momentum" in variable.path]
    np.testing.assert_allclose(moments[0][0], 0.1 * 3 / 5, rtol=1e-6)
    np.testing.assert_allclose(moments[1][1], 0.1 * 4 / 5, rtol=1e-6)
    assert float(optimizer.gradient_norm) == pytest.approx(5)


def test_config_round_trip_keeps_every_hyperparameter_and_the_rule(variables, gradients):
    optimizer = AdamW(
        WarmupSchedule(0.02, 40, 3, "cosine", 1e-3), weight_decay=0.3, global_clipnorm=0.7, beta_1=0.8, beta_2=0.95,
        epsilon=1e-6,
    )  # fmt: skip
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is AdamW
    assert again.get_config() == optimizer.get_config()
    names = ("weight_decay", "global_clipnorm", "beta_1", "beta_2", "epsilon")
    assert [getattr(again, name) for name in names] == [0.3, 0.7, 0.8, 0.95, 1e-6]
    twins = [keras.Variable(variable.numpy()) for variable in variables]
    for one, other in zip(run(optimizer, variables, gradients), run(again, twins, gradients), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_saved_and_loaded_optimizer_continues_where_it_stopped(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.LayerNormalization()])
    model.compile(AdamW(WarmupSchedule(0.1, 20, 4), weight_decay=0.5, global_clipnorm=0.1), "mse")
    model.fit(x, y, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 3
    for each in (model, loaded):
        each.fit(x, y, epochs=3, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # `fit` shuffles: sums in another order


@pytest.mark.parametrize("argument", ["clipnorm", "clipvalue"])
def test_other_kinds_of_clipping_are_refused_and_not_ignored(argument):
    with pytest.raises(ValueError, match="global_clipnorm"):
        AdamW(global_clipnorm=None, **{argument: 0.5})


@pytest.mark.parametrize("hook", ["_clip_gradients", "_all_reduce_sum_gradients", "_use_weight_decay"])
def test_keras_still_has_the_private_hooks(hook):
    assert hasattr(keras.optimizers.AdamW, hook), (
        f"Keras {keras.__version__} has no AdamW.{hook}, which albert_gpt_tf/training/optimizers.py overrides. Without "
        "it gradients are clipped wrongly under several replicas: find what it is called now, or hold Keras back."
    )


def test_keras_still_calls_the_private_hooks(variables, gradients):
    called = []

    class Spy(AdamW):
        def _clip_gradients(self, grads):
            called.append("_clip_gradients")
            return super()._clip_gradients(grads)

        def _all_reduce_sum_gradients(self, grads_and_vars):
            called.append("_all_reduce_sum_gradients")
            return super()._all_reduce_sum_gradients(grads_and_vars)

        def _use_weight_decay(self, variable):
            called.append("_use_weight_decay")
            return super()._use_weight_decay(variable)

    run(Spy(), variables, gradients[:1])
    expected = {"_clip_gradients", "_all_reduce_sum_gradients", "_use_weight_decay"}
    assert set(called) == expected, (
        f"Keras {keras.__version__} did not call {expected - set(called)} of an optimizer, which "
        "albert_gpt_tf/training/optimizers.py relies on."
    )
