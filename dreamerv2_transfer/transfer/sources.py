"""Finds the weights that a run or a script starts from.

It needs no TensorFlow, which takes seconds to import: a path that does not exist is
refused before.
"""

from __future__ import annotations

import os
import pathlib

from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import checkpoints, hub, paths, remote
from dreamerv2_transfer.transfer import cards

WORLD_MODEL = "world_model.weights.h5"
CONFIG = "config.yaml"
SUFFIXES = (".weights.h5", ".safetensors")  # The first is that of a run.
PUBLISHED = ("*.safetensors", CONFIG, cards.CARD)  # Of a model on the Hub.


def find_weights(path: str | os.PathLike, name: str = WORLD_MODEL) -> pathlib.Path:
    """Returns the file of weights that `--init` names: a file, or one in a folder.

    A folder is a run's logdir, or that of a published model, whose files must have the
    hashes of its card. From a URL, it also fetches the other weights and the
    configuration of the run.

    Args:
        path: A path; a URL; `hf://USER/NAME` with or without `@REVISION`; or the name
            of a model in `models/` of this repository.
        name: The file in a folder; `.safetensors` is taken where there is no HDF5.

    Raises:
        CheckpointError: There is no such file, or it is not the published one.
        RemoteError: It is a URL that cannot be read.
        HubError: It is not on the Hub.
    """
    path = local(path)
    found = path
    if path.is_dir():
        found = in_folder(path, name) or path / name
    if not found.is_file():
        killed = checkpoints.steps(found.parent / "checkpoints")
        hint = " If this run was killed, start its command again, which writes them."
        raise CheckpointError(
            f"There are no weights to start from. Received: {path}. Name the logdir of "
            f"a run with {name}, or such a file." + (hint if killed else "")
        )
    cards.checked(found.parent)
    return found


def in_folder(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns a file of weights in HDF5 or else in safetensors; None without it."""
    files = folder / name, folder / name.replace(*SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def remembered(logdir: str) -> pathlib.Path | None:
    """Returns the configuration that a run's folder or URL has; None if it has none.

    Raises:
        RemoteError: The URL cannot be reached.
    """
    file = remote.followed(logdir, "resumed", (CONFIG,)) / CONFIG
    return file if file.is_file() else None


def pinned(path: str | os.PathLike, file: pathlib.Path) -> str:
    """Returns what was named, of the Hub with the commit that a file is from."""
    if not hub.is_hub(path):
        return os.fspath(path)
    repo, _ = hub.split(path)
    return f"{hub.PREFIX}{repo}@{file.parent.name}"


def local(path: str | os.PathLike) -> pathlib.Path:
    """Returns the file or the folder on this machine."""
    folder, _, file = str(path).rpartition("/")
    if hub.is_hub(path):
        return hub.fetched(path, PUBLISHED)
    if remote.is_remote(path):
        if file.endswith(SUFFIXES):
            return remote.fetched(folder, *remote.WEIGHTS) / file
        return remote.fetched(path, *remote.WEIGHTS)
    found = paths.local(path)
    if not found.exists() and not folder and (card := cards.find(file)):
        return card.folder
    return found
