"""ALE's own vector environment: several copies of a game, stepped by threads in C++.

Without chance it shows what `atari.Atari` shows, apart from rounding in OpenCV. With
sticky actions and no-ops the episodes are others, as ALE draws them from a generator of
its own. They depend only on the seed of the reset and the actions, like those of
`atari.Atari`, but a seeded reset loads the ROM anew, which takes 65 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dreamerv2_transfer.common.envs import atari, in_place
from dreamerv2_transfer.common.errors import EnvError, describe

SEEDS = 2**31  # ALE's seeds are below it.
NEVER = 2**31 - 1  # Frames after which ALE itself would end an episode.


class NativeVectorEnv(VectorEnv):
    """Steps copies of an Atari game in threads.

    Args:
        game: ALE's name of the game's ROM.
        number: Number of copies.
        time_limit: Steps after which an episode is truncated; 0 for no limit.
        action_repeat: Frames a step.
        size: Height and width of the image in pixels.
        grayscale: Whether the image has one channel instead of three.
        all_actions: Whether to have all 18 actions of ALE instead of the game's minimal
            set.
        screen: Must be 0: there are no second images for players.
        threads: Number of threads; 0 for one per copy, at most one per core.

    Raises:
        EnvError: A second image is asked for, or this version of ale-py has no such
            environment.
    """

    def __init__(
        self,
        game: str,
        number: int,
        *,
        time_limit: int = 0,
        action_repeat: int = 4,
        size: tuple[int, int] = (64, 64),
        grayscale: bool = True,
        all_actions: bool = False,
        screen: int = 0,
        threads: int = 0,
    ):
        if screen:
            raise EnvError(
                "Players cannot see the screens of collect.backend=native. "
                f"Received: screen={screen}. Use collect.backend=python."
            )
        try:
            from ale_py.vector_env import AtariVectorEnv

            self._env = AtariVectorEnv(
                game,
                number,
                num_threads=threads,
                max_num_frames_per_episode=NEVER,
                repeat_action_probability=atari.STICKY,
                full_action_space=all_actions,
                img_height=size[0],
                img_width=size[1],
                grayscale=grayscale,
                stack_num=1,
                frameskip=action_repeat,
                maxpool=action_repeat > 1,
                noop_max=atari.NOOPS + 1,  # It draws a number below this.
                reward_clipping=False,
                use_fire_reset=False,
            )
        except Exception as error:
            raise EnvError(
                f"ALE's vector environment could not be made for {game}: "
                f"{describe(error)} It needs ale-py 0.12.1; use collect.backend=python."
            ) from error
        self.num_envs = number
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self._shape = (number, *size, 1 if grayscale else 3)
        image = spaces.Box(0, 255, self._shape[1:], np.uint8)
        self.single_observation_space = spaces.Dict({"image": image})
        self.single_action_space = self._env.single_action_space
        self.observation_space = batch_space(self.single_observation_space, number)
        self.action_space = batch_space(self.single_action_space, number)
        self._limit = time_limit
        self._steps = np.zeros(number, np.int64)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ):
        """Resets the copies in `options["reset_mask"]`, or all of them."""
        seeds, mask = in_place.resets(self.num_envs, seed, options)
        chosen = np.array([-1 if x is None else x % SEEDS for x in seeds])[mask]
        obs, _ = self._env.reset(seed=chosen, options={"reset_mask": mask})
        self._steps[mask] = 0
        return self._seen(obs), {}

    def step(self, actions: np.ndarray):
        """Steps all copies; see `gymnasium.vector.VectorEnv.step`."""
        obs, rewards, terminations, *_ = self._env.step(np.asarray(actions, np.int64))
        self._steps += 1
        truncations = np.zeros(self.num_envs, bool)
        if self._limit:
            truncations = self._steps >= self._limit
        return self._seen(obs), rewards.astype(float), terminations, truncations, {}

    def _seen(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": obs.reshape(self._shape)}
