"""A vector environment whose copies run in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.utils import CloudpickleWrapper, clear_mpi_env_vars

from dreamerv2_transfer.common import foreign, interrupt
from dreamerv2_transfer.common.envs.wrappers import RESET_ATTEMPTS
from dreamerv2_transfer.common.errors import EnvError

CLOSE_PATIENCE = 5.0  # Seconds until a process that was asked to end is killed.


class ProcessVectorEnv(AsyncVectorEnv):
    """Gymnasium's `AsyncVectorEnv` with clear errors and a safe end.

    A failure in a process is raised as one `EnvError`, only the parent reacts to
    signals from the keyboard, and processes that do not answer are killed.

    Args:
        make: Makes an environment.
        num: Number of environments, and so of processes.
        restart: Whether to replace a process that ended, whatever ended it. As
            `Restarting` does, its step returns the last observation again, a reward of
            0, and `truncated`; a reset is tried 3 times.
    """

    def __init__(
        self, make: Callable[[], gymnasium.Env], num: int, restart: bool = False
    ):
        make = functools.partial(_make_in_child, make, os.getpid())
        try:
            with self._deaths():
                super().__init__([make] * num, autoreset_mode=AutoresetMode.DISABLED)
        except BaseException:
            self.close_extras(terminate=True)
            self.closed = True
            raise
        self._seen = copy.deepcopy(self.observations)  # What was returned last.
        if restart:
            pipes: list[Any] = [_RestartingPipe(self, i) for i in range(num)]
            self.parent_pipes = pipes
        self._at_exit = functools.partial(_kill, self.processes)
        atexit.register(self._at_exit)  # Before multiprocessing joins them.

    def reset(self, *, seed=None, options: dict[str, Any] | None = None):
        """Resets the environments in `options["reset_mask"]`, or all of them."""
        with _quiet(), self._deaths():
            self._seen, infos = super().reset(seed=seed, options=options)
        return self._seen, infos

    def step(self, actions: np.ndarray):
        """Steps all environments; see `gymnasium.vector.VectorEnv.step`."""
        with _quiet(), self._deaths():
            self._seen, *rest = super().step(actions)
        return self._seen, *rest

    def begin_again(self, number: int) -> connection.Connection:
        """Starts a process in place of one that ended; returns the pipe to it."""
        process = self.processes[number]
        process.join(CLOSE_PATIENCE)  # A pipe may close a little before its process.
        print(
            f"The process of environment {number} ended with exit status "
            f"{process.exitcode}. A fresh environment replaces it.",
            flush=True,
        )
        process.kill()
        self.show(number, {key: value[number] for key, value in self._seen.items()})
        ours, theirs = multiprocessing.Pipe()
        # Without shared memory: it sends its observations, see `show`.
        options = (theirs, ours, None, self.error_queue, self.autoreset_mode)
        make = CloudpickleWrapper(self.env_fns[number])
        self.processes[number] = multiprocessing.Process(
            target=foreign.async_worker(), args=(number, make, *options), daemon=True
        )
        with clear_mpi_env_vars():
            self.processes[number].start()
        theirs.close()
        return ours

    def show(self, number: int, obs: dict[str, np.ndarray]) -> None:
        """Puts an observation where the processes put theirs."""
        for key, value in obs.items():
            self.observations[key][number] = value

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


class _RestartingPipe:
    """The pipe to a process, and to the one that replaces it.

    Args:
        env: The environments that it belongs to.
        number: The number of its process.
    """

    def __init__(self, env: ProcessVectorEnv, number: int):
        self._env = env
        self._number = number
        self._pipe = env.parent_pipes[number]
        self._asked: tuple[str, Any] = ("", None)
        self._is_fresh = False  # Whether the process is a later one.

    def send(self, message: tuple[str, Any]) -> None:
        self._asked = message
        with contextlib.suppress(ConnectionError):  # `recv` finds that it has ended.
            self._pipe.send(message)

    def recv(self) -> tuple[Any, bool]:
        command, _ = self._asked
        for attempt in range(RESET_ATTEMPTS):
            with contextlib.suppress(EOFError, ConnectionError):
                return self._shown(self._pipe.recv())
            if command == "reset-noop":  # Only its next step or reset needs a process.
                return (None, {}), True
            if attempt < RESET_ATTEMPTS - 1:
                self._pipe.close()
                self._pipe = self._env.begin_again(self._number)
                self._is_fresh = True
            if command == "step":
                return (None, 0.0, False, True, {}), True
            self.send(self._asked)
        raise EOFError

    def close(self) -> None:
        self._pipe.close()

    def _shown(self, answer: tuple[Any, bool]) -> tuple[Any, bool]:
        result, is_good = answer
        if self._is_fresh and is_good and self._asked[0] in ("reset", "step"):
            self._env.show(self._number, result[0])
        return answer


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
