"""Atari games through ALE, prepared as the original DreamerV2 prepares them."""

import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from dreamerv2_transfer.common.errors import EnvError, describe

NOOPS = 30  # Most of them at the start of an episode, as in the original.
STICKY = 0.25  # Probability that a frame repeats the last action, as in the original.
SPELLINGS = {"james_bond": "jamesbond"}  # The original's own name for it.
SCREEN = "log_screen"  # What DQN agents look at; not a part of episodes.


@functools.cache
def games() -> tuple[str, ...]:
    """The games that ale-py has a ROM for and one player can play, by ROM name."""
    import ale_py

    gymnasium.register_envs(ale_py)
    specs = gymnasium.registry.values()
    return tuple(sorted({x.kwargs["game"] for x in specs if x.namespace == "ALE"}))


class Atari(gymnasium.Wrapper):
    """An Atari game: one grey or RGB image, resized, the maximum of two frames.

    An action is repeated for some frames, each of which sticks to the frame before
    with probability 0.25; up to 30 no-ops come first; a lost life does not end an
    episode. After `reset(seed=...)` an episode depends on the seed and the actions
    alone.

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
        """Takes ALE's name of the game and how to play it.

        Args:
            game: as ALE calls its ROM, such as `beam_rider`.
            action_repeat: frames a step.
            size: height and width of the image in pixels.
            grayscale: one channel in place of three.
            all_actions: all 18 actions of ALE in place of the game's minimal set.
            screen: height and width in pixels of a second image, `log_screen`,
                without a channel axis, which is no part of an episode; 0 is none.
        """
        base = _Replayable(_load(game, all_actions, grayscale))
        # Per frame, as ALE's own, but drawn by the generator that a reset can seed.
        sticky = gymnasium.wrappers.StickyAction(base, STICKY)
        # For two sizes frames come whole, and are resized here.
        frame = base.observation_space.shape if screen else size
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
        seen = {"image": image}
        if screen:
            seen[SCREEN] = spaces.Box(0, 255, (screen, screen), np.uint8)
        self.observation_space = spaces.Dict(seen)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        frame, _ = self.env.reset(seed=seed)
        return self._obs(frame), {}

    def step(self, action: int):
        """Does an action for some frames; see `gymnasium.Env.step`."""
        frame, reward, terminated, truncated, _ = self.env.step(int(action))
        return self._obs(frame), float(reward), terminated, truncated, {}

    def _obs(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        image = _resize(frame, self._size) if self._screen else frame
        obs = {"image": image.reshape(*self._size, -1)}
        if self._screen:
            obs[SCREEN] = self._gray_screen(frame)
        return obs

    def _gray_screen(self, frame: np.ndarray) -> np.ndarray:
        if frame.ndim == 3:
            import cv2

            frame = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return _resize(frame, (self._screen, self._screen))


class _Replayable(gymnasium.Wrapper):
    """Seeds a game in place.

    ALE itself draws nothing here, so that a seed need not load the ROM anew, which
    takes longer than many an episode does. Some games keep something of the episode
    before beyond ALE's own reset, so the state of their first start is restored.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        env.reset()
        self._start = env.unwrapped.ale.cloneState()

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        result = self.env.reset()
        self.unwrapped.ale.restoreState(self._start)
        if seed is not None:
            self.unwrapped.np_random, _ = seeding.np_random(seed)
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
            "the package ale-py: reinstall that."
        ) from error
    # The preprocessing takes its frames from ALE itself, and nobody asks for the info.
    env._get_obs = lambda: None
    env._get_info = dict
    return env


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def spelled(name: str) -> str:
    """ALE's name of a game, of which the original spells one otherwise."""
    return SPELLINGS.get(name, name)


def options(config: Any) -> dict[str, Any]:
    """The options of `Atari` that a configuration holds."""
    return dict(
        action_repeat=config.action_repeat,
        size=tuple(config.render_size),
        grayscale=config.atari_grayscale,
        all_actions=config.atari_all_actions,
    )
