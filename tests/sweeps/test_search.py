"""What Optuna is asked and told, and the file that remembers it."""

import json
import sqlite3
import sys

import pytest

from dreamerv2_transfer.common.files import locks
from dreamerv2_transfer.sweeps import search
from dreamerv2_transfer.sweeps.plan import Objective
from dreamerv2_transfer.sweeps.search import Search, SweepError
from tests.sweeps.sweeping import make_plan

optuna = pytest.importorskip("optuna")

BASELINE = {"imag_horizon": 5, "model_opt.lr": 1e-3, "encoder.cnn_kernels": "3,3"}


def tried(trials):
    return [trial.params for trial in trials]


def test_the_first_trial_is_the_baseline_and_others_are_in_the_space(folder):
    opened = Search(make_plan(folder, baseline=BASELINE))
    found = [opened.ask() for _ in range(4)]
    assert found[0].params == BASELINE
    for trial in found[1:]:
        assert 2 <= trial.params["imag_horizon"] <= 9
        assert 1e-4 <= trial.params["model_opt.lr"] <= 1e-2
        assert trial.params["encoder.cnn_kernels"] in ("3,3", "4,4")
    assert len({json.dumps(x.params) for x in found}) == 4


def test_what_is_drawn_does_not_depend_on_how_often_it_was_opened(folder):
    plan = make_plan(folder)
    other = make_plan(folder, logdir=folder / "other")
    (folder / "other").mkdir()
    opened = Search(plan)
    for _ in range(12):  # Optuna draws the first ten at random.
        trial = opened.ask()
        opened.tell(trial, "COMPLETE", trial.params["imag_horizon"])
        again = Search(other)
        trial = again.ask()
        again.tell(trial, "COMPLETE", trial.params["imag_horizon"])
    assert tried(opened.trials) == tried(Search(other).trials)


def test_a_trial_under_way_is_resumed_with_what_it_had(folder):
    plan = make_plan(folder)
    first = Search(plan)
    first.tell(first.ask(), "FAIL")
    trial = first.ask()
    trial.report(3.0, 1)
    again = Search(plan)
    (resumed,) = again.interrupted()
    assert resumed.number == 1 and resumed.params == trial.params
    resumed.report(4.0, 2)
    again.tell(resumed, "PRUNED")
    assert [(x.state.name, x.value) for x in Search(plan).ended] == [
        ("FAIL", None),
        ("PRUNED", 4.0),
    ]


def test_what_a_kill_left_undrawn_is_drawn_by_the_trials_own_seed(folder):
    plan, wanted = make_plan(folder), None
    for name in ("one", "other"):
        (folder / name).mkdir()
        search = Search(make_plan(folder, logdir=folder / name))
        search.tell(search.ask(), "FAIL")
        search.study.ask()  # A kill before the first parameter was drawn.
        (resumed,) = Search(make_plan(folder, logdir=folder / name)).interrupted()
        wanted = wanted or resumed.params
        assert len(wanted) == len(plan.space.parameters) and resumed.params == wanted


@pytest.mark.parametrize("lost", [1, 30, 200, 400])
def test_a_line_that_a_kill_cut_off_did_not_happen(folder, lost):
    plan = make_plan(folder)
    before = Search(plan).ask().params
    path = plan.logdir / search.FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    again = Search(plan)
    trials = [*again.interrupted(), again.ask()]
    assert trials[0].params.keys() == before.keys()
    assert all(x in whole for x in path.read_bytes().splitlines(keepends=True)[:3])
    assert len(Search(plan).interrupted()) == len(trials)


def test_the_best_is_the_highest_or_the_lowest(folder):
    for minimize, number in ((False, 1), (True, 0)):
        objective = Objective("x", minimize)
        plan = make_plan(folder, logdir=folder / str(minimize), objective=objective)
        plan.logdir.mkdir()
        opened = Search(plan)
        assert opened.best is None
        for value in (1.0, 5.0, 3.0):
            opened.tell(opened.ask(), "COMPLETE", value)
        trial = opened.ask()
        trial.report(9.0, 1)
        opened.tell(trial, "PRUNED")  # Of which nothing is known in the end.
        assert opened.best.number == number


def test_importances_are_shares_once_there_are_enough_trials(folder):
    opened = Search(make_plan(folder))
    assert opened.importances() == {}
    spread = opened.ask().distributions
    for at in range(48):
        drawn = {
            "imag_horizon": 2 + at % 8,
            "model_opt.lr": 1e-4 * (1 + at // 8),
            "encoder.cnn_kernels": ("3,3", "4,4")[at % 3 == 0],
        }
        made = {"params": drawn, "distributions": spread, "value": float(at % 8)}
        opened.study.add_trial(optuna.trial.create_trial(**made))
    shares = opened.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "imag_horizon"


def test_a_trial_that_is_worse_than_others_is_pruned(folder):
    opened = Search(make_plan(folder))
    for _ in range(search.UNPRUNED):
        trial = opened.ask()
        for point in range(1, search.POINTS + 1):
            trial.report(5.0, point)
        opened.tell(trial, "COMPLETE", 5.0)
    bad = opened.ask()
    bad.report(1.0, search.SPARED - 1)
    assert not bad.should_prune()
    bad.report(1.0, search.SPARED)
    assert bad.should_prune()
    unpruned = Search(make_plan(folder), pruner="none")
    assert not unpruned.interrupted()[0].should_prune()
    assert set(search.PRUNERS) == {"median", "halving", "none"}
    halving = Search(make_plan(folder), pruner="halving")
    assert isinstance(halving.study.pruner, optuna.pruners.SuccessiveHalvingPruner)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 30}, "steps was 20 and is 30 now"),
        ({"minutes": 2.0}, "minutes was not and is 2.0 now"),
        ({"seeds": (7, 8)}, "seeds was 7 and is 7 8 now"),
        ({"flags": ()}, "flags was --eval_every 0 and is not now"),
        (
            {"objective": Objective("kl_loss")},
            "objective was train_return and is kl_loss now",
        ),
    ],
)
def test_a_folder_belongs_to_one_sweep(folder, changes, message):
    Search(make_plan(folder)).ask()
    with pytest.raises(SweepError, match=f"belongs to another sweep: {message}"):
        Search(make_plan(folder, **changes))


def test_a_folder_belongs_to_one_space(folder):
    plan = make_plan(folder)
    Search(plan).ask()
    less = type(plan.space)(plan.space.parameters[:2], plan.space.returns)
    other = make_plan(folder, space=less)
    with pytest.raises(
        SweepError, match="space encoder.cnn_kernels was 3,3 or 4,4 and"
    ):
        Search(other)


def test_a_sweep_that_tried_nothing_may_change(folder):
    Search(make_plan(folder))
    Search(make_plan(folder, updates=30)).ask()


def of_another_project(path):
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    optuna.create_study(storage=storage, study_name="theirs")


def of_sqlite(path):
    with sqlite3.connect(path) as base:
        base.execute("create table studies (id integer)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_another_project, "it holds the study theirs"),
        (of_sqlite, "it is no journal of Optuna"),
        (lambda path: path.write_text("notes"), "it is no journal of Optuna"),
        (lambda path: path.write_text('{"op_code":0}\n{"op_code":'), "KeyError"),
        (lambda path: path.write_text('{"op_code":0\nx\n'), "JSONDecodeError"),
    ],
)
def test_a_file_of_another_project_stays_as_it_is(folder, make, message):
    path = folder / "sweep" / search.FILE
    make(path)
    before = path.read_bytes()
    with pytest.raises(SweepError, match=f"is not the study of a sweep: {message}"):
        Search(make_plan(folder))
    assert path.read_bytes() == before


def test_a_lack_of_optuna_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SweepError, match=r"pip install '\.\[sweep\]'"):
        search.load_optuna()


def test_nothing_that_a_kill_leaves_locks_the_study(folder):
    plan = make_plan(folder)
    with locks.locked(plan.logdir):
        Search(plan).ask()
        assert not [*plan.logdir.glob("study.journal.*")]
