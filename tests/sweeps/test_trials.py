"""How far trials are, and how good at each point of their budget."""

import json

import pytest

from dreamerv2_transfer.sweeps import trials
from dreamerv2_transfer.sweeps.plan import Objective
from dreamerv2_transfer.sweeps.search import Search
from dreamerv2_transfer.sweeps.trials import Curve, RunningTrial
from tests.sweeps.sweeping import make_plan

pytest.importorskip("optuna")
GAMES = ("minatar_breakout", "minatar_seaquest")


def log(job, *points):
    job.logdir.mkdir(parents=True, exist_ok=True)
    with open(job.logdir / "metrics.jsonl", "a") as file:
        for step, value in points:
            row = {"step": step} | ({} if value is None else {"train_return": value})
            file.write(json.dumps(row) + "\n")


def begin(plan):
    trial = RunningTrial(plan, Search(plan).ask())
    return trial, [*trial.curves]


def test_a_curve_has_a_point_each_twentieth_of_the_updates(folder):
    plan = make_plan(folder, updates=200)
    trial, (job,) = begin(plan)
    curve = Curve(plan, job, "minatar_breakout", [])
    assert not curve.look(5.0) and (curve.share, curve.last) == (0, None)
    log(job, (9, 1.0))
    assert not curve.look(5.0) and curve.share == 9 / 200
    log(job, (29, 3.0))
    assert curve.look(5.0) and curve.marks == [10, 20]
    assert [curve.level(1), curve.level(2), curve.last] == [1.0, 1.0, 3.0]
    assert not curve.look(5.0)
    assert curve.look(5.0, is_done=True) and len(curve.marks) == 20


def test_a_curve_has_a_point_each_twentieth_of_the_minutes(folder):
    plan = make_plan(folder, minutes=2.0)
    trial, (job,) = begin(plan)
    curve = Curve(plan, job, "minatar_breakout", [])
    log(job, (50, 1.0))
    assert curve.look(13.0) and curve.marks == [50, 50] and curve.share == 13 / 120
    log(job, (70, 2.0))
    assert not curve.look(17.0)
    assert curve.look(18.0) and curve.marks == [50, 50, 70]
    resumed = Curve(plan, job, "minatar_breakout", curve.marks)
    assert resumed.share == 0.15
    assert not resumed.look(17.0) and resumed.level(3) == 2.0


def test_a_point_counts_once_all_games_have_reached_it(folder):
    plan = make_plan(folder, games=GAMES, updates=20)
    trial, (breakout, seaquest) = begin(plan)
    log(breakout, (1, 2.0), (2, 4.0))
    assert not trial.look({}, set()) and trial.share == 0.05
    log(seaquest, (1, 60.0))
    assert trial.look({}, set())
    known = Search(plan).trials[0].intermediate_values
    assert known == {1: pytest.approx((0.2 + 0.6) / 2)}  # By the returns of the space.
    assert trial.value() is None
    assert trial.look({}, {breakout, seaquest})
    assert trial.value() == pytest.approx((0.4 + 0.6) / 2)


def test_points_before_anything_was_logged_have_no_value(folder):
    plan = make_plan(folder, updates=20)
    trial, (job,) = begin(plan)
    log(job, (4, None), (5, 1.0), (6, 3.0))
    assert trial.look({}, set())
    assert Search(plan).trials[0].intermediate_values == {5: 1.0, 6: 2.0}


def test_a_resumed_trial_reports_no_point_twice(folder, recwarn):
    plan = make_plan(folder, minutes=1.0)
    trial, (job,) = begin(plan)
    log(job, (10, 1.0))
    assert trial.look({job: 7.0}, set())
    log(job, (20, 5.0))
    again = RunningTrial(plan, Search(plan).interrupted()[0])
    assert again.share == 0.1
    assert again.look({job: 9.5}, set())
    assert Search(plan).trials[0].intermediate_values == {1: 1.0, 2: 1.0, 3: 5.0}
    assert not recwarn.list


def test_the_last_point_prunes_nothing(folder):
    plan = make_plan(folder)
    trial, (job,) = begin(plan)
    trial.trial.should_prune = lambda: True
    log(job, (19, 1.0))
    assert trial.look({}, set()) and trial.should_prune()
    log(job, (20, 1.0))
    assert trial.look({}, set()) and not trial.should_prune()


def test_the_end_of_a_trial_is_remembered(folder):
    plan = make_plan(folder, games=GAMES, seeds=(1, 2))
    trial, jobs = begin(plan)
    for job, value in zip(jobs, (1.0, 3.0, 50.0), strict=False):
        log(job, (10, value))
    trial.look({}, set())
    trial.remember(90.0, "why")
    known = Search(plan).trials[0].user_attrs
    assert known[trials.LEVELS] == {"minatar_breakout": 2.0, "minatar_seaquest": 50.0}
    assert known[trials.SHARE] == 0.375
    assert (known[trials.SECONDS], known[trials.ERROR]) == (90.0, "why")


def test_a_mistyped_objective_is_named_with_the_nearest_metric(folder):
    objective = Objective("train_retrun")
    plan = make_plan(folder, objective=objective)
    trial, (job,) = begin(plan)
    log(job, (20, 1.0))
    trial.look({}, {job})
    assert trial.value() is None
    said = "it logged no train_retrun. Did you mean 'train_return'?"
    assert trial.lacking() == said
