"""Reads a dataset completely and names what is damaged."""

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
        tasks: number of task folders.
        episodes: intact ones.
        steps: of the intact episodes.
        damaged: a line for each damaged file, which names it and its fault.
        notes: a line for whatever is odd and does no harm.
    """

    tasks: int = 0
    episodes: int = 0
    steps: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """All of it on one line."""
        found = f"{len(self.damaged)} damaged" if self.damaged else "none is damaged"
        return (
            f"{self.episodes:,} intact episodes of {self.steps:,} steps in "
            f"{self.tasks} task folder{'s' * (self.tasks != 1)}; {found}."
        )


def verify(directory: str | os.PathLike, tell: Callable[[str], None]) -> Verified:
    """Reads every file of a dataset: checksums, arrays, flags, names, manifests.

    Args:
        directory: a folder of task folders, or one of these.
        tell: gets each line about a damaged file, and each note, as it is found.

    Raises:
        DatasetError: there is no episode.
    """
    verified = Verified()
    for folder in folders.task_folders(directory).values():
        verified.tasks += 1
        _verify_folder(folder, verified, tell)
    return verified


def _verify_folder(folder: pathlib.Path, verified: Verified, tell) -> None:
    manifest, fault = folders.manifest_or_fault(folder)
    _add(verified.damaged, fault, tell)
    paths = folders.episode_files(folder)
    spaces = manifest.get("spaces") or checks.spaces_of(paths)
    policies = len(store.listed_policies(manifest))
    check = functools.partial(_check_chunk, spaces, policies)
    processes = packed.count_processes(paths)
    for chunk in packed.each_chunk(check, paths, f"verify {folder.name}", processes):
        for steps, fault in chunk:
            _add(verified.damaged, fault, tell)
            verified.episodes += not fault
            verified.steps += 0 if fault else steps
    _add(verified.damaged, _fault_of_counts(folder, manifest), tell)
    for note in _notes(folder, manifest):
        _add(verified.notes, note, tell)


def _add(lines: list[str], line: str, tell: Callable[[str], None]) -> None:
    if line:
        lines.append(line)
        tell(line)


def _check_chunk(spaces, policies: int, paths: list[str]) -> list[tuple[int, str]]:
    return [checks.file_fault(path, spaces, policies) for path in paths]


def _counts(folder: pathlib.Path, manifest: dict) -> tuple[tuple, tuple]:
    """Episodes and steps: by the names of the files, and by the manifest."""
    there = store.count_episodes(folder)
    return there, tuple(
        manifest.get(k, n) for k, n in zip(_COUNTED, there, strict=True)
    )


_COUNTED = ("episodes", "steps")


def _fault_of_counts(folder: pathlib.Path, manifest: dict) -> str:
    there, told = _counts(folder, manifest)
    if told[0] < there[0] or told == there:
        return ""
    return (
        f"{folder / store.MANIFEST} does not fit the files: it tells of {told[0]} "
        f"episodes with {told[1]} steps, and there are {there[0]} with {there[1]}. "
        "Some are missing."
    )


def _notes(folder: pathlib.Path, manifest: dict) -> list[str]:
    there, told = _counts(folder, manifest)
    notes = [
        f"Note: {path} is left over from a writer that was killed. It does no harm."
        for path in sorted(folder.glob(".*.tmp"))
    ]
    if not manifest:
        notes.append(f"Note: {folder} has no {store.MANIFEST}.")
    if told[0] < there[0]:
        notes.append(
            f"Note: {folder / store.MANIFEST} is older than {there[0] - told[0]} of "
            "the episodes; to collect or import more brings it up to date."
        )
    return notes
