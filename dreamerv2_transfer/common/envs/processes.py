"""A vector environment whose copies run in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from dreamerv2_transfer.common import foreign, interrupt
from dreamerv2_transfer.common.errors import EnvError

CLOSE_PATIENCE = 5.0  # Seconds until a process that was asked to end is killed.


class ProcessVectorEnv(AsyncVectorEnv):
    """Gymnasium's `AsyncVectorEnv` with clear errors and a safe end.

    A failure in a process is raised as one `EnvError`, only the parent reacts to
    signals from the keyboard, and processes that do not answer are killed.

    Args:
        make: Makes an environment.
        num: Number of environments, and so of processes.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], num: int):
        make = functools.partial(_make_in_child, make, os.getpid())
        try:
            with self._deaths():
                super().__init__([make] * num, autoreset_mode=AutoresetMode.DISABLED)
        except BaseException:
            self.close_extras(terminate=True)
            self.closed = True
            raise
        self._at_exit = functools.partial(_kill, self.processes)
        atexit.register(self._at_exit)  # Before multiprocessing joins them.

    def reset(self, *, seed=None, options: dict[str, Any] | None = None):
        """Resets the environments in `options["reset_mask"]`, or all of them."""
        with _quiet(), self._deaths():
            return super().reset(seed=seed, options=options)

    def step(self, actions: np.ndarray):
        """Steps all environments; see `gymnasium.vector.VectorEnv.step`."""
        with _quiet(), self._deaths():
            return super().step(actions)

    def close_extras(
        self, timeout: float | None = CLOSE_PATIENCE, terminate: bool = False
    ) -> None:
        """Ends the processes, and kills those that are alive after the timeout."""
        processes = getattr(self, "processes", [])
        if not terminate:
            foreign.ask_to_close(self)
            for process in processes:
                process.join(timeout)
        _kill(processes)
        for pipe in filter(None, getattr(self, "parent_pipes", [])):
            pipe.close()
        if at_exit := getattr(self, "_at_exit", None):
            atexit.unregister(at_exit)

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            for process in self.processes:
                process.join(0.1)  # A pipe may close a little before its process ends.
            dead = [i for i, p in enumerate(self.processes) if not p.is_alive()]
            codes = [self.processes[i].exitcode for i in dead]
            raise EnvError(
                f"The process of an environment ended without a message. Received: "
                f"exit status {codes} of environments {dead}. Negative is a signal: "
                "-9 often means too little memory, -11 a crash of native code. "
                "envs_parallel=none runs without processes."
            ) from error


def _make_in_child(make: Callable[[], gymnasium.Env], parent: int) -> gymnasium.Env:
    """Makes an environment; if this is a child process, it then ignores signals."""
    if os.getpid() != parent:
        # A child ends when it is asked to, and when its pipe to the parent closes.
        interrupt.left_to_the_parent()
    return make()


def _kill(processes: list) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Gymnasium from logging the processes' errors, which are raised anyway.

    It would use the tracebacks as format strings, and fail if they contain a `%`.
    """
    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        gymnasium.logger.min_level = level
