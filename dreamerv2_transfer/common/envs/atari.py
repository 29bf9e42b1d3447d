"""Atari games through ALE, prepared as the original DreamerV2 prepares them."""

from __future__ import annotations

import functools
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.errors import EnvError, describe

NOOPS = 30  # Largest number of no-ops that begin an episode, as in the original.
STICKY = 0.25  # Probability that a frame repeats the last action, as in the original.
SPELLINGS = {"james_bond": "jamesbond"}  # ALE's name by the original's.
SCREEN = "log_screen"  # What DQN players look at; not a part of episodes.


@functools.cache
def games() -> tuple[str, ...]:
    """Returns the ROM names of ale-py's games that one player can play."""
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    specs = gymnasium.registry.values()
    return tuple(sorted({x.kwargs["game"] for x in specs if x.namespace == "ALE"}))


class Atari(gymnasium.Wrapper):
    """An Atari game: one gray or RGB image, resized, the maximum of two frames.

    An action is repeated for some frames, each of which repeats the action of the frame
    before with probability 0.25. Up to 30 no-ops come first, and a lost life does not
    end an episode. After `reset(seed=...)` an episode depends only on the seed and the
    actions.

    Args:
        game: ALE's name of the game's ROM, such as `beam_rider`.
        action_repeat: Frames a step.
        size: Height and width of the image in pixels.
        grayscale: Whether the image has one channel instead of three.
        all_actions: Whether to have all 18 actions of ALE instead of the game's minimal
            set.
        screen: Height and width in pixels of a second image, `log_screen`, without a
            channel axis, which is not a part of episodes; 0 for none.

    Raises:
        EnvError: ALE cannot load the game.
    """

    def __init__(
        self,
        game: str,
        *,
        action_repeat: int = 4,
        size: tuple[int, int] = (64, 64),
        grayscale: bool = True,
        all_actions: bool = False,
        screen: int = 0,
    ):
        base = _Replayable(_load(game, all_actions, grayscale))
        # Per frame, as ALE does it, but drawn by the generator that a reset can seed.
        sticky = gymnasium.wrappers.StickyAction(base, STICKY)
        # If two sizes are wanted, frames come in full size and are resized here.
        full: Any = base.observation_space.shape
        frame = full if screen else size
        super().__init__(
            gymnasium.wrappers.AtariPreprocessing(
                sticky,
                noop_max=NOOPS,
                frame_skip=action_repeat,
                screen_size=(frame[1], frame[0]),
                terminal_on_life_loss=False,
                grayscale_obs=grayscale,
            )
        )
        self._size = size
        self._screen = screen
        channels = 1 if grayscale else 3
        image = spaces.Box(0, 255, (*size, channels), np.uint8)
        seen: dict[str, spaces.Space] = {"image": image}
        if screen:
            seen[SCREEN] = spaces.Box(0, 255, (screen, screen), np.uint8)
        self.observation_space = spaces.Dict(seen)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        frame, _ = self.env.reset(seed=seed)
        return self._obs(frame), {}

    def step(self, action: int):
        """Takes an action for some frames; see `gymnasium.Env.step`."""
        frame, reward, terminated, truncated, _ = self.env.step(int(action))
        return self._obs(frame), float(reward), terminated, truncated, {}

    def _obs(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        image = _resize(frame, self._size) if self._screen else frame
        obs = {"image": image.reshape(*self._size, -1)}
        if self._screen:
            if frame.ndim == 3:
                import cv2

                frame = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            obs[SCREEN] = _resize(frame, (self._screen, self._screen))
        return obs


class _Replayable(gymnasium.Wrapper):
    """Seeds a game without loading its ROM again, which takes longer than an episode.

    ALE itself draws nothing here. Some games keep state of the episode before across
    ALE's own reset, so the state of their first start is restored.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        env.reset()
        self._game = cast(Any, env.unwrapped)
        self._start = self._game.ale.cloneState()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        result = self.env.reset()
        self._game.ale.restoreState(self._start)
        if seed is not None:
            self._game.np_random, _ = seeding.np_random(seed)
        return result


def _load(game: str, all_actions: bool, grayscale: bool) -> gymnasium.Env:
    from ale_py import ALEInterface, LoggerMode
    from ale_py.env import AtariEnv

    ALEInterface.setLoggerMode(LoggerMode.Error)
    try:
        env = AtariEnv(
            game,
            obs_type="grayscale" if grayscale else "rgb",
            frameskip=1,
            repeat_action_probability=0.0,
            full_action_space=all_actions,
        )
    except Exception as error:
        raise EnvError(
            f"atari_{game} could not be made: {describe(error)} Its ROM belongs to "
            "the package ale-py; reinstall that package."
        ) from error
    foreign.skip_atari_observations(env)
    return env


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def spelled(name: str) -> str:
    """Returns ALE's name of a game; the original spells one of them differently."""
    return SPELLINGS.get(name, name)


# The suite.


def tasks() -> tuple[str, ...]:
    """Returns the names of the games: ALE's, and the original's where they differ."""
    return (*games(), *SPELLINGS)


def make(name: str, **options: Any) -> gymnasium.Env:
    """Makes a game; for the options see `Atari`."""
    return Atari(spelled(name), **options)


def settings(config: Any) -> dict[str, Any]:
    """Returns the options of `Atari` that a configuration sets."""
    return dict(
        action_repeat=config.action_repeat,
        size=tuple(config.render_size),
        grayscale=config.atari_grayscale,
        all_actions=config.atari_all_actions,
    )
