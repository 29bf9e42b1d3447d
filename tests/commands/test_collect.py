"""The command that a user types, as a process of its own."""

import functools
import signal
import subprocess
import time

from dreamerv2_transfer.common.replay import store
from tests import runs

DEBUG = ["--configs", "minatar", "debug", "collect"]

start = functools.partial(runs.start, "launch/collect.py")


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_all_games_are_collected(tmp_path):
    directory = ["--dataset.directory", tmp_path / "data"]
    code, output = finish(start(*DEBUG, *directory))
    assert code == 0, output
    for game in ("asterix", "breakout", "freeway", "seaquest"):
        episodes, steps = store.count_episodes(tmp_path / "data" / f"minatar_{game}")
        assert steps >= 300
        assert f"Collected minatar_{game}: {episodes} episodes, {steps}" in output
    code, again = finish(start(*DEBUG, *directory))
    assert code == 0
    assert "step/s" not in again


def test_ctrl_c_stops_all_processes_and_the_command_goes_on(tmp_path):
    args = [*DEBUG, "--dataset.directory", tmp_path, "--collect.steps", 20000]
    process = start(*args)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.npz"))) < 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "Traceback" not in output
    stopped_at = len(list(tmp_path.rglob("*.npz")))
    code, output = finish(start(*args, "--collect.steps", 6000))
    assert code == 0, output
    assert len(list(tmp_path.rglob("*.npz"))) > stopped_at
    steps = [store.count_episodes(x)[1] for x in tmp_path.iterdir()]
    assert min(steps) >= 6000


def test_block_and_directory_are_checked(tmp_path):
    code, output = finish(start("--configs", "minatar", "pretrain"))
    assert code == 2
    assert "Name the block collect" in output
    missing = ["--dqn.checkpoints", tmp_path / "no_agents"]
    code, output = finish(start(*DEBUG, "--dataset.directory", tmp_path, *missing))
    assert code == 2
    assert "no_agents" in output
    assert not list(tmp_path.rglob("*.npz"))


def test_unknown_game_names_the_nearest(tmp_path):
    args = ["--tasks", "atari_pongg", "--dataset.directory", tmp_path]
    code, output = finish(start("--configs", "atari", "collect", *args))
    assert code == 2
    assert "Did you mean atari_pong" in output
