"""A progress bar on a terminal, and an occasional line in a log file."""

from __future__ import annotations

import sys
from typing import TextIO

from tqdm import tqdm

CURSOR_UP = "\x1b[A"  # What tqdm prints between several bars.
LINE_INTERVAL = 10.0  # Seconds between two lines where there is no terminal.


class Progress:
    """Shows how much of the work is done, how fast it goes and when it will end.

    A terminal shows a bar that redraws itself. A file or a pipe gets a line at the
    start, at most one per `LINE_INTERVAL`, and one at the end. Use it as a context
    manager, so that the last state stays visible when the work is interrupted.

    Args:
        total: Total number of steps, including those of earlier runs; None if unknown.
        initial: Steps that earlier runs did; they do not count for the rate.
        desc: What is going on, in a word or two.
        unit: Name of a step in the rate.
        stream: Where to print; standard error by default.
        position: The line of the bar, where several are shown at the same time.
        delay: Seconds before the bar appears; shorter work shows nothing.
    """

    def __init__(
        self,
        total: int | None,
        initial: int = 0,
        desc: str = "",
        unit: str = "step",
        stream: TextIO | None = None,
        position: int | None = None,
        delay: float = 0,
    ):
        stream = stream or sys.stderr
        options = {"dynamic_ncols": True, "file": stream}
        if not stream.isatty():
            position = None
            # Without miniters tqdm guesses how often to look at the clock.
            options = {"mininterval": LINE_INTERVAL, "miniters": 1}
            options["file"] = _LineStream(stream)
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=desc or None,
            unit=unit,
            position=position,
            delay=delay,
            **options,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    @property
    def done(self) -> int:
        """Steps done so far, including those of earlier runs."""
        return self._bar.n

    def update(self, steps: int = 1) -> None:
        """Counts `steps` more steps as done."""
        self._bar.update(steps)

    def note(self, text: str) -> None:
        """Sets a text that follows the bar from its next redraw on."""
        self._bar.set_postfix_str(text, refresh=False)

    def write(self, line: str) -> None:
        """Prints a line to standard output without breaking the bar."""
        write(line)

    def close(self) -> None:
        """Leaves the last state on the screen."""
        self._bar.close()


def write(line: str) -> None:
    """Prints a line to standard output without breaking the visible bars."""
    tqdm.write(line)


class _LineStream:
    """Writes each redraw of the bar as a line instead of carriage returns."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.replace(CURSOR_UP, "").strip()
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()
