"""Checkpoints: all of a run's state, so that a killed run resumes exactly."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from dreamerv2_transfer.common.errors import UserError


class CheckpointError(UserError):
    """A checkpoint or a file of weights that cannot be read, written or used."""


class Checkpoint:
    """All of a run's state in one folder, the last few kept.

    Args:
        directory: LOGDIR/checkpoints.
        variables: Every variable of the run by a unique name.
        state: Returns what is not a variable, as JSON-able values.
        load_state: Takes it back.
        keep: How many checkpoints to keep.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        variables: Mapping[str, tf.Variable],
        state: Callable[[], Any],
        load_state: Callable[[Any], None],
        keep: int = 3,
    ):
        self._directory = pathlib.Path(directory)
        self._json = _Json(state)
        self._load_state = load_state
        self._checkpoint = tf.train.Checkpoint(
            variables=dict(variables), python=self._json
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._directory), keep
        )

    def save(self, step: int) -> None:
        """Writes a checkpoint; the ones before it stay until it is whole.

        Raises:
            CheckpointError: If it cannot be written, on a full disk for example.
        """
        try:
            self._manager.save(checkpoint_number=step, check_interval=False)
        except (tf.errors.OpError, OSError) as error:
            raise CheckpointError(
                f"Cannot write a checkpoint to {self._directory}: "
                f"{_first_line(error)}. The checkpoints before it are intact; free "
                "some space and start the same command again."
            ) from error
        self._remove_orphans()

    def restore(self) -> int | None:
        """Goes back to the newest checkpoint that can be read.

        Damaged ones are named and passed over.

        Returns:
            Its step, or None where there is no checkpoint.

        Raises:
            CheckpointError: If there are checkpoints but none can be read.
        """
        faults = []
        for step, prefix in self._written():
            try:
                # Everything in the file must be ours, and everything of ours in it.
                self._checkpoint.restore(prefix).assert_consumed()
            except Exception as error:  # TensorFlow raises anything at damage.
                faults.append(f"{prefix}: {_first_line(error)}")
                continue
            self._load_state(self._json.loaded())
            for fault in faults:
                print(f"Passed over a checkpoint that cannot be read: {fault}")
            return step
        if faults:
            raise CheckpointError(
                f"No checkpoint in {self._directory} can be read. "
                + " ".join(faults)
                + " Remove the folder to start anew, or choose another --logdir."
            )
        return None

    def _written(self) -> list[tuple[int, str]]:
        """Step and prefix of the checkpoints that are there, the newest first.

        The state file of `CheckpointManager` is not asked: where it is damaged, a run
        would silently start from scratch.
        """
        found = []
        for path in self._directory.glob("ckpt-*.index"):
            if match := re.fullmatch(r"ckpt-(\d+)", path.stem):
                found.append((int(match[1]), str(path.with_suffix(""))))
        return sorted(found, reverse=True)

    def _remove_orphans(self) -> None:
        """Removes what a kill left behind, and checkpoints that nobody lists."""
        listed = {pathlib.Path(p).name for p in self._manager.checkpoints}
        for path in self._directory.glob("ckpt-*"):
            if path.name.endswith("_temp") or path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.split(".")[0] not in listed:
                path.unlink(missing_ok=True)


class _Json(tf.train.experimental.PythonState):
    """JSON inside a checkpoint."""

    def __init__(self, state: Callable[[], Any]):
        self._state = state
        self._loaded = None

    def serialize(self) -> str:
        return json.dumps(self._state())

    def deserialize(self, string_value: bytes) -> None:
        self._loaded = json.loads(string_value)

    def loaded(self) -> Any:
        return self._loaded


def named_variables(prefix: str, variables) -> dict[str, tf.Variable]:
    """Keras variables by `prefix/path`, as a checkpoint names them.

    Raises:
        ValueError: If two of them share a path.
    """
    named = {f"{prefix}/{v.path}": v.value for v in variables}
    if len(named) != len(variables):
        raise ValueError(
            f"Variables share a path. Received: {[v.path for v in variables]}"
        )
    return named


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
