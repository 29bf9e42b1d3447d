"""Training in dreams alone: what changes, what does not, and what is refused."""

import contextlib
import shutil

import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import offline, train
from dreamerv2_transfer.common import blocks, checkpoint, envs
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.transfer import weights
from tests import fakes, models
from tests.runs import rows

TASK = "minatar_breakout"
OTHER = "minatar_freeway"


def make_config(folder, *flags, **changes):
    """The configuration of a tiny run, with the flags of a command."""
    given = ("--init", str(folder / "model"), "--dataset.directory", str(folder))
    config = blocks.load_config(["minatar", "debug", "offline"], [*given, *flags])
    defaults = {
        "steps": 4,
        "log_every": 2,
        "eval_every": 0,
        "eval_eps": 0,
        "checkpoint_every": 2,
        "imag_horizon": 3,
        "outputs": ["jsonl"],
        "dataset.batch": 2,
        "dataset.length": 6,
        "video.length": 8,
    }
    return config.update({**defaults, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Episodes of two games, and a world model with its configuration."""
    root = tmp_path_factory.mktemp("offline")
    for i, task in enumerate((TASK, OTHER)):
        (root / task).mkdir()
        for number in range(3):
            store.save_episode(root / task, fakes.episode(30, 10 * i + number))
    (root / "model").mkdir()
    config = make_config(root)
    config.save(root / "model" / "config.yaml")
    agent = models.make_agent(config)
    weights.save_agent(root / "model", agent, 0)
    return root


def run(logdir, config):
    """Runs as launch/train.py does."""
    logdir.mkdir(exist_ok=True)
    config = train.with_games(config)
    train.check(config)
    config.save(logdir / "config.yaml")
    return train.run(config, remote.Folder(logdir))


def arrays(path):
    return {k: v.tobytes() for k, v in weights.read_weights(path).items()}


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The logdir of an uninterrupted run on one game."""
    logdir = tmp_path_factory.mktemp("whole")
    changes = {"eval_every": 2, "eval_eps": 1, "time_limit": 5}
    assert run(logdir, make_config(folder, "--task", TASK, **changes))
    return logdir


def test_actor_and_critic_learn_and_the_world_model_stays(folder, whole):
    model, file = folder / "model", weights.WORLD_MODEL
    assert arrays(whole / file) == arrays(model / file)
    file = weights.ACTOR_CRITIC
    before, after = arrays(model / file), arrays(whole / file)
    assert before.keys() == after.keys()
    assert {k.split("/")[0] for k in after if after[k] != before[k]} >= {
        "actor",
        "critic",
        "target_critic",
    }
    assert weights.has_agent(whole, 4)


def test_it_logs_losses_returns_in_the_game_and_held_out_errors(whole):
    logged = rows(whole)
    names = {name for row in logged for name in row}
    assert {"actor_loss", "critic_loss", "reward_dreamed", "reward_replayed"} <= names
    assert {"eval_return_mean", "eval_model_loss", f"eval_model_loss/{TASK}"} <= names
    assert (whole / "videos" / "eval_policy_image.gif").exists()
    assert (whole / "videos" / f"openl_image_{TASK}.gif").exists()
    assert not (whole / "train_episodes").exists()


def test_a_resumed_run_is_an_uninterrupted_one(folder, whole, tmp_path):
    changes = {"eval_every": 2, "eval_eps": 1, "time_limit": 5}
    config = make_config(folder, "--task", TASK, **changes)
    # Stops in the middle of a log interval, then resumes.
    run(tmp_path, config.update(steps=3))
    run(tmp_path, config)
    kept = [r for r in rows(tmp_path) if r["step"] != 3]
    assert kept == rows(whole)
    for file in (weights.WORLD_MODEL, weights.ACTOR_CRITIC):
        assert arrays(tmp_path / file) == arrays(whole / file)


def test_all_games_share_an_actor_and_the_world_model_may_learn(
    folder, tmp_path, capsys
):
    flags = ("--wm_steps", "1", "--freeze.encoder", "True")
    config = make_config(folder, *flags, steps=2, eval_every=2, eval_eps=1)
    dataset = shutil.copytree(folder, tmp_path / "dataset")
    shutil.rmtree(dataset / OTHER)
    shutil.copytree(folder / OTHER, dataset / "own")  # No game of this name exists.
    shutil.rmtree(dataset / "model")
    config = config.update({"dataset.directory": str(dataset), "time_limit": 5})
    assert run(tmp_path / "run", config)
    saved = blocks.load_old(tmp_path / "run" / "config.yaml")[0]
    assert (saved.tasks, saved.task) == ((TASK, "own"), TASK)
    assert "own is not played in evaluations. Unknown task" in capsys.readouterr().out
    names = {name for row in rows(tmp_path / "run") for name in row}
    assert f"eval_return_mean/{TASK}" in names and "eval_return_mean" not in names
    file = weights.WORLD_MODEL
    before, after = arrays(folder / "model" / file), arrays(tmp_path / "run" / file)
    changed = {k.split("/")[0] for k in after if after[k] != before[k]}
    assert changed == {"rssm", "decoder", "reward", "discount"}


@pytest.mark.parametrize(
    ("flags", "changes", "error", "message"),
    [
        ((), {"init.path": ""}, ConfigError, "--init LOGDIR"),
        ((), {"dataset.directory": ""}, ConfigError, "name a dataset by --dataset.dir"),
        ((), {"init.path": "/none"}, checkpoint.CheckpointError, "Received: /none"),
        ((), {"dataset.directory": "/none"}, DatasetError, "/none is no folder"),
        (("--task", "minatar_x"), {}, DatasetError, "no task folder minatar_x"),
        (("--task", TASK, "--tasks", OTHER), {}, ConfigError, "one game by --task"),
        ((), {"expl_behavior": "Random"}, ConfigError, "be greedy. Received: Random"),
        (
            (),
            {"init.components": ["encoder", "rssm"]},
            ConfigError,
            "a reward that is not loaded would never learn",
        ),
        (
            (),
            {
                "init.components": ["encoder", "rssm", "reward"],
                "pred_discount": False,
                "pred_terminal": True,
            },
            ConfigError,
            "a discount that is not loaded would never learn",
        ),
        ((), {"rssm.deter": 12}, checkpoint.CheckpointError, "does not fit the model"),
    ],
)
def test_what_does_not_allow_a_run_is_refused(
    folder, tmp_path, flags, changes, error, message
):
    with pytest.raises(error, match=message):
        run(tmp_path / "run", make_config(folder, *flags, **changes))


def write_other(folder, change):
    """Writes a dataset of episodes that are changed."""
    for number in range(3):
        episode = fakes.episode(30, number)
        store.save_episode(folder, {**episode, **change(episode)})


def test_other_actions_than_the_models_are_refused(folder, tmp_path):
    (tmp_path / "own").mkdir()
    write_other(tmp_path / "own", lambda x: {"action": x["action"][:, :4]})
    config = make_config(folder, **{"dataset.directory": str(tmp_path)})
    with pytest.raises(checkpoint.CheckpointError, match="another number of actions"):
        run(tmp_path / "run", config)


def test_a_world_model_does_not_learn_that_there_are_no_rewards(
    folder, tmp_path, capsys
):
    (tmp_path / TASK).mkdir()
    write_other(tmp_path / TASK, lambda x: {"reward": np.zeros_like(x["reward"])})
    config = make_config(folder, **{"dataset.directory": str(tmp_path)})
    with pytest.raises(DatasetError, match="No episode in .* holds a reward"):
        run(tmp_path / "run", config.update(wm_steps=5))
    run(tmp_path / "run", config.update(steps=1))
    assert f"{TASK}: no episode holds a reward" in capsys.readouterr().out


def test_a_folder_cannot_name_a_module_to_import(folder, tmp_path):
    dataset = shutil.copytree(folder, tmp_path / "dataset")
    (dataset / TASK).rename(dataset / "gym_evil:Game-v0")
    config = make_config(folder, **{"dataset.directory": str(dataset)})
    with pytest.raises(ConfigError, match="the Python module 'evil'"):
        train.with_games(config)


def test_only_games_with_the_agents_spaces_are_played(folder, capsys):
    config = make_config(folder, eval_eps=1)
    fewer = {"action": gymnasium.spaces.Discrete(4)}
    agents = [
        agent_lib.make_agent(config, models.obs_space(), space)
        for space in (models.act_space(), fewer)
    ]
    for agent, expected in zip(agents, ([TASK], []), strict=True):
        with contextlib.ExitStack() as stack:
            found = dict(offline.playable(config, agent, (TASK,)))
            for env in found.values():
                stack.enter_context(contextlib.closing(env))
            assert list(found) == expected
    assert "observations or actions are others" in capsys.readouterr().out
    assert not dict(offline.playable(config.update(eval_eps=0), agents[0], (TASK,)))
    assert envs.act_size(agents[1].act_space) == 4


@pytest.mark.parametrize(
    ("flags", "task", "tasks"),
    [
        (("--task", OTHER), OTHER, (OTHER,)),
        (("--tasks", OTHER, TASK), OTHER, (OTHER, TASK)),
        ((), TASK, (TASK, OTHER)),
    ],
)
def test_games_are_named_or_those_of_the_dataset(folder, flags, task, tasks):
    config = train.with_games(make_config(folder, *flags))
    assert (config.task, config.tasks, config.wm_steps) == (task, tasks, 0)


def test_the_stage_sets_its_games_whatever_the_order_of_blocks():
    config = blocks.load_config(["minatar", "small", "offline"], ["--logdir", "x"])
    first = blocks.load_config(["offline", "minatar", "small"], ["--logdir", "x"])
    assert config == first
    assert (config.task, config.tasks) == ("", train.ALL)
    assert (config.wm_steps, config.steps) == (0, 5000)
