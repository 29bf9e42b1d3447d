"""Adds episodes from elsewhere to a task's folder of a dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import dreamerv2_transfer
from dreamerv2_transfer.common.files import locks
from dreamerv2_transfer.common.files import paths as paths_lib
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import layout, shards, store
from dreamerv2_transfer.common.replay.packed_episodes import content_digest
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError
from dreamerv2_transfer.data import checks, folders, inspect
from dreamerv2_transfer.data.policies import NO_POLICY


@dataclasses.dataclass
class Result:
    """What became of a source's episodes.

    Attributes:
        added: Number of added episodes.
        steps: Steps of the added episodes.
        present: Number of episodes that the dataset had already.
        damaged: A line for each file or episode that cannot be used, which names it.
        notes: A line for everything that the import changed or left out.
    """

    added: int = 0
    steps: int = 0
    present: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        """Adds a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def summary(self) -> str:
        """Returns the counts on one line."""
        return (
            f"Imported {self.added:,} episodes of {self.steps:,} steps; "
            f"{self.present:,} were there already, {len(self.damaged):,} are damaged."
        )


class Importer:
    """Adds episodes to one task's folder, each content once.

    The files are named after their content, so that a second import finds them. An
    episode holds in `log_policy` which policies acted; the folder's manifest lists the
    policies, and the source's are added to the list.

    Args:
        folder: Folder of the task; it must exist.
        task: What is played.
        source: The source's own manifest; at least `policies`.
        result: Counts what becomes of each episode.
        actions: What episodes do not tell of their actions: `start` or `parts` of a
            `layout.Layout`.

    Raises:
        DatasetError: The folder's manifest is damaged, or the folder holds a
            collection, which cannot take other policies.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        task: str,
        source: Mapping[str, Any],
        result: Result,
        actions: Mapping[str, Any] | None = None,
    ):
        self._folder, self._result = folder, result
        paths = folders.episode_files(folder)
        # File and place in it of each episode, by identifier.
        names = ((path, store.name_of(path)) for path in filter(os.path.isfile, paths))
        self._places = {
            identifier: (path, number)
            for path, name in names
            for number, identifier in enumerate(name.identifiers if name else ())
        }
        self._manifest = store.read_manifest(folder) or {}
        if not self._manifest and not paths:
            self._manifest = {**source}
        self._manifest["task"] = task
        policies = store.listed_policies(source)
        self._policies = self._merge(policies)
        # The policy of all episodes, if one alone acted in all of the source's steps.
        steps = source.get("steps", 0)
        alone = len(policies) == 1 and policies[0].get("steps", steps) >= steps
        self._only = self._policies[0] if alone else NO_POLICY
        self._added = 0
        self._actions = actions or {}
        if "spaces" not in self._manifest and paths:
            self._manifest["spaces"] = checks.spaces_of(paths)

    def _merge(self, policies: list[dict[str, Any]]) -> list[int]:
        """Adds a source's policies to the folder's list; returns their places in it."""
        merged = self._listed
        known = [_identity(x) for x in merged]
        new = [x for x in policies if _identity(x) not in known]
        if new and "recipe" in self._manifest:
            raise DatasetError(
                f"{self._folder} holds a collection, which resumes only with its own "
                f"policies. Received: other ones ({new[0]['name']}). Import into "
                "another dataset, and collect there if both are wanted in one."
            )
        if new:
            self._manifest["policies"] = [*merged, *new]
        known += [_identity(x) for x in new]
        return [known.index(_identity(x)) for x in policies]

    @property
    def _listed(self) -> list[dict[str, Any]]:
        return store.listed_policies(self._manifest)

    @property
    def observed(self) -> set[str] | None:
        """Keys of the folder's episodes; None if there are no episodes yet."""
        return set(self._manifest["spaces"]) if "spaces" in self._manifest else None

    def add(
        self, episode: Episode, origin: str, identifier: str = "", keep: bool = False
    ) -> None:
        """Writes an episode, unless it is there already or has a fault.

        Args:
            episode: Arrays by key; `log_policy` numbers the source's policies.
            origin: What messages call the episode.
            identifier: The episode's identifier in the source, if any.
            keep: Whether to name the file by the identifier rather than the content.
        """
        episode = {k: store.convert(v) for k, v in episode.items()}
        if fault := self._fault(episode):
            self._result.damaged.append(f"{origin} is no episode: {fault}.")
            return
        episode |= {k: episode[k].astype(bool) for k in store.FLAGS}
        digest = content_digest(folders.without_logs(episode)).hex()
        if self._holds(digest, digest) or self._holds(identifier, digest):
            self._result.present += 1
            return
        # Runs of one seed call their episodes alike, whatever these hold.
        is_free = keep and identifier and identifier not in self._places
        name = identifier if is_free else digest
        # With the same list of policies, the episode stays exactly as in the source.
        exact = keep and self._policies == [*range(len(self._listed))]
        if folders.POLICY in episode:
            places = np.array([*self._policies, NO_POLICY], np.int32)
            episode[folders.POLICY] = places[episode[folders.POLICY]]
        elif not exact:
            acted = np.full(len(episode["action"]), self._only, np.int32)
            acted[0] = NO_POLICY
            episode[folders.POLICY] = acted
        self._manifest.setdefault("spaces", self._described(episode))
        if not self._added:  # So that a kill leaves no episodes of unknown policies.
            self._write_manifest()
        self._places[name] = store.save_episode(self._folder, episode, name), 0
        self._added += 1
        self._result.added += 1
        self._result.steps += store.eplen(episode)

    def _holds(self, identifier: str, digest: str) -> bool:
        """Tells whether the folder's episode of an identifier has a content."""
        if identifier not in self._places:
            return False
        try:
            there = shards.load(*self._places[identifier])
        except EpisodeError:
            return False
        return content_digest(folders.without_logs(there)).hex() == digest

    def _fault(self, episode: Episode) -> str:
        """Says why an episode cannot be added; empty if it can."""
        if fault := store.fault(folders.without_logs(episode)):
            return fault
        episode = episode | {k: episode[k].astype(bool) for k in store.FLAGS}
        spaces = self._manifest.get("spaces") or self._described(episode)
        return layout.misfit(episode, spaces) or checks.log_fault(
            episode, len(self._policies)
        )

    def _described(self, episode: Episode) -> layout.Layout:
        found = layout.describe(episode)
        if "parts" in self._actions:
            found["action"].pop("n", None)  # One may look one-hot by chance.
        return {**found, "action": {**found["action"], **self._actions}}

    def close(self) -> None:
        """Brings the manifest up to date if episodes were added."""
        if not self._added:
            return
        outlines, _ = inspect.outline(self._folder)
        acted = inspect.steps_by_policy(outlines)
        if {*acted} - {NO_POLICY}:
            self._manifest["policies"] = [
                {**policy, "steps": acted[i]} if i in acted else policy
                for i, policy in enumerate(self._listed)
            ]
        self._write_manifest()

    def _write_manifest(self) -> None:
        episodes, steps = store.count_episodes(self._folder)
        versions = {"dreamerv2_transfer": dreamerv2_transfer.__version__}
        counts = {"episodes": episodes, "steps": steps}
        store.write_manifest(
            self._folder, {"versions": versions, **self._manifest, **counts}
        )


@contextlib.contextmanager
def importing(
    directory: str | os.PathLike,
    task: str,
    source: Mapping[str, Any],
    result: Result,
    actions: Mapping[str, Any] | None = None,
) -> Iterator[Importer]:
    """Opens the folder of a task in a dataset to add episodes.

    Args:
        directory: The dataset, a folder of task folders; created if it is missing.
        task: Name of the task's folder.
        source: The source's own manifest; at least `policies`.
        result: Counts what becomes of each episode.
        actions: See `Importer`.

    Raises:
        DatasetError: Another process writes to the folder; or as `Importer`.
        OutputError: The folder cannot be written to.
    """
    folder = paths_lib.local(directory) / store.folder_name(task)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    used = DatasetError(f"Another process writes to {folder}. Wait for it.")
    with locks.locked(folder, used):
        store.remove_leftovers(folder)
        importer = Importer(folder, task, source, result, actions)
        try:
            yield importer
        finally:
            importer.close()


def _identity(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in policy.items() if k not in ("steps", "episodes")}
