"""Processes that share a machine."""

import signal
import sys
import time

import pytest

from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.processes import Processes

# `work TEXT STATUS` prints a text, and waits where STATUS is `wait`.
WORK = """
import os, sys, time
print(sys.argv[2], os.environ["TF_NUM_INTRAOP_THREADS"], flush=True)
try:
    while sys.argv[3] == "wait":
        time.sleep(0.05)
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(int(sys.argv[3]))
"""

# Prints the signal that comes with the parent's death, and what it does.
ASK = """
import ctypes, signal
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))
sent = signal.Signals(number.value)
print(sent.name, repr(signal.getsignal(sent)).split(":")[0].strip("<"))
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(WORK)
    program = [sys.executable, str(tmp_path / "program.py")]
    monkeypatch.setattr(processes, "PROGRAM", program)
    return tmp_path


def job(name, status="0") -> Job:
    return Job(name, "work", (name, status), (), None, 1, "unit")


def wait_until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_jobs_share_places_and_threads(launch):
    both = Processes(parallel=2, cores=5)
    for one in (job("a"), job("b", "3")):
        assert both.has_place
        both.start(one, launch / one.name)
    assert not both.has_place and [x.name for x in both.running] == ["a", "b"]
    found = []
    wait_until(lambda: found.extend(both.ended()) or len(found) == 2)
    assert {x.job.name: x.status for x in found} == {"a": 0, "b": 3}
    assert both.has_place and processes.last_line(launch / "b") == "b 2"


def test_one_job_or_all_of_them_are_stopped(launch):
    several = Processes(parallel=3, cores=1)
    jobs = [job(name, "wait") for name in "abc"]
    for one in jobs:
        several.start(one, launch / one.name)
    wait_until(lambda: all((launch / x.name).read_text() for x in jobs))
    several.stop(jobs[1])
    found = []
    wait_until(lambda: found.extend(several.ended()) or found)
    assert [(x.job, x.status) for x in found] == [(jobs[1], 130)]
    ended = [x.job for x in several.stop_all()]
    assert ended == [jobs[0], jobs[2]] and several.running == []


@pytest.fixture
def deaf():
    """Ignores what a shell's `&` and `nohup` make a process ignore."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(x, signal.SIG_IGN) for x in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_job_is_stopped_though_its_parent_ignores_signals(launch, deaf):
    one = Processes(parallel=1, cores=1)
    one.start(job("a", "wait"), launch / "a")
    wait_until(lambda: (launch / "a").read_text())
    assert [x.status for x in one.stop_all()] == [130]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux'")
def test_hangups_end_a_job_whose_parent_is_killed(launch, deaf):
    # Several arrive, one for each thread of the parent, and jobs save all the same.
    (launch / "program.py").write_text(ASK)
    one = Processes(parallel=1, cores=1)
    one.start(job("a"), launch / "a")
    wait_until(lambda: [*one.ended()])
    assert (launch / "a").read_text() == "SIGHUP Handlers.SIG_DFL\n"


def test_a_job_that_says_nothing_has_no_last_line(tmp_path):
    (tmp_path / "a").write_text("\n\n")
    assert processes.last_line(tmp_path / "a") == "it printed nothing"


@pytest.mark.parametrize(
    ("variable", "names"), [("", []), ("-1", []), ("3", ["3"]), ("0,2", ["0", "2"])]
)
def test_gpus_are_those_that_the_environment_shows(monkeypatch, variable, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert processes.visible_gpus() == names
