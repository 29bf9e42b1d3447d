"""DQN players: Q-networks from files that act in the environments of a task."""

from __future__ import annotations

import functools
import hashlib
import pathlib

import numpy as np

from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.dqn import acting, agents

FILES = ("*model_*",)  # What to fetch of a folder of players on an object store.
CLOSE = 1e-4  # Of the largest value; products differ by about 1e-6 of it.
KEPT = 32  # Networks in memory; one for Atari takes 7 MB.


def describe(directory: str, task: str) -> list[tuple[str, str]]:
    """Lists the players' files for a task: path within the folder, digest of content.

    Each file is read, so that a bad one is found before anything is played.

    Raises:
        DqnError: There is none for the task, or one cannot be used.
    """
    folder = paths.local(directory)
    found = []
    for path in agents.find(folder, task):
        agents.load(path, task)
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        found.append((path.relative_to(folder).as_posix(), digest))
    return found


class Player:
    """Acts greedily by a Q-network, which is read when the player first acts.

    Args:
        path: The network's file.
        task: The game that it plays.
        actions: How many actions the environment has.
    """

    def __init__(self, path: pathlib.Path, task: str, actions: int):
        self._path, self._task, self._actions = path, task, actions

    def __call__(self, images: np.ndarray, screens: np.ndarray | None) -> np.ndarray:
        """Chooses actions, int `[B]`; those of a row do not depend on the other rows.

        Args:
            images: MinAtar's planes `[B, 10, 10, 10]`.
            screens: Atari's last four screens `[B, 4, 84, 84]`, the oldest first.
        """
        network = _load(self._path, self._task)
        if screens is None:
            actions = _choose(network, images)
        else:  # Convolutions of such images are no faster for several at once.
            rows = np.split(screens, len(screens))
            actions = np.concatenate([network(row).argmax(1) for row in rows])
        if network.actions == self._actions:
            return actions
        # The network knows the game's minimal set, the environment has all of ALE's.
        return np.array(agents.full_actions(self._task))[actions]


def _choose(network: acting.QNetwork, images: np.ndarray) -> np.ndarray:
    """Returns the best actions `[B]`, each as if its image were alone."""
    values = network(images)
    actions = values.argmax(1)
    if len(images) == 1:
        return actions
    # The last digits of a product depend on the number of rows, so a row whose best
    # values are that close is computed alone.
    least = values.max(1, keepdims=True) - CLOSE * np.abs(values).max()
    close = np.count_nonzero(values >= least, axis=1) > 1
    for row in np.flatnonzero(close).tolist():
        actions[row] = network(images[row : row + 1]).argmax(1)[0]
    return actions


_load = functools.lru_cache(KEPT)(agents.load)
