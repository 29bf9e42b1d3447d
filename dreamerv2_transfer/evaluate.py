"""Evaluates the agent of a run: loads it, plays whole episodes and draws them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.agent import Agent, acting, make_agent
from dreamerv2_transfer.common import envs, evaluation, machine, tfutils
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
    """Plays whole episodes, each a function of the seed and its number alone.

    Args:
        agent: The agent, whose generator is left in another state.
        env: The environments to play.
        mode: `eval` for the mode of the actor, `train` to sample from it.
        episodes: The number of episodes.
        seed: The seed of environments and policy.
        keep: How many of the first episodes to return as a whole.
    """
    alone = EachAlone(agent, env.num_envs)
    policy = acting(agent, mode, alone)
    with Progress(episodes, 0, "Evaluation", "episode") as bar:
        return evaluation.evaluate(
            policy, env, episodes, seed, keep, bar.update, alone.begin
        )


class EachAlone:
    """Acts in each environment as if there were no other.

    Noise is drawn from the episode's seed and the number of the step. Rows are computed
    one by one, as a product with another number of rows is rounded differently.

    Args:
        agent: The agent.
        number: Number of environments.
    """

    def __init__(self, agent: Agent, number: int):
        self._agent = agent
        # States of the agent's generator: a counter of draws, the step, and the key.
        self._noise = np.zeros((number, 3), np.int64)
        # A loop over rows is slow outside of a graph.
        config = agent.config.update(jit=True)
        self._act = tfutils.compiled(self._rows, config, xla=agent.config.jit)

    def begin(self, worker: int, seed: int) -> None:
        """Begins an episode in an environment."""
        self._noise[worker] = 0, 0, seed

    def __call__(self, obs, state, mode: str):
        """Acts on a batch of observations; see `Agent.policy`."""
        acted = self._act(obs, state, tf.constant(self._noise), mode)
        self._noise[:, 1] += 1
        return acted

    def _rows(self, obs, state, noise: tf.Tensor, mode: str):
        def act(row):
            obs, state, noise = row
            self._agent.rng.state.assign(noise)  # type: ignore[union-attr]
            obs, state = tf.nest.map_structure(lambda x: x[None], (obs, state))
            acted = self._agent._policy(obs, state, mode)
            return tf.nest.map_structure(lambda x: x[0], acted)

        kinds = tf.nest.map_structure(lambda x: x.dtype, state)
        return tf.map_fn(
            act,
            (obs, state, noise),
            parallel_iterations=1,
            fn_output_signature=({"action": tf.float32}, kinds),
        )


def draw(
    config,
    episodes: Sequence[Episode],
    logdir: pathlib.Path,
    planes: int | None,
    prefix: str = "",
) -> None:
    """Saves episodes as LOGDIR/videos/evaluate_NUMBER_KEY.gif.

    Args:
        config: The run's configuration; `video` holds numbers of frames and sizes.
        episodes: The episodes, with images `(time, height, width, channels)`.
        logdir: The run's folder.
        planes: The number of planes of the images, for their colours; None for images
            that have colours of their own.
        prefix: Comes before the number.
    """
    for number, episode in enumerate(episodes):
        for key in [k for k, v in episode.items() if v.ndim == 4]:
            images = episode[key][: config.video.episode]
            frames = video.episode(images, config.video.scale, planes)
            path = video.gif_path(logdir, f"evaluate_{prefix}{number}_{key}")
            video.save_gif(path, frames, config.video.fps)
            print(f"Saved {path}.")
