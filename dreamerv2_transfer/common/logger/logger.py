"""Collects metrics, images and videos and writes them to the outputs of a run.

A summary is a tuple (step, name, value). The rank of the value says what it is: a
scalar (), a gray image (H, W), an image (H, W, C) or a video (T, H, W, C), where C is
1 or 3 and values are uint8, or floats from 0 to 1.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common import foreign, progress
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.common.logger import trackers, video
from dreamerv2_transfer.common.logger.trackers import Summary

# Metrics shown on a terminal; the files have all of them.
TERMINAL_KEYS = (
    r"^(eval_)?(model_loss|model_error|image_loss|kl_loss)$"
    r"|^(eval_reward_auc(_dreamed)?|fps)$|^(train_return|eval_return_mean)(/|$)"
)
ORIGINAL = ("terminal", "jsonl", "tensorboard")  # The original's outputs.


class LoggerError(UserError):
    """A list of outputs that lacks what a run needs."""


def check(names: Sequence[str]) -> None:
    """Checks the outputs of a run before it starts.

    Raises:
        LoggerError: `jsonl` is missing.
        TrackerError: The package of an output is not installed.
    """
    if "jsonl" not in names:
        raise LoggerError(
            "The outputs must include jsonl, from which curves are drawn. Received: "
            f"--outputs {' '.join(names)}"
        )
    trackers.check(names)


def make_logger(
    logdir: str | os.PathLike,
    step,
    multiplier: int = 1,
    names: Sequence[str] = ORIGINAL,
) -> Logger:
    """Makes a logger with the outputs of a run.

    Args:
        logdir: The run's folder.
        step: As for `Logger`.
        multiplier: As for `Logger`.
        names: Names of outputs, some of `choices.OUTPUTS`.
    """
    outputs = [OUTPUTS[name](logdir) for name in dict.fromkeys(names)]
    return Logger(step, outputs, multiplier)


class Logger:
    """Collects metrics with the step at which they were added.

    Args:
        step: Step counter; read at each `add`.
        outputs: Called with the list of summaries at each `write`.
        multiplier: Environment steps per counted step (the action repeat).
    """

    def __init__(
        self,
        step,
        outputs: Sequence[Callable[[list[Summary]], None]],
        multiplier: int = 1,
    ):
        self.step = step
        self._outputs = outputs
        self._multiplier = multiplier
        self._last: tuple[int, float] | None = None  # Step and time of the last rate.
        self._metrics: list[Summary] = []

    def add(self, mapping: Mapping[str, Any], prefix: str | None = None) -> None:
        """Adds named values; `prefix` and an underscore go before each name.

        Raises:
            ValueError: A value is not a number, an image or a video.
        """
        step = self._current_step()
        for name, value in dict(mapping).items():
            name = f"{prefix}_{name}" if prefix else name
            self._metrics.append((step, name, _to_array(name, value)))

    def scalar(self, name: str, value) -> None:
        """Adds a number."""
        self.add({name: value})

    def image(self, name: str, value) -> None:
        """Adds an image of shape (H, W) or (H, W, C)."""
        self.add({name: value})

    def video(self, name: str, value) -> None:
        """Adds a video of shape (T, H, W, C)."""
        self.add({name: value})

    def write(self, fps: bool = False) -> None:
        """Passes everything added since the last call to the outputs.

        Args:
            fps: Also write `fps`, the steps per second since the last such call.
        """
        if fps:
            step, now = self._current_step(), time.monotonic()
            last_step, last_time = self._last or (step, now)
            self._last = step, now
            elapsed = now - last_time
            self.scalar("fps", (step - last_step) / elapsed if elapsed else 0.0)
        if not self._metrics:
            return
        for output in self._outputs:
            output(self._metrics)
        self._metrics = []

    def rewind(self, step: int) -> None:
        """Removes what the outputs wrote after `step`, if they can."""
        for output in self._outputs:
            if hasattr(output, "rewind"):
                output.rewind(step)

    def sync(self) -> None:
        """Waits until what the outputs wrote is on the disk, if they write there."""
        for output in self._outputs:
            if hasattr(output, "sync"):
                output.sync()

    def _current_step(self) -> int:
        return int(self.step) * self._multiplier


class TerminalOutput:
    """Prints the scalars as one line, without breaking a progress bar.

    Returns come after losses and `fps` is the last, whichever was logged first; a rate
    of zero, as in a run's first line, is left out.

    Args:
        keys: Regular expression; only names that contain it are printed.
    """

    def __init__(self, keys: str | None = None):
        self._keys = re.compile(keys or "")

    def __call__(self, summaries: list[Summary]) -> None:
        step, scalars = _scalars(summaries)
        names = sorted(scalars, key=lambda name: (name == "fps", "return" in name))
        shown = [
            f"{name} {format_number(scalars[name])}"
            for name in names
            if self._keys.search(name) and (scalars[name] or name != "fps")
        ]
        if shown:
            progress.write(f"[{step}] {' / '.join(shown)}")


class JSONLOutput:
    """Appends the scalars as a line of JSON to `metrics.jsonl`.

    JSON has no NaN and no infinity; they are written as null. Each line reaches the
    operating system in one piece, so a killed process leaves at most its last line
    unfinished.

    Args:
        logdir: Folder of the file; the first line creates it.
    """

    def __init__(self, logdir: str | os.PathLike):
        self.path = paths.local(logdir) / "metrics.jsonl"

    def __call__(self, summaries: list[Summary]) -> None:
        """Appends a line.

        Raises:
            OutputError: The file cannot be written.
        """
        step, scalars = _scalars(summaries)
        values = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        line = json.dumps({"step": step, **values}, allow_nan=False) + "\n"
        with atomic.writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    # A killed process may have left its last line unfinished.
                    line = line if file.read(1) == b"\n" else f"\n{line}"
                file.write(line.encode())

    def sync(self) -> None:
        """Waits until the lines are on the disk.

        Raises:
            OutputError: They cannot be written.
        """
        if self.path.exists():
            with atomic.writing(self.path):
                atomic.sync(self.path)

    def rewind(self, step: int) -> int:
        """Cuts the file back to the lines up to and including `step`.

        Returns:
            Number of damaged lines that were removed too.

        Raises:
            OutputError: The file cannot be written.
        """
        if not self.path.exists():
            return 0
        damaged = 0
        with atomic.atomic_write(self.path) as kept, open(self.path, "rb") as lines:
            for line in lines:
                line_step = _line_step(line)
                damaged += line_step is None
                if line_step is not None and line_step <= step:
                    kept.write(line.rstrip(b"\n") + b"\n")
        return damaged


class TensorBoardOutput:
    """Writes scalars, images and animated videos for TensorBoard.

    Scalars are named `scalars/NAME`. TensorFlow is imported at the first write. What is
    after the step of a `rewind` stays in the files, but TensorBoard drops it.

    Args:
        logdir: A folder, or a URL that TensorFlow can write to, such as `gs://...`.
        fps: Frames per second of the videos.
    """

    def __init__(self, logdir: str | os.PathLike, fps: float = 20):
        is_url = paths.is_url(logdir)
        self._logdir = os.fspath(logdir if is_url else paths.local(logdir))
        self._fps = fps
        self._writer = None
        self._starts: list[bytes] = []  # Events to write before all others.

    def __call__(self, summaries: list[Summary]) -> None:
        """Writes and flushes the summaries.

        Raises:
            OutputError: The event file cannot be written.
        """
        import tensorflow as tf

        try:
            self._writer = self._writer or tf.summary.create_file_writer(self._logdir)
            with self._writer.as_default():
                for event in self._starts:
                    foreign.write_event(self._writer, event)
                self._starts = []
                for step, name, value in summaries:
                    if value.ndim == 0:
                        tf.summary.scalar(f"scalars/{name}", float(value), step)
                    elif value.ndim == 4:
                        gif = video.encode_gif(value, self._fps)
                        _write_image(step, name, value, gif)
                    else:
                        value = value.reshape(*value.shape[:2], -1)
                        _write_image(step, name, value, video.encode_png(value))
            self._writer.flush()
        except tf.errors.OpError as error:
            raise atomic.OutputError(
                f"Cannot write TensorBoard events to {self._logdir}: {error.message} "
                "Free some space, or choose another folder that you may write to."
            ) from error

    def rewind(self, step: int) -> None:
        """Makes the next write tell TensorBoard to drop what is after `step`.

        TensorBoard takes the first START of all files as the run's first start, and
        drops what is from the step of each further one on. So there are two of them.
        """
        import tensorflow as tf

        log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        event = tf.compat.v1.Event(
            wall_time=time.time(), step=step + 1, session_log=log
        )
        self._starts = [event.SerializeToString()] * 2


# Each is made from the run's folder; the keys are `choices.OUTPUTS`.
OUTPUTS = {
    "terminal": lambda logdir: TerminalOutput(TERMINAL_KEYS),
    "jsonl": JSONLOutput,
    "tensorboard": TensorBoardOutput,
    **trackers.OUTPUTS,
}


def format_number(value: float) -> str:
    """Returns up to two decimals, or two digits and an exponent if that is too long."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    if 0.01 < abs(value) < 10000:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _to_array(name: str, value) -> np.ndarray:
    value = np.array(value)
    if value.ndim not in (0, 2, 3, 4):
        raise ValueError(
            f"'{name}' must be a scalar (), an image (H, W) or (H, W, C), or a video "
            f"(T, H, W, C). Received: shape={value.shape}"
        )
    # bfloat16 is not one of NumPy's own types, and image libraries do not know it.
    return value if value.dtype.kind in "buif" else value.astype(np.float32)


def _scalars(summaries: list[Summary]) -> tuple[int, dict[str, float]]:
    step = max(step for step, _, _ in summaries)
    return step, {name: float(v) for _, name, v in summaries if v.ndim == 0}


def _line_step(line: bytes) -> int | None:
    """Returns the step of a line, or None if the line is damaged."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _write_image(step: int, name: str, pixels: np.ndarray, encoded: bytes) -> None:
    """Writes an encoded image; TensorBoard plays a GIF."""
    import tensorflow as tf

    height, width, channels = pixels.shape[-3:]
    summary = tf.compat.v1.Summary()
    image = summary.value.add(tag=name).image
    image.height, image.width, image.colorspace = height, width, channels
    image.encoded_image_string = encoded
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)
