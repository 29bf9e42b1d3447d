"""The episodes of a run on several games, whose batches hold rows of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.replay.online import Batch, Replay
from dreamerv2_transfer.common.replay.sources import Transition
from dreamerv2_transfer.common.replay.store import DatasetError


class SeveralReplays:
    """A replay for each game, behind the interface of one.

    Each game has the same rows of every batch, see `rows_of_games`, so that a row goes
    on where it was in the last batch.

    Args:
        replays: The replay of each game.
        envs: Environments of each game; the workers count them game after game.
        weights: The share of each game in a batch.
    """

    def __init__(
        self, replays: Mapping[str, Replay], envs: int, weights: Sequence[float]
    ):
        self._replays = list(replays.values())
        self._envs = envs
        self._weights = weights

    @property
    def stats(self) -> dict[str, int]:
        """The sums of the games' numbers, see `Replay.stats`."""
        each = [replay.stats for replay in self._replays]
        return {name: sum(stats[name] for stats in each) for name in each[0]}

    def add_step(self, transition: Transition, worker: int = 0) -> None:
        """See `Replay.add_step`."""
        replay, number = self._of(worker)
        replay.add_step(transition, number)

    def restore_step(self, transition: Transition, worker: int = 0) -> None:
        """See `Replay.restore_step`."""
        replay, number = self._of(worker)
        replay.restore_step(transition, number)

    def drop_ongoing(self, worker: int = 0) -> None:
        """See `Replay.drop_ongoing`."""
        replay, number = self._of(worker)
        replay.drop_ongoing(number)

    def _of(self, worker: int) -> tuple[Replay, int]:
        game, number = divmod(worker, self._envs)
        return self._replays[game], number

    def batch(self, batch: int, length: int) -> Batch:
        """Draws a training batch, see `Replay.batch`.

        Returns:
            Also `task` int32 [batch], the number of each row's game.
        """
        counts = rows_of_games(batch, self._weights)
        pairs = zip(self._replays, counts, strict=True)
        parts = [replay.batch(count, length) for replay, count in pairs]
        task = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        joined = {k: np.concatenate([x[k] for x in parts]) for k in parts[0]}
        return {**joined, "task": task}

    def state(self) -> dict[str, Any]:
        """Returns what the replays need to continue exactly here; JSON-able."""
        return {"games": [replay.state() for replay in self._replays]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state` was taken."""
        for replay, saved in zip(self._replays, state["games"], strict=True):
            replay.load_state(saved)


def rows_of_games(batch: int, weights: Sequence[float]) -> list[int]:
    """Returns how many rows of a batch each game has: whole numbers nearest its share.

    The rows that rounding down leaves go to the games with the largest remainders.

    Raises:
        DatasetError: A game would have none.
    """
    shares = batch * np.array(weights, float) / np.sum(weights)
    counts = np.floor(shares).astype(int)
    left = np.argsort(counts - shares, kind="stable")[: batch - counts.sum()]
    counts[left] += 1
    if not counts.all():
        raise DatasetError(
            "Each game needs at least one sequence of a batch. Received: "
            f"dataset.batch={batch} and task_weights={list(weights)}. Raise "
            "dataset.batch, or the smallest weight."
        )
    return counts.tolist()
