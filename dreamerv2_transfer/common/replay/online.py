"""The episodes of a run: saves them, keeps them in memory and draws batches."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.common.replay import rows, sources, store
from dreamerv2_transfer.common.replay.folder import Folder
from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.common.replay.layout import Layout
from dreamerv2_transfer.common.replay.memory import Memory
from dreamerv2_transfer.common.replay.offline import OfflineDataset
from dreamerv2_transfer.common.replay.pool import Pool
from dreamerv2_transfer.common.replay.sources import Ongoing, Piece, Stored, Transition
from dreamerv2_transfer.common.replay.store import DatasetError

Batch = dict[str, np.ndarray]


class Replay:
    """Saves the episodes of a run and draws training batches from them.

    Pieces are drawn by the sampling law, see `law.Law`. A row of a batch joins pieces
    and continues in the same row of the next batch.

    The folder is read at first use, so that `load_state` may come before: without a
    state all of its episodes are used, with one those that the state names.

    Args:
        directory: Folder of episodes, such as an old `train_episodes`; created if it is
            missing.
        capacity: Most steps in memory, 0 for no limit; the newest episode stays.
        ongoing: Whether to draw from episodes in progress too.
        minlen: Fewest steps of a piece; a shorter episode is not kept.
        maxlen: Most steps of a piece; 0 for no limit.
        prioritize_ends: Whether to draw the ends of episodes more often.
        draw: What is drawn uniformly, "episodes" or "steps".
        rewarded: Share of the pieces that are drawn among those with a reward.
        mix: Share of a batch's rows that comes from `known`, see `known_rows`.
        known: Episodes of other games, whose batches have as many rows; None for none.
        index: The number of the replay's own game in a model's `task_embed.games`;
            batches then have it as `game_index`. None without.
        seed: Seed of everything that is drawn, and of the names of files.
        expected: What the environment's episodes hold: other keys in the folder are
            left out, and episodes that do not fit are skipped. None if the folder's
            newest episode decides.

    Raises:
        DatasetError: An argument is out of range.
        OutputError: The folder cannot be written to.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        capacity: float = 0,
        ongoing: bool = False,
        minlen: int = 1,
        maxlen: int = 0,
        prioritize_ends: bool = False,
        draw: str = "episodes",
        rewarded: float = 0.0,
        mix: float = 0.0,
        known: OfflineDataset | None = None,
        index: int | None = None,
        seed: int = 0,
        expected: Layout | None = None,
    ):
        if capacity < 0:
            raise DatasetError(
                "replay.capacity must be a number of steps, or 0 for no limit. "
                f"Received: capacity={capacity}."
            )
        self._law = Law(minlen, maxlen, prioritize_ends, draw, rewarded)
        self._folder = Folder(paths.local(directory), seed, expected)
        self._capacity = capacity
        self._use_ongoing = ongoing
        self._mix = mix
        self._known = known if mix else None
        self._index = index
        self._rng = np.random.default_rng(seed)
        self._next = 0
        self._ongoing: dict[int, Ongoing] = {}
        self._rows: list[Piece | None] = []
        self._told = False  # That there is no reward yet.

    @functools.cached_property
    def _memory(self) -> Memory:
        """The folder's episodes, unless `load_state` has set others."""
        files = self._folder.files
        known = frozenset(files)
        usable = [x for x, (_, steps) in files.items() if steps >= self._law.minlen]
        loaded = self._folder.read_newest(usable, self._capacity)
        # Without the damaged files, which reading has removed from the list.
        steps = sum(steps for _, steps in files.values())
        return Memory(self._capacity, loaded, len(files), steps, known, self._law)

    @property
    def stats(self) -> dict[str, int]:
        """Steps and episodes of the run (`total_*`) and in memory (`loaded_*`)."""
        return self._memory.stats

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of the files that were skipped because they cannot be used."""
        return tuple(self._folder.damaged)

    def add_step(self, transition: Transition, worker: int = 0) -> None:
        """Adds a step to a worker's episode, and saves the episode if it is the last.

        Args:
            transition: As from `driver.Driver`; `is_first` begins an episode.
            worker: Number of the environment.

        Raises:
            DatasetError: The episode has other shapes than those in the folder, or
                breaks a rule for all episodes, see `store.fault`.
            OutputError: The episode cannot be saved.
        """
        if transition["is_first"]:
            self._begin(worker)
        if worker not in self._ongoing:
            raise ValueError(f"Received: a step of worker={worker} before its reset.")
        self._ongoing[worker].add(transition)
        if not transition["is_last"]:
            return
        ongoing = self._ongoing.pop(worker)
        if ongoing.steps < self._law.minlen:
            print(f"Skipping short episode of length {ongoing.steps}.", flush=True)
            return
        episode = ongoing.episode()
        loaded = store.as_loaded(episode)
        packed = self._memory.fit(sources.pack(loaded, "The new episode"))
        # A killed run may have saved the same episode, or another of this number.
        earlier = self._adopt(ongoing.number)
        same = (x for x in earlier if x.packed.fingerprint == packed.fingerprint)
        if not (stored := next(same, None)):
            identifier = self._folder.next_attempt(ongoing.number)
            path = self._folder.save(episode, identifier)
            packed = dataclasses.replace(packed, source=str(path))
            stored = Stored(identifier, packed)
            self._memory.add(stored)
        for piece in self._rows:  # Rows that are in it continue in its file.
            if piece and piece.identifier == ongoing.identifier:
                piece.identifier = stored.identifier

    def restore_step(self, transition: Transition, worker: int = 0) -> None:
        """Adds a step that a worker's episode already had when the state was taken."""
        if worker not in self._ongoing:
            self._begin(worker)
        self._ongoing[worker].add(transition)

    def drop_ongoing(self, worker: int = 0) -> None:
        """Forgets a worker's episode in progress.

        If a killed run completed the episode, it is on disk, and is added.
        """
        if ongoing := self._ongoing.pop(worker, None):
            self._adopt(ongoing.number)

    def batch(self, batch: int, length: int) -> Batch:
        """Draws a training batch.

        Args:
            batch: Rows; if the number differs from the last one, all rows begin anew.
            length: Steps of a row.

        Returns:
            The observations as stored in the episodes, `action` and `reward` float32,
            `is_last` and `is_terminal` bool, each [batch, length, ...]; `is_first` bool
            [batch, length], true where a piece starts. Rows of known games come last.

        Raises:
            DatasetError: There is no episode yet.
        """
        if not self._known:
            return self._draw(batch, length)
        count = known_rows(self._mix, batch)
        own, known = self._draw(batch - count, length), self._known.next()
        return {k: np.concatenate([v, known[k][:count]]) for k, v in own.items()}

    def _draw(self, batch: int, length: int) -> Batch:
        if len(self._rows) != batch:
            self._rows = [None] * batch
        pool = self._pool()
        if not len(pool):
            raise DatasetError(
                f"{self._folder.path} has no episode of at least minlen="
                f"{self._law.minlen} steps. Collect some, or lower replay.minlen."
            )
        filled = [self._fill(row, length, pool) for row in range(batch)]
        sizes = ([piece.left for piece in pieces] for pieces in filled)
        columns = itertools.zip_longest(*sizes, fillvalue=0)
        _, taken, is_first = rows.join(np.stack([*columns], axis=1), length)
        parts = [
            piece.take(steps)
            for pieces, counts in zip(filled, taken.tolist(), strict=True)
            for piece, steps in zip(pieces, counts, strict=False)
            if steps
        ]
        self._rows = [pieces[-1] if pieces[-1].left else None for pieces in filled]
        drawn = {**sources.gather(parts, (batch, length)), "is_first": is_first}
        if self._index is not None:
            drawn["game_index"] = np.full(batch, self._index, np.int32)
        return drawn

    def state(self) -> dict[str, Any]:
        """Returns what the replay needs to continue exactly here; JSON-able.

        The episodes themselves stay in the folder; the state names their identifiers.
        """
        memory = self._memory
        return {
            "random": self._rng.bit_generator.state,
            "next": self._next,
            "total_episodes": memory.total_episodes,
            "total_steps": memory.total_steps,
            "episodes": [identifier for identifier, _ in memory.episodes],
            "rows": [x and [x.identifier, x.next, x.stop] for x in self._rows],
            "ongoing": [[w, x.number, x.identifier] for w, x in self._ongoing.items()],
            **({"known": self._known.state()} if self._known else {}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state` was taken.

        Files that were written later are neither used nor touched until `add_step`
        makes their episodes again. Missing and damaged files are named and left out.
        `restore_step` has to bring back the episodes in progress.
        """
        self._memory = Memory(
            self._capacity,
            self._folder.read_newest(state["episodes"], self._capacity),
            state["total_episodes"],
            state["total_steps"],
            state["episodes"],
            self._law,
        )
        self._rng.bit_generator.state = state["random"]
        self._next = state["next"]
        self._ongoing = {  # States of version 0.1 have no identifier.
            worker: Ongoing(number, *(named or [self._folder.identifier(number)]))
            for worker, number, *named in state["ongoing"]
        }
        self._rows = [row and Piece(*row) for row in state["rows"]]
        if self._known:
            self._known.load_state(state["known"])

    def _begin(self, worker: int) -> None:
        # Not that of another attempt, of which rows may be too.
        identifier = self._folder.next_attempt(self._next)
        self._ongoing[worker] = Ongoing(self._next, identifier)
        self._next += 1

    def _adopt(self, number: int) -> list[Stored]:
        """Adds the files of an episode's number to the memory; returns all of them."""
        found = []
        for identifier in self._folder.attempts(number):
            if earlier := self._folder.read(identifier):
                found.append(earlier)
                if identifier not in self._memory.known:
                    self._memory.add(earlier)
        return found

    def _pool(self) -> Pool:
        """Returns what a batch is drawn from now."""
        ongoing: list[Ongoing] = []
        if self._use_ongoing:
            minlen = self._law.minlen
            ongoing = [x for x in self._ongoing.values() if x.steps >= minlen]
        memory = self._memory
        pool = Pool(memory.episodes, ongoing, memory.chances, self._rng)
        if pool.lacks_rewards and len(pool) and not self._told:
            self._told = True
            print(
                "No episode of the replay holds a reward yet. Until one does, pieces "
                "are drawn as without dataset.rewarded.",
                flush=True,
            )
        return pool

    def _fill(self, row: int, length: int, pool: Pool) -> list[Piece]:
        """Returns the piece that a row is in, and as many new ones as the row needs."""
        pieces = [self._in_progress(row) or Piece("", 0, 0)]
        filled = pieces[0].left
        while filled < length:
            pieces.append(pool.draw())
            filled += pieces[-1].left
        return pieces

    def _in_progress(self, row: int) -> Piece | None:
        """Returns the piece that a row is in; None if the row needs a new one."""
        piece = self._rows[row]
        if not piece or piece.packed is not None:
            return piece
        # The piece comes from a state. An episode that has left the memory meanwhile is
        # still in the folder.
        there = [*self._ongoing.values(), *self._memory.episodes]
        found = next((x for x in there if x.identifier == piece.identifier), None)
        episode = found or self._folder.read(piece.identifier)
        if episode and piece.stop <= episode.length:
            return episode.cut(piece.next, piece.stop)
        print(
            f"A sequence of episode {piece.identifier} cannot be resumed: another one "
            "is drawn.",
            flush=True,
        )
        return None


def known_rows(mix: float, batch: int) -> int:
    """Returns how many of a batch's rows come from known games."""
    return round(mix * batch)


def options(config, number: int = 0) -> dict[str, Any]:
    """Returns the keyword arguments of `Replay` that a configuration holds.

    Args:
        config: The configuration.
        number: The number of the replay's game among those of the run.
    """
    games = blocks.learned_games(config)
    indices = blocks.game_indices(config, [games[number]])
    return dict(
        **{**config.replay, "capacity": config.replay.capacity / len(games)},
        index=indices[0] if indices else None,
        draw=config.dataset.draw,
        rewarded=config.dataset.rewarded,
        seed=(config.seed + number) % 2**32,
    )
