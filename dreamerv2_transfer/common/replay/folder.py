"""The files of a replay: a folder of episodes that a run fills."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import layout, shards, sources, store
from dreamerv2_transfer.common.replay.layout import Layout
from dreamerv2_transfer.common.replay.sources import Stored
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError

BAR_FROM = 500  # Files; reading fewer takes too little time for a progress bar.


class MisfitError(EpisodeError):
    """An episode of another environment, or of other settings."""


def fitted(episode: Episode, path: pathlib.Path, expected: Layout) -> Episode:
    """Returns an episode without the keys that its environment lacks.

    Args:
        episode: Arrays by key.
        path: Its file.
        expected: What the environment's episodes hold.

    Raises:
        MisfitError: A key is missing, or of another shape or type.
    """
    episode = {key: value for key, value in episode.items() if key in expected}
    if fault := layout.misfit(episode, expected, "the environment"):
        raise MisfitError(f"{path} does not fit the environment: {fault}.")
    return episode


def check(path: pathlib.Path, expected: Layout) -> None:
    """Checks, before anything is played, that a folder is of the environment.

    Args:
        path: The folder; it need not exist.
        expected: What the environment's episodes hold.

    Raises:
        DatasetError: The folder has readable episodes, and none fits.
    """
    newest = None
    with store.listing(path):
        entries = store.entries(path) if path.is_dir() else []
    for entry in reversed(entries):
        file = pathlib.Path(entry.path)
        for episode in shards.intact(file):  # `Folder` names the others.
            try:
                fitted(episode, file, expected)
                return
            except MisfitError as error:
                newest = newest or error
                break
    if newest:
        raise DatasetError(
            f"{newest} Name another --logdir, or the settings with which these "
            "episodes were played."
        )


class Folder:
    """A run's episode files.

    Args:
        path: The folder; created if it is missing.
        seed: Seed of the identifiers of new episodes.
        expected: What the environment's episodes hold; None if any may be there.

    Attributes:
        path: The folder.
        files: Path and steps by identifier, in the order in which they were written;
            without those that turned out to be damaged.
        written: Identifiers in use, including those of damaged files.
        damaged: Names of the files that cannot be used, and identifiers of lost ones.

    Raises:
        OutputError: The folder cannot be written to.
    """

    def __init__(self, path: pathlib.Path, seed: int, expected: Layout | None = None):
        self.path = path
        self.files: dict[str, tuple[pathlib.Path, int]] = {}
        self.written: set[str] = set()
        self.damaged: list[str] = []
        self._seed, self._expected = seed, expected
        self._places: dict[str, int] = {}  # Numbers of episodes in their shards.
        self._left_out: set[str] = set()  # Keys that the environment lacks.
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            store.remove_leftovers(path)
        # Names have a resolution of a second. In the order of names alone, the episodes
        # that a seed draws would depend on when within a second random play began.
        by_age = []
        for entry in store.entries(path):
            try:
                store.check_is_file(entry.path)
                order = entry.name.partition("-")[0], entry.stat().st_mtime_ns
                by_age.append((*order, entry.name))
            except EpisodeError as error:
                self._skip(entry.name, f"{error}.")
        for *_, name in sorted(by_age):
            if parsed := store.name_of(name):
                self._list(path / name, parsed)
            else:
                fault = f"{path / name} is not named TIMESTAMP-UUID-LENGTH.npz."
                self._skip(name, fault)

    def _list(self, path: pathlib.Path, name: store.Name) -> None:
        """Lists the episodes of a file, whose name says how many there are."""
        steps = [name.steps]
        if name.episodes > 1:
            try:
                steps = shards.lengths(path)
            except EpisodeError as error:
                self.written.update(name.identifiers)
                self._skip(path.name, f"{error}")
                return
        for number, identifier in enumerate(name.identifiers[: len(steps)]):
            self.files[identifier] = path, steps[number]
            self._places[identifier] = number
            self.written.add(identifier)

    def _skip(self, name: str, fault: str) -> None:
        self.damaged.append(name)
        count = len(self.damaged)
        print(f"Warning: {fault} It is skipped ({count} so far).", flush=True)

    def identifier(self, number: int, attempt: int = 0) -> str:
        """Returns the identifier of an episode.

        Args:
            number: Its position in the order of the run's resets.
            attempt: How often it came out differently before, in a killed run.
        """
        key = [self._seed, "online", number, attempt][: 4 if attempt else 3]
        return hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()

    def attempts(self, number: int) -> list[str]:
        """Returns the identifiers of an episode's number that have files."""
        attempts = (self.identifier(number, attempt) for attempt in itertools.count())
        return list(itertools.takewhile(self.written.__contains__, attempts))

    def next_attempt(self, number: int) -> str:
        """Returns an identifier for an episode's number that no file has yet."""
        return self.identifier(number, len(self.attempts(number)))

    def save(self, episode: Episode, identifier: str) -> pathlib.Path:
        """Writes a new episode.

        Raises:
            OutputError: It cannot be written.
        """
        path = store.save_episode(self.path, episode, identifier)
        self.files[identifier] = path, store.eplen(episode)
        self.written.add(identifier)
        return path

    def read(self, identifier: str) -> Stored | None:
        """Reads an episode; prints a warning and returns None if it is damaged or lost.

        The file of a damaged episode is left as it is.
        """
        if identifier not in self.files:
            self._skip(identifier, f"{self.path} lacks episode {identifier}.")
            return None
        path, _ = self.files[identifier]
        try:
            episode = shards.load(path, self._places.get(identifier, 0))
            if self._expected is not None:
                self._note_extra({*episode} - {*self._expected})
                episode = fitted(episode, path, self._expected)
            packed = sources.pack(episode, str(path))
        except EpisodeError as error:
            del self.files[identifier]
            self._skip(path.name, str(error))
            return None
        return Stored(identifier, packed)

    def _note_extra(self, keys: set[str]) -> None:
        if new := sorted(keys - self._left_out):
            self._left_out |= keys
            print(
                f"Note: {self.path} has episodes with {', '.join(new)}, which the "
                "environment does not have. Training leaves it out.",
                flush=True,
            )

    def read_newest(self, identifiers: Sequence[str], capacity: float) -> list[Stored]:
        """Reads the last of some episodes, as many as fit into a capacity.

        Args:
            identifiers: The episodes, oldest first.
            capacity: Most steps, 0 for no limit; the newest episode is always read.

        Raises:
            DatasetError: An episode has other shapes than the newest; names both.
        """
        found: list[Stored] = []
        left = capacity or np.inf
        number, bar = len(identifiers), None
        with contextlib.ExitStack() as stack:
            if number > BAR_FROM:
                bar = progress.Progress(number, desc="read episodes", unit="file")
                stack.enter_context(bar)
            for identifier in reversed(identifiers):
                _, steps = self.files.get(identifier, (None, 0))
                if found and steps > left:
                    break
                if episode := self.read(identifier):
                    if found:
                        packed = sources.fit(episode.packed, found[0].packed)
                        episode = episode._replace(packed=packed)
                    found.append(episode)
                    left -= episode.packed.steps
                if bar:
                    bar.update()
        return found[::-1]
