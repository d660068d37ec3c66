import keras
import numpy as np
import pytest

from albert_gpt_tf.training.optimizers import LAMB, AdamW
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


@pytest.mark.parametrize("hook", ["_clip_gradients", "_all_reduce_sum_gradients", "_apply_weight_decay"])
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

        def _apply_weight_decay(self, variables):
            called.append("_apply_weight_decay")
            return super()._apply_weight_decay(variables)

    run(Spy(), variables, gradients[:1])
    expected = {"_clip_gradients", "_all_reduce_sum_gradients", "_apply_weight_decay"}
    assert set(called) == expected, (
        f"Keras {keras.__version__} did not call {expected - set(called)} of an optimizer, which "
        "albert_gpt_tf/training/optimizers.py relies on."
    )


# === LAMB, and steps that are skipped ===


class NumpyLamb:
    """Algorithm 2 of the paper, without the bias correction unless asked for, in float64."""

    def __init__(self, rate, weight_decay, clipnorm, beta_1=0.9, beta_2=0.999, epsilon=1e-6, bias_correction=False):
        self.__dict__.update(locals())
        self.step, self.m, self.v = 0, None, None

    def update(self, weights, gradients):
        gradients = [g.astype("float64") for g in gradients]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        gradients = [g * min(1, self.clipnorm / norm) for g in gradients]
        if self.m is None:
            self.m = [np.zeros_like(g) for g in gradients]
            self.v = [np.zeros_like(g) for g in gradients]
        self.step += 1
        new = []
        for index, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            self.m[index] = self.beta_1 * self.m[index] + (1 - self.beta_1) * gradient
            self.v[index] = self.beta_2 * self.v[index] + (1 - self.beta_2) * gradient**2
            update = self.m[index] / (np.sqrt(self.v[index]) + self.epsilon)
            if self.bias_correction:
                update *= np.sqrt(1 - self.beta_2**self.step) / (1 - self.beta_1**self.step)
            ratio = 1.0
            if weight.ndim > 1:
                update = update + self.weight_decay * weight
                if np.linalg.norm(weight) > 0 and np.linalg.norm(update) > 0:
                    ratio = np.linalg.norm(weight) / np.linalg.norm(update)
            new.append(weight - self.rate * ratio * update)
        return new


@pytest.mark.parametrize("bias_correction", [False, True])
def test_lamb_equals_the_paper_in_numpy_for_50_steps(variables, gradients, bias_correction):
    variables[0].assign(np.zeros((3, 4)))  # a norm of 0: the ratio is 1 at first
    ours = LAMB(0.02, weight_decay=0.1, bias_correction=bias_correction)
    reference = NumpyLamb(0.02, 0.1, 1.0, bias_correction=bias_correction)
    expected = [variable.numpy().astype("float64") for variable in variables]
    for step in [*gradients, *gradients]:
        expected = reference.update(expected, step)
        run(ours, variables, [step])
    for variable, weight in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), weight, atol=1e-5)


def test_lamb_moves_a_matrix_by_its_own_norm_times_the_rate(variables, gradients):
    before = [variable.numpy() for variable in variables]
    after = run(LAMB(0.01), variables, gradients[:1])
    for old, new in zip(before, after, strict=True):
        if old.ndim > 1:
            assert np.linalg.norm(new - old) == pytest.approx(0.01 * np.linalg.norm(old), rel=1e-4)


def test_lamb_is_not_keras_lamb(variables, gradients):
    twins = [keras.Variable(variable.numpy()) for variable in variables]
    ours = run(LAMB(0.01, weight_decay=0.5, bias_correction=True), variables, gradients)
    theirs = run(keras.optimizers.Lamb(0.01, weight_decay=0.5, global_clipnorm=1.0), twins, gradients)
    assert max(abs(one - other).max() for one, other in zip(ours, theirs, strict=True)) > 0.01


def test_adamw_without_bias_correction_takes_the_larger_first_step_of_the_release(variables, gradients):
    before = [variable.numpy() for variable in variables]
    after = run(AdamW(0.01, weight_decay=0.0, bias_correction=False, global_clipnorm=None), variables, gradients[-1:])
    for old, new, gradient in zip(before, after, gradients[-1], strict=True):
        # (1 - 0.9) g / sqrt((1 - 0.999) g^2)
        np.testing.assert_allclose(new - old, -0.01 * 0.1 / 0.001**0.5 * np.sign(gradient), rtol=1e-3)


@pytest.mark.parametrize("kind", [AdamW, LAMB])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing_on_request(variables, gradients, kind, bad):
    optimizer = kind(0.01, weight_decay=0.1, skip_non_finite=True)
    run(optimizer, variables, gradients[:3])
    before = [variable.numpy() for variable in [*variables, *optimizer.variables]]
    broken = [gradient.copy() for gradient in gradients[3]]
    broken[2][1] = bad
    run(optimizer, variables, [broken])
    after = [variable.numpy() for variable in [*variables, *optimizer.variables]]
    changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if not np.array_equal(old, new)]
    assert [([*variables, *optimizer.variables])[i].path for i in changed] == [optimizer.iterations.path]
    # What follows is as if the step had not been.
    run(optimizer, variables, gradients[4:6])
    assert all(np.isfinite(variable.numpy()).all() for variable in variables)


@pytest.mark.parametrize("kind", [AdamW, LAMB])
def test_watching_for_gradients_that_are_not_finite_does_not_change_a_run(variables, gradients, kind):
    twins = [keras.Variable(variable.numpy()) for variable in variables]
    watched = run(kind(0.01, skip_non_finite=True), variables, gradients)
    for one, other in zip(watched, run(kind(0.01), twins, gradients), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lamb_config_round_trip():
    optimizer = LAMB(0.01, weight_decay=0.2, bias_correction=True, skip_non_finite=True)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is LAMB and again.get_config() == optimizer.get_config()
