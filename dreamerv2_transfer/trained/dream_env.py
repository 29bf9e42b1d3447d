"""The dream of a model as a Gymnasium environment, in which any library can train.

env = dreamerv2_transfer.DreamEnv("results/minatar_small_pretrain")
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(action)
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from dreamerv2_transfer.common.envs import MASK
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.trained import starts
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.load import load
from dreamerv2_transfer.trained.model import Model

LARGEST = np.finfo(np.float32).max


class DreamEnv(gymnasium.Env):
    """Dreams a game, one step at a time.

    It has the spaces of the game as the model sees it: observations by key, planes as
    booleans (set where that is likelier than not), actions as the game's. Rewards are
    those that the model predicts, squashed as in its training (`clip_rewards` of its
    configuration). An episode terminates where the model gives the end of the game a
    probability above one half, and is truncated after `time_limit` steps. Infos have
    the predicted `discount`, and `action_mask` if the model has one. All of it is a
    function of the seed of `reset` and the actions.

    Args:
        model: The model, or what `load` takes.
        start: Where episodes begin: the name of a game that the model knows, whose
            first observation it sees at each reset; or `Latents`, one of which is
            drawn, such as those of recorded episodes. By default the games that the
            model was trained on; where they cannot be made, the model dreams the first
            observation too.
        time_limit: The largest number of steps of an episode.
        sample: Whether to draw the latents, or to take the likeliest ones.
        render_mode: `rgb_array` to draw frames, or None.

    Attributes:
        model: The model.
        state: The latent state of the last step.

    Raises:
        ModelError: The start is not one of this model's, or the limit is no number.
        UserError: As for `load`, and for a game that does not exist.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        model: Model | str | os.PathLike,
        start: Latents | str | None = None,
        time_limit: int = 1000,
        sample: bool = True,
        render_mode: str | None = None,
    ):
        if not isinstance(time_limit, int) or time_limit < 1:
            raise ModelError(
                f"time_limit is a number of steps, 1 or more. Received: {time_limit!r}."
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ModelError(
                f"render_mode is rgb_array or None. Received: {render_mode!r}."
            )
        self.model = model if isinstance(model, Model) else load(model)
        self.render_mode = render_mode
        # Rewards and ends, which some models observe, are not part of an observation.
        seen = {k: v for k, v in self.model.observation_space.items() if v.shape}
        self.observation_space = spaces.Dict({k: _bounded(v) for k, v in seen.items()})
        self.action_space = self.model.action_space
        self._start = starts.choose(self.model, start)
        self._time_limit = time_limit
        self._sample = sample
        # What is below this is likelier to be the end than not.
        self._least_discount = 0.5 * self.model.config.discount
        self.state: Latents | None = None
        self._seen: dict[str, np.ndarray] = {}
        self._steps = self._seed = 0
        options = {"model": self.model, "start": start, "time_limit": time_limit}
        self.spec = EnvSpec(
            id="dreamerv2_transfer/Dream-v0",
            entry_point=DreamEnv,
            kwargs={**options, "sample": sample, "render_mode": render_mode},
        )

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.state = self._start(self.np_random)
        self._seed = int(self.np_random.integers(2**31))
        self._steps = 0
        shown = self.model.decode(self.state)
        return self._observation(shown), self._info(shown)

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`.

        Raises:
            ModelError: The action is none of the game's, or there was no reset.
        """
        if self.state is None:
            raise ModelError("Call reset before the first step of a dream.")
        dream = self.model.imagine(
            self.state,
            np.asarray(action)[None],
            seed=self._seed,
            first_step=self._steps,
            sample=self._sample,
        )
        self._steps += 1
        self.state = dream["latents"].at(-1)
        shown = {k: v[0] for k, v in dream.items() if k != "latents"}
        discount = float(shown["discount"])
        terminated = discount < self._least_discount
        truncated = self._steps >= self._time_limit and not terminated
        observation = self._observation(shown)
        reward = float(shown["reward"])
        return observation, reward, terminated, truncated, self._info(shown)

    def render(self) -> np.ndarray | None:
        """Returns the last images as the model sees them, RGB, or None for vectors."""
        images = [v for v in self._seen.values() if v.ndim == 3]
        if self.render_mode is None or not images:
            return None
        return video.episode(images[0][None], video.PLANE_SCALE, None)[0]

    def _observation(self, shown: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._seen = {key: shown[key] for key in self.observation_space}
        return {
            key: _fitted(self._seen[key], space)
            for key, space in self.observation_space.items()
        }

    def _info(self, shown: dict[str, np.ndarray]) -> dict[str, Any]:
        masks = self.model.network.masks
        mask = {MASK: shown[MASK].astype(np.int8)} if masks else {}
        return {"discount": float(shown["discount"]), **mask}


def _bounded(space: spaces.Space) -> spaces.Space:
    """Returns a space whose bounds are numbers, as other libraries expect."""
    if not isinstance(space, spaces.Box) or space.dtype != np.float32:
        return space
    low, high = (np.clip(x, -LARGEST, LARGEST) for x in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)


def _fitted(value: np.ndarray, space: spaces.Space) -> np.ndarray:
    if space.dtype == bool:
        return value > 0.5
    if isinstance(space, spaces.Box) and space.dtype == np.float32:
        return np.clip(value, space.low, space.high)
    return value.copy()
