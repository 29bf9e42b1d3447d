"""Where dreams begin: at the start of a game, in given states, or in a dreamed one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import gymnasium
import numpy as np

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.games import make_game
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.model import Model

Start = Callable[[np.random.Generator], Latents]


def choose(model: Model, start: Latents | str | None) -> Start:
    """Returns a function that draws the state in which a dream begins.

    Args:
        model: The model that dreams.
        start: States, each of which may begin a dream; or a game that the model
            observes, whose first observations do. By default the games that the model
            was trained on; where they cannot be made, what the model expects to see at
            first.

    Raises:
        ModelError: The states are another model's, or the game is another one.
        EnvError: There is no such game.
    """
    if isinstance(start, Latents):
        return from_states(model, start)
    if start is not None:
        return from_games(model, {start: make_game(start, model.config)})
    with contextlib.suppress(ConfigError, EnvError):
        return from_games(model, {x: make_game(x, model.config) for x in model.tasks})
    return dreamed(model)


def from_states(model: Model, states: Latents) -> Start:
    """Begins in one of the given states."""
    axes = int(states.is_batch) + int(states.is_sequence)
    flat = {
        k: v.reshape(-1, *v.shape[axes:]) for k, v in states.items() if k != "action"
    }
    model.check(Latents(flat, is_batch=True))

    def draw(rng: np.random.Generator) -> Latents:
        row = rng.integers(len(flat["deter"]))
        return Latents({k: v[row] for k, v in flat.items()})

    return draw


def from_games(model: Model, games: Mapping[str, gymnasium.Env]) -> Start:
    """Begins with the first observation of one of the games."""
    for name, game in games.items():
        if game.action_space != model.action_space:
            raise ModelError(
                f"The game has other actions than the model. Received: "
                f"{game.action_space}; the model has {model.action_space}."
            )
        first, _ = game.reset(seed=0)
        model.observe(_sequence(first), _no_action(model), seed=0, game=name)
    names = [*games]

    def draw(rng: np.random.Generator) -> Latents:
        name = names[rng.integers(len(games))]
        first, _ = games[name].reset(seed=int(rng.integers(2**31)))
        seed, inputs = int(rng.integers(2**31)), (_sequence(first), _no_action(model))
        return model.observe(*inputs, seed=seed, game=name).at(-1)

    return draw


def dreamed(model: Model) -> Start:
    """Begins with what the model expects before it has seen anything."""

    def draw(rng: np.random.Generator) -> Latents:
        seed = int(rng.integers(2**31))
        game = model.tasks[seed % len(model.tasks)]
        start = model.initial(game=game)
        dream = model.imagine(start, _no_action(model), seed=seed)
        return dream["latents"].at(-1)

    return draw


def _sequence(observation: dict) -> dict:
    """Returns a first observation as a sequence."""
    seen = values.shown(observation)
    return {key: np.asarray(value)[None] for key, value in seen.items()}


def _no_action(model: Model) -> np.ndarray:
    return np.zeros((1, model.action_size), np.float32)
