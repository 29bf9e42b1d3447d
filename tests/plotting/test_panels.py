"""Which curves are shown on which panels."""

import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import panels, runs
from dreamerv2_transfer.plotting.panels import Selection
from dreamerv2_transfer.plotting.views import View

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
    ((panel,), notes) = panels.make(found, Selection(["train_return"]))
    assert (panel.task, panel.metric) == ("minatar_space_invaders", "train_return")
    assert panel.arms["scratch"].band.mean.tolist() == [2, 3]
    assert panel.paper == {} and notes == []


def test_seeds_are_in_order_whatever_the_folders_are_called():
    """Resamples pick runs by place, so an interval would depend on the order."""
    by_seed = {x: arm_config("scratch", seed=x) for x in (201, 0, 10, 9)}
    found = [make_run(f"run {x}", by_seed[x], train_return=[x]) for x in by_seed]
    ((panel,), _) = panels.make(found, Selection(["train_return"]))
    assert [run.config.seed for run in panel.arms["scratch"].runs] == [0, 9, 10, 201]
    values = [series[0] for _, series in panel.arms["scratch"].curves]
    assert values == [0, 9, 10, 201]


def test_expressions_that_match_no_run_are_named():
    found = [make_run(loss=[1]), make_run(config=arm_config("finetune"), loss=[1])]
    selection = Selection(["loss"], methods=["scratch", "finetune"])
    made, notes = panels.make(found, selection)
    assert [*made[0].arms] == ["scratch"]
    assert notes == [
        "--methods finetune matches no run; the arms are pretrained, scratch."
    ]


def test_each_metric_of_each_game_has_a_panel():
    other = arm_config("scratch", task="minatar_seaquest")
    found = [make_run(loss=[1], kl=[2]), make_run(config=other, loss=[1])]
    made, notes = panels.make(found, Selection(["loss", "kl"]))
    assert [(p.task, p.metric) for p in made] == [
        ("minatar_seaquest", "loss"),
        ("minatar_space_invaders", "loss"),
        ("minatar_space_invaders", "kl"),
    ]
    assert notes == ["run has no 'kl'; it has loss and so on."]


def test_usual_metrics_are_not_missed_where_a_run_has_none():
    found = [make_run("a", train_return=[1]), make_run("b", PRETRAIN, model_error=[1])]
    made, notes = panels.make(found)
    assert [p.metric for p in made] == ["train_return", "model_error"]
    assert notes == []


def test_metrics_by_game_are_panels_of_these_games():
    metrics = {"model_error": [3], "model_error__minatar_asterix": [4]}
    made, _ = panels.make(
        [make_run(config=PRETRAIN, **metrics)], Selection(["model_error"])
    )
    assert [p.task for p in made] == ["4 games mixed", "minatar_asterix"]
    assert made[1].arms["pretrain"].lines[0][1].tolist() == [4]


def test_returns_by_game_are_usual_metrics():
    metrics = {"train_return__minatar_asterix": [4], "model_error": [3]}
    made, _ = panels.make([make_run(**metrics)])
    shown = {(p.task, p.metric) for p in made}
    assert ("minatar_asterix", "train_return") in shown
    assert {metric for _, metric in shown} == {"train_return", "model_error"}


def test_a_run_on_one_game_counts_once():
    config = PRETRAIN.update(tasks=["minatar_asterix"])
    metrics = {"model_error": [3, 4], "model_error__minatar_asterix": [3, 4]}
    made, _ = panels.make([make_run(config=config, **metrics)])
    assert panels.describe(made) == [
        "minatar_asterix, pretrain, 1 run (seed 0): model_error to step 2"
    ]


def test_tasks_and_methods_are_expressions_and_methods_an_order():
    frozen = arm_config("finetune", **{"init.path": "x"})
    found = [make_run(config=frozen, loss=[2]), make_run(loss=[1])]
    (panel,), _ = panels.make(found, Selection(["loss"]))
    assert list(panel.arms) == ["scratch", "pretrained"]
    (panel,), _ = panels.make(found, Selection(["loss"], methods=["^pre", "scratch"]))
    assert list(panel.arms) == ["pretrained", "scratch"]
    selection = Selection(["loss"], methods=["scr"], tasks=["invaders$"])
    (panel,), _ = panels.make(found, selection)
    assert list(panel.arms) == ["scratch"]
    with pytest.raises(panels.PanelError, match="tasks minatar_space_invaders"):
        panels.make(found, Selection(["loss"], tasks=["pong"]))
    with pytest.raises(panels.PanelError, match="regular expressions"):
        panels.make(found, Selection(["loss"], tasks=["("]))


def test_the_papers_curves_are_behind_where_asked():
    found = [make_run(train_return=[1], kl=[1])]
    made, _ = panels.make(found, Selection(["train_return", "kl"]), behind=True)
    assert set(made[0].paper) == {"scratch", "pretrained", "pretrained_frozen_rssm"}
    assert made[1].paper == {}


@pytest.mark.parametrize(
    "view", [View(xaxis="train_total_steps"), View(xmult=16), View(xmult=0.5)]
)
def test_the_papers_curves_over_updates_are_not_behind_another_axis(view):
    found = [make_run(train_return=[1], train_total_steps=[16])]
    (panel,), notes = panels.make(found, Selection(["train_return"]), view, behind=True)
    assert panel.paper == {}
    assert notes == [
        "The paper's curves and ratios are left out: they are over updates, so they "
        f"need --xaxis step and --xmult 1. Received: {view.xaxis} times {view.xmult:g}"
    ]
    _, notes = panels.make(found, Selection(["train_return"]), view)
    assert notes == []


def test_an_arm_counts_what_its_runs_steps_count():
    dqn = make_run("dqn", arm_config("dqn"), train_return=[1], total=[16])
    scratch = make_run(train_return=[1], total=[16])
    nameless = make_run("x", None, train_return=[1])
    known = panels.make([dqn, scratch], Selection(["train_return"]))[0][0]
    assert known.units("dqn") == {"environment steps"}
    assert known.units("dqn", "scratch") == {"environment steps", "updates"}
    (unknown,), _ = panels.make([nameless])
    assert unknown.units("x") == set()
    (over,), _ = panels.make([dqn, scratch], Selection(), View(xaxis="total"))
    assert over.units("dqn", "scratch") == {"total"}


FIGURES = [
    ("minatar_space_invaders", "train_return"),
    ("minatar_seaquest", "train_return"),
    ("minatar_space_invaders", "model_error"),
]


def test_figures_of_the_paper_come_in_their_order_whatever_else_there_is():
    metrics = {"train_return": [1], "model_error": [2], "kl": [3]}
    other = arm_config("scratch", task="minatar_asterix")
    found = [make_run(config=other, **metrics), make_run(**metrics)]
    made, _ = panels.make(found, Selection(["kl"], figures=FIGURES))
    assert [(p.task, p.metric) for p in made] == [FIGURES[0], FIGURES[2]]
    made, _ = panels.make(found, Selection(figures=FIGURES[::-1]))
    assert [(p.task, p.metric) for p in made] == [FIGURES[2], FIGURES[0]]


def test_figures_that_no_run_has_are_named():
    found = [make_run(model_error=[1])]
    made, _ = panels.make(found)
    with pytest.raises(panels.PanelError) as error:
        panels.of_figures(made, FIGURES[1:2])
    assert str(error.value) == (
        "No run has what the figures show, which are train_return of "
        "minatar_seaquest. Received: runs with minatar_space_invaders, scratch, 1 run "
        "(seed 0): model_error to step 1"
    )


def test_a_line_tells_the_runs_of_an_arm_and_how_far_they_go():
    found = [make_run("a", loss=[1, 2], kl=[1]), make_run("b", loss=[1], kl=[1])]
    found += [make_run("x", None, loss=[3])]
    made, _ = panels.make(found, Selection(["loss", "kl"]))
    assert panels.describe(made) == [
        "game unknown, x, 1 run (seed x): loss to step 1",
        "minatar_space_invaders, scratch, 2 runs (seeds 0, 0): loss to step 1, fewer "
        "runs to 2; kl to step 1",
    ]


def test_what_is_worth_seeing_depends_on_what_there_is():
    online = make_run(train_return=[1], eval_return_mean=[1], model_error=[1])
    offline = make_run(model_error=[1], eval_model_error=[1], model_loss=[1])
    assert panels.usual([offline]) == ("model_error", "eval_model_error")
    judged = make_run(model_error=[1], eval_reward_auc=[1], eval_reward_auc_dreamed=[1])
    assert panels.usual([judged]) == (
        "model_error",
        "eval_reward_auc",
        "eval_reward_auc_dreamed",
    )
    assert panels.usual([online, offline]) == (
        "train_return",
        "eval_return_mean",
        "model_error",
    )
    old = make_run(eval_return=[1], model_loss=[1])
    assert panels.usual([old]) == ("eval_return_mean",)
    assert panels.usual([make_run(other=[1])]) == ("other",)
