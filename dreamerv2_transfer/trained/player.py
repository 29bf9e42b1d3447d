"""A DQN player as a script uses it: it acts, but has no model of the world."""

from __future__ import annotations

import pathlib
from typing import Any, NoReturn

from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.dqn import agent_files, agents
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.agent import STEPS

FILES = ("model_*.weights.h5", "model_*.safetensors")


class Player:
    """A DQN that plays a game of MinAtar; `dreamerv2_transfer.load` makes it.

    Args:
        file: The network's file.
        task: The game.
        config: The configuration of its training.
        source: Where it was loaded from.

    Raises:
        DqnError: The file cannot be used.
        ModelError: The game is not MinAtar's.

    Attributes:
        observation_space: The spaces of the observations, by key.
        action_space: `Discrete`.
    """

    has_agent = True

    def __init__(self, file: pathlib.Path, task: str, config: Config, source: str):
        if not task.startswith("minatar_"):
            raise ModelError(
                f"{file} plays {task}. DQNs of Atari see four raw screens, and play "
                "only in collect; load one of MinAtar."
            )
        actions = agents.minimal_actions(task)
        self._network = agent_files.read_minatar_h5(file, task, actions)
        self.file = file
        self.config, self.source, self.tasks = config, source, (task,)
        shape = (10, 10, envs.MINATAR_CHANNELS)
        image = spaces.Box(0, 1, shape, bool)  # type: ignore[arg-type]
        self.observation_space = spaces.Dict({"image": image})
        self.action_space = spaces.Discrete(actions)

    def __repr__(self) -> str:
        return f"Player({self.source!r}, {self.tasks[0]})"

    @property
    def agent(self) -> Player:
        """The player itself."""
        return self

    def act(
        self, observation: Any, state: None = None, **noise: Any
    ) -> tuple[Any, None]:
        """Chooses the action of the highest value.

        Args:
            observation: See `Agent.act`; planes `(10, 10, 10)` or `(B, 10, 10, 10)`.
            state: Unused, as a DQN remembers nothing.
            **noise: `seed` and `sample`, which a greedy player does not use.

        Returns:
            The action, an int or `(B,)`, and None.

        Raises:
            ModelError: The observation's shape or type is not possible.
        """
        seen = values.observations(observation, self.observation_space, STEPS)
        image = seen.arrays["image"]
        chosen = self._network(image if seen.lead else image[None]).argmax(-1)
        return (chosen if seen.lead else int(chosen[0])), None

    def observe(self, *_: Any, **__: Any) -> NoReturn:
        """Raises a ModelError: there are no latents."""
        raise ModelError(f"{self.source} is a DQN: it acts, but it dreams nothing.")

    imagine = observe


def newest(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the player of a folder that was trained longest; None if it has none."""
    found = [file for pattern in FILES for file in folder.glob(pattern)]
    # Of the same number of steps, HDF5.
    return max(found, key=lambda x: (steps(x), x.suffix == ".h5"), default=None)


def steps(file: pathlib.Path) -> int:
    """Returns the steps of a player's training, which its name tells."""
    number = file.name.split(".")[0].rpartition("_")[2]
    return int(number) if number.isdecimal() else -1
