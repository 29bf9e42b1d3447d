"""What is logged of the games that a model knew."""

import pytest

from dreamerv2_transfer.validation import forgetting
from tests import replays


@pytest.fixture
def errors(monkeypatch) -> dict[str, float]:
    """The model's errors by game, which a test sets."""
    found: dict[str, float] = {}

    class HeldOut:
        def __init__(self, *args):
            pass

        def losses(self, task):
            return {"model_error": found[task]}

    monkeypatch.setattr(forgetting, "HeldOut", HeldOut)
    return found


def make(holdout=3):
    return forgetting.Forgetting(None, None, replays.dataset(holdout=holdout))


def test_forgetting_is_the_mean_growth_of_the_errors(errors):
    measured = make()
    errors |= {"short": 1.0, "long": 3.0}
    assert measured.metrics() == {
        "known_model_error": 2.0,
        "forgetting": 0.0,
        "known_model_error/short": 1.0,
        "known_model_error/long": 3.0,
    }
    errors |= {"short": 2.0, "long": 2.5}
    found = measured.metrics()
    assert (found["known_model_error"], found["forgetting"]) == (2.25, 0.25)
    resumed = make()
    resumed.load_state(measured.state())
    assert resumed.metrics() == found


def test_without_held_out_episodes_nothing_is_logged(errors):
    assert make(holdout=0).metrics() == {}
