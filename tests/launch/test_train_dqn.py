"""The command that a user types, as a process of its own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DEBUG = ["--configs", "minatar", "debug", "dqn", "--task", "minatar_breakout"]


def start(*args) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "launch/train_dqn.py", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def metrics(logdir: pathlib.Path) -> list[dict]:
    path = logdir / "metrics.jsonl"
    rows = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [{k: v for k, v in row.items() if k != "fps"} for row in rows]


def wait_for_step(logdir: pathlib.Path, step: int) -> None:
    for _ in range(3000):
        if any(row["step"] >= step for row in metrics(logdir)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"No step {step} in {logdir}")


def test_killed_and_resumed_metrics_are_those_of_a_whole_run(tmp_path):
    run = [*DEBUG, "--steps", 1100, "--eval_every", 500, "--checkpoint_every", 200]
    whole = start(*run, "--logdir", tmp_path / "a")
    killed = start(*run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 500)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert metrics(tmp_path / "b")[-1]["step"] < 1100
    assert "resumed from step" in finish(start(*run, "--logdir", tmp_path / "b"))
    finish(whole)
    assert metrics(tmp_path / "a")[-1]["step"] == 1100
    assert metrics(tmp_path / "b") == metrics(tmp_path / "a")
    agents = sorted(p.name for p in (tmp_path / "b").glob("model_*"))
    assert agents == [f"model_{n}.weights.h5" for n in (100, 1000, 1100)]


def test_ctrl_c_saves_and_exits_cleanly(tmp_path):
    process = start(*DEBUG, "--steps", 100000, "--logdir", tmp_path)
    wait_for_step(tmp_path, 200)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopped at step" in output and "Traceback" not in output
    assert list((tmp_path / "checkpoints").glob("ckpt-*.index"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configs", "minatar"], "Name the block dqn"),
        ([*DEBUG, "--task", "minatar_breakot"], "minatar_breakout"),
        ([*DEBUG, "--task", "atari_pong"], "task=atari_pong"),
        ([*DEBUG, "--dqn.network", "lstm"], "dqn.network=lstm"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, args, message):
    process = start(*args, "--logdir", tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert message in output and "Traceback" not in output
