"""A progress bar on a terminal, and an occasional line in a log file."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

LINE_INTERVAL = 10.0  # Seconds between two lines where there is no terminal.
REDRAW_INTERVAL = 0.25  # Seconds between two states of a bar; each takes 1 ms.
SMOOTHING = 0.3  # Weight of the newest interval in the rate.
PATIENCE = 2.0  # Seconds that work without steps may take before a line explains it.

_hidden = False


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
        delay: Seconds before anything is shown; shorter work shows nothing.

    Attributes:
        done: Steps done so far, including those of earlier runs.
    """

    def __init__(
        self,
        total: int | None,
        initial: int = 0,
        desc: str = "",
        unit: str = "step",
        stream: TextIO | None = None,
        delay: float = 0,
    ):
        self.done = initial
        self._total = total
        self._desc = desc
        self._unit = unit
        self._note = ""
        self._begun = self._shown = time.monotonic()
        self._counted = initial  # Steps when the rate was last updated.
        self._rate = 0.0  # Steps per second.
        stream = stream or sys.stderr
        redraws = stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._display = None if _hidden else (_Bar if redraws else _Lines)(stream)
        self._interval = REDRAW_INTERVAL if redraws else LINE_INTERVAL
        self._appears = self._begun + delay
        self._is_visible = False
        self._show(self._begun)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def update(self, steps: int = 1) -> None:
        """Counts `steps` more steps as done."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._show(now)

    def skip(self, steps: int) -> None:
        """Counts steps that need not be done, and so took no time, as done."""
        self.done += steps
        self._counted += steps

    def note(self, text: str) -> None:
        """Sets a text that follows the rate from the next redraw on."""
        self._note = text

    def write(self, line: str) -> None:
        """Prints a line to standard output without breaking the bar."""
        write(line)

    def close(self) -> None:
        """Leaves the last state on the screen."""
        if self._display and self._is_visible:
            self._show(time.monotonic())
            self._display.close()
        self._display = None

    def _show(self, now: float) -> None:
        passed = now - self._shown
        # The last interval may be too short to tell a rate.
        is_long = passed >= self._interval / 2 or not self._rate
        if is_long and passed and self.done > self._counted:
            rate = (self.done - self._counted) / passed
            weight = SMOOTHING if self._rate else 1.0
            self._rate += weight * (rate - self._rate)
        self._shown, self._counted = now, self.done
        if self._display and now >= self._appears:
            self._is_visible = True
            self._display.show(self._desc, self.done, self._total, self._state(now))

    def _state(self, now: float) -> str:
        """Returns counts, times, the rate and the note."""
        times, share = clock(now - self._begun), f"{self.done} {self._unit}s"
        if self._total:
            # Where whole episodes are played, a few more steps than the total are done.
            remaining = max(self._total - self.done, 0)
            left = remaining / self._rate if self._rate else None
            times = f"{times}<{'?' if left is None else clock(left)}"
            share = f"{100 * self.done / self._total:3.0f}% {self.done}/{self._total}"
        digits = ",.0f" if self._rate >= 1000 else ".4g"
        rate = f"{self._rate:{digits}} {self._unit}/s"
        if 0 < self._rate < 1:
            rate = f"{1 / self._rate:.4g} s/{self._unit}"
        return f"{share} [{', '.join(filter(None, [times, rate, self._note]))}]"


def clock(seconds: float) -> str:
    """Returns a time as `mm:ss` or `h:mm:ss`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
    )


def write(line: str) -> None:
    """Prints a line to standard output without breaking the visible bars."""
    print(line, flush=True)


@contextlib.contextmanager
def explained(text: str) -> Iterator[None]:
    """Prints what is going on, once, if it takes more than `PATIENCE` seconds.

    It is for work that has no steps to count, and goes where progress goes.
    """
    timer = threading.Timer(PATIENCE, _explain, [text])
    timer.daemon = True  # The process may end before it.
    if not _hidden:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _explain(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


class Reminder:
    """Prints a line again and again while something takes long, ever more rarely.

    Args:
        after: Seconds from the first call to the first line. Each next line comes when
            twice the time has passed.
    """

    def __init__(self, after: float):
        self._after = after
        self._begun: float | None = None

    def __call__(self, line: str) -> None:
        """Prints the line if it is time to."""
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        if now - self._begun >= self._after:
            self._after *= 2
            write(line)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Shows no progress that begins in this context."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before


class _Lines:
    """Writes each state as a line, once."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._last = ""

    def show(self, desc: str, done: int, total: int | None, state: str) -> None:
        line = f"{desc}: {state}\n" if desc else f"{state}\n"
        if line != self._last:
            self._stream.write(line)
            self._stream.flush()
        self._last = line

    def close(self) -> None:
        pass


class _Bar:
    """A bar below all other lines; several bars stand below each other.

    rich draws them. It draws when told to, as a thread of its own would take time from
    the work.
    """

    _lock = threading.RLock()
    _screen: Any = None  # The rich.progress.Progress that all visible bars share.

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._task: Any = None

    def show(self, desc: str, done: int, total: int | None, state: str) -> None:
        with self._lock:
            if self._task is None:
                _Bar._screen = _Bar._screen or _start(self._stream)
                self._task = self._screen.add_task(desc, total=total, state=state)
            self._screen.update(self._task, completed=done, state=state, refresh=True)

    def close(self) -> None:
        with self._lock:
            screen = self._screen
            if len(screen.tasks) == 1:
                screen.stop()
                _Bar._screen = None
                return
            # The others stay below this one's last state.
            row = next(task for task in screen.tasks if task.id == self._task)
            screen.remove_task(self._task)
            screen.console.print(screen.make_tasks_table([row]))


def _start(stream: TextIO) -> Any:
    from rich import progress
    from rich.console import Console

    is_ours = stream is sys.stderr
    made = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[state]}", markup=False),
        console=Console(file=stream, highlight=False),
        auto_refresh=False,
        # Other lines go above the bars, unless they go somewhere else.
        redirect_stdout=is_ours and sys.stdout.isatty(),
        redirect_stderr=is_ours,
    )
    made.start()
    made.console.show_cursor(True)  # Stays, even if the process is killed.
    return made
