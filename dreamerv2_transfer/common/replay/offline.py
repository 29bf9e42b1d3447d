"""Batches from episodes of several games, each row a sequence of one game."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.rows import Pieces, Rows
from dreamerv2_transfer.common.replay.store import DatasetError

Batch = dict[str, np.ndarray]

EVAL_SEED = 0  # Of the held-out batches of every run.
TABLE_BYTES = 100  # An episode: its place and digest, and what it is drawn by.


class OfflineDataset:
    """Batches whose rows come from different games, drawn by weight.

    A row joins pieces of episodes of one game; `is_first` is true where a piece
    starts. Where `is_first[b, 0]` is false, row b goes on with exactly the step
    after the last one of row b of the batch before.

    Every `holdout`-th episode of a game in content order, from the first on, is held
    out: `next` never returns a step of it. A game's only episode is not held out.
    """

    def __init__(
        self,
        tasks: Mapping[str, PackedEpisodes],
        *,
        batch: int,
        length: int,
        minlen: int = 1,
        maxlen: int = 0,
        prioritize_ends: bool = False,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        holdout: int = 20,
    ):
        """Prepares the tables of usable episodes.

        Args:
            tasks: episodes by task; the order gives each its index.
            batch: rows a batch.
            length: steps a row.
            minlen: fewest steps of a piece; an episode of fewer is not used.
            maxlen: most steps of a piece, 0 for no limit.
            prioritize_ends: makes the ends of episodes likelier.
            weights: how often each task is drawn, in their order; None or empty for
                equally often.
            seed: of everything that is drawn.
            holdout: one episode in how many is held out; 0 for none.

        Raises:
            DatasetError: an argument is out of range, the tasks' shapes differ, or a
                task has no usable episode.
        """
        _check_sizes(batch, length, minlen, maxlen, holdout)
        packing.check_same_kinds(tasks.values())
        self.tasks = tuple(tasks)
        self._packed = packing.with_same_coding(list(tasks.values()))
        self.fields = self._packed[0].fields
        self._options = dict(
            batch=batch,
            length=length,
            minlen=minlen,
            maxlen=maxlen,
            prioritize_ends=bool(prioritize_ends),
            weights=_check_weights(self.tasks, weights),
            holdout=holdout,
        )
        self._seed = seed
        splits = [_split(packed, holdout) for packed in self._packed]
        self._train = [
            self._usable(i, train, minlen) for i, (train, _) in enumerate(splits)
        ]
        # Evaluation is about the episodes, however short, and not about the sampling.
        self._held = [self._usable(i, held, 0) for i, (_, held) in enumerate(splits)]
        self._report()
        pieces = Pieces(self._train, minlen, maxlen, prioritize_ends)
        self._rows = self._stream(seed, pieces, self._options["weights"])

    def _usable(
        self, task: int, numbers: np.ndarray, minlen: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """First steps and lengths of those episodes that are long enough."""
        packed = self._packed[task]
        numbers = numbers[packed.lengths[numbers] > minlen]
        return packed.offsets[numbers], packed.lengths[numbers]

    def _report(self) -> None:
        """Says what is not used, and stops where nothing is left."""
        minlen = self._options["minlen"]
        for i, task in enumerate(self.tasks):
            short = int((self._packed[i].lengths <= minlen).sum())
            if not len(self._train[i][0]):
                raise DatasetError(
                    f"{self._packed[i].source} has no episode to train on: {short} of "
                    f"{len(self._packed[i])} have fewer than minlen={minlen} steps. "
                    "Collect longer ones or lower replay.minlen."
                )
            if short:
                print(f"{task}: {short} episodes of under {minlen} steps are not used.")
            if self._options["holdout"] and not len(self._held[i][0]):
                print(f"{task}: no episode to hold out, so none to evaluate on.")

    def _stream(self, seed: int, pieces: Pieces, weights: Sequence, *key) -> Rows:
        rng = np.random.default_rng([seed, *key])
        size = self._options["batch"], self._options["length"]
        return Rows(pieces, weights, *size, rng)

    def next(self) -> Batch:
        """Draws the next training batch.

        Returns:
            The observations as they are stored in the episodes (`image` bool or
            uint8), `action` and `reward` float32, `is_first`, `is_last` and
            `is_terminal` bool, each [batch, length, ...]; `task` int32 [batch], the
            index into `tasks`.
        """
        return self._gather(*self._rows.next())

    @property
    def obs_space(self) -> dict[str, spaces.Space]:
        """Spaces of a transition's keys other than the action."""
        flag = spaces.Box(0, 1, (), bool)
        boxes = {k: _space(field) for k, field in self.fields.items() if k != "action"}
        return {**boxes, "is_first": flag}

    @property
    def act_space(self) -> dict[str, spaces.Space]:
        """Space of the actions: discrete where all of them are one-hot."""
        field = self.fields["action"]
        if field.coding == "onehot":
            return {"action": spaces.Discrete(field.shape[0])}
        return {"action": spaces.Box(-1, 1, field.shape, np.float32)}

    def held_out(self, task: str) -> int:
        """Number of held-out episodes of a task that can be used."""
        return len(self._held[self._index(task)][0])

    def eval_batches(self, task: str, count: int) -> list[Batch]:
        """Batches of held-out episodes of one task, the same ones for every seed.

        Returns:
            `count` batches as from `next`, the rows of one going on in the next; an
            empty list if nothing is held out.
        """
        if not self.held_out(task):
            return []
        index = self._index(task)
        pieces = Pieces([self._held[index]], 1, self._options["maxlen"], False)
        # What a few batches hold differs more than two models do.
        rows = self._stream(EVAL_SEED, pieces, [1.0], *b"eval", index)
        drawn = (rows.next() for _ in range(count))
        return [self._gather(game + index, *rest) for game, *rest in drawn]

    def video_batch(self, task: str, rows: int, length: int) -> Batch | None:
        """Held-out sequences of one task to look at, always the same ones.

        The longest episodes come first, uninterrupted from their start, then what
        follows in them; only where these do not suffice, short ones are joined.

        Returns:
            A batch as from `next` of `rows` rows and `length` steps; None if nothing
            is held out.
        """
        if not self.held_out(task):
            return None
        index = self._index(task)
        starts, totals = self._held[index]
        order = np.argsort(-totals, kind="stable")
        begin, size = _cut(starts[order], totals[order], rows, length)
        steps = (begin[:, None] + np.arange(size.max()))[
            np.arange(size.max()) < size[:, None]
        ]
        is_first = np.isin(np.arange(len(steps)), np.cumsum(size) - size)
        steps = steps[: rows * length].reshape(rows, length)
        is_first = is_first[: rows * length].reshape(rows, length)
        return self._gather(np.full(rows, index), steps, is_first)

    def _index(self, task: str) -> int:
        return self.tasks.index(task)

    def _gather(self, game: np.ndarray, index: np.ndarray, is_first: np.ndarray):
        """Unpacks the steps `index` [rows, length] of each row's game."""
        present = [(g, np.flatnonzero(game == g)) for g in np.unique(game)]
        places = [(g, rows, index[rows]) for g, rows in present]
        batch = {}
        for key, field in self.fields.items():
            shape, dtype = field.stored
            stored = np.empty(index.shape + shape, dtype)
            for g, rows, steps in places:
                stored[rows] = self._packed[g].arrays[key].take(steps, axis=0)
            batch[key] = field.decode(stored)
        return {**batch, "is_first": is_first, "task": game.astype(np.int32)}

    def state(self) -> dict[str, Any]:
        """The position in the stream of training batches; JSON-able."""
        return {"dataset": self._identity(), "rows": self._rows.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `state` was taken.

        Raises:
            DatasetError: it was taken from another dataset; says what changed.
        """
        before, now = state["dataset"], self._identity()
        for key in [*now, *(k for k in before if k not in now)]:
            if before.get(key) != now.get(key):
                raise DatasetError(
                    f"The dataset changed, so its batches cannot go on: {key} was "
                    f"{before.get(key)}, now it is {now.get(key)}. Bring it back, or "
                    "start a new run in another --logdir."
                )
        self._rows.load_state(state["rows"])

    def _identity(self) -> dict[str, Any]:
        """What the stream of batches depends on, beside the seed."""
        episodes = {
            task: f"{len(packed)} episodes, {packed.steps} steps, {packed.fingerprint}"
            for task, packed in zip(self.tasks, self._packed, strict=True)
        }
        return {"tasks": list(self.tasks), **episodes, **self._options}


def memory_cap(config) -> int:
    """Bytes that a dataset may take in memory, from `dataset.memory` in GiB; 0: any.

    Raises:
        DatasetError: it is no number of GiB.
    """
    cap = config.dataset.memory
    if not 0 <= cap < np.inf:
        raise DatasetError(
            "dataset.memory must be the GiB that the dataset may take in memory, or 0 "
            f"for no cap. Received: dataset.memory={cap}."
        )
    return math.ceil(cap * 2**30)


def open_dataset(
    config,
    directory: str | os.PathLike,
    tasks: Sequence[str],
    cache: str | os.PathLike | None,
) -> OfflineDataset:
    """The episodes of some tasks in a folder, as a configuration wants them.

    Args:
        config: says how batches are drawn, and what the tasks' episodes look like.
        directory: holds a folder a task; it is only read. May be a URL.
        tasks: the games.
        cache: for what had to be built of the episodes' indices, if any.

    Raises:
        DatasetError: as `packed.open_dataset` and `make_dataset`.
    """
    episodes = packing.open_dataset(
        remote.fetched(directory, *(f"{task}/*" for task in tasks)),
        tasks,
        cache=cache,
        memory=memory_cap(config),
        expected=envs.kinds(tasks[0], **envs.options(config, tasks[0])),
    )
    return make_dataset(config, episodes)


def make_dataset(config, tasks: Mapping[str, PackedEpisodes]) -> OfflineDataset:
    """The dataset of the given episodes, as a configuration wants it.

    Raises:
        DatasetError: as `OfflineDataset`; or not even a batch fits under the cap.
    """
    _check_memory(config, tasks)
    weights = list(config.task_weights)
    return OfflineDataset(
        tasks,
        batch=config.dataset.batch,
        length=config.dataset.length,
        minlen=config.replay.minlen,
        maxlen=config.replay.maxlen,
        prioritize_ends=config.replay.prioritize_ends,
        weights=weights * len(tasks) if len(weights) == 1 else weights,
        seed=config.seed,
        holdout=config.dataset.holdout,
    )


def _check_memory(config, tasks: Mapping[str, PackedEpisodes]) -> None:
    """Checks that a batch and the tables of the episodes fit under the cap."""
    cap, size = memory_cap(config), config.dataset
    episodes = sum(len(packed) for packed in tasks.values())
    step = max(_step_bytes(packed) for packed in tasks.values())
    needed = size.batch * size.length * step + episodes * TABLE_BYTES
    if cap and cap < needed:
        raise DatasetError(
            f"A batch of {size.batch} x {size.length} steps and the places of "
            f"{episodes} episodes take {needed / 2**30:.2g} GiB, more than the dataset "
            f"may take. Received: dataset.memory={size.memory}. Raise it, or set it to "
            "0 for no cap."
        )


def _step_bytes(packed: PackedEpisodes) -> int:
    """Bytes of a step while a batch is made: as stored, and unpacked."""
    kinds = [kind for x in packed.fields.values() for kind in (x.stored, x.kind)]
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in kinds)


def _space(field) -> spaces.Box:
    dtype = np.dtype(field.dtype)
    low, high = {"b": (0, 1), "u": (0, 255)}.get(dtype.kind, (-np.inf, np.inf))
    return spaces.Box(low, high, field.shape, dtype)


def _check_sizes(batch: int, length: int, minlen: int, maxlen: int, holdout: int):
    for name, value in dict(batch=batch, length=length, minlen=minlen).items():
        if value < 1:
            raise DatasetError(f"{name} must be at least 1. Received: {name}={value}.")
    if maxlen and maxlen < minlen:
        raise DatasetError(
            "replay.maxlen must be 0 or at least replay.minlen. "
            f"Received: minlen={minlen}, maxlen={maxlen}."
        )
    if holdout < 0 or holdout == 1:
        raise DatasetError(
            "dataset.holdout must be 0 (none) or at least 2 (one episode in so many). "
            f"Received: holdout={holdout}."
        )


def _check_weights(tasks: tuple[str, ...], weights: Sequence[float] | None) -> list:
    weights = [1.0] * len(tasks) if not weights else [float(x) for x in weights]
    valid = np.isfinite(weights).all() and min(weights) >= 0 and sum(weights) > 0
    if len(weights) != len(tasks) or not valid:
        raise DatasetError(
            "task_weights must be one number a task, none negative, not all zero. "
            f"Received: task_weights={weights} for tasks={list(tasks)}."
        )
    return weights


def _split(packed: PackedEpisodes, holdout: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the episodes to train on and of those held out."""
    numbers = np.arange(len(packed))
    if not holdout or len(packed) < 2:
        return numbers, numbers[:0]
    return numbers[numbers % holdout > 0], numbers[::holdout]


def _cut(
    starts: np.ndarray, totals: np.ndarray, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """First steps and sizes of pieces that fill rows of a length, in order."""
    turns = range(int(totals.max()) // length)
    whole = [
        (s + t * length, length)
        for t in turns
        for s in starts[totals >= (t + 1) * length]
    ]
    cut = whole[:rows]
    joined = [
        (s, n) for s, n in zip(starts, totals, strict=True) if n < length
    ] or whole
    while sum(n for _, n in cut) < rows * length:
        cut += joined
    begin, size = np.array(cut).T
    return begin, size
