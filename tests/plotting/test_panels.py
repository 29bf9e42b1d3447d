import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import panels, runs

HOME = pathlib.Path("/a/b")
DEFAULTS = blocks.load_config(["minatar", "scratch"])
PRETRAIN = blocks.load_config(["minatar", "pretrain"])


def make_run(name="run", config=DEFAULTS, **metrics):
    """A run whose metrics are given as values at the steps 1, 2, 3, ..."""
    held = {
        key.replace("__", "/"): (np.arange(1.0, len(v) + 1), np.array(v, float))
        for key, v in metrics.items()
    }
    return runs.Run(name, HOME, config, held)


def arm_config(stage, **settings):
    return blocks.with_stage(DEFAULTS, stage).update(settings)


def test_runs_of_one_kind_are_the_seeds_of_one_curve():
    found = [make_run("a", train_return=[1, 2]), make_run("b", train_return=[3, 4])]
    ((panel,), notes) = panels.make(found, ["train_return"])
    assert (panel.task, panel.metric) == ("minatar_space_invaders", "train_return")
    assert panel.arms["scratch"].band.mean.tolist() == [2, 3]
    assert panel.paper == {} and notes == []


def test_a_panel_a_metric_and_game():
    other = arm_config("scratch", task="minatar_seaquest")
    found = [make_run(loss=[1], kl=[2]), make_run(config=other, loss=[1])]
    made, notes = panels.make(found, ["loss", "kl"])
    assert [(p.task, p.metric) for p in made] == [
        ("minatar_seaquest", "loss"),
        ("minatar_space_invaders", "loss"),
        ("minatar_space_invaders", "kl"),
    ]
    assert notes == ["run has no 'kl'; it has loss and so on."]


def test_metrics_by_game_are_panels_of_these_games():
    metrics = {"model_error": [3], "model_error__minatar_asterix": [4]}
    made, _ = panels.make([make_run(config=PRETRAIN, **metrics)], ["model_error"])
    assert [p.task for p in made] == ["4 games mixed", "minatar_asterix"]
    assert made[1].arms["pretrain"].lines[0][1].tolist() == [4]


def test_tasks_and_methods_are_expressions_and_methods_an_order():
    frozen = arm_config("finetune", **{"init.path": "x"})
    found = [make_run(config=frozen, loss=[2]), make_run(loss=[1])]
    (panel,), _ = panels.make(found, ["loss"])
    assert list(panel.arms) == ["scratch", "pretrained"]
    (panel,), _ = panels.make(found, ["loss"], methods=["^pre", "scratch"])
    assert list(panel.arms) == ["pretrained", "scratch"]
    (panel,), _ = panels.make(found, ["loss"], methods=["scr"], tasks=["invaders$"])
    assert list(panel.arms) == ["scratch"]
    with pytest.raises(panels.PanelError, match="tasks minatar_space_invaders"):
        panels.make(found, ["loss"], tasks=["pong"])
    with pytest.raises(panels.PanelError, match="regular expressions"):
        panels.make(found, ["loss"], tasks=["("])


def test_the_papers_curves_are_behind_where_asked():
    found = [make_run(train_return=[1], kl=[1])]
    made, _ = panels.make(found, ["train_return", "kl"], behind=True)
    assert set(made[0].paper) == {"scratch", "pretrained", "pretrained_frozen_rssm"}
    assert made[1].paper == {}


def test_a_metric_can_be_the_horizontal_axis():
    run = make_run(loss=[5, 6, 7], total=[100, 300])
    view = panels.View(xaxis="total", xmult=0.5)
    steps, values = panels.curve(run, "loss", view)
    assert steps.tolist() == [50, 150] and values.tolist() == [5, 6]
    assert panels.curve(run, "loss", panels.View(xaxis="frames")) is None


def test_bins_smoothing_and_bounds_are_of_what_is_drawn():
    run = make_run(loss=[0, 2, 4, 900])
    view = panels.View(bins=2, maxval=6)
    arm = panels.make([run], ["loss"], view)[0][0].arms["scratch"]
    assert arm.lines[0][0].tolist() == [2, 4]
    assert arm.lines[0][1].tolist() == [1, 5]
    assert arm.curves[0][1].tolist() == [0, 2, 4, 6]
    view = panels.View(smooth=2, agg="none")
    arm = panels.make([run], ["loss"], view)[0][0].arms["scratch"]
    assert arm.lines[0][1].tolist() == [0, 1, 3, 452] and arm.band is None


def test_what_is_worth_seeing_depends_on_what_there_is():
    online = make_run(train_return=[1], eval_return_mean=[1], model_error=[1])
    offline = make_run(model_error=[1], eval_model_error=[1], model_loss=[1])
    assert panels.usual([offline]) == ("model_error", "eval_model_error")
    assert panels.usual([online, offline]) == (
        "train_return",
        "eval_return_mean",
        "model_error",
    )
    old = make_run(eval_return=[1], model_loss=[1])
    assert panels.usual([old]) == ("eval_return_mean",)
    assert panels.usual([make_run(other=[1])]) == ("other",)
