"""Checkpoints: the whole state of a run, so that a killed run resumes exactly."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.errors import UserError


class CheckpointError(UserError):
    """A checkpoint or a file of weights that cannot be read, written or used."""


class Stateful(Protocol):
    """An object whose state a checkpoint keeps."""

    def state(self) -> Any:
        """Returns the state, JSON-able."""

    def load_state(self, state: Any) -> None:
        """Restores what `state` returned."""


class Checkpoint:
    """The last few checkpoints of a run, in one folder.

    Args:
        directory: LOGDIR/checkpoints.
        variables: Every variable of the run, by a unique name.
        stateful: What else has a state, by name, in the order in which it is loaded.
        keep: The number of checkpoints to keep.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        variables: Mapping[str, tf.Variable],
        stateful: Mapping[str, Stateful],
        keep: int = 3,
    ):
        self._directory = pathlib.Path(directory)
        self._python = _PythonState(stateful)
        self._variables = dict(variables)
        self._checkpoint = tf.train.Checkpoint(
            variables=self._variables, python=self._python
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._directory), keep
        )

    def save(self, step: int) -> None:
        """Writes a checkpoint; the earlier ones stay until it is complete.

        Raises:
            CheckpointError: It cannot be written, for example on a full disk.
        """
        try:
            self._manager.save(checkpoint_number=step, check_interval=False)
        except (tf.errors.OpError, OSError) as error:
            raise CheckpointError(
                f"Cannot write a checkpoint to {self._directory}: "
                f"{first_line(error)}. The earlier checkpoints are intact; free "
                "some space and start the same command again."
            ) from error
        # Remove what a kill left behind, and checkpoints that are no longer listed.
        listed = {pathlib.Path(p).name for p in self._manager.checkpoints}
        for path in self._directory.glob("ckpt-*"):
            if path.name.endswith("_temp") or path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.split(".")[0] not in listed:
                path.unlink(missing_ok=True)

    def restore(self) -> int | None:
        """Restores the newest readable checkpoint and names the damaged ones.

        Returns:
            Its step, or None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but none can be read.
        """
        faults = []
        for step, prefix in written(self._directory):
            try:
                # The file and the run must have the same variables.
                self._checkpoint.restore(prefix).assert_consumed()
            except Exception as error:  # Damage makes TensorFlow raise anything.
                faults.append(f"{prefix}: {first_line(error)}")
                continue
            if names := tfutils.not_finite(self._variables):  # As 0.1.0 might save.
                faults.append(f"{prefix}: {names[0]} is not a number.")
                continue
            self._python.load()
            for fault in faults:
                print(f"Skipped a checkpoint that cannot be read: {fault}")
            return step
        if faults:
            raise CheckpointError(
                f"No checkpoint in {self._directory} can be read. "
                + " ".join(faults)
                + " Remove the folder to start over, or choose another --logdir."
            )
        return None


class _PythonState(tf.train.experimental.PythonState):
    """The states of Python objects as JSON inside a checkpoint."""

    def __init__(self, stateful: Mapping[str, Stateful]):
        self._stateful = stateful
        self._read: dict[str, Any] = {}

    def serialize(self) -> str:
        return json.dumps({k: part.state() for k, part in self._stateful.items()})

    def deserialize(self, string_value: bytes) -> None:
        self._read = json.loads(string_value)

    def load(self) -> None:
        """Hands its state to each object, once the whole checkpoint proved readable."""
        for name, part in self._stateful.items():
            part.load_state(self._read[name])


def written(directory: str | os.PathLike) -> list[tuple[int, str]]:
    """Returns step and prefix of the checkpoints in a folder, newest first.

    It does not trust the state file of `CheckpointManager`: if that were damaged, a run
    would silently start from scratch.
    """
    found = []
    for path in pathlib.Path(directory).glob("ckpt-*.index"):
        if match := re.fullmatch(r"ckpt-(\d+)", path.stem):
            found.append((int(match[1]), str(path.with_suffix(""))))
    return sorted(found, reverse=True)


def named_variables(prefix: str, variables) -> dict[str, tf.Variable]:
    """Returns Keras variables by `prefix/path`, as a checkpoint names them.

    Raises:
        ValueError: Two variables share a path.
    """
    named = {f"{prefix}/{v.path}": v.value for v in variables}
    if len(named) != len(variables):
        raise ValueError(
            f"Variables share a path. Received: {[v.path for v in variables]}"
        )
    return named


def first_line(error: Exception) -> str:
    """Returns the first line of an exception's message, or its type without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
