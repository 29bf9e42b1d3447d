"""A short animation of what a model dreams, beside the game, or of what a DQN plays."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.games import make_game
from dreamerv2_transfer.trained.model import Model
from dreamerv2_transfer.trained.player import Player

CONTEXT, LENGTH = 5, 50  # Frames that the model sees, and all frames.


def draw(model: Model | Player, seed: int = 0) -> np.ndarray | None:
    """Draws the first image of what a model observes.

    A world model sees a few frames of each of its games, then dreams on with the same
    actions: those of its agent if it has one, else random ones. Where the games cannot
    be made, only the dream is drawn.

    Args:
        model: The model or the DQN.
        seed: The seed of the games and of the actions.

    Returns:
        Frames, uint8 RGB `(T, H, W, 3)`, or None if there are no images.
    """
    keys = [k for k, v in model.observation_space.items() if len(v.shape or ()) == 3]
    if not keys:
        return None
    games = _games(model)
    played = [play(model, game, seed, name) for name, game in games.items()]
    truth = np.stack([rows[keys[0]] for rows in played]) if played else None
    if isinstance(model, Player):
        planes = envs.native_planes(model.tasks[0])
        return video.episode(truth[0], video.PLANE_SCALE, planes)  # type: ignore[index]
    if truth is None:
        actions = _random(model, seed, LENGTH)
        start = model.initial(game=model.tasks[0])
        dream = model.imagine(start, actions, seed=seed)
        return video.episode(dream[keys[0]], video.PLANE_SCALE, None)
    rows = {key: np.stack([x[key] for x in played]) for key in played[0]}
    seen = model.observe(
        {k: v[:, :CONTEXT] for k, v in rows.items() if k != "action"},
        rows["action"][:, :CONTEXT],
        seed=seed,
        game=[*games],
    )
    dream = model.imagine(seen, rows["action"][:, CONTEXT:], seed=seed)
    shown = np.concatenate([model.decode(seen)[keys[0]], dream[keys[0]]], 1)
    return video.open_loop(truth, shown, CONTEXT)


def play(
    model: Model | Player, game: gymnasium.Env, seed: int, name: str
) -> dict[str, Any]:
    """Plays a game; returns observations, the `action` before each, and `is_first`."""
    drawn, rng = _random(model, seed, LENGTH), np.random.default_rng(seed)
    joined = envs.Joined(envs.act_parts(model.action_space))
    rows, state, is_first = [], None, True
    action = np.zeros(envs.act_size(model.action_space), np.float32)
    seen = values.shown(game.reset(seed=seed)[0])
    for number in range(LENGTH):
        rows.append({**seen, "action": action, "is_first": is_first})
        chosen = drawn[number]
        if game.metadata.get(envs.IS_MASKED):
            vector = joined.draw(rng, seen[envs.MASK])
            chosen = values.native(vector, model.action_space)
        if model.has_agent:
            state = None if is_first else state
            chosen, state = _agent(model, name)(seen, state)
        obs, reward, terminated, truncated, _ = game.step(chosen)
        seen = values.shown(obs, reward, terminated)
        action = values.actions(chosen, model.action_space, ())
        is_first = terminated or truncated
        if is_first:
            seen = values.shown(game.reset()[0])
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _random(model: Model | Player, seed: int, length: int) -> Sequence[Any]:
    model.action_space.seed(seed)
    return [model.action_space.sample() for _ in range(length)]


def _agent(model: Model | Player, name: str) -> Callable:
    act = model.agent.act
    return functools.partial(act, game=name) if isinstance(model, Model) else act


def _games(model: Model | Player) -> dict[str, gymnasium.Env]:
    with contextlib.suppress(ConfigError, EnvError):
        return {task: make_game(task, model.config) for task in model.tasks}
    return {}
