import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from dreamerv2_transfer.reproduction import runner
from dreamerv2_transfer.reproduction.runner import Runner, StudyError
from dreamerv2_transfer.reproduction.stages import Stage
from tests.runs import ROOT

# `work FILE STATUS` notes that it ran, and waits where STATUS is `wait`.
WORK = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text() + "ran " if path.exists() else "ran ")
print("words of", path.name)
try:
    while sys.argv[2] == "wait":
        time.sleep(0.05)
except KeyboardInterrupt:
    path.write_text(path.read_text() + "stopped ")
    sys.exit(130)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    folder = tmp_path / "launch"
    folder.mkdir()
    (folder / "work.py").write_text(WORK)
    monkeypatch.setattr(runner, "LAUNCH", folder)
    monkeypatch.setattr(runner, "POLL", 0.02)
    return tmp_path


def stage(folder, name, status="0", needs=(), units=2.0) -> Stage:
    args = (str(folder / name), status)
    return Stage(name, "work", args, tuple(needs), folder, units, "unit")


def ran(folder, name) -> str:
    path = folder / name
    return path.read_text().strip() if path.exists() else ""


def test_stages_run_after_those_that_they_need_and_once(launch):
    made = [stage(launch, "a"), stage(launch, "b", needs=["a"])]
    study = Runner(launch / "study", parallel=2, cores=2)
    assert study.run(made)
    assert ran(launch, "a") == ran(launch, "b") == "ran"
    assert (launch / "study" / "logs" / "b.log").read_text() == "words of b\n"
    again = Runner(launch / "study", parallel=2, cores=2)
    assert again.is_done(made[0]) and again.run(made)
    assert ran(launch, "a") == "ran"
    assert 0 < again.costs()["unit"] < 5


def test_stages_that_run_together_have_a_gpu_each(launch, monkeypatch):
    code = "import os, pathlib, sys, time; time.sleep(1); "
    code += "pathlib.Path(sys.argv[1]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    (launch / "launch" / "work.py").write_text(code)
    made = [stage(launch, name) for name in "abc"]
    assert Runner(launch / "study", 2, 2, gpus=["3", "5"]).run(made)
    assert {ran(launch, "a"), ran(launch, "b")} == {"3", "5"}
    assert ran(launch, "c") in ("3", "5")


def test_a_stage_whose_command_changed_runs_again(launch):
    study = Runner(launch / "study", 1, 1)
    assert study.run([stage(launch, "a")])
    other = Stage("a", "work", (str(launch / "x"), "0"), (), launch, 1, "unit")
    assert not study.is_done(other) and study.run([other])
    assert ran(launch, "x") == "ran"


def test_a_stage_that_needs_more_than_it_did_runs_again(launch):
    made = [stage(launch, "a"), stage(launch, "b"), stage(launch, "c", needs=["a"])]
    assert Runner(launch, parallel=1, cores=1).run(made)
    made[2] = stage(launch, "c", needs=["a", "b"])
    assert Runner(launch, parallel=1, cores=1).run(made)
    assert (ran(launch, "b"), ran(launch, "c")) == ("ran", "ran ran")


def test_a_stage_that_fails_holds_up_only_what_needs_it(launch):
    made = [
        stage(launch, "bad", "3"),
        stage(launch, "after", needs=["bad"]),
        stage(launch, "other"),
    ]
    with pytest.raises(StudyError, match="bad failed with status 3: words of bad"):
        Runner(launch / "study", 1, 1).run(made)
    assert ran(launch, "other") == "ran" and not ran(launch, "after")


def test_a_damaged_state_costs_a_look_only(launch):
    made = [stage(launch, "a")]
    assert Runner(launch / "study", 1, 1).run(made)
    (launch / "study" / "reproduce.json").write_text("{")
    assert Runner(launch / "study", 1, 1).run(made)
    assert ran(launch, "a") == "ran ran"


def in_a_process(launch) -> subprocess.Popen:
    """Runs a stage that waits, in a process of its own, until it has begun."""
    code = f"""
    import pathlib
    from dreamerv2_transfer.reproduction import runner
    from dreamerv2_transfer.reproduction.stages import Stage
    runner.LAUNCH = pathlib.Path({str(launch / "launch")!r})
    path = pathlib.Path({str(launch)!r})
    made = Stage("a", "work", (str(path / "a"), "wait"), (), path, 1, "unit")
    print(runner.Runner(path / "study", 1, 1).run([made]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: ran(launch, "a") == "ran")
    return process


def wait_until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_ctrl_c_stops_the_stages_which_are_not_done(launch):
    process = in_a_process(launch)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "False" in output
    assert "Stopped  a; the same command goes on" in output
    assert ran(launch, "a") == "ran stopped"
    study = Runner(launch / "study", 1, 1)
    assert not study.is_done(stage(launch, "a", "wait")) and study.costs() == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
def test_a_killed_study_leaves_no_stage_behind(launch):
    process = in_a_process(launch)
    process.kill()
    process.communicate()
    wait_until(lambda: ran(launch, "a") == "ran stopped")


def test_two_processes_do_not_run_one_study(launch):
    process = in_a_process(launch)
    with pytest.raises(StudyError, match="Another process runs the study"):
        Runner(launch / "study", 1, 1).run([stage(launch, "b")])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_a_stage_that_was_stopped_costs_all_of_its_parts(launch):
    made = stage(launch, "a")
    for seconds in (100.0, 20.0):
        Runner(launch, 1, 1)._note_spent(made, seconds)
    assert Runner(launch, 1, 1).run([made])
    assert (
        120 < json.loads((launch / "reproduce.json").read_text())["a"]["seconds"] < 140
    )


def test_what_is_done_is_remembered_with_its_cost(launch):
    Runner(launch / "study", 1, 1).run([stage(launch, "a", units=4.0)])
    held = json.loads((launch / "study" / "reproduce.json").read_text())["a"]
    assert held["command"] == ["work", str(launch / "a"), "0"]
    assert held["units"] == 4 and held["unit"] == "unit" and held["seconds"] > 0
