"""Batches of episodes from several games, each row a sequence of one game."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.replay import layout, streamed, windows
from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.common.replay.limits import check_options, memory_cap
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.rewards import rewarded_steps
from dreamerv2_transfer.common.replay.rows import Pieces, Rows, longest_first
from dreamerv2_transfer.common.replay.store import DatasetError

Batch = dict[str, np.ndarray]
EVAL_SEED = 0  # All runs evaluate on the same held-out batches.
# Options that earlier versions lack, with what those do. A state names only other
# values, so that each version resumes the other's.
LATER = {"draw": "episodes", "rewarded": 0.0}
TABLE_BYTES = 100  # Bytes per episode: its place, its digest and the sampling tables.
REWARD_BYTES = 16  # Bytes per reward, if `dataset.rewarded` draws them.
SMALL_SHARE = 0.25  # Of the memory cap, for the arrays of a few bytes a step.


class OfflineDataset:
    """Batches whose rows come from different games, drawn by weight.

    A row joins pieces of episodes of one game; `is_first` is true where a piece
    starts. Where `is_first[b, 0]` is false, row b continues with the step after the
    last one of row b of the previous batch.

    Every `holdout`-th episode of a game in content order, beginning with the first, is
    held out: `next` never returns a step of it. A game's only episode is not held out.

    Args:
        tasks: Episodes by task; their order gives each task its index.
        batch: Rows of a batch.
        length: Steps of a row.
        minlen: Fewest steps of a piece; episodes of fewer are not used.
        maxlen: Most steps of a piece; 0 for no limit.
        prioritize_ends: Whether to draw the ends of episodes more often.
        draw: What is drawn uniformly of a task, "episodes" or "steps".
        rewarded: Share of the pieces that are drawn among those with a reward.
        weights: How often each task is drawn, in their order; None or empty for
            equally often.
        seed: Seed of everything that is drawn.
        holdout: Holds out one of this many episodes; 0 for none.
        indices: The number of each task in a model's `task_embed.games`, in their
            order; batches then have it as `game_index`. None or empty without.

    Raises:
        DatasetError: An argument is out of range, the tasks' shapes differ, or a task
            has no usable episode.
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
        draw: str = "episodes",
        rewarded: float = 0.0,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        holdout: int = 20,
        indices: Sequence[int] | None = None,
    ):
        law = Law(minlen, maxlen, prioritize_ends, draw, rewarded)
        weights = [float(x) for x in weights or [1.0] * len(tasks)]
        check_options(list(tasks), batch, length, weights, holdout)
        packing.check_same_kinds(tasks.values())
        self.tasks = tuple(tasks)
        actions = layout.actions({k: x.source for k, x in tasks.items()})
        self._parts = layout.common_parts(actions)
        self._start = layout.common_start(actions)
        self._is_discrete = layout.is_discrete(actions)
        self._packed = packing.with_same_coding(list(tasks.values()))
        self.fields = self._packed[0].fields
        self._options = dict(
            batch=batch,
            length=length,
            minlen=minlen,
            maxlen=maxlen,
            prioritize_ends=bool(prioritize_ends),
            weights=weights,
            holdout=holdout,
            draw=draw,
            rewarded=float(rewarded),
        )
        self._indices = np.array(indices or [], np.int32)
        self._is_on_disk = any(packed.is_on_disk for packed in self._packed)
        self._ahead: tuple | None = None  # The next batch's rows, and the state before.
        splits = [self._split(task) for task in range(len(tasks))]
        train, self._held = zip(*splits, strict=True)
        self._rows = self._stream(
            [seed], train, law, self._options["weights"], self._rewards(train, law)
        )

    def _split(self, task: int) -> tuple[tuple, tuple]:
        """Returns first steps and lengths of the episodes to train on and held out.

        Raises:
            DatasetError: There is no episode to train on.
        """
        name, packed = self.tasks[task], self._packed[task]
        minlen, holdout = self._options["minlen"], self._options["holdout"]
        held = np.zeros(len(packed), bool)
        if holdout and len(packed) > 1:
            held[::holdout] = True
        usable = packed.lengths > minlen
        short = np.sum(~usable)
        if not (usable & ~held).any():
            raise DatasetError(
                f"{packed.source} has no episode to train on: {short} of "
                f"{len(packed)} have fewer than minlen={minlen} steps. "
                "Collect longer ones or lower replay.minlen."
            )
        if short:
            print(f"{name}: {short} episodes of under {minlen} steps are not used.")
        if holdout and not held.any():
            print(f"{name}: no episode to hold out, so there is none to evaluate on.")
        starts, lengths = packed.offsets[:-1], packed.lengths
        train = usable & ~held
        return (starts[train], lengths[train]), (starts[held], lengths[held])

    def _rewards(self, episodes: Sequence[tuple], law: Law) -> list[np.ndarray]:
        """Returns the steps of each task's episodes with a reward, if the law asks."""
        if not law.rewarded:
            return []
        found = []
        for name, packed, (starts, lengths) in zip(
            self.tasks, self._packed, episodes, strict=True
        ):
            steps = rewarded_steps(packed)
            episode = np.searchsorted(starts, steps, side="right") - 1
            # Others come before the first episode to train on, or after one's end.
            steps = steps[(episode >= 0) & (steps < (starts + lengths)[episode])]
            found.append(steps)
            if not len(steps):
                print(
                    f"{name}: no episode to train on holds a reward, so its pieces are "
                    "drawn as without dataset.rewarded.",
                    flush=True,
                )
        return found

    def _stream(
        self,
        seed: Sequence[int],
        episodes: Sequence[tuple],
        law: Law,
        weights: Sequence[float],
        rewards: Sequence[np.ndarray] = (),
    ) -> Rows:
        return Rows(
            Pieces(episodes, law, rewards),
            weights,
            self._options["batch"],
            self._options["length"],
            np.random.default_rng(seed),
        )

    def next(self) -> Batch:
        """Draws the next training batch.

        Returns:
            The observations as stored in the episodes (`image` bool or uint8), `action`
            and `reward` float32, `is_first`, `is_last` and `is_terminal` bool, each
            [batch, length, ...]; `task` int32 [batch], the index into `tasks`.
        """
        if not self._is_on_disk:
            return self._gather(*self._rows.next())
        drawn, _ = self._ahead or (self._rows.next(), None)
        before = self._rows.state()
        game, index, is_first = self._rows.next()
        for number in np.unique(game):
            self._packed[number].ask(index[game == number])
        self._ahead = (game, index, is_first), before
        return self._gather(*drawn)

    def source(self, batch: Mapping[str, np.ndarray]) -> str:
        """Returns the names of the games that a batch holds."""
        return ", ".join(sorted({self.tasks[i] for i in batch["task"]}))

    def without_rewards(self) -> list[str]:
        """Returns the games none of whose episodes holds a reward."""
        pairs = zip(self.tasks, self._packed, strict=True)
        return [task for task, packed in pairs if not len(rewarded_steps(packed))]

    @property
    def obs_space(self) -> dict[str, spaces.Space]:
        """The spaces of a transition's keys, without the action's."""
        bounds = {"b": (0, 1), "u": (0, 255)}
        boxes = {}
        for key, field in self.fields.items():
            dtype = np.dtype(field.dtype)
            low, high = bounds.get(dtype.kind, (-np.inf, np.inf))
            boxes[key] = spaces.Box(low, high, field.shape, dtype)
        del boxes["action"]
        return {**boxes, "is_first": spaces.Box(0, 1, (), bool)}

    @property
    def act_space(self) -> dict[str, spaces.Space]:
        """The space of the actions: discrete where all are one-hot, or are said to be.

        They do not all look it where there is one alone, or more than fit into a byte.
        """
        field = self.fields["action"]
        if self._parts:
            return {"action": envs.Joined(self._parts)}
        if field.coding == "onehot" or self._is_discrete:
            return {"action": spaces.Discrete(field.shape[0], start=self._start)}
        return {"action": spaces.Box(-1, 1, field.shape, np.float32)}

    def held_out(self, task: str) -> int:
        """Returns the number of a task's held-out episodes."""
        starts, _ = self._held[self.tasks.index(task)]
        return len(starts)

    def eval_batches(self, task: str, count: int) -> list[Batch]:
        """Draws batches of one task's held-out episodes, the same ones for every seed.

        Returns:
            `count` batches as from `next`, each row continuing in the next batch; an
            empty list if nothing is held out.
        """
        if not self.held_out(task):
            return []
        index = self.tasks.index(task)
        # Evaluates on all episodes, however short, and whatever training's law.
        law = Law(maxlen=self._options["maxlen"])
        # Not the run's seed: a few batches differ more than two models do.
        seed = [EVAL_SEED, *b"eval", index]
        rows = self._stream(seed, [self._held[index]], law, [1.0])
        drawn = (rows.next() for _ in range(count))
        return [self._gather(game + index, *rest) for game, *rest in drawn]

    def eval_windows(
        self, task: str, count: int, length: int, context: int
    ) -> Iterator[Batch]:
        """Yields windows of one task's held-out episodes, the same ones for every seed.

        They are distinct. All steps are there once if `count` windows hold them;
        otherwise windows with a reward come first, then those with the end of an
        episode. See `windows`.

        Args:
            task: The task.
            count: Most windows.
            length: Steps of a window.
            context: Steps of its episode before each step that counts.

        Yields:
            Batches as from `next`, and `weight` float32 [batch, length]: how many
            held-out steps each step stands for, 0 if it does not count.
        """
        if not self.held_out(task):
            return
        index = self.tasks.index(task)
        steps, is_first, counts = windows.cut(*self._held[index], length, context)
        arrays = self._packed[index].arrays
        rare = arrays["reward"].take(steps) != 0, arrays["is_terminal"].take(steps)
        rng = np.random.default_rng([EVAL_SEED, *b"windows", index])
        kinds = [(x & counts).any(1) for x in rare]
        chosen, weight = windows.choose(kinds, count, rng)
        size = self._options["batch"]
        for begin in range(0, len(chosen), size):
            # The last batch is filled by windows that do not count again.
            at = np.arange(begin, begin + size) % len(chosen)
            counted = (
                counts[chosen[at]] & (np.arange(size) < len(chosen) - begin)[:, None]
            )
            rows = chosen[at]
            batch = self._gather(np.full(size, index), steps[rows], is_first[rows])
            yield {**batch, "weight": np.float32(counted * weight[at][:, None])}

    def video_batch(self, task: str, rows: int, length: int) -> Batch | None:
        """Returns held-out sequences of one task to look at, always the same ones.

        The longest episodes come first, see `rows.longest_first`.

        Returns:
            A batch as from `next` of `rows` rows and `length` steps; None if nothing
            is held out.
        """
        if not self.held_out(task):
            return None
        index = self.tasks.index(task)
        drawn = longest_first(*self._held[index], rows, length)
        return self._gather(np.full(rows, index), *drawn)

    def _gather(
        self, game: np.ndarray, index: np.ndarray, is_first: np.ndarray
    ) -> Batch:
        """Unpacks the steps `index` [rows, length] of each row's game."""
        places = []
        for number in np.unique(game):
            rows = np.flatnonzero(game == number)
            places.append((self._packed[number].arrays, rows, index[rows]))
        batch = {}
        for key, field in self.fields.items():
            if len(places) == 1:
                stored = places[0][0][key].take(index, axis=0)
            else:
                shape, dtype = field.stored
                stored = np.empty(index.shape + shape, dtype)
                for arrays, rows, steps in places:
                    stored[rows] = arrays[key].take(steps, axis=0)
            batch[key] = field.decode(stored)
        if len(self._indices):
            batch["game_index"] = self._indices[game]
        return {**batch, "is_first": is_first, "task": game.astype(np.int32)}

    def state(self) -> dict[str, Any]:
        """Returns the position in the stream of training batches; JSON-able."""
        rows = self._ahead[1] if self._ahead else self._rows.state()
        return {"dataset": self._identity(), "rows": rows}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state` was taken.

        Raises:
            DatasetError: It was taken from another dataset; says what changed.
        """
        before, now = LATER | state["dataset"], LATER | self._identity()
        for key in [*now, *(k for k in before if k not in now)]:
            if before.get(key) != now.get(key):
                raise DatasetError(
                    f"The dataset changed, so its batches cannot be resumed: {key} was "
                    f"{before.get(key)}, now it is {now.get(key)}. Restore it or start "
                    "a new run in another --logdir."
                )
        self._rows.load_state(state["rows"])
        self._ahead = None

    def _identity(self) -> dict[str, Any]:
        """Returns what the stream of batches depends on besides the seed."""
        episodes = {
            task: f"{len(packed)} episodes, {packed.steps} steps, {packed.fingerprint}"
            for task, packed in zip(self.tasks, self._packed, strict=True)
        }
        options = {k: v for k, v in self._options.items() if v != LATER.get(k)}
        return {"tasks": list(self.tasks), **episodes, **options}


def check(config, tasks: Sequence[str]) -> None:
    """Checks what a configuration says about a dataset, before there is one.

    Args:
        config: Says how batches are drawn.
        tasks: The games.

    Raises:
        DatasetError: A value is out of range.
    """
    memory_cap(config)
    chosen = options(config, tasks)
    law_of(config)
    sizes = (chosen[key] for key in ("batch", "length", "weights", "holdout"))
    check_options(tasks, *sizes)


def law_of(config) -> Law:
    """Returns how a configuration draws pieces, of a dataset and of the replay.

    Raises:
        DatasetError: A value is out of range.
    """
    draw, rewarded = config.dataset.draw, config.dataset.rewarded
    limits = config.replay.minlen, config.replay.maxlen
    return Law(*limits, config.replay.prioritize_ends, draw, rewarded)


def open_dataset(
    config,
    directory: str | os.PathLike,
    tasks: Sequence[str],
    cache: str | os.PathLike | None,
) -> OfflineDataset:
    """Opens the episodes of some tasks as a configuration says.

    Args:
        config: Says how batches are drawn and what the tasks' episodes look like.
        directory: Folder of task folders; it is only read. May be a URL.
        tasks: The games.
        cache: Folder for packed indices that have to be built; None for no such folder.

    Raises:
        DatasetError: As `packed.open_dataset` and `make_dataset`.
    """
    episodes = streamed.open_dataset(
        directory,
        tasks,
        cache=cache,
        memory=memory_cap(config),
        expected=envs.kinds(
            tasks[0], fit=envs.fit(config), **envs.options(config, tasks[0])
        ),
    )
    return make_dataset(config, episodes)


def make_dataset(config, tasks: Mapping[str, PackedEpisodes]) -> OfflineDataset:
    """Creates the dataset of the given episodes as a configuration says.

    Raises:
        DatasetError: As `OfflineDataset`; or a single batch exceeds the memory cap.
    """
    cap, size = memory_cap(config), config.dataset
    episodes = sum(len(packed) for packed in tasks.values())
    # A batch is in memory twice while it is made: as stored, and unpacked.
    step = max(
        sum(
            math.prod(shape) * np.dtype(dtype).itemsize
            for field in packed.fields.values()
            for shape, dtype in (field.stored, field.kind)
        )
        for packed in tasks.values()
    )
    needed = size.batch * size.length * step + episodes * TABLE_BYTES
    if cap and size.rewarded:
        found = (len(rewarded_steps(packed)) for packed in tasks.values())
        needed += sum(found) * REWARD_BYTES
    if cap and cap < needed:
        raise DatasetError(
            f"A batch of {size.batch} x {size.length} steps and the tables of "
            f"{episodes} episodes take {needed / 2**30:.2g} GiB, more than the dataset "
            f"may take. Received: dataset.memory={size.memory}. Raise it, or set it to "
            "0 for no cap."
        )
    if cap:
        most = int(min(cap * SMALL_SHARE, cap - needed) / len(tasks))
        tasks = {k: packed.with_small_in_memory(most) for k, packed in tasks.items()}
    return OfflineDataset(tasks, **options(config, list(tasks)))


def weights_of(config, tasks: Sequence[str]) -> list[float]:
    """Returns the weights of tasks; a single `task_weights` counts for each."""
    weights = [float(x) for x in config.task_weights]
    return weights * len(tasks) if len(weights) == 1 else weights


def options(config, tasks: Sequence[str]) -> dict[str, Any]:
    """Returns the keyword arguments of `OfflineDataset` that a configuration holds."""
    return dict(
        batch=config.dataset.batch,
        length=config.dataset.length,
        minlen=config.replay.minlen,
        maxlen=config.replay.maxlen,
        prioritize_ends=config.replay.prioritize_ends,
        draw=config.dataset.draw,
        rewarded=config.dataset.rewarded,
        weights=weights_of(config, tasks),
        seed=config.seed,
        holdout=config.dataset.holdout,
        indices=blocks.game_indices(config, tasks),
    )
