"""Jobs as processes."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
import unittest.mock

import pytest

from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.processes import Processes
from dreamerv2_transfer.reproduction.runner import Runner, StudyError
from tests.runs import ROOT

# `work FILE STATUS` notes that it ran, and waits where STATUS is `wait`.
WORK = """
import pathlib, signal, sys, time
signal.signal(signal.SIGHUP, signal.default_int_handler)  # As commands do.
command, file, status = sys.argv[1:]
path = pathlib.Path(file)
path.write_text(path.read_text() + "ran " if path.exists() else "ran ")
print("words of", path.name)
try:
    while status == "wait":
        time.sleep(0.05)
except KeyboardInterrupt:
    path.write_text(path.read_text() + "stopped ")
    sys.exit(130)
sys.exit(int(status))
"""
# Holds the lock of a folder for a moment, as a run that is still saving does.
HOLD = """
import pathlib, sys, time
from dreamerv2_transfer.common.files import locks
with locks.locked(pathlib.Path(sys.argv[1]), ValueError("used")):
    print("held", flush=True)
    time.sleep(1)
"""
# Fails if another process uses the folder, as a run does.
USE = """
import pathlib, sys
import filelock
folder = pathlib.Path(sys.argv[2]).parent
with filelock.FileLock(folder / ".lock", timeout=0):
    pass
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(WORK)
    program = [sys.executable, str(tmp_path / "program.py")]
    monkeypatch.setattr(processes, "PROGRAM", program)
    monkeypatch.setattr(processes, "POLL", 0.02)
    return tmp_path


def job(folder, name, status="0", needs=(), units=2.0) -> Job:
    args = (str(folder / name), status)
    return Job(name, "work", args, tuple(needs), folder, units, "unit")


def ran(folder, name) -> str:
    path = folder / name
    return path.read_text().strip() if path.exists() else ""


def test_jobs_run_after_those_that_they_need_and_once(launch):
    made = [job(launch, "a"), job(launch, "b", needs=["a"])]
    study = Runner(launch / "study", Processes(2, 2))
    assert study.run(made)
    assert ran(launch, "a") == ran(launch, "b") == "ran"
    assert (launch / "study" / "logs" / "b.log").read_text() == "words of b\n"
    again = Runner(launch / "study", Processes(2, 2))
    assert again.ledger.is_done(made[0]) and again.run(made)
    assert ran(launch, "a") == "ran"
    assert 0 < again.ledger.costs()["unit"] < 5


def test_jobs_that_run_together_have_a_gpu_each(launch, monkeypatch):
    code = "import os, pathlib, sys, time; time.sleep(1); "
    code += "pathlib.Path(sys.argv[2]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    (launch / "program.py").write_text(code)
    made = [job(launch, name) for name in "abc"]
    assert Runner(launch / "study", Processes(2, 2, gpus=["3", "5"])).run(made)
    assert {ran(launch, "a"), ran(launch, "b")} == {"3", "5"}
    assert ran(launch, "c") in ("3", "5")


def test_a_job_whose_command_changed_runs_again(launch):
    study = Runner(launch / "study", Processes(1, 1))
    assert study.run([job(launch, "a")])
    other = Job("a", "work", (str(launch / "x"), "0"), (), launch, 1, "unit")
    assert not study.ledger.is_done(other) and study.run([other])
    assert ran(launch, "x") == "ran"


def test_a_job_that_needs_more_than_it_did_runs_again(launch):
    made = [job(launch, "a"), job(launch, "b"), job(launch, "c", needs=["a"])]
    assert Runner(launch, Processes(1, 1)).run(made)
    made[2] = job(launch, "c", needs=["a", "b"])
    assert Runner(launch, Processes(1, 1)).run(made)
    assert (ran(launch, "b"), ran(launch, "c")) == ("ran", "ran ran")


def test_a_job_that_fails_holds_up_only_what_needs_it(launch):
    made = [
        job(launch, "bad", "3"),
        job(launch, "after", needs=["bad"]),
        job(launch, "other"),
    ]
    with pytest.raises(StudyError, match="bad failed with status 3: words of bad"):
        Runner(launch / "study", Processes(1, 1)).run(made)
    assert ran(launch, "other") == "ran" and not ran(launch, "after")


# Kills itself until it has run three times.
DIE = (
    WORK.replace("sys.exit(int(status))", "")
    + """
import os, signal
if path.read_text() != "ran ran ran ":
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_a_job_that_dies_starts_again_and_then_counts_as_failed(launch, capsys):
    (launch / "program.py").write_text(DIE)
    assert Runner(launch / "study", Processes(1, 1), retries=2).run([job(launch, "a")])
    assert ran(launch, "a") == "ran ran ran"
    told = capsys.readouterr().out
    assert told.count("Died     a; it starts again from its last checkpoint") == 2
    with pytest.raises(StudyError, match="b failed with status -9: words of b"):
        Runner(launch / "study", Processes(1, 1), retries=1).run([job(launch, "b")])
    assert ran(launch, "b") == "ran ran"


def test_a_damaged_state_costs_a_look_only(launch):
    made = [job(launch, "a")]
    assert Runner(launch / "study", Processes(1, 1)).run(made)
    (launch / "study" / "reproduce.json").write_text("{")
    assert Runner(launch / "study", Processes(1, 1)).run(made)
    assert ran(launch, "a") == "ran ran"


def in_a_process(launch) -> subprocess.Popen:
    """Runs a job that waits, in a process of its own, until it has begun."""
    code = f"""
    import pathlib
    from dreamerv2_transfer.reproduction import processes, runner
    from dreamerv2_transfer.reproduction.jobs import Job
    processes.PROGRAM = {[sys.executable, str(launch / "program.py")]!r}
    path = pathlib.Path({str(launch)!r})
    made = Job("a", "work", (str(path / "a"), "wait"), (), path, 1, "unit")
    print(runner.Runner(path / "study", processes.Processes(1, 1)).run([made]))
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


def test_ctrl_c_stops_the_jobs_which_are_not_done(launch):
    process = in_a_process(launch)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "False" in output
    assert "Stopped  a; the same command resumes it" in output
    assert ran(launch, "a") == "ran stopped"
    study = Runner(launch / "study", Processes(1, 1))
    assert (
        not study.ledger.is_done(job(launch, "a", "wait"))
        and study.ledger.costs() == {}
    )


@pytest.mark.parametrize(
    ("status", "told", "is_done"),
    [(0, "Finished a in 0.0 minutes", True), (3, "Failed   a", False)],
)
def test_a_job_that_ends_by_itself_at_ctrl_c_is_noted_by_its_status(
    launch, status, told, is_done
):
    program = WORK.replace("sys.exit(130)", f"sys.exit({status})")
    (launch / "program.py").write_text(program)
    process = in_a_process(launch)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert told in output and "Stopped" not in output
    assert (process.returncode == 0) == is_done  # A failure ends in a StudyError.
    assert (
        Runner(launch / "study", Processes(1, 1)).ledger.is_done(
            job(launch, "a", "wait")
        )
        == is_done
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
def test_a_killed_study_leaves_no_job_behind(launch):
    process = in_a_process(launch)
    process.kill()
    process.communicate()
    wait_until(lambda: ran(launch, "a") == "ran stopped")


def test_two_processes_do_not_run_one_study(launch):
    process = in_a_process(launch)
    with pytest.raises(StudyError, match="Another process runs the study"):
        Runner(launch / "study", Processes(1, 1)).run([job(launch, "b")])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_a_job_waits_until_a_killed_study_has_let_go_of_its_folder(launch, capsys):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(launch)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    (launch / "program.py").write_text(USE)
    assert Runner(launch / "study", Processes(1, 1)).run([job(launch, "a")])
    assert holder.wait(10) == 0


def test_a_job_waits_until_its_store_is_free(launch, monkeypatch):
    url = "s3://bucket/run"
    written = unittest.mock.Mock(side_effect=[True, True, False])
    monkeypatch.setattr(remote, "is_written", written)
    made = dataclasses.replace(job(launch, "a"), store=url)
    assert Runner(launch / "study", Processes(1, 1)).run([made])
    assert written.mock_calls == [unittest.mock.call(url)] * 3
    assert ran(launch, "a") == "ran"
