"""The parts of the command evaluate; tests/commands/test_evaluate.py runs it."""

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import evaluate
from dreamerv2_transfer.common import blocks, checkpoint, envs
from dreamerv2_transfer.transfer import weights

TASK = "minatar_breakout"
CONFIG = blocks.load_config(["minatar", "debug", "scratch"]).update(task=TASK)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with an agent's weights, and the agent."""
    logdir = tmp_path_factory.mktemp("run")
    env = envs.make_vector_env(TASK, 1)
    spaces = envs.obs_space(env), envs.act_space(env)
    agent = agent_lib.make_agent(CONFIG.update(seed=5), *spaces)
    weights.save_agent(logdir, agent)
    return logdir, agent


def test_an_agent_is_loaded_with_all_weights_that_it_acts_by(run):
    logdir, agent = run
    loaded = evaluate.load(CONFIG, logdir, envs.make_vector_env(TASK, 1))
    for name in ("encoder", "rssm", "actor"):
        pairs = zip(
            agent.components[name].variables,
            loaded.components[name].variables,
            strict=True,
        )
        assert all(np.array_equal(a.value, b.value) for a, b in pairs)


def test_a_run_without_an_actor_is_named(run, tmp_path):
    weights.save_weights(tmp_path / weights.WORLD_MODEL, run[1].wm.components)
    with pytest.raises(checkpoint.CheckpointError, match="actor_critic.weights.h5"):
        evaluate.load(CONFIG, tmp_path, envs.make_vector_env(TASK, 1))


def test_the_seed_decides_what_is_played_and_the_first_episodes_are_drawn(
    run, tmp_path, capsys
):
    env = envs.make_vector_env(TASK, 2)

    def play(seed):
        return evaluate.play(run[1], env, "train", episodes=3, seed=seed, keep=2)

    first = play(1)
    assert (first.returns, first.lengths) == (play(1).returns, play(1).lengths)
    assert play(2).lengths != first.lengths
    evaluate.draw(CONFIG, first.kept, tmp_path, planes=4)
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["evaluate_0_image.gif", "evaluate_1_image.gif"]
    assert "evaluate_1_image.gif" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "mode", "changes"),
    [
        (TASK, "eval", {}),
        (TASK, "train", {}),
        # Its mode is the likeliest of some samples, which are noise too.
        ("dummy_continuous", "eval", {"actor.dist": "tanh_normal"}),
    ],
)
def test_an_episode_is_the_same_beside_any_others(task, mode, changes):
    names = ["minatar", "debug"] if task == TASK else ["debug"]
    config = blocks.load_config(names).update({"seed": 5, **changes})
    played = []
    for number, episodes in [(1, 3), (2, 3), (3, 2)]:
        env = envs.make_vector_env(task, number, time_limit=4)
        agent = agent_lib.make_agent(config, envs.obs_space(env), envs.act_space(env))
        played.append(evaluate.play(agent, env, mode, episodes, seed=1, keep=episodes))
    first, *others = played
    actions = [episode["action"].tobytes() for episode in first.kept]
    assert len(set(actions)) > 1
    for other in others:
        number = len(other.returns)
        assert (other.returns, other.lengths) == (
            first.returns[:number],
            first.lengths[:number],
        )
        for ours, theirs in zip(first.kept, other.kept, strict=False):
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_another_seed_draws_other_noise(run):
    env = envs.make_vector_env(TASK, 1, time_limit=6)
    seeds = [evaluate.play(run[1], env, "train", 1, seed, keep=1) for seed in (1, 2)]
    actions = [played.kept[0]["action"].tolist() for played in seeds]
    assert actions[0] != actions[1]
