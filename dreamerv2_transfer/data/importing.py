"""Adds episodes from elsewhere to a task's folder of a dataset."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import dreamerv2_transfer
from dreamerv2_transfer.common.files import locks
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import content_digest
from dreamerv2_transfer.common.replay.store import DatasetError, Episode
from dreamerv2_transfer.data import checks, folders, inspect
from dreamerv2_transfer.data.policies import NOBODY


@dataclasses.dataclass
class Result:
    """What became of a source.

    Attributes:
        added: episodes.
        steps: of the added episodes.
        present: episodes that the dataset had already.
        damaged: a line for each file or episode that is none, which names it.
        notes: a line for whatever the import had to change or to leave out.
    """

    added: int = 0
    steps: int = 0
    present: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        """Notes something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def summary(self) -> str:
        """The counts on one line."""
        return (
            f"Imported {self.added:,} episodes of {self.steps:,} steps; "
            f"{self.present:,} were there already, {len(self.damaged):,} are damaged."
        )


class Importer:
    """Adds episodes to one task's folder, each content once.

    The files are named after their content, so that a second import finds them. An
    episode says in `log_policy` who acted; the manifest's list of policies grows by
    those of the source.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        task: str,
        source: Mapping[str, Any],
        result: Result,
    ):
        """Takes stock of a folder, which exists.

        Args:
            folder: of the task.
            task: what is played.
            source: the source's own manifest; `policies` at least.
            result: is told what becomes of each episode.

        Raises:
            DatasetError: the folder's manifest is damaged, or has a recipe by which
                a collection goes on, and cannot take other policies.
        """
        self._folder, self._result = folder, result
        names = [store.parse_name(path) for path in folders.episode_files(folder)]
        self._known = {name[0] for name in names if name}
        self._manifest = store.read_manifest(folder) or {}
        if not self._manifest and not names:
            self._manifest = {**source}
        self._manifest["task"] = task
        self._policies = self._merge(store.listed_policies(source))
        self._only = self._policies[0] if _has_one_policy(source) else NOBODY
        self._added = 0
        if "spaces" not in self._manifest and names:
            paths = folders.episode_files(folder)
            self._manifest["spaces"] = checks.spaces_of(paths)

    def _merge(self, policies: list[dict[str, Any]]) -> list[int]:
        """Where the source's policies are in the folder's list, which grows by them."""
        merged = self._listed
        told = [_identity(x) for x in merged]
        new = [x for x in policies if _identity(x) not in told]
        if new and "recipe" in self._manifest:
            raise DatasetError(
                f"{self._folder} holds a collection, which goes on by its own "
                f"policies. Received: other ones ({new[0]['name']}). Import into "
                "another dataset, and collect there if both are wanted in one."
            )
        if new:
            self._manifest["policies"] = [*merged, *new]
        told += [_identity(x) for x in new]
        return [told.index(_identity(x)) for x in policies]

    @property
    def _listed(self) -> list[dict[str, Any]]:
        return store.listed_policies(self._manifest)

    @property
    def observed(self) -> set[str] | None:
        """Keys of the folder's episodes, if there are any yet."""
        return set(self._manifest["spaces"]) if "spaces" in self._manifest else None

    def add(
        self, episode: Episode, origin: str, identifier: str = "", keep: bool = False
    ) -> None:
        """Writes an episode, unless it is there already or is none.

        Args:
            episode: arrays by key; `log_policy` counts in the source's policies.
            origin: what a message calls it.
            identifier: that it has in the source, if any.
            keep: name the file by the identifier in place of the content.
        """
        episode = {k: store.convert(v) for k, v in episode.items()}
        if fault := self._fault(episode):
            self._result.damaged.append(f"{origin} is no episode: {fault}.")
            return
        episode |= {k: episode[k].astype(bool) for k in store.FLAGS}
        digest = content_digest(folders.without_logs(episode)).hex()
        name = identifier if keep and identifier else digest
        if {name, identifier} & self._known:
            self._result.present += 1
            return
        # The same list of policies says as much of an episode as it did in the source.
        exact = keep and self._policies == [*range(len(self._listed))]
        if folders.POLICY in episode or not exact:
            episode[folders.POLICY] = self._acted(episode)
        self._save(episode, name)

    def _fault(self, episode: Episode) -> str:
        if fault := store.fault(folders.without_logs(episode)):
            return fault
        if not store.eplen(episode):
            return "it has no step"
        episode = episode | {k: episode[k].astype(bool) for k in store.FLAGS}
        spaces = self._manifest.get("spaces") or checks.describe(episode)
        return checks.episode_fault(episode, spaces) or checks.policy_fault(
            episode, len(self._policies)
        )

    def _save(self, episode: Episode, name: str) -> None:
        self._manifest.setdefault("spaces", checks.describe(episode))
        if not self._added:  # Lest a kill leaves episodes whose policies nobody knows.
            self._write_manifest()
        store.save_episode(self._folder, episode, name)
        self._known.add(name)
        self._added += 1
        self._result.added += 1
        self._result.steps += store.eplen(episode)

    def _acted(self, episode: Episode) -> np.ndarray:
        """Who acted, counted in the folder's policies."""
        if folders.POLICY in episode:
            positions = np.array([*self._policies, NOBODY], np.int32)
            return positions[episode[folders.POLICY]]
        acted = np.full(len(episode["action"]), self._only, np.int32)
        acted[0] = NOBODY
        return acted

    def close(self) -> None:
        """Brings the manifest up to date, if anything was added."""
        if not self._added:
            return
        outlines, _ = inspect.outline(self._folder)
        acted = inspect.steps_by_policy(outlines)
        told = enumerate(self._listed)
        counted = [{**x, "steps": acted[i]} if i in acted else x for i, x in told]
        if {*acted} - {NOBODY}:
            self._manifest["policies"] = counted
        self._write_manifest()

    def _write_manifest(self) -> None:
        episodes, steps = store.count_episodes(self._folder)
        versions = {"dreamerv2_transfer": dreamerv2_transfer.__version__}
        told = {"episodes": episodes, "steps": steps}
        store.write_manifest(
            self._folder, {"versions": versions, **self._manifest, **told}
        )


@contextlib.contextmanager
def importing(
    directory: str | os.PathLike, task: str, source: Mapping[str, Any], result: Result
) -> Iterator[Importer]:
    """Opens the folder of a task in a dataset, made if missing, to add episodes.

    Args:
        directory: the dataset, a folder of task folders.
        task: name of the folder.
        source: the source's own manifest; `policies` at least.
        result: is told what becomes of each episode.

    Raises:
        DatasetError: another process writes to the folder; or as `Importer`.
        OutputError: the folder cannot be written to.
    """
    folder = pathlib.Path(directory).expanduser() / task
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    used = DatasetError(f"Another process writes to {folder}. Wait for it.")
    with locks.locked(folder, used):
        store.remove_leftovers(folder)
        importer = Importer(folder, task, source, result)
        try:
            yield importer
        finally:
            importer.close()


def _has_one_policy(source: Mapping[str, Any]) -> bool:
    """Whether one policy acted in all of a source's episodes, by their number."""
    policies = store.listed_policies(source)
    steps = source.get("steps", 0)
    return len(policies) == 1 and policies[0].get("steps", steps) >= steps


def _identity(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in policy.items() if k not in ("steps", "episodes")}
