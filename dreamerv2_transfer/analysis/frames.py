"""Frames of played episodes, with what was where in the game in each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv

from dreamerv2_transfer.analysis import game_state
from dreamerv2_transfer.common.driver import Driver, Obs, Policy


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of episodes, one episode after the other.

    Attributes:
        data: `(N, ...)` for each key of a transition, see `Driver`.
        variables: float32 `(N,)` by name: those that `game_state` reads from the game,
            and `reward`, `score` (the rewards so far) and `step` for every game.
        events: bool `(N,)` by name.
        episode: int `(N,)`, the number of each frame's episode, from 0.
    """

    data: dict[str, np.ndarray]
    variables: dict[str, np.ndarray]
    events: dict[str, np.ndarray]
    episode: np.ndarray

    def __len__(self) -> int:
        return len(self.episode)


def play(
    env: SyncVectorEnv,
    policy: Policy,
    frames: int,
    seeds: Callable[[int], int | None] | None = None,
    report: Callable[[int], Any] = lambda count: None,
) -> Frames:
    """Plays a number of frames.

    The episodes then in progress are cut off, not dropped: a fixed number of frames
    would otherwise favour short episodes.

    Args:
        env: Environments in this process, so that their games can be read.
        policy: See `Driver`.
        frames: Fewest frames; at most one more per environment is played.
        seeds: See `Driver`.
        report: Called with the number of further frames.
    """
    recorder = _Recorder(env)
    driver = Driver(env, seeds)
    driver.on_reset(recorder)
    driver.on_step(recorder)
    while recorder.frames < frames:
        before = recorder.frames
        driver(policy, steps=1)
        report(recorder.frames - before)
    return recorder.result()


class _Recorder:
    """Keeps the driver's transitions, and reads the games at the same moments."""

    def __init__(self, env: SyncVectorEnv):
        self.frames = 0
        self._env = env
        self._open: list[list[Obs]] = [[] for _ in env.envs]
        self._closed: list[Obs] = []

    def __call__(self, transition: Obs, worker: int) -> None:
        state = game_state.read(self._env.envs[worker])
        kept = {k: v for k, v in transition.items() if not k.startswith("log_")}
        self._open[worker].append(kept | {"state": np.array([*state.values()])})
        self.frames += 1
        if transition["is_last"]:
            self._close(worker)

    def _close(self, worker: int) -> None:
        rows, self._open[worker] = self._open[worker], []
        if rows:
            self._closed.append({k: np.array([r[k] for r in rows]) for k in rows[0]})

    def result(self) -> Frames:
        for worker in range(len(self._open)):
            self._close(worker)
        rewards = [x["reward"] for x in self._closed]
        lengths = [len(x) for x in rewards]
        episode = np.repeat(np.arange(len(lengths)), lengths)
        data = {
            k: np.concatenate([x[k] for x in self._closed]) for k in self._closed[0]
        }
        names = game_state.read(self._env.envs[0])
        states = data.pop("state").T.astype(np.float32)
        variables = dict(zip(names, states, strict=True))
        events = game_state.events(variables, episode)
        variables |= {
            "reward": data["reward"].astype(np.float32),
            "score": np.concatenate([*map(np.cumsum, rewards)]).astype(np.float32),
            "step": np.concatenate([*map(np.arange, lengths)]).astype(np.float32),
        }
        events |= {
            "reward": data["reward"] > 0,
            "loss": data["reward"] < 0,
            "episode_ends": data["is_terminal"],
        }
        return Frames(data, variables, events, episode)
