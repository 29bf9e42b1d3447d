import json

import pytest

from dreamerv2_transfer.common import counter, when


def fired(condition, steps):
    return [step for step in steps if condition(step)]


def test_every_is_true_at_once_and_then_after_each_interval():
    assert fired(when.Every(10), range(3, 35)) == [3, 13, 23, 33]


def test_every_catches_up_after_a_jump():
    every = when.Every(10)
    assert [every(step) for step in (0, 35, 35, 35, 35)] == [True] * 4 + [False]


@pytest.mark.parametrize("never", [0, None])
def test_every_zero_is_never(never):
    assert fired(when.Every(never), range(5)) == []


def test_once_is_true_once():
    once = when.Once()
    assert [once(), once(), once()] == [True, False, False]


def test_until_is_true_below_its_step_and_zero_is_always():
    assert fired(when.Until(3), range(6)) == [0, 1, 2]
    assert fired(when.Until(0), range(3)) == [0, 1, 2]
    assert fired(when.Until(0.75), range(3)) == [0]


def test_they_take_a_counter():
    step = counter.Counter(5)
    assert when.Every(2)(step) and when.Until(6)(step)


def test_every_goes_on_from_its_saved_state():
    every = when.Every(10)
    assert fired(every, range(3, 20)) == [3, 13]
    resumed = when.Every(10)
    resumed.load_state(json.loads(json.dumps(every.state())))
    assert fired(resumed, range(20, 40)) == [23, 33]


def test_once_stays_spent_after_a_resume():
    once = when.Once()
    once()
    resumed = when.Once()
    resumed.load_state(json.loads(json.dumps(once.state())))
    assert not resumed()


def test_until_has_no_state_of_its_own():
    until = when.Until(3)
    until.load_state(json.loads(json.dumps(until.state())))
    assert fired(until, range(6)) == [0, 1, 2]


def test_a_multiple_is_reached_once_however_large_the_steps_are():
    steps = [0, 4, 8, 12, 20, 21]
    pairs = zip(steps, steps[1:], strict=False)
    assert [when.reached(10, *pair) for pair in pairs] == [0, 0, 1, 1, 0]
    assert not when.reached(0, 0, 100)
    assert when.reached(1e1, counter.Counter(9), counter.Counter(10))
