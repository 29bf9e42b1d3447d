"""A dream beside its game: steps, rewinding, branches, recording."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np

from dreamerv2_transfer.analysis import dream_errors
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.play import pictures
from dreamerv2_transfer.play.game import Game, Seen

MOST_STEPS = 10_000  # Of all branches. One takes 15 kB, or 75 with Atari's images.
MOST_FRAMES = 500  # Of a recording.


class PlayError(UserError):
    """Something that a player asked for and that cannot be done."""


class Dreamed(NamedTuple):
    """What the model expects a step to be.

    Attributes:
        image: Floats from 0 to 1, `(H, W, C)`.
        reward: As the model learns it, see `clip_rewards`.
        discount: The probability that the episode continues, times the discount.
        latent: Brightness of the classes of the latents, see `pictures.latent`.
        state: What the next step starts from.
    """

    image: np.ndarray
    reward: float
    discount: float
    latent: np.ndarray
    state: Any


class Dreamer(Protocol):
    """A model in single steps, which are counted from 0, the start.

    Attributes:
        key: The image that is shown.
        no_agent: Why it has no agent; empty if it has one.
    """

    key: str
    no_agent: str

    def look(self, seen: Seen, action: int | None, before: Any, step: int) -> Dreamed:
        """Infers the state from what the game shows; at its start without an action."""

    def dream(self, before: Any, action: int, step: int) -> Dreamed:
        """Expects a step."""

    def act(self, state: Any) -> int:
        """Returns the action of the agent."""

    def squashed(self, reward: float) -> float:
        """Returns a reward of the game as the model learns it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One step of a dream and of its game.

    Attributes:
        action: The action that led to it; None at the start.
        looked: Whether the model saw the game here, so that it did not dream.
        dreamed: What the model expects.
        seen: What the game shows; None after its end.
        dream: A picture of the dream.
        game: A picture of the game; after its end, of how it ended.
        difference: Red where the dream misses something, cyan where it invents it; as
            all that follows, None after the end of the game.
        error: The squared difference, summed over the image; see `dream_errors.error`.
        reward: The game's reward as the model learns it.
    """

    action: int | None
    looked: bool
    dreamed: Dreamed
    seen: Seen | None
    dream: np.ndarray
    game: np.ndarray
    difference: np.ndarray | None = None
    error: float | None = None
    reward: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the game has ended here or before."""
        return self.seen is None or self.seen.ended

    def drawn(self) -> np.ndarray:
        """Returns a frame of a recording: all pictures side by side."""
        looked = ("sees the game", video.OBSERVED)
        return pictures.side_by_side(
            [
                (*(looked if self.looked else ("dream", video.DREAMED)), self.dream),
                ("game over" if self.is_over else "game", video.TEXT, self.game),
                ("error", video.TEXT, self.difference),
                ("latents", video.TEXT, pictures.lit(self.dreamed.latent)),
            ]
        )


@dataclasses.dataclass(frozen=True)
class Branch:
    """A course of events, from the start on.

    Attributes:
        steps: All steps, those before the fork included.
        parent: Number of the branch that it left; -1 for the first.
        fork: The last step that it shares with that.
    """

    steps: list[Step]
    parent: int = -1
    fork: int = 0


class Session:
    """A dream that is played beside the real game, which gets the same actions.

    The noise of a step depends only on the dreamer's seed and on the step's number. So
    the same actions lead to the same dream, and two branches differ by what was done in
    them, not by luck.

    Args:
        dreamer: The model.
        game: The game, which the session closes.

    Attributes:
        branches: All courses of events.
        branch: The number of the current one.
        cursor: The number of the current step.

    Raises:
        UserError: The game or the model fails.
    """

    def __init__(self, dreamer: Dreamer, game: Game):
        self.game = game
        self._dreamer = dreamer
        self._actions = len(game.action_names)
        self._planes = envs.native_planes(game.task)
        seen = game.after([])
        dreamed = dreamer.look(seen, None, None, 0)
        self.branches = [Branch([self._made(None, True, dreamed, seen)])]
        self.branch = 0
        self.cursor = 0
        self._taken = 0

    @property
    def unit(self) -> str:
        """What `Step.error` counts."""
        return dream_errors.unit(self.game.task)

    @property
    def steps(self) -> list[Step]:
        """The steps of the current branch."""
        return self.branches[self.branch].steps

    @property
    def now(self) -> Step:
        """The current step."""
        return self.steps[self.cursor]

    def step(self, action: int | None, look: bool = False) -> Step:
        """Takes a step; if there are later ones, it begins a branch.

        Args:
            action: The action; None lets the agent choose.
            look: Whether the model sees what the game shows then.

        Raises:
            PlayError: There is no such action, no agent, nothing to look at, or no room
                for more steps.
            EnvError: The game fails.
        """
        if self._taken >= MOST_STEPS:
            raise PlayError(f"{MOST_STEPS} steps are the most. Start a new game.")
        before = self.now.dreamed.state
        if action is None:
            if self._dreamer.no_agent:
                raise PlayError(self._dreamer.no_agent)
            action = self._dreamer.act(before)
        if not 0 <= action < self._actions:
            most = self._actions - 1
            raise PlayError(f"There are actions 0 to {most}. Received: {action}")
        seen = self._played(action)
        number = self.cursor + 1
        if not look:
            dreamed = self._dreamer.dream(before, action, number)
        elif seen is None:
            raise PlayError("The game has ended: the model has nothing to see.")
        else:
            dreamed = self._dreamer.look(seen, action, before, number)
        return self._append(self._made(action, look, dreamed, seen))

    def rewind(self, step: int, branch: int | None = None) -> Step:
        """Goes to a step of a branch, by default the current one.

        Raises:
            PlayError: There is no such step.
        """
        branch = self.branch if branch is None else branch
        if not 0 <= branch < len(self.branches):
            most = len(self.branches) - 1
            raise PlayError(f"There are branches 0 to {most}. Received: {branch}")
        if not 0 <= step < len(self.branches[branch].steps):
            most = len(self.branches[branch].steps) - 1
            raise PlayError(f"There are steps 0 to {most}. Received: {step}")
        self.branch, self.cursor = branch, step
        return self.now

    def record(self, fps: float = 8) -> bytes:
        """Returns the current branch up to the current step as a GIF.

        It has the last steps of one that is longer than `MOST_FRAMES`.

        Args:
            fps: Frames per second.
        """
        steps = self.steps[: self.cursor + 1][-MOST_FRAMES:]
        return video.encode_gif(np.stack([x.drawn() for x in steps]), fps)

    def close(self) -> None:
        """Frees the game."""
        self.game.close()

    def _played(self, action: int) -> Seen | None:
        """Plays the game one step on; None if it had ended before."""
        if self.now.seen is None or self.now.seen.ended:
            return None
        done = [x.action or 0 for x in self.steps[1 : self.cursor + 1]]
        key = self._dreamer.key
        if not np.array_equal(self.game.after(done).obs[key], self.now.seen.obs[key]):
            raise PlayError(
                f"{self.game.task} does not repeat its episodes, though it got the "
                "same seed and actions. So it cannot be taken back. Start a new game."
            )
        return self.game.after([*done, action])

    def _made(
        self, action: int | None, look: bool, dreamed: Dreamed, seen: Seen | None
    ) -> Step:
        dream = pictures.drawn(dreamed.image, self._planes)
        if seen is None:
            return Step(action, look, dreamed, None, dream, self.now.game)
        image = pictures.unit(seen.obs[self._dreamer.key])
        return Step(
            action,
            look,
            dreamed,
            seen,
            dream,
            game=pictures.drawn(seen.obs[self._dreamer.key], self._planes),
            difference=video.difference(image, dreamed.image),
            error=float(dream_errors.error(image, dreamed.image)),
            reward=self._dreamer.squashed(seen.reward),
        )

    def _append(self, step: Step) -> Step:
        if self.cursor + 1 < len(self.steps):
            shared = self.steps[: self.cursor + 1]
            self.branches.append(Branch(shared, self.branch, self.cursor))
            self.branch = len(self.branches) - 1
        self.steps.append(step)
        self.cursor += 1
        self._taken += 1
        return step
