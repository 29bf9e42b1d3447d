"""Atari games through ALE, prepared as the original DreamerV2 prepares them."""

from __future__ import annotations

import copy
import functools
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from dreamerv2_transfer.common.envs import area, in_place
from dreamerv2_transfer.common.errors import EnvError, describe

NOOPS = 30  # Largest number of no-ops that begin an episode, as in the original.
STICKY = 0.25  # Probability that a frame repeats the last action, as in the original.
SPELLINGS = {"james_bond": "jamesbond"}  # ALE's name by the original's.
# Games that may be asked for a frame that is not complete: ALE's saved states lack how
# far it is (up to 0.12.1), so that such a game does not continue as it would have.
UNSAVED = ("qbert", "tetris", "tic_tac_toe_3d")
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

    It plays like Gymnasium's `AtariPreprocessing` on top of `StickyAction`, frame by
    frame and draw by draw, but calls ALE itself: four layers a frame took half as long
    as ALE's own work. It is also an `in_place.Game`.

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
        super().__init__(_load(game, all_actions, grayscale))
        self._again = functools.partial(
            Atari,
            game,
            action_repeat=action_repeat,
            size=size,
            grayscale=grayscale,
            all_actions=all_actions,
            screen=screen,
        )
        # A frame that is read right after a state was restored may hold old pixels.
        self._can_share = game not in UNSAVED and action_repeat > 2
        unwrapped = cast(Any, self.env.unwrapped)
        self._ale = ale = unwrapped.ale
        self._console = _Console(ale, self)
        self._act, self._is_over = ale.act, ale.game_over
        find = ale.getLegalActionSet if all_actions else ale.getMinimalActionSet
        self._actions = find()
        self._random = unwrapped.np_random
        self._last: Any = None  # The action of the last frame; None before the first.
        self._repeat = action_repeat
        self._grayscale = grayscale
        self._read = ale.getScreenGrayscale if grayscale else ale.getScreenRGB
        shape = ale.getScreenDims() if grayscale else (*ale.getScreenDims(), 3)
        # The last frame, which then holds the maximum of both, and the one before it.
        self._frames = np.zeros((2, *shape), np.uint8)
        self._before_last = action_repeat - 2
        self._resize = area.make(shape, size)
        self._resize_screen: area.Resize | None = None
        if screen:
            self._resize_screen = area.make(ale.getScreenDims(), (screen, screen))
        channels = 1 if grayscale else 3
        image = spaces.Box(0, 255, (*size, channels), np.uint8)
        seen: dict[str, spaces.Space] = {"image": image}
        if screen:
            seen[SCREEN] = spaces.Box(0, 255, (screen, screen), np.uint8)
        self.observation_space = spaces.Dict(seen)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        obs = in_place.empty(self.observation_space)
        self.begin(seed, (*obs.values(),))
        return obs, {}

    def step(self, action: int):
        """Takes an action for some frames; see `gymnasium.Env.step`."""
        obs = in_place.empty(self.observation_space)
        return obs, *self.advance(int(action), (*obs.values(),)), {}

    def begin(self, seed: int | None, rows: in_place.Rows) -> None:
        """See `in_place.Game.begin`."""
        if self._console.player is not self:
            self._console.hand_to(self)
        self._restart(seed)
        for _ in range(self._random.integers(1, NOOPS + 1) if NOOPS else 0):
            if self._last is not None:
                self._random.random()  # As any frame, though all do nothing.
            self._last = self._actions[0]
            self._act(self._last)
            if self._is_over():
                self._restart(seed)
        self._read(self._frames[0])
        self._frames[1] = 0
        self._show(rows)

    def advance(self, action: int, rows: in_place.Rows) -> tuple[float, bool, bool]:
        """See `in_place.Game.advance`."""
        if self._console.player is not self:
            self._console.hand_to(self)
        chosen, last, total = self._actions[action], self._last, 0.0
        terminated = truncated = False
        for number in range(self._repeat):
            # As ALE would do it, but drawn by the generator that a reset can seed.
            if last is None or self._random.random() >= STICKY:
                last = chosen
            total += self._act(last)
            if self._is_over():  # A truncated game is over, too.
                terminated = self._is_over(with_truncation=False)
                truncated = self._ale.game_truncated()
                break  # The frame is not read, as in Gymnasium's preprocessing.
            if number >= self._before_last:
                self._read(self._frames[self._before_last + 1 - number])
        self._last = last
        self._show(rows)
        return total, terminated, truncated

    def twin(self) -> Atari:
        """See `in_place.Game.twin`; it plays on the same console where it can."""
        if not self._can_share:
            return self._again()
        twin = copy.copy(self)
        twin._frames = np.zeros_like(self._frames)
        return twin

    def _restart(self, seed: int | None) -> None:
        """Starts the game, and seeds it; ALE itself draws nothing here."""
        self._console.restart()
        self._last = None
        if seed is not None:
            self._random, _ = seeding.np_random(seed)

    def _show(self, rows: in_place.Rows) -> None:
        """Writes the maximum of the last two frames into an observation."""
        last, before = self._frames
        if self._repeat > 1:
            np.maximum(last, before, out=last)
        self._resize(last, rows[0])
        if self._resize_screen:
            gray = last
            if not self._grayscale:
                import cv2

                gray = cv2.cvtColor(last, cv2.COLOR_RGB2GRAY)
            self._resize_screen(gray, rows[1])


class _Console:
    """ALE with a loaded game, on which several players may take turns.

    Loading takes 65 ms, as long as 250 steps; to change players takes 0.15 ms.

    Args:
        ale: ALE with a game that was just loaded.
        player: Who plays first.

    Attributes:
        player: Who plays now.
    """

    def __init__(self, ale: Any, player: Any):
        self.player = player
        self._ale = ale
        # Some games keep state of the episode before across ALE's own reset, so the
        # state of their first start is restored.
        ale.reset_game()
        self._start = ale.cloneState()
        self._left: dict[int, Any] = {}  # Saved games of the other players.

    def restart(self) -> None:
        """Restores the game's start, without loading it again."""
        self._ale.reset_game()
        self._ale.restoreState(self._start)

    def hand_to(self, player: Any) -> None:
        """Saves the game of the current player, and continues that of another."""
        self._left[id(self.player)] = self._ale.cloneState()
        self.player = player
        if id(player) in self._left:
            self._ale.restoreState(self._left.pop(id(player)))


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
    return env


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
