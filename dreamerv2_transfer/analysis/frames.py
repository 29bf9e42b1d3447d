"""Frames of played episodes, and what was where in the game in each of them."""

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
        data: `(N, ...)` of each key of a transition, see `Driver`.
        variables: float32 `(N,)` by name: of the game where it has names for them, and
            `reward`, `score` (the rewards so far) and `step` of every game.
        events: bool `(N,)` by name.
        episode: int `(N,)`, the number of each frame's episode, from 0 on.
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
    """Plays until there are so many frames.

    The episodes in progress then are cut there, not dropped: a fixed number of frames
    would otherwise favour short episodes.

    Args:
        env: environments in this process, whose games can be looked into.
        policy: as `Driver` takes it.
        frames: at least so many are returned, at most one more an environment.
        seeds: as `Driver` takes it.
        report: called with the number of further frames.
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
    """Takes what the driver hands on, and reads the games at the same moment."""

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
        lengths = [len(x["reward"]) for x in self._closed]
        data = {
            k: np.concatenate([x[k] for x in self._closed]) for k in self._closed[0]
        }
        episode = np.repeat(np.arange(len(lengths)), lengths)
        variables = self._variables(data.pop("state"))
        events = game_state.events(variables, episode)
        happened = {"reward": data["reward"] > 0, "loss": data["reward"] < 0}
        return Frames(
            data,
            variables | self._of_every_game(data["reward"]),
            events | happened | {"episode_ends": data["is_terminal"]},
            episode,
        )

    def _variables(self, state: np.ndarray) -> dict[str, np.ndarray]:
        names = game_state.read(self._env.envs[0])
        return dict(zip(names, state.T.astype(np.float32), strict=True))

    def _of_every_game(self, reward: np.ndarray) -> dict[str, np.ndarray]:
        scores = [np.cumsum(x["reward"]) for x in self._closed]
        steps = [np.arange(len(x["reward"])) for x in self._closed]
        joined = {"score": np.concatenate(scores), "step": np.concatenate(steps)}
        return {
            k: v.astype(np.float32) for k, v in {"reward": reward, **joined}.items()
        }
