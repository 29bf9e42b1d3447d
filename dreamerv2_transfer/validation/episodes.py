"""Evaluation episodes that an agent plays during its training."""

from __future__ import annotations

import pathlib

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.agent import Agent, acting
from dreamerv2_transfer.common import envs, evaluation
from dreamerv2_transfer.common.logger import Logger, video


class Episodes:
    """Plays episodes with the modes of an agent's actor.

    Args:
        agent: The agent.
        config: The resolved configuration; `eval_eps` is the number of episodes, and
            `video` and `log_keys_video` say what is drawn.
        logger: Receives the returns, and a video for TensorBoard.
        logdir: The run's folder; `videos/` in it receives the video as a GIF.
    """

    def __init__(self, agent: Agent, config, logger: Logger, logdir: pathlib.Path):
        self._config = config
        self._logger = logger
        self._logdir = logdir
        self._agent = agent
        self._images = agent.wm.heads["decoder"].cnn_keys

    def log(self, eval_envs: VectorEnv, task: str, name: str = "") -> None:
        """Logs returns of episodes, and a video of the first.

        Args:
            eval_envs: The environments to play.
            task: The game.
            name: What follows the names of the metrics, if it is not the only game.
        """
        config, look = self._config, self._config.video
        policy = acting(self._agent, "eval", game=task)
        played = evaluation.evaluate(
            policy, eval_envs, config.eval_eps, evaluation.SEED, keep=1
        )
        metrics = played.metrics()
        if name:
            metrics = {f"{key}/{name}": value for key, value in metrics.items()}
        self._logger.add(metrics, prefix="eval")
        for key in [key for key in config.log_keys_video if key in self._images]:
            images = played.kept[0][key][: look.episode]
            frames = video.episode(images, look.scale, envs.native_planes(task))
            parts = [f"eval_policy_{key}", *([name] if name else [])]
            self._logger.video("/".join(parts), frames)
            path = video.gif_path(self._logdir, "_".join(parts))
            video.save_gif(path, frames, look.fps)
