"""The episodes of a run: kept in memory and on disk, and what is trained on."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError

Batch = dict[str, np.ndarray]
Transition = Mapping[str, Any]

BAR_FROM = 500  # Files; below, reading them takes no time worth a progress bar.


class Replay:
    """Saves the episodes of a run and draws training batches from them.

    An episode is drawn uniformly, then a length, then a start, as in the original.
    A row of a batch joins such pieces, and goes on in the same row of the next batch.

    The folder is read at first use, so that `load_state` may come before: without it
    every episode there is used; with it those that the state tells of.
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
        seed: int = 0,
    ):
        """Takes stock of the folder; makes it if it is missing.

        Args:
            directory: folder of episodes, such as an old `train_episodes`.
            capacity: most steps in memory, 0 for no limit; the newest episode stays.
            ongoing: whether to draw from episodes in progress too.
            minlen: fewest steps of a piece; a shorter episode is not kept.
            maxlen: most steps of a piece, 0 for no limit.
            prioritize_ends: makes the ends of episodes likelier.
            seed: of everything that is drawn, and of the names of files.

        Raises:
            DatasetError: an argument is out of range.
            OutputError: the folder cannot be written to.
        """
        _check_limits(capacity, minlen, maxlen)
        self._folder = _Folder(pathlib.Path(directory).expanduser())
        self._capacity = capacity
        self._use_ongoing = ongoing
        self._minlen = minlen
        self._maxlen = maxlen
        self._prioritize_ends = prioritize_ends
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._next = 0
        self._ongoing: dict[int, _Ongoing] = {}
        self._rows: list[_Piece | None] = []

    @functools.cached_property
    def _memory(self) -> "_Memory":
        """All that the folder holds, as long as no state said otherwise."""
        files = self._folder.files
        known = frozenset(files)
        usable = [x for x, (_, steps) in files.items() if steps >= self._minlen]
        loaded = self._folder.read_newest(usable, self._capacity)
        # Without the damaged files, which reading has removed from the list.
        total = sum(steps for _, steps in files.values())
        return _Memory(self._capacity, loaded, len(files), total, known)

    @property
    def stats(self) -> dict[str, int]:
        """Steps and episodes of the run (`total_*`) and in memory (`loaded_*`)."""
        return self._memory.stats

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of the files that were skipped, for they cannot be used."""
        return tuple(self._folder.damaged)

    def add_step(self, transition: Transition, worker: int = 0) -> None:
        """Goes on with a worker's episode, and saves it if this is its last step.

        Args:
            transition: as `driver.Driver` hands it on; `is_first` begins an episode.
            worker: the number of the environment.

        Raises:
            DatasetError: the episode is of other shapes than those in the folder.
            OutputError: it cannot be saved.
        """
        if transition["is_first"]:
            self._begin(worker)
        if worker not in self._ongoing:
            raise ValueError(f"Received: a step of worker={worker} before its reset.")
        self._ongoing[worker].transitions.append(transition)
        if transition["is_last"]:
            self._complete(self._ongoing.pop(worker))

    def restore_step(self, transition: Transition, worker: int = 0) -> None:
        """Takes a step again of the episode that a worker was in at `load_state`."""
        if worker not in self._ongoing:
            self._begin(worker)
        self._ongoing[worker].transitions.append(transition)

    def drop_ongoing(self, worker: int = 0) -> None:
        """Forgets the episode that a worker is in, but not what became of it.

        Where a killed run got to its end, it is on disk and is taken in.
        """
        if ongoing := self._ongoing.pop(worker, None):
            self._adopt(ongoing.number)

    def batch(self, batch: int, length: int) -> Batch:
        """Draws a training batch.

        Args:
            batch: rows; where it is another number than before, all begin anew.
            length: steps a row.

        Returns:
            The observations as they are stored in the episodes, `action` and `reward`
            float32, `is_last` and `is_terminal` bool, each [batch, length, ...];
            `is_first` bool [batch, length], true where a piece starts.

        Raises:
            DatasetError: there is no episode yet.
        """
        if len(self._rows) != batch:
            self._rows = [None] * batch
        draw = functools.partial(self._draw, self._sources())
        is_first = np.zeros((batch, length), bool)
        parts: list[_Part] = []
        for row in range(batch):
            parts += self._fill(row, is_first[row], draw)
        return {**_gather(parts, (batch, length)), "is_first": is_first}

    def state(self) -> dict[str, Any]:
        """What is needed to go on exactly here; JSON-able.

        The episodes themselves stay in the folder and are told by identifier.
        """
        memory = self._memory
        return {
            "random": self._rng.bit_generator.state,
            "next": self._next,
            "total_episodes": memory.total_episodes,
            "total_steps": memory.total_steps,
            "episodes": [identifier for identifier, _ in memory.episodes],
            "rows": [row and row.state() for row in self._rows],
            "ongoing": [[w, x.number] for w, x in self._ongoing.items()],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back exactly to where `state` was taken.

        Files that came later are neither used nor touched until `add_step` makes their
        episode again. Files that are gone or damaged are named, and do without.
        `restore_step` has to bring back the episodes in progress.
        """
        loaded = self._folder.read_newest(state["episodes"], self._capacity)
        totals = state["total_episodes"], state["total_steps"]
        known = frozenset(state["episodes"])
        self._memory = _Memory(self._capacity, loaded, *totals, known)
        self._rng.bit_generator.state = state["random"]
        self._next = state["next"]
        self._ongoing = {
            worker: _Ongoing(number) for worker, number in state["ongoing"]
        }
        self._rows = [row and _Piece(row[0], None, *row[1:]) for row in state["rows"]]

    def _begin(self, worker: int) -> None:
        self._ongoing[worker] = _Ongoing(self._next)
        self._next += 1

    def _complete(self, ongoing: "_Ongoing") -> None:
        if ongoing.steps < self._minlen:
            print(f"Skipping short episode of length {ongoing.steps}.", flush=True)
            return
        episode = ongoing.episode()
        packed = self._memory.fit(_pack(episode, "The new episode"))
        identifier, is_there = self._meet_earlier(ongoing.number, packed)
        if not is_there:
            path = self._folder.save(episode, identifier)
            packed = dataclasses.replace(packed, source=str(path))
            self._memory.add(identifier, packed)

    def _meet_earlier(self, number: int, packed: PackedEpisodes) -> tuple[str, bool]:
        """Takes in what a killed run made of an episode of the same number.

        Returns:
            An identifier for the episode, and whether just this episode is there.
        """
        earlier = self._adopt(number)
        is_there = any(x.fingerprint == packed.fingerprint for x in earlier)
        return self._identifier(number, len(self._attempts(number))), is_there

    def _adopt(self, number: int) -> list[PackedEpisodes]:
        """Takes in what is on disk of an episode's number; returns all of it."""
        found = []
        for identifier in self._attempts(number):
            if earlier := self._folder.read(identifier):
                found.append(earlier)
                if identifier not in self._memory.known:
                    self._memory.add(identifier, earlier)
        return found

    def _attempts(self, number: int) -> list[str]:
        """Identifiers of an episode's number that there are files of."""
        attempts = (self._identifier(number, attempt) for attempt in itertools.count())
        written = self._folder.written
        return list(itertools.takewhile(lambda x: x in written, attempts))

    def _identifier(self, number: int, attempt: int = 0) -> str:
        key = [self._seed, "online", number, attempt][: 4 if attempt else 3]
        return hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()

    def _sources(self) -> list["_Source"]:
        """The episodes to draw from."""
        ongoing = self._ongoing.values() if self._use_ongoing else []
        usable = [x for x in ongoing if x.steps >= self._minlen]
        more = [_Source(self._identifier(x.number), x) for x in usable]
        # Not joined if it need not be: there may be many.
        sources = self._memory.episodes + more if more else self._memory.episodes
        if not sources:
            raise DatasetError(
                f"{self._folder.path} has no episode of at least minlen="
                f"{self._minlen} steps. Collect some, or lower replay.minlen."
            )
        return sources

    def _draw(self, sources: Sequence["_Source"]) -> "_Piece":
        identifier, episode = sources[self._rng.integers(len(sources))]
        total = _length(episode)
        length = min(total, self._maxlen or total)
        # A random length, lest all chunks end at once where episodes are equally long.
        length = max(length - int(self._rng.integers(self._minlen)), self._minlen)
        spare = total - length
        slack = 1 + (self._minlen if self._prioritize_ends else 0)
        start = min(int(self._rng.integers(spare + slack)), spare)
        return _Piece.cut(identifier, episode, start, start + length)

    def _fill(
        self, row: int, is_first: np.ndarray, draw: Callable[[], "_Piece"]
    ) -> Iterator["_Part"]:
        """Yields the parts that make up a row, and marks where pieces start."""
        filled, piece = 0, self._in_progress(row)
        while filled < len(is_first):
            if not piece:
                piece = draw()
                is_first[filled] = True
            part = piece.take(len(is_first) - filled)
            filled += part.stop - part.start
            piece = piece if piece.next < piece.stop else None
            yield part
        self._rows[row] = piece

    def _in_progress(self, row: int) -> "_Piece | None":
        """The piece that a row is in, with its episode; None if there is none."""
        piece = self._rows[row]
        return piece if not piece or piece.episode else self._restore(piece)

    def _restore(self, piece: "_Piece") -> "_Piece | None":
        """Finds the episode of a piece that comes from a state."""
        episode = self._find(piece.identifier)
        if episode and piece.stop <= _length(episode):
            return _Piece.cut(piece.identifier, episode, piece.next, piece.stop)
        print(
            f"A sequence of episode {piece.identifier} cannot be gone on with: another "
            "one is drawn.",
            flush=True,
        )
        return None

    def _find(self, identifier: str) -> "PackedEpisodes | _Ongoing | None":
        for ongoing in self._ongoing.values():
            if self._identifier(ongoing.number) == identifier:
                return ongoing
        # An episode that left the memory meanwhile is still in the folder.
        loaded = (
            x.episode for x in self._memory.episodes if x.identifier == identifier
        )
        return next(loaded, None) or self._folder.read(identifier)


@dataclasses.dataclass
class _Ongoing:
    """An episode in progress, and its number in the order of the run's resets."""

    number: int
    transitions: list[Transition] = dataclasses.field(default_factory=list)

    @property
    def steps(self) -> int:
        return len(self.transitions) - 1

    def episode(self, start: int = 0, stop: int | None = None) -> Episode:
        """The transitions from a first to before a last one, as arrays."""
        steps = self.transitions[start:stop]
        return {k: store.convert([x[k] for x in steps]) for k in steps[0]}


class _Source(NamedTuple):
    """An episode to draw from, and what it is called in a state."""

    identifier: str
    episode: PackedEpisodes | _Ongoing


class _Part(NamedTuple):
    """Some steps of an episode that come one after the other in a row."""

    episode: PackedEpisodes
    start: int
    stop: int


@dataclasses.dataclass
class _Piece:
    """What a row is in: steps of an episode from `next` to before `stop`.

    Attributes:
        identifier: of the episode.
        episode: None as long as only a state told of it.
        next: the step that comes next.
        stop: the step before which the piece ends.
        base: the step that `episode` begins with, as of one in progress only the
            piece is packed.
    """

    identifier: str
    episode: PackedEpisodes | None
    next: int
    stop: int
    base: int = 0

    @classmethod
    def cut(
        cls, identifier: str, episode: PackedEpisodes | _Ongoing, start: int, stop: int
    ) -> "_Piece":
        if isinstance(episode, PackedEpisodes):
            return cls(identifier, episode, start, stop)
        packed = _pack(episode.episode(start, stop), "An episode in progress")
        return cls(identifier, packed, start, stop, base=start)

    def take(self, most: int) -> _Part:
        start = self.next
        self.next = min(start + most, self.stop)
        return _Part(self.episode, start - self.base, self.next - self.base)

    def state(self) -> list:
        return [self.identifier, self.next, self.stop]


class _Memory:
    """Episodes in memory, oldest first, and the counts of all that there were.

    Attributes:
        episodes: those that are drawn from.
        known: identifiers of those in the totals when it was made.
    """

    def __init__(
        self,
        capacity: float,
        episodes: list[_Source],
        total_episodes: int,
        total_steps: int,
        known: frozenset[str],
    ):
        self.episodes = episodes
        self.known = known
        self.total_episodes = total_episodes
        self.total_steps = total_steps
        self._capacity = capacity or np.inf
        self._steps = sum(x.episode.steps for x in episodes)

    @property
    def stats(self) -> dict[str, int]:
        return {
            "total_steps": self.total_steps,
            "total_episodes": self.total_episodes,
            "loaded_steps": self._steps,
            "loaded_episodes": len(self.episodes),
        }

    def fit(self, packed: PackedEpisodes) -> PackedEpisodes:
        """Checks an episode against the newest; raises DatasetError."""
        return _fit(packed, self.episodes[-1].episode) if self.episodes else packed

    def add(self, identifier: str, packed: PackedEpisodes) -> None:
        """Takes a new episode in; drops the oldest ones beyond the capacity."""
        self.episodes.append(_Source(identifier, self.fit(packed)))
        self.total_episodes += 1
        self.total_steps += packed.steps
        self._steps += packed.steps
        while self._steps > self._capacity and len(self.episodes) > 1:
            self._steps -= self.episodes.pop(0).episode.steps


def _age(file: pathlib.Path) -> tuple[str, int, str]:
    """By what files come in the order in which they were written.

    Names tell the second only. By names alone, which episode a seed draws would depend
    on when within a second random play began.
    """
    return file.name.partition("-")[0], file.stat().st_mtime_ns, file.name


class _Folder:
    """The files of a replay.

    Attributes:
        path: of the folder.
        files: path and steps by identifier, in the order in which they were written;
            without those that turned out to be damaged.
        written: identifiers that are taken, by damaged files too.
        damaged: names of the files that cannot be used, or identifiers of lost ones.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.files: dict[str, tuple[pathlib.Path, int]] = {}
        self.written: set[str] = set()
        self.damaged: list[str] = []
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            store.remove_leftovers(path)
        for file in sorted(path.glob("*.npz"), key=_age):
            self._list(file)

    def _list(self, file: pathlib.Path) -> None:
        parsed = store.parse_name(file)
        if parsed:
            self.files[parsed[0]] = file, parsed[1]
            self.written.add(parsed[0])
        else:
            self._skip(file.name, f"{file} is not named TIMESTAMP-UUID-LENGTH.npz.")

    def _skip(self, name: str, fault: str) -> None:
        self.damaged.append(name)
        count = len(self.damaged)
        print(f"Warning: {fault} It is skipped ({count} so far).", flush=True)

    def save(self, episode: Episode, identifier: str) -> pathlib.Path:
        path = store.save_episode(self.path, episode, identifier)
        self.files[identifier] = path, store.eplen(episode)
        self.written.add(identifier)
        return path

    def read(self, identifier: str) -> PackedEpisodes | None:
        """Reads an episode; None, and says so, if it is damaged or not there."""
        if identifier not in self.files:
            self._skip(identifier, f"{self.path} lacks episode {identifier}.")
            return None
        path, _ = self.files[identifier]
        try:
            return _pack(store.load_episode(path), str(path))
        except EpisodeError as error:
            del self.files[identifier]
            self._skip(path.name, str(error))
            return None

    def read_newest(self, identifiers: Sequence[str], capacity: float) -> list[_Source]:
        """Reads the last of some episodes, as many as a capacity of steps takes.

        Raises:
            DatasetError: an episode is of other shapes than the last; names both.
        """
        found: list[_Source] = []
        left = capacity or np.inf
        with _progress(len(identifiers)) as update:
            for identifier in reversed(identifiers):
                if found and self._steps(identifier) > left:
                    break
                if packed := self.read(identifier):
                    packed = _fit(packed, found[0].episode) if found else packed
                    found.append(_Source(identifier, packed))
                    left -= packed.steps
                update()
        return found[::-1]

    def _steps(self, identifier: str) -> int:
        return self.files[identifier][1] if identifier in self.files else 0


@contextlib.contextmanager
def _progress(number: int) -> Iterator[Callable[[], None]]:
    """Yields what is to be called after each file; shows a bar if they are many."""
    if number <= BAR_FROM:
        yield lambda: None
        return
    with progress.Progress(number, desc="read episodes", unit="file") as bar:
        yield bar.update


def _check_limits(capacity: float, minlen: int, maxlen: int) -> None:
    if capacity < 0 or minlen < 1 or (maxlen and maxlen < minlen):
        raise DatasetError(
            "replay.capacity must not be negative, replay.minlen at least 1, and "
            "replay.maxlen 0 or at least minlen. "
            f"Received: capacity={capacity}, minlen={minlen}, maxlen={maxlen}."
        )


def _length(episode: PackedEpisodes | _Ongoing) -> int:
    """Number of transitions, that of the reset included."""
    if isinstance(episode, _Ongoing):
        return len(episode.transitions)
    return int(episode.offsets[-1])


def _pack(episode: Episode, source: str) -> PackedEpisodes:
    """Packs what is trained on of an episode; `log_` keys are for the file alone."""
    kept = {k: v for k, v in episode.items() if not k.startswith("log_")}
    flags = {k: kept[k].astype(bool) for k in store.FLAGS}
    return PackedEpisodes.from_episode({**kept, **flags}, source)


def _fit(packed: PackedEpisodes, other: PackedEpisodes) -> PackedEpisodes:
    """Checks that two episodes are of the same shapes, and lets them share these.

    Raises:
        DatasetError: they differ; names both.
    """
    packing.check_same_kinds([packed, other])
    # Beside a short episode's bits, a description of its own would weigh much.
    same = packed.fields == other.fields
    return dataclasses.replace(packed, fields=other.fields) if same else packed


def _gather(parts: Sequence[_Part], shape: tuple[int, int]) -> Batch:
    """Copies parts into a batch of a shape (rows, length), each key decoded once."""
    episodes = packing.with_same_coding([part.episode for part in parts])
    spans = [slice(part.start, part.stop) for part in parts]
    pairs = list(zip([x.arrays for x in episodes], spans, strict=True))
    return {
        key: field.decode(_join(pairs, key).reshape(*shape, *field.stored[0]))
        for key, field in episodes[0].fields.items()
    }


def _join(pairs: Sequence[tuple[Mapping[str, np.ndarray], slice]], key: str):
    return np.concatenate([arrays[key][span] for arrays, span in pairs])
