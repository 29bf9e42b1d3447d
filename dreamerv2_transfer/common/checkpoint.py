"""Checkpoints: the whole state of a run, so that a killed run resumes exactly."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import atomic, checkpoints

INCOMING = re.compile(r"\.ckpt-\d+\.tmp|ckpt-\d+_temp")  # Ours, and earlier versions'.
# TensorFlow expands wildcards in the paths that it reads, and knows only UTF-8.
LITERAL = re.compile(r"[^*?\[\\\ud800-\udfff]*")


class Stateful(Protocol):
    """An object whose state a checkpoint keeps."""

    def state(self) -> Any:
        """Returns the state, JSON-able."""

    def load_state(self, state: Any) -> None:
        """Restores what `state` returned."""


class Checkpoint:
    """The last few checkpoints of a run, in one folder.

    A checkpoint is `ckpt-STEP.data-...` and `ckpt-STEP.index`. Both are written into a
    folder of their own, and the index is moved last, so it stands for a whole
    checkpoint. What the folder holds decides what can be restored and what is kept;
    the file `checkpoint` only tells other programs.

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
        self._keep = keep
        self._python = _PythonState(stateful)
        self._variables = dict(variables)
        self._checkpoint = tf.train.Checkpoint(
            variables=self._variables, python=self._python
        )

    def save(self, step: int) -> None:
        """Writes a checkpoint; the earlier ones stay until it is complete.

        Raises:
            CheckpointError: It cannot be written, for example on a full disk.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._tidy()
            self._write(f"ckpt-{step}")
            kept = self._kept(step)
            self._record(kept)
            self._remove_all_but(kept)
        except (tf.errors.OpError, OSError) as error:
            with contextlib.suppress(OSError):
                self._tidy()
            raise CheckpointError(
                f"Cannot write a checkpoint to {self._directory}: "
                f"{first_line(error)}. The earlier checkpoints are intact; free "
                "some space and start the same command again."
            ) from error

    def _write(self, name: str) -> None:
        incoming = self._directory / f".{name}.tmp"
        incoming.mkdir()
        # Not needed here, but `CheckpointManager` of earlier versions reads it.
        self._checkpoint.save_counter.assign_add(1)
        with literal(incoming) as folder:
            self._checkpoint.write(str(folder / name))
        parts = sorted(incoming.glob(f"{name}.*"), key=lambda x: x.suffix == ".index")
        for part in parts:
            atomic.sync(part)
        for part in parts:
            part.replace(self._directory / part.name)
        atomic.sync_names(self._directory)

    def _kept(self, step: int) -> list[int]:
        """Returns the steps to keep, the newest first, of a run that is at `step`."""
        # Later ones are damaged: the run resumed from an earlier one.
        known = [x for x in checkpoints.steps(self._directory) if x <= step]
        return known[: self._keep]

    def _record(self, kept: Sequence[int]) -> None:
        """Writes the file by which TensorFlow finds the newest checkpoint."""
        lines = [f'model_checkpoint_path: "ckpt-{kept[0]}"']
        for step in reversed(kept):
            written = (self._directory / f"ckpt-{step}.index").stat().st_mtime
            lines.append(f'all_model_checkpoint_paths: "ckpt-{step}"')
            lines.append(f"all_model_checkpoint_timestamps: {written}")
        with atomic.atomic_write(self._directory / "checkpoint", sync=False) as file:
            file.write("\n".join([*lines, ""]).encode())

    def _tidy(self) -> None:
        """Completes or removes what interrupted saves left.

        A run that stops right after it resumed saves its step again. Once the new data
        took the place of the old, the checkpoint needs the new index.
        """
        for incoming in self._directory.glob(".ckpt-*.tmp"):
            name = incoming.name.removeprefix(".").removesuffix(".tmp")
            index, earlier = (x / f"{name}.index" for x in (incoming, self._directory))
            is_moved = not any(incoming.glob(f"{name}.data-*"))
            if is_moved and index.exists() and earlier.exists():
                index.replace(earlier)
        self._remove_all_but(checkpoints.steps(self._directory))

    def _remove_all_but(self, kept: Collection[int]) -> None:
        """Removes other checkpoints, and what interrupted saves left."""
        paths = self._directory.iterdir()
        # The index first, so that no half of a checkpoint looks like a whole one.
        for path in sorted(paths, key=lambda path: path.suffix != ".index"):
            part = checkpoints.PART.fullmatch(path.name)
            if part and (part["temporary"] or int(part["step"]) not in kept):
                path.unlink(missing_ok=True)
            elif INCOMING.fullmatch(path.name):
                shutil.rmtree(path)

    def restore(self) -> int | None:
        """Restores the newest readable checkpoint and names the damaged ones.

        Returns:
            Its step, or None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but none can be read.
        """
        with contextlib.suppress(OSError):  # A reader's folder may be read-only.
            self._tidy()
        faults = []
        for step in checkpoints.steps(self._directory):
            name = f"ckpt-{step}"
            try:
                # The file and the run must have the same variables.
                with literal(self._directory) as folder:
                    self._checkpoint.restore(str(folder / name)).assert_consumed()
            except Exception as error:  # Damage makes TensorFlow raise anything.
                faults.append(f"{self._directory / name}: {first_line(error)}")
                continue
            if names := tfutils.not_finite(self._variables):  # As 0.1.0 might save.
                faults.append(f"{self._directory / name}: {names[0]} is not a number.")
                continue
            self._python.load()
            with contextlib.suppress(OSError, atomic.OutputError):
                self._record(self._kept(step))  # As a killed save may not have done.
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
            if name in self._read:  # Else what it belongs to was off, or came later.
                part.load_state(self._read[name])


@contextlib.contextmanager
def literal(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path that TensorFlow takes literally: the folder's, or a link's."""
    folder = folder.absolute()
    if LITERAL.fullmatch(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        link = pathlib.Path(place, "checkpoints")
        link.symlink_to(folder, target_is_directory=True)
        yield link


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
