"""Evaluates the agent of a run: loads it, plays whole episodes and draws them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.agent import Agent, acting, make_agent
from dreamerv2_transfer.common import envs, evaluation, machine
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.common.replay.store import Episode
from dreamerv2_transfer.transfer import weights


def load(config, logdir: pathlib.Path, env: VectorEnv) -> Agent:
    """Returns the agent of a run.

    Args:
        config: The run's configuration.
        logdir: The run's folder.
        env: The environment to play, whose spaces the agent gets.

    Raises:
        CheckpointError: The run has no weights of an agent, or they do not fit.
    """
    actor_critic = weights.find_weights(logdir, weights.ACTOR_CRITIC)
    world_model = weights.find_weights(logdir)
    print(machine.setup(config), flush=True)
    agent = make_agent(config, envs.obs_space(env), envs.act_space(env))
    weights.load_weights(world_model, agent.wm.components)
    weights.load_weights(actor_critic, agent.task_behavior.components)
    return agent


def play(
    agent: Agent, env: VectorEnv, mode: str, episodes: int, seed: int, keep: int = 0
) -> evaluation.Evaluation:
    """Plays whole episodes.

    Args:
        agent: The agent.
        env: The environments to play.
        mode: `eval` for the mode of the actor, `train` to sample from it.
        episodes: The number of episodes.
        seed: The seed of environments and policy.
        keep: How many of the first episodes to return as a whole.
    """
    agent.rng.reset_from_seed(seed)  # type: ignore[union-attr]
    policy = acting(agent, mode)
    with Progress(episodes, 0, "Evaluation", "episode") as bar:
        return evaluation.evaluate(policy, env, episodes, seed, keep, bar.update)


def draw(
    config, episodes: Sequence[Episode], logdir: pathlib.Path, planes: int | None
) -> None:
    """Saves episodes as LOGDIR/videos/evaluate_NUMBER_KEY.gif.

    Args:
        config: The run's configuration; `video` holds numbers of frames and sizes.
        episodes: The episodes, with images `(time, height, width, channels)`.
        logdir: The run's folder.
        planes: The number of planes of the images, for their colours; None for images
            that have colours of their own.
    """
    for number, episode in enumerate(episodes):
        for key in [k for k, v in episode.items() if v.ndim == 4]:
            images = episode[key][: config.video.episode]
            frames = video.episode(images, config.video.scale, planes)
            path = video.gif_path(logdir, f"evaluate_{number}_{key}")
            video.save_gif(path, frames, config.video.fps)
            print(f"Saved {path}.")
