import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from dreamerv2_transfer.data import workers


def work(amount, report, stopped):
    for done in range(1, amount + 1):
        report(done, amount)
    return os.getpid()


def threads(report, stopped):
    return {name: os.environ.get(name) for name in workers.ONE_THREAD}


def wait(path, report, stopped):
    path.touch()
    while not stopped():
        time.sleep(0.01)
    return "stopped"


def fail(report, stopped):
    raise ValueError("the reason")


def die(report, stopped):
    os.kill(os.getpid(), signal.SIGKILL)


def run(jobs, processes, stopped=lambda: False):
    reports, results = [], {}
    workers.run(
        jobs, processes, lambda *x: reports.append(x), results.__setitem__, stopped
    )
    return reports, results


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_report_and_return(processes):
    jobs = {"a": functools.partial(work, 2), "b": functools.partial(work, 3)}
    reports, results = run(jobs, processes)
    assert [x for x in reports if x[0] == "a"] == [("a", 1, 2), ("a", 2, 2)]
    assert [x for x in reports if x[0] == "b"] == [(*"b", i, 3) for i in (1, 2, 3)]
    assert set(results) == {"a", "b"}
    assert (os.getpid() in results.values()) == (processes == 1)


def test_numpy_has_one_thread_in_each_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    _, results = run({"a": threads, "b": threads}, 2)
    assert {*results["a"].values()} == {*results["b"].values()} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_first_failure_stops_the_others(tmp_path):
    jobs = {"a": functools.partial(wait, tmp_path / "begun"), "b": fail}
    with pytest.raises(ValueError, match="the reason"):
        run(jobs, 2)


@pytest.mark.parametrize("killed", ["a", "b"])
def test_killed_process_is_told(tmp_path, killed):
    jobs = {x: functools.partial(wait, tmp_path / x) for x in "ab"}
    with pytest.raises(workers.WorkerError, match="run the same command to resume"):
        run({**jobs, killed: die}, 2)


def test_jobs_stop_where_asked_to(tmp_path):
    jobs = {x: functools.partial(wait, tmp_path / x) for x in "abc"}
    begun = [tmp_path / x for x in "ab"]
    _, results = run(jobs, 2, lambda: all(x.exists() for x in begun))
    assert results["a"] == results["b"] == "stopped"
    # The third did not begin, or was told to stop.
    assert results.get("c") in (None, "stopped")


def test_no_job_begins_after_a_stop():
    assert run({"a": functools.partial(work, 1)}, 1, lambda: True) == ([], {})


ORPHANS = """
import functools, sys, pathlib
from dreamerv2_transfer.data import workers
from tests.data import test_workers
if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    jobs = {x: functools.partial(test_workers.tell, folder / x) for x in "ab"}
    workers.run(jobs, 2, print, print, lambda: False)
"""


def tell(path, report, stopped):
    path.write_text(str(os.getpid()))
    while not stopped():
        time.sleep(0.01)


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_processes_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    root = pathlib.Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, script, tmp_path], env=environment)
    deadline = time.monotonic() + 60
    while not all((tmp_path / x).exists() for x in "ab"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    children = [int((tmp_path / x).read_text()) for x in "ab"]
    process.kill()
    process.wait()
    while any(map(is_running, children)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("processes", [1, 2])
def test_no_job_begins_if_what_is_done_meanwhile_fails(tmp_path, processes):
    jobs = {x: functools.partial(wait, tmp_path / x) for x in "ab"}

    def meanwhile():
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        workers.run(jobs, processes, print, print, lambda: False, meanwhile)
    assert not list(tmp_path.iterdir())
