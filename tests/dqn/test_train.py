import os
import signal

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dreamerv2_transfer.common import blocks, envs, logger, updates
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.dqn import agents, train
from tests.runs import rows, series

TASK = "minatar_breakout"


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "dqn"])
    defaults = {
        "task": TASK,
        "steps": 400,
        "log_every": 100,
        "eval_every": 200,
        "checkpoint_every": 95,  # Between two lines of the log, and two updates.
        "dqn.train_start": 100,
        "dqn.epsilon_steps": 50,
        "dqn.envs": 10,
    }
    return config.update({**defaults, **changes})


def make_envs(number):
    return envs.make_vector_env(TASK, number, time_limit=30)


def run(logdir, config, make_envs=make_envs) -> bool:
    return train.train(config, logdir, make_envs, logger.make_logger(logdir, Counter()))


def weights(path) -> list[np.ndarray]:
    with h5py.File(path) as file:
        return [
            file[f"layer{i}/{kind}"][()]
            for i in (1, 2, 3)
            for kind in ("kernel", "bias")
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The logdir of an uninterrupted run."""
    logdir = tmp_path_factory.mktemp("whole")
    assert run(logdir, make_config())
    return logdir


def test_a_run_leaves_metrics_agents_and_a_curve(whole):
    assert [row["step"] for row in rows(whole)] == [100, 200, 200, 300, 400, 400]
    names = {k for row in rows(whole) for k in row}
    assert {"train_return", "train_length", "loss", "q", "epsilon"} <= names
    assert {"eval_return_mean", "eval_length_mean", "eval_return_ci95_low"} <= names
    assert series(whole, "eval_episodes") == [2, 2]
    assert all(np.isfinite(series(whole, "loss")))
    assert len(series(whole, "loss")) == 3  # The first hundred steps train nothing.
    assert (whole / "curve.png").read_bytes()[1:4] == b"PNG"
    assert (whole / "checkpoints" / "ckpt-400.index").exists()


def test_agents_are_written_at_100_1000_and_at_the_end(tmp_path):
    rare = {"dqn.train_every": 100}
    run(tmp_path, make_config(steps=1100, eval_every=0, log_every=1100, **rare))
    names = sorted(p.name for p in tmp_path.glob("model_*"))
    assert names == [f"model_{n}.weights.h5" for n in (100, 1000, 1100)]
    with h5py.File(tmp_path / "model_1000.weights.h5") as file:
        about = dict(task=TASK, steps=1000, seed=0, network="mlp")
        assert dict(file.attrs) == about
    for path in tmp_path.glob("model_*"):
        assert agents.load(path, TASK).actions == 6
    first, last = (weights(tmp_path / f"model_{n}.weights.h5") for n in (100, 1100))
    assert (first[0] != last[0]).any() and (first[4] != last[4]).any()


class Killed(BaseException):
    """Ends a run at once, since nothing catches it."""


def killed_at(logdir, config, steps):
    """Starts a run that dies in the given step of the environments."""
    count = 0

    class Dying(envs.MinAtar):
        def step(self, action):
            nonlocal count
            count += 1
            if count > steps:
                raise Killed
            return super().step(action)

    def make(number):
        def one():
            return gymnasium.wrappers.TimeLimit(Dying("breakout"), 30)

        return SyncVectorEnv([one] * number, autoreset_mode=AutoresetMode.DISABLED)

    with pytest.raises(Killed):
        run(logdir, config, make)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, whole, capsys):
    killed_at(tmp_path, make_config(), steps=270)
    assert rows(tmp_path)[-1]["step"] == 200
    assert run(tmp_path, make_config())
    assert "resumed from step 190" in capsys.readouterr().out
    assert rows(tmp_path) == rows(whole)
    name = "model_400.weights.h5"
    for a, b in zip(weights(tmp_path / name), weights(whole / name), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_kill_leaves_in_the_log_is_taken_back(tmp_path, whole):
    config = make_config(checkpoint_every=200)
    killed_at(tmp_path, config, steps=390)
    assert rows(tmp_path)[-1]["step"] == 300
    run(tmp_path, config)
    assert rows(tmp_path) == rows(whole)


def test_a_finished_run_is_left_alone_but_for_lost_files(tmp_path, whole, capsys):
    before = (whole / "metrics.jsonl").read_bytes()
    player = weights(whole / "model_400.weights.h5")
    for name in ("model_400.weights.h5", "curve.png"):
        (whole / name).unlink()
    assert run(whole, make_config())
    assert "All 400 steps are done" in capsys.readouterr().out
    assert (whole / "metrics.jsonl").read_bytes() == before
    assert (whole / "curve.png").exists()
    for a, b in zip(weights(whole / "model_400.weights.h5"), player, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_plays_other_episodes(tmp_path, whole):
    run(tmp_path, make_config(seed=1))
    assert series(tmp_path, "train_length") != series(whole, "train_length")
    a, b = (weights(x / "model_100.weights.h5") for x in (tmp_path, whole))
    assert (a[0] != b[0]).any()


def test_ctrl_c_saves(tmp_path, capsys):
    def make(number):
        made = make_envs(number)
        step = made.step

        def stepping(actions):
            stepping.calls += 1
            if stepping.calls == 12 and number == 10:
                os.kill(os.getpid(), signal.SIGINT)
            return step(actions)

        stepping.calls = 0
        made.step = stepping
        return made

    assert not run(tmp_path, make_config(), make)
    assert "Stopped at step 120" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "ckpt-120.index").exists()


class Signs(gymnasium.Env):
    """Rewards the action whose plane has its first cell on; an episode has 4 steps."""

    def __init__(self):
        image = spaces.Box(0, 1, (10, 10, 10), bool)
        self.observation_space = spaces.Dict({"image": image})
        self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = 4
        return self._obs(), {}

    def step(self, action):
        self._left -= 1
        reward = float(action == self._sign)
        return self._obs(), reward, self._left == 0, False, {}

    def _obs(self):
        self._sign = int(self.np_random.integers(4))
        image = np.zeros((10, 10, 10), bool)
        image[0, 0, self._sign] = True
        return {"image": image}


@pytest.mark.parametrize(("double", "jit"), [(False, False), (True, True)])
def test_it_learns_which_action_pays(tmp_path, double, jit):
    def make(number):
        return SyncVectorEnv([Signs] * number, autoreset_mode=AutoresetMode.DISABLED)

    options = {"double": double, "discount": 0.5, "train_every": 5, "target_every": 50}
    options |= {"optimizer.lr": 3e-3, "epsilon_steps": 300, "updates": 2}
    changes = {f"dqn.{k}": v for k, v in options.items()}
    config = make_config(jit=jit, steps=500, eval_every=500, eval_eps=10, **changes)
    run(tmp_path, config, make)
    # Random play gets 1 of 4.
    assert series(tmp_path, "eval_return_mean")[-1] >= 3.8
    assert (
        series(tmp_path, "train_return")[0] < 2 < series(tmp_path, "train_return")[-1]
    )


def test_epsilon_falls_linearly_and_then_stays():
    options = make_config(
        **{"dqn.epsilon_first": 1.0, "dqn.epsilon_last": 0.1, "dqn.epsilon_steps": 100}
    ).dqn
    found = [train.epsilon(step, options) for step in (0, 50, 100, 1000)]
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])


def trainer(tmp_path, saved=lambda: None, **changes) -> train.Trainer:
    config = make_config(**{f"dqn.{k}": v for k, v in changes.items()})
    train_envs, eval_envs = make_envs(10), make_envs(1)
    log = logger.Logger(Counter(), [])
    return train.Trainer(config, tmp_path, train_envs, eval_envs, log, saved)


def test_what_is_saved_is_told(tmp_path):
    told, folder = [], tmp_path / "checkpoints"
    trainer(tmp_path, lambda: told.append([*folder.glob("*.index")])).save()
    assert told == [[folder / "ckpt-0.index"]]


def fixed_values(network, values):
    """Makes a network return these values for every input."""
    for variable in network.variables:
        variable.assign(np.zeros(variable.shape))
    network.variables[-1].assign(values)


@pytest.mark.parametrize(
    ("double", "target"),
    [
        (False, 1.5 + 0.25 * 9),  # The largest value of the target network.
        (True, 1.5 + 0.25 * 3),  # Its value of the network's choice, the last action.
    ],
)
def test_loss_is_hubers_of_the_distance_to_the_target(tmp_path, double, target):
    made = trainer(tmp_path, double=double).learning
    fixed_values(made.network, [0, 1, 0, 0, 0, 5])
    fixed_values(made.target, [9, 1, 1, 1, 1, 3])
    batch = {
        "planes": np.zeros((1, 10, 10, 4), np.uint8),
        "action": np.array([1], np.int32),
        "return": np.array([1.5], np.float32),
        "discount": np.array([0.25], np.float32),
        "next_planes": np.zeros((1, 10, 10, 4), np.uint8),
    }
    metrics = made.update(updates.tensors(batch))
    error = target - 1
    loss = error - 0.5 if error > 1 else error**2 / 2
    assert float(metrics["dqn_loss"]) == pytest.approx(loss)
    assert float(metrics["q"]) == 1
    # The target network stays as it is until it is copied.
    assert made.target.variables[-1].numpy().tolist() == [9, 1, 1, 1, 1, 3]
    made.copy()
    assert made.target.variables[-1].numpy()[0] == made.network.variables[-1].numpy()[0]


def test_updates_and_steps_keep_their_ratio(tmp_path):
    config = make_config(steps=300, eval_every=0, **{"dqn.train_every": 8})
    calls = []

    class Counting(train.Trainer):
        def update(self):
            calls.append(int(self.counter))
            super().update()

    made = Counting(
        config,
        tmp_path,
        make_envs(10),
        make_envs(1),
        logger.Logger(Counter(), [logger.JSONLOutput(tmp_path)]),
    )
    made.run(lambda: False)
    # 200 steps after the start, 8 per update.
    assert len(calls) == 25 and calls[:6] == [110, 120, 130, 140, 140, 150]


@pytest.mark.filterwarnings("ignore:.*encountered")
def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path):
    config = make_config(**{"dqn.optimizer.lr": 1e38, "dqn.optimizer.clip": 0})
    with pytest.raises(updates.TrainingError, match="Not a number"):
        run(tmp_path, config)
    assert list(tmp_path.glob("bad_batch_*.npz"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task", "atari_pong", "task=atari_pong"),
        (
            "minatar_view",
            "collapsed",
            "minatar_view=collapsed .* --minatar_view planes",
        ),
        ("dqn.envs", 0, "dqn.envs must be at least 1. Received: 0"),
        ("dqn.batch", 0, "dqn.batch must be"),
        ("dqn.n_step", 0, "dqn.n_step must be"),
        ("dqn.capacity", 0, "dqn.capacity must be"),
        ("dqn.network", "lstm", "dqn.network=lstm"),
        ("eval_eps", 0, "eval_eps must be"),
    ],
)
def test_bad_input_is_named(tmp_path, key, value, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, make_config(**{key: value}))
