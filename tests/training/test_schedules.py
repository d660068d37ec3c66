import math

import keras
import numpy as np
import pytest

from albert_gpt_tf.training.schedules import DECAYS, WarmupSchedule

PEAK, TOTAL, WARMUP, FLOOR = 0.02, 60, 12, 0.001


def expected(step, decay, warmup=WARMUP, floor=FLOOR):
    """Rate of the step after `step` steps, written in terms of the 1-based number of the step."""
    number = step + 1
    if number <= warmup:
        return PEAK * number / warmup
    if decay == "constant":
        return PEAK
    share = min((number - warmup) / (TOTAL + 1 - warmup), 1)  # the floor belongs to the step after the run
    if decay == "linear":
        return PEAK + (floor - PEAK) * share
    if decay == "polynomial":
        return floor + (PEAK - floor) * (1 - share) ** 2
    return floor + (PEAK - floor) * 0.5 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("warmup", [0, 1, WARMUP, TOTAL])
def test_every_step_equals_numpy(decay, warmup):
    schedule = WarmupSchedule(PEAK, TOTAL, warmup, decay, FLOOR)
    steps = range(TOTAL)
    rates = [float(schedule(step)) for step in steps]
    np.testing.assert_allclose(rates, [expected(step, decay, warmup) for step in steps], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("decay", DECAYS)
def test_the_last_warmup_step_has_exactly_the_peak_and_no_step_more(decay):
    schedule = WarmupSchedule(PEAK, TOTAL, WARMUP, decay, FLOOR)
    rates = np.array([float(schedule(step)) for step in range(TOTAL)])
    assert rates[WARMUP - 1] == rates.max() == np.float32(PEAK)
    assert (np.diff(rates[:WARMUP]) > 0).all() and (np.diff(rates[WARMUP - 1 :]) <= 0).all()


@pytest.mark.parametrize("decay", DECAYS)
def test_no_jump_anywhere(decay):
    rates = np.array([float(WarmupSchedule(PEAK, 1000, 100, decay)(step)) for step in range(95, 130)])
    assert np.abs(np.diff(rates)).max() <= PEAK / 100 * 1.001  # a step of the warm-up is the steepest


@pytest.mark.parametrize("decay", ["linear", "cosine", "polynomial"])
@pytest.mark.parametrize("step", [TOTAL, TOTAL + 1000])
def test_the_floor_holds_after_the_run_and_every_step_of_it_moves(decay, step):
    schedule = WarmupSchedule(PEAK, TOTAL, WARMUP, decay, FLOOR)
    assert float(schedule(step)) == pytest.approx(FLOOR, rel=1e-6)
    assert float(schedule(TOTAL - 1)) > FLOOR


def test_config_round_trip():
    schedule = WarmupSchedule(PEAK, TOTAL, WARMUP, "cosine", FLOOR)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(again) is WarmupSchedule and again.get_config() == schedule.get_config()
    assert [float(again(step)) for step in (0, 20, 59)] == [float(schedule(step)) for step in (0, 20, 59)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": "linnear"}, "decay must be one of .*linear.*Received: decay='linnear'"),
        ({"warmup_steps": TOTAL + 1}, "warmup_steps must be between 0 and total_steps.*warmup_steps=61"),
        ({"warmup_steps": -1}, "warmup_steps must be between 0 and total_steps"),
    ],
)
def test_errors_say_what_was_expected_and_received(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmupSchedule(PEAK, TOTAL, **arguments)
