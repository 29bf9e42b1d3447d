"""The paper's curves, read off its figures."""

import numpy as np
import pytest

from dreamerv2_transfer.plotting import paper


@pytest.mark.parametrize("figure", paper.FIGURES)
def test_every_figure_has_curves_with_ascending_steps(figure):
    lines = paper.curves(figure)
    assert "scratch" in lines and len(lines) in (2, 3)
    for steps, values in lines.values():
        assert len(steps) >= 78 and (np.diff(steps) > 0).all()
        assert np.isfinite(values).all()


def test_the_returns_of_space_invaders():
    lines = paper.curves("minatar_space_invaders_return")
    assert list(lines) == ["scratch", "pretrained", "pretrained_frozen_rssm"]
    steps, values = lines["scratch"]
    assert (steps[0], values[0]) == (250, 2.814)


def test_a_metric_of_ours_finds_its_figure():
    assert set(paper.behind("minatar_seaquest", "train_return")) == {
        "scratch",
        "pretrained_fixed_world_model",
    }
    assert "pretrained" in paper.behind("atari_breakout", "model_error")
    assert paper.behind("minatar_seaquest", "model_error") == {}


def test_figures_are_chosen_by_their_names():
    assert paper.chosen(["minatar_seaquest_return", "atari_breakout_model_loss"]) == [
        ("minatar_seaquest", "train_return"),
        ("atari_breakout", "model_error"),
    ]
    with pytest.raises(paper.PaperError, match="Received: pong"):
        paper.chosen(["atari_breakout_return", "pong"])
