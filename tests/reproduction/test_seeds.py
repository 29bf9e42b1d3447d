"""Seeds of a run that train at the same time."""

import os
import pathlib
import sys

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction import processes, seeds
from dreamerv2_transfer.reproduction.jobs import Job

# Waits until as many seeds as its last argument says have begun: they run at once.
WORK = """
import pathlib, sys, time
command, *args, seed_flag, seed, logdir_flag, logdir = sys.argv[1:]
folder = pathlib.Path(logdir)
folder.mkdir()
end = time.monotonic() + 20
while len(list(folder.parent.glob("seed*"))) < int(args[-1]):
    assert time.monotonic() < end
    time.sleep(0.02)
print(command, *args, seed_flag, seed, logdir_flag, folder.name)
"""


def load(logdir, **keys):
    config = blocks.load_config(["minatar", "debug", "scratch"])
    return config.update(logdir=str(logdir), **keys)


def test_all_seeds_run_at_once_in_folders_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(WORK)
    program = [sys.executable, str(tmp_path / "program.py")]
    monkeypatch.setattr(processes, "PROGRAM", program)
    monkeypatch.setattr(processes, "POLL", 0.02)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    logdir = tmp_path / "runs"
    configs = [load(logdir / f"seed{i}", seed=i) for i in (5, 6, 7)]
    made = seeds.jobs(["--configs", "minatar", "3"], configs)
    assert seeds.run(load(logdir), made)
    for seed in (5, 6, 7):
        assert (logdir / "logs" / f"seed{seed}.log").read_text() == (
            f"train --configs minatar 3 --seed {seed} --logdir seed{seed}\n"
        )
    assert seeds.run(load(logdir), made)  # None runs again: `mkdir` would fail.


@pytest.mark.parametrize(("gpus", "count"), [("0", 20), ("0,1", 20), ("", 6)])
def test_a_gpu_is_shared_by_all_seeds_and_cores_by_one_each(monkeypatch, gpus, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert seeds.places(20) == count
    assert seeds.places(4) == 4


def test_a_job_is_the_command_of_a_single_run():
    made = seeds.jobs(["--steps", "9"], [load("logdir/a/seed2", seed=2)])
    assert made == [
        Job(
            name="seed2",
            script="train",
            args=("--steps", "9", "--seed", "2", "--logdir", "logdir/a/seed2"),
            needs=(),
            logdir=pathlib.Path("logdir/a/seed2"),
            units=40.0,
            unit="update",
        )
    ]


def test_a_folder_of_one_run_a_url_and_several_hosts_are_refused(tmp_path):
    seeds.check(load(tmp_path))
    with pytest.raises(ConfigError, match="a local folder. .*s3://bucket/run"):
        seeds.check(load("s3://bucket/run"))
    with pytest.raises(ConfigError, match="each seed is one process"):
        seeds.check(load(tmp_path, strategy="multiworker"))
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match="has a single run. Choose another --logdir"):
        seeds.check(load(tmp_path))
