"""Lets a process end well when it is asked to, by Ctrl-C, SIGTERM or SIGHUP.

start-up, and what is not in a loop    raised: like Ctrl-C, KeyboardInterrupt
loops                                  caught: a question between two steps
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

HANGUP = getattr(signal, "SIGHUP", None)  # A closed terminal; Windows has none.
SIGNALS = tuple(x for x in (signal.SIGINT, signal.SIGTERM, HANGUP) if x is not None)

SAVES = "stops and saves after what is in progress"


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    A second SIGTERM ends the process at once.
    """
    before = _handlers()

    def interrupt(number, frame):
        if signal.SIGTERM in before:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _outlive_terminal()
        raise KeyboardInterrupt

    for number in before:
        if number != signal.SIGINT:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def caught(effect: str = SAVES) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether the process was asked to stop.

    The first signal only sets the answer, so that no step is left half done, and says
    so. Ctrl-C or SIGTERM after it ends the process as usual. Another SIGHUP does not:
    a terminal that closes may send several.

    Only the main thread receives signals; in another one the answer stays False.

    Args:
        effect: What is said about the first signal.
    """
    received: list[int] = []
    before = _handlers()

    def remember(number, frame):
        received.append(number)
        _restore({k: v for k, v in before.items() if k != HANGUP})
        _outlive_terminal()
        if len(received) == 1:
            name = signal.Signals(number).name
            _say(f"{name}: {effect}. Ctrl-C or SIGTERM now stops at once.")

    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: bool(received)
    finally:
        _restore(before)


def left_to_the_parent() -> None:
    """Makes a child process ignore these signals, which all processes receive.

    The parent decides when the child ends.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handlers() -> dict[int, Callable | int]:
    """Returns the handlers of the signals that may be taken over here."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if handlers.get(HANGUP) == signal.SIG_IGN:  # As of `nohup`.
        del handlers[HANGUP]
    # A handler that is None was set by other code than Python's and cannot be restored.
    return {k: v for k, v in handlers.items() if v is not None}


def _restore(handlers: dict[int, Callable | int]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _outlive_terminal() -> None:
    """Drops what would be printed to a terminal that was closed, as that would fail."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)


def _say(line: str) -> None:
    # The signal may have interrupted a print, during which Python allows no other.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{line}\n".encode())
