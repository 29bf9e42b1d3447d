"""Figures of a sweep."""

import pytest
from matplotlib.figure import Figure

from dreamerv2_transfer.sweeps import figures
from dreamerv2_transfer.sweeps.search import Search
from tests.sweeps.sweeping import make_plan

pytest.importorskip("optuna")


@pytest.fixture
def drawn(monkeypatch):
    """The figures as matplotlib holds them, which are not turned into pictures."""
    found = {}

    def keep(figure: Figure, title: str, caption: str):
        found[title] = figure.axes[0]
        return caption

    monkeypatch.setattr(figures, "_picture", keep)
    return found


def sweep(folder, *values):
    plan = make_plan(folder)
    search = Search(plan)
    for at, value in enumerate(values):
        trial = search.ask()
        for point in (10, 20):
            trial.report(value * point, point)
        search.tell(
            trial, "PRUNED" if at == 2 else "COMPLETE", None if at == 2 else value
        )
    return plan, search


def test_nothing_is_drawn_before_a_trial_has_a_value(folder, drawn):
    plan, search = sweep(folder)
    search.tell(search.ask(), "FAIL")
    assert figures.make(plan, search) == []


def test_values_are_drawn_over_trials_budget_and_each_parameter(folder, drawn):
    plan, search = sweep(folder, 1.0, 3.0, 9.0, 2.0)
    captions = figures.make(plan, search)
    names = ["imag_horizon", "model_opt.lr", "encoder.cnn_kernels"]
    assert [*drawn] == ["Trials", "Values while training", *names]
    *dots, best = drawn["Trials"].lines
    assert [float(x.get_ydata()[0]) for x in dots] == [1.0, 3.0, 180.0, 2.0]
    assert [x.get_marker() for x in dots] == ["o", "o", "x", "o"]
    assert best.get_ydata().tolist() == [1.0, 3.0, 3.0]  # A pruned one is never best.
    assert dots[1].get_color() == figures.BEST and dots[2].get_color() == figures.PRUNED
    curve = drawn["Values while training"].lines[0]
    assert curve.get_xydata().tolist() == [[10.0, 10.0], [20.0, 20.0]]
    assert drawn["model_opt.lr"].get_xscale() == "log"
    assert drawn["imag_horizon"].get_xscale() == "linear"
    texts = [x.get_text() for x in drawn["encoder.cnn_kernels"].get_xticklabels()]
    assert texts == ["3,3", "4,4"]
    assert captions[2] == "Searched: 2 to 9."


def test_a_figure_becomes_a_picture(folder):
    plan, search = sweep(folder, 1.0)
    picture = figures.history(plan, [figures.Dot(search.ended[0], "#000000", True)])
    assert picture.is_wide and picture.uri.startswith("data:image/png;base64,")
