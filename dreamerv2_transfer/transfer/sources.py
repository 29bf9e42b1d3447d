"""Finds the weights that a run starts from.

It needs no TensorFlow, which takes seconds to import: a path that does not exist is
refused before.
"""

from __future__ import annotations

import os
import pathlib

from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import paths, remote

WORLD_MODEL = "world_model.weights.h5"


def find_weights(path: str | os.PathLike, name: str = WORLD_MODEL) -> pathlib.Path:
    """Returns the file of weights that `--init` names: a file, or one in a logdir.

    From a URL, it also fetches the other weights and the configuration of the run.

    Raises:
        CheckpointError: There is no such file.
        RemoteError: It is a URL that cannot be read.
    """
    folder, _, file = str(path).rpartition("/")
    if not remote.is_remote(path):
        path = paths.local(path)
    elif file.endswith(".h5"):
        path = remote.fetched(folder, *remote.WEIGHTS) / file
    else:
        path = remote.fetched(path, *remote.WEIGHTS)
    found = path / name if path.is_dir() else path
    if not found.is_file():
        killed = any(found.parent.glob("checkpoints/*.index"))
        hint = " If this run was killed, start its command again, which writes them."
        raise CheckpointError(
            f"There are no weights to start from. Received: {path}. Name the logdir of "
            f"a run with {name}, or such a file." + (hint if killed else "")
        )
    return found
