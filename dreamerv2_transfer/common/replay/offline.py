"""Batches from episodes of several games, each row a sequence of one game."""

import contextlib
import math
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError

Batch = dict[str, np.ndarray]

EVAL_SEED = 0  # Of the held-out batches of every run.
TABLE_BYTES = 100  # An episode: its place and digest, and what it is drawn by.


class Pieces:
    """Where pieces of episodes may be taken from, and how they are drawn.

    As the original's replay: an episode is drawn uniformly, then a length, then a
    start; `prioritize_ends` makes the end of an episode as likely as `minlen` starts.
    """

    def __init__(
        self,
        episodes: Sequence[tuple[np.ndarray, np.ndarray]],
        minlen: int,
        maxlen: int,
        prioritize_ends: bool,
    ):
        """Takes first steps and lengths of the usable episodes of each game."""
        self._counts = np.array([len(starts) for starts, _ in episodes])
        self._bases = np.cumsum(self._counts) - self._counts
        self._starts = np.concatenate([starts for starts, _ in episodes])
        self._totals = np.concatenate([totals for _, totals in episodes])
        self._minlen = minlen
        self._maxlen = maxlen or np.iinfo(np.int64).max
        self._slack = 1 + (minlen if prioritize_ends else 0)
        self.mean = self._mean_lengths(episodes).min()

    def _mean_lengths(self, episodes: Sequence[tuple]) -> np.ndarray:
        means = [np.minimum(totals, self._maxlen).mean() for _, totals in episodes]
        return np.maximum(np.array(means) - self._minlen / 2, self._minlen)

    def draw(
        self, game: np.ndarray, number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws pieces of each row's game.

        Args:
            game: int [rows], the game of each row.
            number: how many pieces a row.
            rng: the generator to draw from.

        Returns:
            First steps and lengths, int64 [rows, number].
        """
        shape = (len(game), number)
        counts, bases = self._counts[game, None], self._bases[game, None]
        episode = bases + rng.integers(counts, size=shape)
        total = self._totals[episode]
        length = np.minimum(total, self._maxlen)
        # A random length, lest all chunks end at once where episodes are equally long.
        length = np.maximum(
            length - rng.integers(self._minlen, size=shape), self._minlen
        )
        spare = total - length
        start = np.minimum(rng.integers(spare + self._slack), spare)
        return self._starts[episode] + start, length


class Rows:
    """An endless stream of rows that pieces are joined into.

    The state of a row is the piece that it is in: its game, the next step, and how
    many steps are left.
    """

    def __init__(
        self,
        pieces: Pieces,
        weights: np.ndarray,
        batch: int,
        length: int,
        rng: np.random.Generator,
    ):
        """Takes the pieces of several games and the weight of each game."""
        self._pieces = pieces
        self._cumulative = np.cumsum(weights) / np.sum(weights)
        self._cumulative /= self._cumulative[-1]  # So that the last is exactly one.
        self._length = length
        self._number = int(1.5 * length / pieces.mean) + 1
        self._rng = rng
        self._game = np.full(batch, -1)
        self._next = np.zeros(batch, np.int64)
        self._left = np.zeros(batch, np.int64)

    def next(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws a batch.

        Returns:
            The game of each row, int [batch]; the step of that game's episodes at each
            position, int64 [batch, length]; where a piece starts, bool [batch, length].
        """
        game = self._draw_games()
        begin, size = self._fill(game)
        end = np.cumsum(size, axis=1)
        first = end - size
        piece, is_first = self._lay_out(first)
        index = np.take_along_axis(begin - first, piece, 1) + np.arange(self._length)
        self._game = game
        self._next = index[:, -1] + 1
        self._left = np.take_along_axis(end, piece[:, -1:], 1)[:, 0] - self._length
        return game, index, is_first

    def _draw_games(self) -> np.ndarray:
        chance = self._rng.random(len(self._game))
        return np.searchsorted(self._cumulative, chance, side="right")

    def _fill(self, game: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First steps and sizes of enough pieces for each row: [batch, pieces].

        Column zero is what is left of the piece in progress. The pieces that turn out
        to be too many are dropped: all are drawn independently.
        """
        left = np.where(game == self._game, self._left, 0)
        begins, sizes = [self._next[:, None]], [left[:, None]]
        filled = left
        while filled.min() < self._length:
            begin, size = self._pieces.draw(game, self._number, self._rng)
            begins.append(begin)
            sizes.append(size)
            filled = filled + size.sum(1)
        return np.concatenate(begins, 1), np.concatenate(sizes, 1)

    def _lay_out(self, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the piece at each position, and where a new one starts."""
        rows = np.arange(len(first))[:, None]
        piece = np.zeros((len(first), self._length + 1), np.int64)
        # The extra column takes the pieces that start beyond the row.
        column = np.minimum(first[:, 1:], self._length)
        piece[rows, column] = np.arange(1, first.shape[1])
        piece = piece[:, :-1]
        return np.maximum.accumulate(piece, axis=1), piece > 0

    def state(self) -> dict[str, Any]:
        """What is needed to go on exactly here; JSON-able."""
        return {
            "rng": self._rng.bit_generator.state,
            "game": self._game.tolist(),
            "next": self._next.tolist(),
            "left": self._left.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self._rng.bit_generator.state = state["rng"]
        self._game = np.array(state["game"])
        self._next = np.array(state["next"], np.int64)
        self._left = np.array(state["left"], np.int64)


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


class Prefetch:
    """Prepares batches in a thread, ahead of the one who trains on them."""

    def __init__(self, dataset: OfflineDataset, depth: int = 2):
        """Starts the thread; `depth` batches at most wait for their turn."""
        self._dataset = dataset
        self._state = dataset.state()
        self._queue: queue.Queue = queue.Queue(maxsize=max(1, depth))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def next(self) -> Batch:
        """Returns the next batch; raises what went wrong while preparing it."""
        if self._stopped.is_set():
            raise RuntimeError("This prefetcher is closed.")
        batch, state, error = self._queue.get()
        if error:
            self.close()
            raise error
        self._state = state
        return batch

    def state(self) -> dict[str, Any]:
        """The dataset's state as of the last batch that `next` returned."""
        return self._state

    def close(self) -> None:
        """Ends the thread; batches that nobody took are dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            self._drop()
            self._thread.join(0.01)

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                batch = self._dataset.next()
                self._queue.put((batch, self._dataset.state(), None))
        except BaseException as error:
            self._queue.put((None, None, error))

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_) -> None:
        self.close()
