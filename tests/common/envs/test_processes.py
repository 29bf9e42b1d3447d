import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from dreamerv2_transfer.common import driver, envs
from dreamerv2_transfer.common.envs import processes
from tests import fakes


def trajectory(parallel, task, steps, **options):
    """Transitions of two environments that are reset where they end."""
    rng = np.random.default_rng(0)
    with contextlib.closing(envs.make_vector_env(task, 2, parallel, **options)) as env:
        seeds = iter(range(1000))
        found = []

        def policy(obs, state):
            choice = rng.integers(env.single_action_space.n, size=2)
            return {"action": np.eye(env.single_action_space.n)[choice]}, state

        drive = driver.Driver(env, seeds=lambda worker: next(seeds))
        for add in (drive.on_step, drive.on_reset):
            add(lambda tran, worker: found.append((worker, tran)))
        drive(policy, steps=steps)
    return found


@pytest.mark.parametrize("task", ["gym_CartPole-v1", "minatar_breakout"])
def test_processes_play_what_one_process_plays(task):
    one, other = (trajectory(kind, task, 200) for kind in ("none", "process"))
    assert len(one) == len(other) > 206  # Some episodes ended and began.
    for (worker, tran), (other_worker, other_tran) in zip(one, other, strict=True):
        assert worker == other_worker
        assert tran.keys() == other_tran.keys()
        for key, value in tran.items():
            assert np.array_equal(value, other_tran[key]), key
            assert value.dtype == other_tran[key].dtype


def test_fault_in_a_process_comes_up_and_close_ends_all():
    # Python would put the source line, with its percent sign, into a traceback.
    env = envs.make_vector_env(
        lambda: fakes.Scripted([OSError(f"{7:d} % d")]), 2, "process"
    )
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(envs.EnvError, match="^Scripted, step 1 .*OSError: 7 % d$"):
            env.step(np.zeros(2, int))
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < processes.CLOSE_PATIENCE  # None was killed.
    assert not any(process.is_alive() for process in env.processes)


def test_restart_in_a_process():
    make = lambda: fakes.Scripted([fakes.GOOD, OSError("gone")])  # noqa: E731
    with contextlib.closing(
        envs.make_vector_env(make, 2, "process", restart=True)
    ) as env:
        env.reset()
        assert env.step(np.zeros(2, int))[3].tolist() == [False, False]
        assert env.step(np.zeros(2, int))[3].tolist() == [True, True]
        env.reset(options={"reset_mask": np.ones(2, bool)})
        assert env.step(np.zeros(2, int))[3].tolist() == [False, False]


class Dying(fakes.Scripted):
    def step(self, action):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(fakes.Scripted):
    def step(self, action):
        time.sleep(1000)


class Ending(fakes.Scripted):
    """Counts its steps; its process ends in the third one of an environment."""

    def __init__(self, end, number=3):
        super().__init__()
        self._end, self._left, self._count = end, number, 0

    def reset(self, **options):
        self._count = 0
        return super().reset(**options)

    def step(self, action):
        self._left -= 1
        self._count += 1
        if not self._left:
            self._end()
        obs, *rest = super().step(action)
        return obs * self._count, *rest


ENDS = {
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sys.exit": lambda: sys.exit("no licence"),
}


@pytest.mark.parametrize("how", ENDS)
def test_restart_whatever_ends_the_process(how, capfd):
    make = lambda: Ending(ENDS[how])  # noqa: E731
    with contextlib.closing(
        envs.make_vector_env(make, 2, "process", restart=True)
    ) as env:
        env.reset()
        for _ in range(2):  # The fresh environments end in their third step too.
            for step in (1, 2):
                obs, reward, *ends, _ = env.step(np.zeros(2, int))
                assert obs["vector"].tolist() == [[step, step]] * 2
                assert reward.tolist() == [1, 1] and not np.any(ends)
            obs, reward, terminated, truncated, _ = env.step(np.zeros(2, int))
            assert obs["vector"].tolist() == [[2, 2]] * 2  # The last one again.
            assert reward.tolist() == [0, 0]
            assert not terminated.any() and truncated.all()
            obs, _ = env.reset(options={"reset_mask": np.ones(2, bool)})
            assert obs["vector"].tolist() == [[1, 1]] * 2
    assert capfd.readouterr().out.count("A fresh environment replaces it.") == 4


def test_restart_of_one_leaves_the_others_where_they_are():
    with contextlib.closing(
        envs.make_vector_env(lambda: Ending(lambda: 0), 3, "process", restart=True)
    ) as env:
        env.reset()
        env.step(np.zeros(3, int))
        os.kill(env.processes[1].pid, signal.SIGKILL)
        obs, _, _, truncated, _ = env.step(np.zeros(3, int))
        assert truncated.tolist() == [False, True, False]
        assert obs["vector"][:, 0].tolist() == [2, 1, 2]
        os.kill(env.processes[2].pid, signal.SIGKILL)  # While it waits for the reset.
        env.reset(options={"reset_mask": truncated})
        obs, _, _, truncated, _ = env.step(np.zeros(3, int))
        assert truncated.tolist() == [False, False, True]
        assert obs["vector"][:, 0].tolist() == [3, 1, 2]


class Stillborn(fakes.Scripted):
    def reset(self, **options):
        os._exit(3)


def test_a_reset_is_tried_three_times(capfd):
    env = envs.make_vector_env(Stillborn, 1, "process", restart=True)
    with pytest.raises(envs.EnvError, match=r"exit status \[3\] of environments \[0\]"):
        env.reset()
    env.close()
    assert capfd.readouterr().out.count("ended with exit status 3. A fresh") == 2


def test_death_of_a_process_is_told_and_close_works():
    env = envs.make_vector_env(Dying, 2, "process")
    env.reset()
    with pytest.raises(envs.EnvError, match=r"exit status \[-9, -9\] of .*\[0, 1\]"):
        env.step(np.zeros(2, int))
    env.close()


def test_close_ends_a_process_that_does_not_answer():
    env = envs.make_vector_env(Hanging, 1, "process")
    env.reset()
    env.step_async(np.zeros(1, int))
    env.close(timeout=0.1)
    assert not env.processes[0].is_alive()


def test_processes_leave_signals_to_the_parent():
    with contextlib.closing(
        envs.make_vector_env("dummy_discrete", 2, "process")
    ) as env:
        env.reset()
        for process in env.processes:
            os.kill(process.pid, signal.SIGINT)
            os.kill(process.pid, signal.SIGTERM)
        obs, *_ = env.step(np.zeros(2, int))
        assert obs["vector"][:, 0].tolist() == [1, 1]


PARENT = """
import os, signal, sys
from dreamerv2_transfer.common import envs
env = envs.make_vector_env("dummy_discrete", 2, "process")
env.reset()
print(*(process.pid for process in env.processes), flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_processes_end_with_their_parent(how):
    root = pathlib.Path(envs.__file__).parents[3]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", PARENT, how],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, pids))
