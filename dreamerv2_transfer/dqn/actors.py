"""Agents from files as what acts in the environments of a task."""

import functools
import hashlib
import pathlib

import numpy as np

from dreamerv2_transfer.dqn import agents

FILES = ("*model_*",)  # Those that may be agents' of a folder on a store.
KEPT = 32  # Agents in memory; one of Atari takes 7 MB.


def describe(directory: str, task: str) -> list[tuple[str, str]]:
    """The agents' files of a task: where in the folder, and a digest of the content.

    Each of them is read, so that a bad one is found before anything is played.

    Raises:
        AgentError: there is none for the task, or one cannot be used.
    """
    folder = pathlib.Path(directory).expanduser()
    found = []
    for path in agents.find(folder, task):
        agents.load(path, task)
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        found.append((path.relative_to(folder).as_posix(), digest))
    return found


class Actor:
    """Acts greedily by the values of an agent, which is read when it first acts."""

    def __init__(self, path: pathlib.Path, task: str, actions: int):
        """Takes the agent's file, and how many actions the environment has."""
        self._path, self._task, self._actions = path, task, actions

    def __call__(self, images: np.ndarray, screens: np.ndarray | None) -> np.ndarray:
        """Chooses actions, int [B].

        Args:
            images: MinAtar's planes [B, 10, 10, 10].
            screens: Atari's last four screens [B, 4, 84, 84], the oldest first.
        """
        agent = _load(self._path, self._task)
        values = agent(images if screens is None else screens)
        actions = values.argmax(1)
        if agent.actions == self._actions:
            return actions
        # The agent knows the game's minimal set, the environment has all of ALE's.
        return np.array(agents.full_actions(self._task))[actions]


_load = functools.lru_cache(KEPT)(agents.load)
