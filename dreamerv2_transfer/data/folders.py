"""Finds the task folders of a dataset and reads their files."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError, Episode

POLICY = "log_policy"  # Key with the number of the policy that chose each action.


def task_folders(directory: str | os.PathLike) -> dict[str, pathlib.Path]:
    """Returns the folders with episodes by task.

    Args:
        directory: A dataset, or a single task's folder; it may be a URL.

    Raises:
        DatasetError: There is no such folder, or no episode in it.
        RemoteError: The URL cannot be read.
    """
    directory = remote.fetched(directory).resolve()
    with store.listing(directory):
        if not directory.is_dir():
            raise DatasetError(f"{directory} is no folder. Name a dataset.")
        if has_episodes(directory):
            return {store.task_name(directory.name): directory}
        inside = sorted(x for x in directory.iterdir() if x.is_dir())
    inside = [x for x in inside if x.name[0] != "." and has_episodes(x)]
    found = {store.task_name(x.name): x for x in inside}
    if not found:
        raise DatasetError(
            f"{directory} holds no episode: no file *.npz, and no folder with some. "
            "Name a dataset: a folder of task folders, or one of these."
        )
    return found


def check_dataset(directory: pathlib.Path) -> None:
    """Checks that a folder is one of task folders.

    Raises:
        DatasetError: It holds no episode, or episodes itself.
    """
    if directory.resolve() in task_folders(directory).values():
        raise DatasetError(
            f"{directory} is the folder of a task. Name the dataset, the folder that "
            "it is in."
        )


def episode_files(folder: pathlib.Path) -> list[str]:
    """Returns the paths of a folder's episodes, oldest first.

    Also those of entries that are named so and are no files, which reading names.

    Raises:
        DatasetError: The folder cannot be read.
    """
    return [entry.path for entry in store.entries(folder)]


def has_episodes(folder: pathlib.Path) -> bool:
    """Tells whether a folder has a file that is named like an episode."""
    return any(map(store.is_file, store.entries(folder)))


def without_logs(episode: Episode) -> Episode:
    """Returns the keys that training reads."""
    return {k: v for k, v in episode.items() if store.is_trained_on(k)}


def manifest_or_fault(folder: pathlib.Path) -> tuple[dict[str, Any], str]:
    """Returns a folder's manifest, empty if there is none, and its fault if damaged."""
    try:
        return store.read_manifest(folder) or {}, ""
    except DatasetError as error:
        return {}, " ".join(str(error).split())
