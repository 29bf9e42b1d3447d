"""What runs the jobs of a study."""

import os
import sys

import pytest

from dreamerv2_transfer.reproduction import engines, processes, ray_engine, seeds
from dreamerv2_transfer.reproduction.jobs import Job


@pytest.fixture
def started(monkeypatch):
    """The threads and GPUs of the jobs that were started, none of which runs."""
    found = []

    def start(job, log, threads, gpu):
        found.append((threads, gpu))

    monkeypatch.setattr(processes, "start", start)
    return found


@pytest.mark.parametrize(
    ("gpus", "parallel", "cores", "expected"),
    [
        ("", 0, 0, [(1, "")] * 6),
        ("", 2, 0, [(3, "")] * 2),
        ("", 2, 5, [(5, "")] * 2),
        ("4,7", 0, 0, [(3, "4"), (3, "7")]),
        ("4,7", 3, 1, [(1, "4"), (1, "7"), (1, "4")]),
    ],
)
def test_jobs_of_this_machine_have_cores_and_gpus(
    tmp_path, monkeypatch, started, gpus, parallel, cores, expected
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    engine = engines.local(parallel, cores)
    while engine.has_place:
        name = str(len(started))
        engine.start(Job(name, "x", (), (), tmp_path, 1, ""), tmp_path / "log")
    assert started == expected
    assert engines.places(parallel) == len(expected) == len(engine.running)


def test_jobs_share_all_cores_where_the_system_is_not_linux(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # As on macOS.
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.places(0) == engines.local(0, 0).places == seeds.places(9) == 4


def test_a_plan_for_ray_asks_no_cluster_but_a_study_does(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert (engines.places(0, "ray"), engines.places(3, "ray")) == (1, 3)
    with pytest.raises(ray_engine.RayError, match="--engine ray needs Ray"):
        engines.make("ray", 0, 0)
    assert engines.make("local", 3, 0).places == 3
