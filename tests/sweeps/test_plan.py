"""The jobs of a trial, and its value."""

import numpy as np
import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.sweeps.plan import Objective, make_objective
from dreamerv2_transfer.sweeps.space import Space
from tests.sweeps.sweeping import make_plan

DRAWN = {"imag_horizon": 4, "model_opt.lr": 0.1 + 0.2, "encoder.cnn_kernels": "4,4"}
STEPS = np.array([10.0, 50.0, 85.0, 95.0, 100.0])
SERIES = STEPS, np.array([1.0, 2.0, 3.0, 4.0, 8.0])


def test_a_trial_has_a_run_for_each_game_and_seed(tmp_path):
    games = ("minatar_breakout", "minatar_seaquest")
    plan = make_plan(tmp_path, games=games, seeds=(7, 8), updates=300)
    jobs = plan.jobs(3, DRAWN)
    assert [*jobs.values()] == [games[0], games[0], games[1], games[1]]
    job = [*jobs][1]
    assert (job.name, job.script) == ("003/minatar_breakout_seed8", "train")
    assert job.logdir == tmp_path / "sweep/trials/003/minatar_breakout_seed8"
    assert job.args == (
        *("--configs", "minatar", "small", "scratch", "--eval_every", "0"),
        *("--task", "minatar_breakout", "--seed", "8", "--steps", "300"),
        *("--imag_horizon", "4", "--model_opt.lr", "0.30000000000000004"),
        *("--encoder.cnn_kernels", "4,4", "--logdir", str(job.logdir)),
    )
    assert (job.units, job.unit) == (300, "update")


def test_pre_training_mixes_the_games_of_the_configuration(tmp_path):
    (job,) = make_plan(tmp_path, games=("",)).jobs(0, DRAWN)
    assert job.name == "000/run" and "--task" not in job.args


def test_a_budget_is_in_updates_or_in_minutes(tmp_path):
    plan = make_plan(tmp_path, updates=300)
    assert (plan.budget, plan.unit) == (300, "update")
    plan = make_plan(tmp_path, minutes=1.5)
    assert (plan.budget, plan.unit) == (90, "second")


@pytest.mark.parametrize(
    ("until", "level"),
    [(100, 5.0), (94, 3.0), (60, 2.0), (70, 2.0), (10, 1.0), (9, None)],
)
def test_a_level_is_the_mean_of_the_last_fifth_of_the_steps(until, level):
    assert Objective("train_return").level(SERIES, until) == level


def test_nothing_logged_has_no_level():
    assert Objective("train_return").level(None, 100) is None


def test_a_score_is_the_mean_of_levels_or_of_normalized_returns():
    levels = [("a", 3.0), ("b", 60.0)]
    assert Objective("x").score(levels) == 31.5
    objective = Objective("x", returns={"a": (1.0, 5.0), "b": (10.0, 110.0)})
    assert objective.score(levels) == 0.5
    assert objective.name == "normalized x"


def test_the_returns_of_several_games_are_normalized():
    space = Space((), {"a": (0.0, 1.0), "b": (0.0, 2.0), "c": (0.0, 3.0)})
    made = make_objective("", False, ("a", "b"), space)
    assert made == Objective("train_return", False, {"a": (0.0, 1.0), "b": (0.0, 2.0)})
    assert make_objective("", False, ("d",), space) == Objective("train_return")
    made = make_objective("kl_loss", True, ("a", "d"), space)
    assert made == Objective("kl_loss", minimize=True)
    with pytest.raises(ConfigError, match=r"returns with d: \[RANDOM, GOOD\]"):
        make_objective("", False, ("a", "d"), space)


def test_a_definition_tells_sweeps_apart(tmp_path):
    one = make_plan(tmp_path).definition()
    assert one == make_plan(tmp_path, logdir=tmp_path / "other").definition()
    for other in ({"updates": 30}, {"minutes": 2.0}, {"seeds": (1,)}, {"flags": ()}):
        assert make_plan(tmp_path, **other).definition() != one
