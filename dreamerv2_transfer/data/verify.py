"""Reads a dataset completely and names what is damaged."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

from dreamerv2_transfer.common.replay import packed, store
from dreamerv2_transfer.data import checks, folders


@dataclasses.dataclass
class Verified:
    """What a dataset holds, and what of it is damaged.

    Attributes:
        tasks: Number of task folders.
        episodes: Number of intact episodes.
        steps: Steps of the intact episodes.
        damaged: A line for each damaged file, which names it and its fault. Training
            skips these, and no other.
        notes: A line for each oddity that does no harm to training.
    """

    tasks: int = 0
    episodes: int = 0
    steps: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """Returns the counts on one line."""
        found = f"{len(self.damaged)} damaged" if self.damaged else "none is damaged"
        return (
            f"{self.episodes:,} intact episodes of {self.steps:,} steps in "
            f"{self.tasks} task folder{'s' * (self.tasks != 1)}; {found}."
        )


def verify(directory: str | os.PathLike, tell: Callable[[str], None]) -> Verified:
    """Reads every file of a dataset: checksums, arrays, flags, names, manifests.

    Args:
        directory: A folder of task folders, or one of these.
        tell: Called with each line about a damaged file, and each note, when found.

    Raises:
        DatasetError: There is no episode.
    """
    verified = Verified()

    def add(lines: list[str], line: str) -> None:
        if line:
            lines.append(line)
            tell(line)

    for name, folder in folders.task_folders(directory).items():
        verified.tasks += 1
        manifest, fault = folders.manifest_or_fault(folder)
        add(verified.damaged, fault)
        paths = folders.episode_files(folder)
        check = functools.partial(
            checks.file_faults,
            expected=packed.expected_layout(folder, paths),
            policies=len(store.listed_policies(manifest)),
        )
        processes = packed.count_processes(paths)
        for chunk in packed.each_chunk(check, paths, f"verify {name}", processes):
            for steps, fault, note in chunk:
                add(verified.damaged, fault)
                add(verified.notes, note)
                verified.episodes += not fault
                verified.steps += 0 if fault else steps
        add(verified.damaged, packed.index_fault(folder))
        fault, notes = _compare(folder, manifest)
        add(verified.damaged, fault)
        for note in notes:
            add(verified.notes, note)
    return verified


def _compare(folder: pathlib.Path, manifest: dict) -> tuple[str, list[str]]:
    """Compares a manifest with the files that are there; returns fault and notes."""
    episodes, steps = store.count_episodes(folder)
    listed = manifest.get("episodes", episodes), manifest.get("steps", steps)
    fault, path = "", folder / store.MANIFEST
    notes = [
        f"Note: {x} is left over from a writer that was killed. It does no harm."
        for x in store.leftovers(folder)
    ]
    if not manifest:
        notes.append(f"Note: {folder} has no {store.MANIFEST}.")
    if listed[0] < episodes:
        notes.append(
            f"Note: {path} is older than {episodes - listed[0]} of the episodes; "
            "collecting or importing more brings it up to date."
        )
    elif listed != (episodes, steps):
        fault = (
            f"{path} does not fit the files: it lists {listed[0]} episodes with "
            f"{listed[1]} steps, and there are {episodes} with {steps}. Some are "
            "missing."
        )
    return fault, notes
