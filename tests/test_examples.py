"""The examples, as a newcomer runs them, at a size of seconds."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SMALL = {
    "jit": False,
    "steps": 2,
    "log_every": 1,
    "eval_every": 0,
    "envs": 2,
    "eval_eps": 1,
    "eval_envs": 1,
    "time_limit": 8,
    "prefill": 40,
    "dataset.batch": 2,
    "dataset.length": 4,
    "imag_horizon": 2,
    "replay.minlen": 1,
}


@pytest.mark.parametrize(
    ("name", "size", "rewards"),
    [("cartpole", 4, (1.0, 8.0)), ("pendulum", 3, (-8 * 16.3, 0.0))],
)
def test_examples_train(tmp_path, name, size, rewards):
    options = [str(x) for key, value in SMALL.items() for x in (f"--{key}", value)]
    process = subprocess.run(
        [sys.executable, f"examples/{name}.py", "--logdir", str(tmp_path), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows if "model_loss" in row] == [1, 2]
    assert rewards[0] <= rows[-1]["eval_return_mean"] <= rewards[1]
    # The vector's Normals have a constant of 0.919 a number, the reward's one too.
    constant = rows[0]["model_loss"] - rows[0]["model_error"]
    assert constant == pytest.approx((size + 1) * 0.918939, abs=1e-4)
    assert (tmp_path / "world_model.weights.h5").exists()
