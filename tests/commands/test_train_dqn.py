"""The command that a user types, in a separate process."""

import functools
import signal

import pytest

from tests import runs
from tests.runs import finish, rows, wait_for_step

DEBUG = ["--configs", "minatar", "debug", "dqn", "--task", "minatar_breakout"]

start = functools.partial(runs.start, "launch/train_dqn.py")


def test_killed_and_resumed_metrics_are_those_of_a_whole_run(tmp_path):
    run = [*DEBUG, "--steps", 1100, "--eval_every", 500, "--checkpoint_every", 200]
    whole = start(*run, "--logdir", tmp_path / "a")
    killed = start(*run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 500)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert rows(tmp_path / "b")[-1]["step"] < 1100
    assert "resumed from step" in finish(start(*run, "--logdir", tmp_path / "b"))
    finish(whole)
    assert rows(tmp_path / "a")[-1]["step"] == 1100
    assert rows(tmp_path / "b") == rows(tmp_path / "a")
    agents = sorted(p.name for p in (tmp_path / "b").glob("model_*"))
    assert agents == [f"model_{n}.weights.h5" for n in (100, 1000, 1100)]


def test_ctrl_c_saves_and_exits_cleanly(tmp_path):
    run = [*DEBUG, "--steps", 100000, "--outputs", "jsonl"]
    process = start(*run, "--logdir", tmp_path)
    wait_for_step(tmp_path, 200)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopped at step" in output and "Traceback" not in output
    assert list((tmp_path / "checkpoints").glob("ckpt-*.index"))
    assert not list(tmp_path.glob("events.*"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configs", "minatar"], "Name the block dqn"),
        ([*DEBUG, "--task", "minatar_breakot"], "minatar_breakout"),
        ([*DEBUG, "--task", "atari_pong"], "task=atari_pong"),
        ([*DEBUG, "--dqn.network", "lstm"], "dqn.network=lstm"),
        ([*DEBUG, "--outputs", "terminal"], "--outputs terminal"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, args, message):
    process = start(*args, "--logdir", tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert message in output and "Traceback" not in output
