"""Turns Ctrl-C and SIGTERM into a question that a loop asks between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def caught() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether the process was asked to stop.

    The first signal only sets the answer, so that no step is left half done; a second
    one ends the process as usual.
    """
    received = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.getsignal(name) for name in names}

    def remember(number, frame):
        received.append(number)
        for name, handler in before.items():
            signal.signal(name, handler)

    for name in names:
        signal.signal(name, remember)
    try:
        yield lambda: bool(received)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def left_to_the_parent() -> None:
    """Makes a child process ignore Ctrl-C and SIGTERM, which all processes receive.

    The parent decides when the child ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
