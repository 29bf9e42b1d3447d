"""Reads what is where in a MinAtar game, by names that the games share.

Columns count from the left and rows from the top, both from 0 to 9. NaN means that
something does not exist at the moment, such as the nearest of no enemies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np

State = dict[str, float]
NEAR = 2  # Cells, rows plus columns, up to which an enemy counts as near.
# Breakout's numbers for the directions of its ball, as steps of column and row.
BALL = ((-1, -1), (1, -1), (1, 1), (-1, 1))
# Events that are changes of a variable from one frame to the next, with their sign.
CHANGES = {
    "enemy_appears": ("enemies", 1),
    "enemy_goes": ("enemies", -1),
    "player_shoots": ("friendly_bullets", 1),
    "enemy_shoots": ("enemy_bullets", 1),
    "gold_appears": ("gold", 1),
    "ball_turns_up": ("ball_dy", -1),
    "ball_turns_down": ("ball_dy", 1),
    "brick_breaks": ("bricks", -1),
    "diver_appears": ("divers", 1),
    "diver_is_saved": ("divers_carried", 1),
    "oxygen_is_filled": ("oxygen", 1),
}


def read(env: gymnasium.Env) -> State:
    """Returns the named variables of a game, with the same names at every moment.

    Args:
        env: An environment of `envs.make_env`.

    Returns:
        Numbers by name; {} if the game is not MinAtar's.
    """
    game = getattr(env.unwrapped, "game", None)
    reader = READERS.get(getattr(game, "env_name", ""))
    return reader(game.env) if reader else {}


def events(
    variables: Mapping[str, np.ndarray], episode: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns what happens in each frame, as far as the variables tell.

    Args:
        variables: float `(N,)` by name.
        episode: int `(N,)`, the number of each frame's episode.

    Returns:
        bool `(N,)` by name.
    """
    same_episode = np.diff(episode, prepend=-1) == 0
    found = {}
    for name, (variable, sign) in CHANGES.items():
        if variable in variables:
            change = np.diff(variables[variable], prepend=0)
            found[name] = same_episode & (sign * change > 0)
    if "enemy_distance" in variables:
        found["enemy_is_near"] = variables["enemy_distance"] <= NEAR
    return found


def asterix(game: Any) -> State:
    """Reads Asterix: enemies and gold move along rows."""
    things = [thing for thing in game.entities if thing is not None]
    player = game.player_x, game.player_y
    enemies = [_directed(thing) for thing in things if not thing[3]]
    gold = [_directed(thing) for thing in things if thing[3]]
    return {
        **_player(*player),
        **_group("enemies", "enemy", enemies, player),
        **_group("gold", "gold", gold, player),
        "difficulty": float(game.ramp_index),
    }


def breakout(game: Any) -> State:
    """Reads Breakout: a ball and bricks."""
    dx, dy = BALL[game.ball_dir]
    return {
        **_player(game.pos, 9),
        "ball_x": float(game.ball_x),
        "ball_y": float(game.ball_y),
        "ball_dx": float(dx),
        "ball_dy": float(dy),
        "bricks": float(game.brick_map.sum()),
    }


def freeway(game: Any) -> State:
    """Reads Freeway: cars are the enemies, and the player stays in column 4."""
    player = 4, game.pos
    cars = [(x, y, np.sign(speed)) for x, y, _, speed in game.cars]
    return {**_player(*player), **_group("enemies", "enemy", cars, player)}


def seaquest(game: Any) -> State:
    """Reads Seaquest: fish and submarines together are the enemies."""
    player = game.sub_x, game.sub_y
    enemies = [_directed(x) for x in (*game.e_fish, *game.e_subs)]
    friendly = [_directed(x) for x in game.f_bullets]
    hostile = [_directed(x) for x in game.e_bullets]
    return {
        **_player(*player),
        "player_dx": 1.0 if game.sub_or else -1.0,
        **_group("enemies", "enemy", enemies, player),
        **_group("friendly_bullets", "friendly_bullet", friendly, player),
        **_group("enemy_bullets", "enemy_bullet", hostile, player),
        **_group("divers", "diver", map(_directed, game.divers), player),
        "divers_carried": float(game.diver_count),
        "oxygen": float(game.oxygen),
        "difficulty": float(game.ramp_index),
    }


def space_invaders(game: Any) -> State:
    """Reads Space Invaders: aliens are the enemies."""
    player = game.pos, 9
    enemies = _cells(game.alien_map, game.alien_dir)
    friendly = _cells(game.f_bullet_map, 0)
    hostile = _cells(game.e_bullet_map, 0)
    return {
        **_player(*player),
        **_group("enemies", "enemy", enemies, player),
        **_group("friendly_bullets", "friendly_bullet", friendly, player),
        **_group("enemy_bullets", "enemy_bullet", hostile, player),
        "difficulty": float(game.ramp_index),
    }


def _player(x: int, y: int) -> State:
    return {"player_x": float(x), "player_y": float(y)}


def _directed(thing: list) -> tuple[int, int, int]:
    """Returns column, row and direction of MinAtar's `[x, y, goes_right, ...]`."""
    return thing[0], thing[1], 1 if thing[2] else -1


def _cells(plane: np.ndarray, direction: int) -> list[tuple[int, int, int]]:
    """Returns the same for the cells of a map that are not 0."""
    return [(x, y, direction) for y, x in np.argwhere(plane).tolist()]


def _group(
    plural: str,
    singular: str,
    things: Iterable[tuple[int, int, float]],
    player: tuple[int, int],
) -> State:
    """Returns the number of things, and the place of the one nearest to the player."""
    x, y = player
    things = [(abs(a - x) + abs(b - y), a, b, dx) for a, b, dx in things]
    nearest = min(things, default=(math.nan,) * 4)
    names = ("distance", "x", "y", "dx")
    where = {f"{singular}_{k}": float(v) for k, v in zip(names, nearest, strict=True)}
    return {plural: float(len(things)), **where}


READERS: dict[str, Callable[[Any], State]] = {
    "asterix": asterix,
    "breakout": breakout,
    "freeway": freeway,
    "seaquest": seaquest,
    "space_invaders": space_invaders,
}
