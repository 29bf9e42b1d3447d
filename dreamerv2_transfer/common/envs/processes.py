"""Environments that are stepped together, each in a process of its own."""

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from dreamerv2_transfer.common import interrupt
from dreamerv2_transfer.common.errors import EnvError

CLOSE_PATIENCE = 5.0  # Seconds that a process has to end by itself.


class ProcessVectorEnv(AsyncVectorEnv):
    """Environments that are stepped together, each in a process of its own.

    As Gymnasium's, but failures come up as one `EnvError` each, signals from the
    keyboard stay with the parent, and processes that do not answer are ended too.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], num: int):
        """Takes what makes an environment, and the number of environments."""
        make = functools.partial(_make_in_child, make, os.getpid())
        try:
            with self._deaths():
                super().__init__([make] * num, autoreset_mode=AutoresetMode.DISABLED)
        except BaseException:
            self.close_extras(terminate=True)
            self.closed = True
            raise
        self._at_exit = functools.partial(_kill, self.processes)
        atexit.register(self._at_exit)  # Before multiprocessing waits for them.

    def reset(self, *, seed=None, options: dict[str, Any] | None = None):
        """Resets those that `options["reset_mask"]` tells, or all of them."""
        with _quiet(), self._deaths():
            return super().reset(seed=seed, options=options)

    def step(self, actions: np.ndarray):
        """Steps all environments; see `gymnasium.vector.VectorEnv.step`."""
        with _quiet(), self._deaths():
            return super().step(actions)

    def close_extras(
        self, timeout: float | None = CLOSE_PATIENCE, terminate: bool = False
    ) -> None:
        """Ends the processes, by force those that have not ended after the timeout."""
        pipes = [pipe for pipe in getattr(self, "parent_pipes", []) if pipe]
        processes = getattr(self, "processes", [])
        if not terminate:
            for pipe in pipes:
                with contextlib.suppress(OSError):  # It may have died.
                    pipe.send(("close", None))
            for process in processes:
                process.join(timeout)
        _kill(processes)
        for pipe in pipes:
            pipe.close()
        atexit.unregister(getattr(self, "_at_exit", None))

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            dead = [i for i, p in enumerate(self.processes) if not _is_alive(p)]
            codes = [self.processes[i].exitcode for i in dead]
            raise EnvError(
                f"The process of an environment ended without a message. Received: "
                f"exit status {codes} of environments {dead}. Negative is a signal: "
                "-9 is often for want of memory, -11 a fault of native code. "
                "envs_parallel=none runs without processes."
            ) from error


def _make_in_child(make: Callable[[], gymnasium.Env], parent: int) -> gymnasium.Env:
    """Makes an environment; in a child process, leaves stopping to the parent."""
    if os.getpid() != parent:
        # A child ends when it is told to, and when its pipe to the parent closes.
        interrupt.left_to_the_parent()
    return make()


def _is_alive(process) -> bool:
    process.join(0.1)  # Its pipe may close a little before it ends.
    return process.is_alive()


def _kill(processes: list) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Gymnasium from logging errors of processes, which are raised anyway.

    It also takes the tracebacks for format strings, and fails on a `%` in them.
    """
    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        gymnasium.logger.min_level = level
