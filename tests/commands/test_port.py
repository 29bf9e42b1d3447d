"""Old agents as runs of ours, and back, by the commands that a person types."""

import json
import pathlib
import pickle
import sys

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import commands
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.porting import pickles, port
from tests import fakes, runs

STEPS = 1234
# An agent of the original for an environment of images and vectors, tiny.
OLD = {
    "task": "dummy_discrete",
    "num_envs": 1,  # As its first release called it.
    "precision": 32,
    "prefill": 40,
    "train_every": 5,
    "pretrain": 0,
    "imag_horizon": 3,
    "dataset": {"batch": 2, "length": 6},
    "replay": {"minlen": 1},
    "rssm": {"hidden": 8, "deter": 8, "stoch": 4, "discrete": 4},
    "encoder": {"cnn_depth": 1, "mlp_layers": [8]},
    "decoder": {"cnn_depth": 1, "mlp_layers": [8]},
    **{
        head: {"layers": 1, "units": 8}
        for head in ("reward_head", "discount_head", "actor", "critic")
    },
}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory) -> pathlib.Path:
    """A logdir of the original with an agent, its configuration and an episode."""
    path = tmp_path_factory.mktemp("old")
    (path / "config.json").write_text(json.dumps(OLD))
    config, _ = blocks.load_old(path / "config.json")
    with envs.make_env("dummy_discrete") as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    agent = agent_lib.make_agent(config.update(jit=False), *spaces)
    agent.tfstep.assign(STEPS)
    arrays = [variable.numpy() for variable in port.variables(agent).values()]
    pickles.save_variables(path / "variables.pkl", arrays)
    (path / "train_episodes").mkdir()
    store.save_episode(path / "train_episodes", episode(60))
    return path


def episode(steps: int) -> store.Episode:
    is_last = np.arange(steps + 1) == steps
    return {
        "image": np.zeros((steps + 1, 64, 64, 3), np.uint8),
        "vector": np.zeros((steps + 1, 3), np.float32),
        "action": np.eye(6, dtype=np.float32)[np.arange(steps + 1) % 6],
        "reward": np.zeros(steps + 1, np.float32),
        "is_first": np.arange(steps + 1) == 0,
        "is_last": is_last,
        "is_terminal": is_last,
    }


@pytest.fixture(scope="module")
def ported(logdir, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("ported") / "run"
    done = runs.run("launch/port_checkpoint.py", logdir, "--to", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"an agent of {STEPS} steps" in done.stdout
    assert "image (64x64x3), vector (3)" in done.stdout
    assert "6 discrete actions" in done.stdout
    assert "no state of the optimizers" in done.stdout
    assert "'num_envs' is called 'envs' today" in done.stdout
    return path


def reversed_arrays(path: pathlib.Path, to: pathlib.Path) -> tuple[np.ndarray, ...]:
    done = runs.run("launch/port_checkpoint.py", path, "--reverse", "--to", to)
    assert done.returncode == 0, done.stdout + done.stderr
    return pickles.load_variables(to)


def test_it_acts_comes_back_as_it_was_and_goes_on_training(logdir, ported, tmp_path):
    played = runs.run("launch/evaluate.py", "--logdir", ported, "--episodes", 2)
    assert played.returncode == 0, played.stdout + played.stderr
    # The environment's rewards are 1 to 10, whatever the agent does.
    assert json.loads(played.stdout.splitlines()[-1])["return_mean"] == 55

    before = pickles.load_variables(logdir / "variables.pkl")
    for a, b in zip(reversed_arrays(ported, tmp_path / "a.pkl"), before, strict=True):
        np.testing.assert_array_equal(a, b)

    configs = ["--configs", ported / "config.yaml", "scratch"]
    flags = ["--logdir", ported, "--steps", 4, "--eval_every", 0, "--log_every", 1]
    done = runs.run("launch/train.py", *configs, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"which made {STEPS} steps" in done.stdout
    # The old episode is its replay, so that nothing was played at random.
    assert runs.series(ported, "train_total_episodes")[0] in (1, 2)
    after = reversed_arrays(ported, tmp_path / "b.pkl")
    assert STEPS < after[0] < STEPS + 40
    pairs = list(zip(after, before, strict=True))[-10:]  # Of the RSSM.
    assert 0 < max(np.abs(a - b).max() for a, b in pairs) < 0.01


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--to PATH"),
        (["--to", "{tmp}/run", "--rssm.deter", "600"], "rssm.deter is 600"),
        (["--to", "{tmp}/run", "--rssm.detre", "600"], "rssm.deter"),
        (["--to", "{tmp}/full"], "full is not empty"),
        (["--to", "{tmp}/run", "--config", "{tmp}/no.yaml"], "no.yaml"),
        (["--to", "{tmp}/a.pkl", "--reverse", "--seed", "1"], "--seed"),
    ],
)
def test_bad_input_is_one_line_that_names_it(logdir, tmp_path, args, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    args = [x.format(tmp=tmp_path) for x in args]
    done = runs.run("launch/port_checkpoint.py", logdir, *args)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_exist_is_refused_at_once(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "dreamerv2_transfer.porting.port", None)
    args = ["port", "/nowhere", "--reverse", "--to", str(tmp_path / "a.pkl")]
    assert commands.main(args) == 2
    assert "There is no run in /nowhere" in capsys.readouterr().err


def test_a_hostile_pickle_runs_nothing(logdir, tmp_path):
    path, target = tmp_path / "variables.pkl", tmp_path / "touched"
    path.write_bytes(pickle.dumps((np.zeros(2), fakes.Touch(target))))
    config = ["--config", logdir / "config.json", "--to", tmp_path / "run"]
    done = runs.run("launch/port_checkpoint.py", path, *config)
    assert done.returncode == 2 and "None of it was run" in done.stderr
    assert not target.exists() and not (tmp_path / "run").exists()
