"""The states that a model takes, and the keys of its noise."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.nets import GAME
from dreamerv2_transfer.trained.graphs import precision
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.world_model import WorldModel

MOST_SEED = 2**63
Games = str | Sequence[str] | None


class States:
    """Makes and checks states of a model, and draws the keys of its noise.

    Args:
        network: The world model.
        act_space: The space of an action.
        seed: The seed of the noise.

    Attributes:
        observation_space: The spaces that the model observes, by key; `reward` and
            `is_terminal` are among them with `encoder.reward_planes`.
        action_space: The space of an action.
    """

    def __init__(self, network: WorldModel, act_space: spaces.Space, seed: int):
        keys = network.encoder.keys
        self.observation_space = spaces.Dict({k: network.obs_space[k] for k in keys})
        self.action_space = act_space
        self._network = network
        # Of a model of several games, whoever begins has to say which one.
        self._games = network.config.task_embed.games
        several = len(blocks.learned_games(network.config)) > 1
        rssm = network.rssm
        self._needs_game = bool(rssm.task_size) and (several or rssm.game < 0)
        self._rng = np.random.default_rng(_checked(seed))

    def noise(self, seed: int | None, sample: bool = True) -> np.ndarray | None:
        """Returns the key of a call's noise, int32 `(2,)`; None for no noise.

        Raises:
            ModelError: The seed is no number of 0 or more.
        """
        if not sample:
            return None
        if seed is None:
            return self._rng.integers(2**31, size=2, dtype=np.int32)
        words = np.random.SeedSequence(_checked(seed)).generate_state(2)
        return words.astype(np.int32)

    @functools.cached_property
    def zeros(self) -> Mapping[str, np.ndarray]:
        """The parts of the state before the first observation."""
        with precision():
            return {k: v.numpy()[0] for k, v in self._network.initial(1).items()}

    def initial(self, batch: int | None, game: Games = None) -> Latents:
        """Returns the state before the first observation, or a batch of them.

        Args:
            batch: The number of sequences; None for a single one.
            game: The game of all or of each, for a model with `task_embed`; by default
                the one that it was trained to play.

        Raises:
            ModelError: The game is not named, or not once for each sequence.
            ConfigError: The model does not know it.
        """
        single = Latents(self.zeros)
        state = single if batch is None else single.repeated(batch)
        if GAME not in state or not (self._needs_game or game):
            return state
        names = [game] * (batch or 1) if isinstance(game, str) else list(game or ())
        if len(names) != (batch or 1):
            raise ModelError(
                "This model has a vector of each game, so name the game of the "
                f"sequences, game=..., as one of {', '.join(self._games)}, or a list "
                f"with one for each. Received: {game!r} for {batch or 1} sequences."
            )
        index = np.array(blocks.game_indices(self._network.config, names), np.int32)
        game_index = index[0] if batch is None else index
        return Latents({**state, GAME: game_index}, batch is not None)

    def last(self, state: Any) -> Latents:
        """Returns the last of some states, once it is known to be this model's.

        Raises:
            ModelError: It is not, or it holds NaN.
        """
        if not isinstance(state, Latents):
            raise ModelError(
                "A state is what model.observe, model.initial, agent.act and "
                f"dream['latents'] return. Received: {type(state).__name__}."
            )
        state = state.at(-1)
        parts = {k: v for k, v in state.items() if k != "action"}
        shapes = {k: v.shape[int(state.is_batch) :] for k, v in parts.items()}
        wanted = {k: v.shape for k, v in self.zeros.items()}
        if shapes != wanted:
            raise ModelError(
                f"The state is another model's. Received: {shapes}; this model has "
                f"{wanted}."
            )
        for name, value in parts.items():
            if not np.isfinite(value).all():
                raise ModelError(f"The state's {name!r} is not a number.")
        return Latents(parts, state.is_batch)

    def start(
        self, state: Latents | None, batch: int | None, game: Games = None
    ) -> dict[str, np.ndarray]:
        """Returns the parts of a state `(B, ...)`, of which a single one is a batch.

        Args:
            state: The state, or None for the initial one.
            batch: The number of sequences that start from it; None for a single one.
            game: Without a state, see `initial`.

        Raises:
            ModelError: It is not a state of this model, or not as many as needed.
        """
        if state is None:
            return dict(self.initial(batch or 1, game))
        state = self.last(state)
        if batch is None and not state.is_batch:
            return dict(state.repeated(1))
        if state.is_batch and len(state["deter"]) == batch:
            return dict(state)
        had = f"{len(state['deter'])} states" if state.is_batch else "a single state"
        wants = "a single sequence" if batch is None else f"{batch} sequences"
        raise ModelError(f"Each sequence needs a state. Received: {had} for {wants}.")


def _checked(seed: Any) -> int:
    is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not is_whole or not 0 <= seed < MOST_SEED:
        raise ModelError(
            f"A seed is a whole number from 0 to 2^63 - 1. Received: {seed!r}."
        )
    return int(seed)
