"""A model and a game that can be followed by hand, and sessions of them."""

import numpy as np

from dreamerv2_transfer.play.game import Seen
from dreamerv2_transfer.play.session import Dreamed, Session


class Game:
    """Sets as many cells as the sum of the actions; ends after a number of steps."""

    task = "dummy_count"
    action_names = ("NOOP", "LEFT", "RIGHT")
    used_actions = (0, 1, 2)
    objects = ("one", "two")

    def __init__(self, length=5, luck=()):
        self.length, self.closed, self.calls = length, False, 0
        self._luck = iter(luck)  # Cells that are set besides, as of a game that draws.

    def after(self, actions):
        self.calls += 1
        assert len(actions) <= self.length, "played on after its end"
        reward = float(actions[-1]) if actions else 0.0
        count = sum(actions) + next(self._luck, 0)
        return Seen({"image": image(count)}, reward, len(actions) == self.length)

    def close(self):
        self.closed = True


class Dreamer:
    """Expects one cell less than the sum of the actions; is right where it looks.

    A state is the list of what was done.
    """

    key = "image"

    def __init__(self, no_agent=""):
        self.no_agent = no_agent

    def look(self, seen, action, before, step):
        return self._dreamed([*(before or ()), ("look", action, step)], seen)

    def dream(self, before, action, step):
        return self._dreamed([*before, ("dream", action, step)])

    def act(self, state):
        return 2 if len(state) % 2 else 1

    def squashed(self, reward):
        return min(reward, 1.0)

    def _dreamed(self, state, seen=None):
        count = max(0, sum(action or 0 for _, action, _ in state) - 1)
        expected = image(count) if seen is None else seen.obs["image"]
        latent = np.full((2, 3), len(state), np.uint8)
        return Dreamed(expected.astype(np.float32), 0.25, 0.9, latent, state)


def image(count):
    """One channel whose first cells are set, as many as the number says."""
    return (np.arange(16) < count).reshape(4, 4, 1)


def make_session(no_agent="", **game):
    return Session(Dreamer(no_agent), Game(**game))
