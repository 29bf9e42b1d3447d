"""The examples, as a newcomer runs them, at a size of seconds."""

import pathlib

import pytest

from tests import runs

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
    script = f"examples/{name}.py"
    process = runs.run(script, "--logdir", tmp_path, *options)
    assert process.returncode == 0, process.stdout + process.stderr
    rows = runs.rows(tmp_path)
    assert [row["step"] for row in rows if "model_loss" in row] == [1, 2]
    assert rewards[0] <= rows[-1]["eval_return_mean"] <= rewards[1]
    # The vector's Normals have a constant of 0.919 a number, the reward's one too.
    constant = rows[0]["model_loss"] - rows[0]["model_error"]
    assert constant == pytest.approx((size + 1) * 0.918939, abs=1e-4)
    assert (tmp_path / "world_model.weights.h5").exists()


def test_ppo_trains_in_a_dream():
    pytest.importorskip("stable_baselines3")
    process = runs.run("examples/dream_ppo.py", "--steps", 512, "--episodes", 2)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["before", "after"]
