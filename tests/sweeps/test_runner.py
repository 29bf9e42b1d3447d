"""Sweeps from their start to their end, whatever comes between."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import locks
from dreamerv2_transfer.reproduction.ledger import Ledger
from dreamerv2_transfer.sweeps import results, runner
from dreamerv2_transfer.sweeps.search import Search, SweepError
from dreamerv2_transfer.sweeps.trials import RunningTrial
from tests.runs import ROOT
from tests.sweeps.sweeping import make_plan, pool

pytest.importorskip("optuna")
BASELINE = {"imag_horizon": 5, "model_opt.lr": 1e-3, "encoder.cnn_kernels": "3,3"}


def run(plan, trials=2, failures=3, parallel=2, pruner="none"):
    return runner.run(plan, pool(parallel), trials, failures, pruner)


def states(plan):
    return [trial.state.name for trial in Search(plan).trials]


def starts(plan, place="000/minatar_breakout"):
    path = plan.logdir / "trials" / place / "starts"
    return path.read_text().split() if path.exists() else []


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_trials_run_and_the_best_is_a_configuration(folder, capsys):
    plan = make_plan(folder, baseline=BASELINE)
    assert run(plan, trials=3)
    trials = Search(plan).ended
    # The mean of the last fifth, of which the returns have reached 17/20 to 20/20.
    assert [x.value for x in trials] == [
        pytest.approx(x.params["imag_horizon"] * 18.5 / 20) for x in trials
    ]
    assert trials[0].params == BASELINE
    printed = capsys.readouterr()
    assert "Starts trial 0: imag_horizon 5, model_opt.lr 0.001" in printed.out
    assert "Trial 0 has a train_return of 4.625, the best so far" in printed.out
    assert "100% 60/60" in printed.err and "3 of 3 trials" in printed.err
    rows = [*csv.DictReader((plan.logdir / "results.csv").read_text().splitlines())]
    assert rows[0]["value"] == "4.625" and rows[0]["encoder.cnn_kernels"] == "3,3"
    assert (plan.logdir / results.BEST).exists()
    # More trials go on from those; the same ones are done.
    assert run(plan, trials=3) and len(Search(plan).trials) == 3
    assert run(plan, trials=4, parallel=1) and len(Search(plan).trials) == 4
    assert len(starts(plan)) == 1


def test_a_trial_that_crashes_fails_and_several_end_the_sweep(folder, capsys):
    plan = make_plan(folder)
    (folder / "crash").touch()
    with pytest.raises(SweepError) as error:
        run(plan, trials=9, failures=2, parallel=1)
    said = "2 trials in a row failed, the last one by 001/minatar_breakout: Error: The"
    assert str(error.value).startswith(f"{said} game is broken. Mend")
    assert states(plan) == ["FAIL", "FAIL"]
    assert "Trial 0 failed, 000/minatar_breakout: Error: The game is broken." in (
        capsys.readouterr().out
    )
    content = json.loads((plan.logdir / "results.json").read_text())
    assert content["best"] is None
    assert content["trials"][0]["error"].endswith("The game is broken.")
    (folder / "crash").unlink()  # Then the same command goes on.
    assert run(plan, trials=3)
    assert states(plan) == ["FAIL", "FAIL", "COMPLETE"]


def test_a_trial_that_logs_no_objective_fails(folder):
    plan = make_plan(folder)
    (folder / "silent").touch()
    with pytest.raises(SweepError, match="No trial is complete.*a higher --trials"):
        run(plan, trials=1)
    (trial,) = Search(plan).ended
    assert trial.user_attrs["error"] == "it logged no train_return."


def test_the_other_runs_of_a_failed_trial_are_stopped(folder):
    plan = make_plan(folder, games=("minatar_breakout", "minatar_seaquest"))
    (folder / "slow").touch()
    search = Search(plan)
    sweeper = runner.Sweeper(plan, search, pool(), 1, failures=1)
    steps = 0

    def stopped():
        nonlocal steps
        steps += 1
        running = sweeper._processes.running
        if len(running) == 2 and all(starts(plan, x.name) for x in running):
            sweeper._processes._running[running[0]].process.kill()
        return False

    with pytest.raises(SweepError, match="000/minatar_breakout: it printed nothing"):
        sweeper.run(stopped)
    assert states(plan) == ["FAIL"] and not sweeper._processes.running


def test_a_bad_trial_is_pruned_and_its_run_stopped(folder, monkeypatch, capsys):
    plan = make_plan(folder)
    assert run(plan, trials=1)
    (folder / "slow").touch()  # At half of the budget.
    monkeypatch.setattr(RunningTrial, "should_prune", lambda self: self.share >= 0.5)
    assert run(plan, trials=2)
    assert states(plan) == ["COMPLETE", "PRUNED"]
    printed = capsys.readouterr()
    assert "Trial 1 was pruned after 50% of its budget" in printed.out
    assert "100% 40/40" in printed.err


def test_a_sweep_continues_where_all_of_its_trials_were_pruned_at_once(
    folder, monkeypatch
):
    plan = make_plan(folder)
    assert run(plan, trials=1)
    (folder / "slow").touch()  # So the place is free only after a while.
    monkeypatch.setattr(RunningTrial, "should_prune", lambda self: True)
    assert run(plan, trials=3, parallel=1)
    assert states(plan) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_a_run_ends_when_its_minutes_are_over(folder):
    plan = make_plan(folder, minutes=1.0 / 60, updates=10**9)
    (folder / "slow").touch()
    assert run(plan, trials=1)
    (trial,) = Search(plan).ended
    assert trial.state.name == "COMPLETE"
    assert trial.value == pytest.approx(trial.params["imag_horizon"] * 9.5 / 20)
    (job,) = plan.jobs(0, trial.params)
    ledger = Ledger(plan.logdir, runner.LEDGER)
    assert ledger.is_done(job) and 1 <= ledger.seconds(job) < 20


def test_sigterm_stops_a_sweep_which_then_resumes(folder, capsys, usual_signals):
    plan = make_plan(folder)
    (folder / "slow").touch()

    def terminate():
        wait_until(lambda: starts(plan))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    assert not run(plan, trials=1)
    thread.join()
    assert "Trial 0 stopped; the same command resumes it" in capsys.readouterr().out
    assert states(plan) == ["RUNNING"] and (plan.logdir / "results.json").exists()
    (folder / "slow").unlink()
    assert run(plan, trials=1)
    assert "Resumes trial 0: imag_horizon" in capsys.readouterr().out
    first, second = starts(plan)
    assert first == second  # With the same parameters,
    lines = (plan.logdir / "trials/000/minatar_breakout/metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in lines.splitlines()]
    assert steps == [*range(1, 21)]  # from where it was.


CODE = """
import pathlib, sys
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.sweeps import page
from tests.sweeps.test_runner import make_plan, run
folder = pathlib.Path(sys.argv[1])
processes.PROGRAM = [sys.executable, str(folder / "program.py")]
page.write = lambda plan, search: None
print(run(make_plan(folder), trials=1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
def test_a_sweep_that_was_killed_goes_on_with_its_trial(folder):
    plan = make_plan(folder)
    (folder / "slow").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: starts(plan))
    with pytest.raises(SweepError, match="Another process runs the sweep in"):
        run(plan)
    process.kill()
    process.wait()
    wait_until(lambda: not locks.is_locked(plan.logdir))
    assert states(plan) == ["RUNNING"]
    (folder / "slow").unlink()
    assert run(plan, trials=1)
    assert len({*starts(plan)}) == 1 and len(starts(plan)) == 2


@pytest.mark.parametrize("name", ["config.yaml", "reproduce.json"])
def test_the_folder_of_a_run_or_a_study_is_no_place_for_a_sweep(folder, name):
    plan = make_plan(folder)
    (plan.logdir / name).write_text("{}")
    with pytest.raises(
        ConfigError, match=f"not the folder of a sweep: it has a {name}"
    ):
        run(plan)
