import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.validation import Phantom

CONFIG = blocks.load_config(["minatar", "small", "scratch"])


def warnings(capsys, updates=1000, played=None, config=CONFIG, **rates):
    """The lines that updates with these mean rewards a step lead to."""
    phantom = Phantom(config)
    for _ in range(updates):
        phantom.add({f"reward_{k}": np.float32(v) for k, v in rates.items()})
        if played is not None:
            phantom.add({"reward_played": played}, weight=30)
    return capsys.readouterr().out.splitlines()


def test_a_warning_tells_what_was_dreamed_and_what_is_true(capsys):
    (line,) = warnings(
        capsys, updates=3000, dreamed=0.013, replayed=0.0024, played=0.0006
    )
    assert line.startswith(
        "Warning: the actor exploits phantom reward. Over 1000 updates it dreamed "
        "0.013 reward a step, where its episodes held 0.0006 and the replayed steps "
        "0.0024 (rewards after clip_rewards=tanh)."
    )


@pytest.mark.parametrize(
    "rates",
    [
        dict(dreamed=0.1, replayed=0.06, played=0.15),  # Space Invaders, from scratch.
        dict(dreamed=0.013, replayed=0.0024, played=0.005),  # It plays well by now.
        dict(dreamed=0.013, replayed=0.005, played=0.0),  # It starts near rewards.
        dict(dreamed=0.0015, replayed=0.0, played=0.0),  # Noise of a reward head.
        dict(dreamed=-0.1, replayed=-0.5, played=-0.5),
        dict(dreamed=np.nan, replayed=0.0),
        dict(replayed=0.0, played=0.0),  # No actor was trained.
    ],
)
def test_a_healthy_actor_is_not_warned_of(capsys, rates):
    assert warnings(capsys, **rates) == []


def test_before_an_episode_ends_only_replayed_steps_are_known(capsys):
    (line,) = warnings(capsys, dreamed=0.5, replayed=0.1)
    assert "its episodes held ? and the replayed steps 0.1" in line


def test_only_means_over_all_updates_of_the_patience_count(capsys):
    assert warnings(capsys, updates=999, dreamed=1.0, replayed=0.0) == []
    phantom = Phantom(CONFIG)
    for update in range(1000):
        phantom.add({"reward_dreamed": 1.0 if update < 5 else 0.0})
        phantom.add({"reward_replayed": 0.004})
    assert capsys.readouterr().out == ""


def test_each_threshold_is_an_option(capsys):
    rates = dict(dreamed=0.013, replayed=0.0024)
    for changes in (
        {"phantom.ratio": 6.0},
        {"phantom.margin": 0.02},
        {"phantom.patience": 2000},
        {"phantom.patience": 0},
    ):
        assert warnings(capsys, config=CONFIG.update(changes), **rates) == []
