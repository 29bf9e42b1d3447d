import functools
import json
import pathlib
import runpy
import sys
import types
from concurrent import futures

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer import api, finetune
from dreamerv2_transfer.common import checkpoint, envs
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.files import logdir
from dreamerv2_transfer.common.replay import store
from tests import fakes, gyms

ROOT = pathlib.Path(__file__).parents[1]
IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)


class Sensors(gymnasium.Env):
    """Ends after 6 steps; its observations depend only on the step."""

    action_space = spaces.Discrete(3)

    def __init__(self, image=IMAGE):
        self.observation_space = spaces.Dict(
            {
                "image": image,
                "speed": spaces.Box(-9, 9, (2,), np.float32),
                "log_score": spaces.Discrete(9),
            }
        )
        self.closed, self.resets = False, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._count = 0
        self.resets += 1
        return self._obs(), {}

    def step(self, action):
        self._count += 1
        return self._obs(), 0.5, self._count == 6, False, {}

    def close(self):
        self.closed = True

    def _obs(self):
        image = self.observation_space["image"]
        return {
            "image": np.full(image.shape, self._count % 2, image.dtype),
            "speed": np.full(2, self._count, np.float32),
            "log_score": self._count,
        }


def make_config(folder, *blocks, **changes):
    config = api.defaults
    for block in blocks:
        config = config.update(api.configs[block])
    small = {
        "logdir": str(folder),
        "steps": 2,
        "log_every": 1,
        "eval_every": 0,
        "checkpoint_every": 10,
        "prefill": 20,
        "train_every": 7,
        "action_repeat": 1,
        "imag_horizon": 2,
        "dataset": {"batch": 2, "length": 4},
        "replay": {"minlen": 1, "maxlen": 4},
    }
    return config.update(api.configs["debug"]).update({**small, **changes})


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def keys(folder):
    return {key for row in rows(folder) for key in row}


def test_actions_and_observations_of_every_kind(tmp_path):
    signal = runpy.run_path(str(ROOT / "examples" / "spaces.py"))
    make = functools.partial(signal["Signal"], "dict")
    evaluation = {"eval_every": 2, "eval_eps": 1, "eval_envs": 1, "outputs": ["jsonl"]}
    every = {r"(encoder|decoder)\.(cnn|mlp)_keys": ".*"}
    config = make_config(tmp_path, "minatar", **evaluation, **every)
    assert api.train(make, config)
    losses = ("front", "back", "level", "dials", "body.speed", "body.doors", "reward")
    assert {"eval_return_mean", *(f"{x}_loss" for x in losses)} <= keys(tmp_path)
    env, model = envs.make_env(make, fit=envs.fit(config)), api.load(tmp_path)
    assert model.action_space == env.action_space
    assert envs.act_size(env.action_space) == 4 + 4 + 4 * 2 + (4 + 3 + 4) + (4 + 2)
    obs, _ = env.reset(seed=0)
    action, _ = model.agent.act(obs, seed=0, sample=True)
    assert env.action_space.contains(action)
    assert np.isfinite(env.step(action)[1])
    native = make().action_space
    assert native.contains(api.native_action(native, action))
    dream = api.DreamEnv(model, time_limit=3)
    dream.reset(seed=0)
    assert dream.step(dream.action_space.sample())[0].keys() == obs.keys()


def test_no_action_is_taken_that_a_mask_forbids(tmp_path):
    noise = {"expl_noise": 0.5, "eval_noise": 0.5, "outputs": ["jsonl"]}
    config = make_config(tmp_path, **noise, **{"obs.action_mask": True})
    assert api.train(fakes.Gate(), config)
    assert "action_mask_loss" in keys(tmp_path)
    path = next((tmp_path / "train_episodes").glob("*.npz"))
    with np.load(path, allow_pickle=False) as file:
        assert file["action_mask"][:2].tolist() == [[0, 1, 1], [1, 0, 1]]
    agent, env = api.load(tmp_path).agent, fakes.Gate()
    obs, info = env.reset()
    for number in range(6):
        seen = {"vector": np.eye(2, dtype=np.float32)[obs], **info}
        seen["action_mask"] = seen["action_mask"].astype(np.float32)
        action, _ = agent.act(seen, seed=number, sample=True)
        obs, *_, info = env.step(action)


def test_defaults_and_configs_are_those_of_the_file():
    assert api.defaults == config_lib.Config(dict(api.defaults))
    assert (api.defaults.logdir, api.defaults.rssm.deter) == ("/dev/null", 1024)
    assert {"atari", "minatar", "dmc_proprio", "debug"} <= api.configs.keys()
    assert "defaults" not in api.configs
    with pytest.raises(AttributeError, match="nothing_of_this"):
        _ = api.nothing_of_this


def test_an_instance_stays_open_and_the_same_call_goes_on(tmp_path):
    env = Sensors()
    changes = {"log_keys_sum": "log_score", "log_keys_max": "log_|speed"}
    changes |= {"outputs": ["jsonl"]}
    assert api.train(env, make_config(tmp_path, steps=1, **changes))
    assert not env.closed
    before = rows(tmp_path)
    assert [row["step"] for row in before] == [1]
    assert {"image_loss", "speed_loss"} <= before[0].keys()
    assert not [k for k in keys(tmp_path) if k.startswith("eval_")]
    assert api.train(env, make_config(tmp_path, steps=3, **changes))
    after = rows(tmp_path)
    assert after[:1] == before
    assert [row["step"] for row in after] == [1, 2, 3]
    whole = after[-1]  # An episode of 6 steps has ended before the third update.
    assert (whole["train_return"], whole["train_length"]) == (3.0, 6.0)
    assert whole["sum_train_log_score"] == 0 + 1 + 2 + 3 + 4 + 5 + 6
    assert whole["max_train_log_score"] == whole["max_train_speed"] == 6
    assert not env.closed
    assert not list(tmp_path.glob("events.*"))
    path = next((tmp_path / "train_episodes").glob("*.npz"))
    with np.load(path, allow_pickle=False) as file:
        assert file["log_score"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    saved = config_lib.Config.load(tmp_path / "config.yaml")
    assert (saved.stage, saved.task) == ("scratch", "Sensors")
    manifest = store.read_manifest(tmp_path / "train_episodes")
    assert manifest["task"] == "Sensors"


def test_a_function_makes_all_environments(tmp_path):
    made = []

    def make():
        made.append(gymnasium.make("Pendulum-v1", max_episode_steps=7))
        return made[-1]

    found = []
    config = make_config(tmp_path, "dmc_proprio", envs=3, steps=1, eval_envs=2)
    assert api.train(make, config, [found.append])
    # For the spaces, random play, training and evaluation.
    assert len(made) == 1 + 3 + 3 + 2
    names = {name for summaries in found for _, name, _ in summaries}
    assert {"eval_return_mean", "model_loss", "vector_loss", "fps"} <= names
    assert not (tmp_path / "metrics.jsonl").exists()
    assert config_lib.Config.load(tmp_path / "config.yaml").task == "Pendulum-v1"


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((64, 64), ()),
        ((64, 64, 3), ("crafter",)),
        ((10, 10, 2), ("minatar",)),
        ((48, 48, 3), ()),  # Resized to 64x64, as the original does.
    ],
)
def test_images_that_the_stacks_can_take(tmp_path, shape, blocks):
    image = spaces.Box(0, 255, shape, np.uint8)
    config = make_config(tmp_path, *blocks, steps=1, **{"encoder.cnn_keys": "image"})
    assert api.train(Sensors(image), config)
    assert rows(tmp_path)[0]["image_loss"] > 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64, 48, 3), r"images of \(64, 64\), but 'image' has .*ResizeObservation"),
        ((10, 10, 2), r"\(10, 10, 2\) are too small .*encoder.cnn_kernels"),
    ],
)
def test_planes_that_do_not_fit_are_refused_before_random_play(
    tmp_path, shape, message
):
    env = Sensors(spaces.Box(0, 1, shape, bool))
    with pytest.raises(config_lib.ConfigError, match=message) as error:
        api.train(env, make_config(tmp_path))
    assert "\n" not in str(error.value)
    assert env.resets == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"envs": 2}, "envs=2.*pass a function"),
        ({"envs_parallel": "process"}, "envs_parallel=process.*pass a function"),
        ({"envs_restart": True}, "envs_restart=True.*pass a function"),
        ({"logdir": "/dev/null"}, "logdir=/dev/null. Name the folder"),
        ({"stage": "finetune"}, "stage=finetune and init.path=''.*scratch"),
        ({"stage": "scratch", "init.path": "x"}, "stage=scratch and init.path='x'"),
    ],
)
def test_values_that_are_not_possible_are_named(tmp_path, changes, message):
    with pytest.raises(config_lib.ConfigError, match=message):
        api.train(Sensors(), make_config(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("env", ["CartPole-v1", None, gymnasium.make_vec])
def test_what_is_no_environment_is_refused(tmp_path, env):
    with pytest.raises(envs.EnvError, match="Received|could not be made"):
        api.train(env, make_config(tmp_path))


def test_a_logdir_belongs_to_one_environment(tmp_path):
    with futures.ThreadPoolExecutor() as pool:  # Only the main thread has signals.
        config = make_config(tmp_path, steps=1)
        assert pool.submit(api.train, Sensors(), config).result()
    with pytest.raises(logdir.LogdirError, match="task was Sensors and is CartPole-v1"):
        api.train(gymnasium.make("CartPole-v1"), make_config(tmp_path, steps=1))


def test_weights_are_looked_at_before_random_play(tmp_path):
    config = make_config(tmp_path / "run", **{"init.path": str(tmp_path)})
    with pytest.raises(checkpoint.CheckpointError, match="no weights to start from"):
        api.train(Sensors(), config)
    assert not (tmp_path / "run" / "train_episodes").exists()


def test_metrics_of_keys():
    wanted = {"log_keys_sum": "rew", "log_keys_mean": "^$", "log_keys_max": "image"}
    episode = {**fakes.episode(3, image_shape=(1, 1, 2), dtype=np.uint8)}
    episode["image"][1, 0, 0] = [9, 2]
    found = finetune.key_metrics(config_lib.Config(wanted), episode)
    # The maxima over time are 9 and 3.
    assert found == {"sum_train_reward": 6.0, "max_train_image": 6.0}


# The example of danijar/dreamerv2's README, but for the import.
README = """
import gym
import gym_minigrid
import dreamerv2_transfer.api as dv2

config = dv2.defaults.update({
    'logdir': '~/logdir/minigrid',
    'log_every': 1e3,
    'train_every': 10,
    'prefill': 1e5,
    'actor_ent': 3e-3,
    'loss_scales.kl': 1.0,
    'discount': 0.99,
}).parse_flags()

env = gym.make('MiniGrid-DoorKey-6x6-v0')
env = gym_minigrid.wrappers.RGBImgPartialObsWrapper(env)
dv2.train(env, config)
"""


def test_the_script_of_the_originals_readme_runs(tmp_path, monkeypatch):
    wrap = types.SimpleNamespace(RGBImgPartialObsWrapper=lambda env: env)
    made = gyms.Grid()
    gym = types.SimpleNamespace(make=lambda name: made)
    monkeypatch.setitem(sys.modules, "gym", gym)
    monkeypatch.setitem(
        sys.modules, "gym_minigrid", types.SimpleNamespace(wrappers=wrap)
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    small = make_config(tmp_path).update(log_every=1, train_every=7).flat
    flags = {k: v for k, v in small.items() if api.defaults[k] != v and k != "logdir"}
    texts = {
        k: ",".join(map(str, v)) if type(v) is tuple else v for k, v in flags.items()
    }
    monkeypatch.setattr(
        sys, "argv", ["x.py", *(f"--{k}={v}" for k, v in texts.items())]
    )
    exec(README, {})
    folder = tmp_path / "logdir" / "minigrid"
    assert [row["step"] for row in rows(folder)] == [1, 2]
    assert rows(folder)[-1]["image_loss"] > 0
    saved = config_lib.Config.load(folder / "config.yaml")
    assert (saved.actor_ent, saved.prefill, saved.task) == (3e-3, 20, "Grid")
    path = next((folder / "train_episodes").glob("*.npz"))
    with np.load(path, allow_pickle=False) as file:
        assert file["image"].shape[1:] == (64, 64, 3)
        assert not file["is_terminal"].any()  # Grid ends by a time limit.
    assert not made.closed


def test_settings_of_scripts_read_flags():
    config = api.defaults.update(seed=3).parse_flags(["--rssm.deter", "8"])
    assert (config.seed, config.rssm.deter) == (3, 8)
    assert config.update(seed=4).parse_flags([]).seed == 4
    config, rest = config.parse_flags(["--seed", "5", "--mine", "6"], known_only=True)
    assert (config.seed, rest) == (5, ["--mine", "6"])
    with pytest.raises(
        config_lib.ConfigError, match="Flag '--sed'.*Did you mean 'seed'"
    ):
        api.defaults.parse_flags(["--sed", "5"])


def test_help_of_a_script_lists_its_keys(capsys):
    with pytest.raises(SystemExit) as end:
        api.defaults.update(seed=7).parse_flags(["--help"])
    assert end.value.code == 0
    assert "--seed" in capsys.readouterr().out


def test_the_originals_outputs_have_their_names(tmp_path):
    outputs = [api.TerminalOutput(), api.JSONLOutput(tmp_path)]
    assert api.train(Sensors(), make_config(tmp_path, steps=1), outputs)
    assert [row["step"] for row in rows(tmp_path)] == [1]
    assert callable(api.TensorBoardOutput)
