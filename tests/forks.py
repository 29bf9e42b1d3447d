"""Runs scripts as forks of one process that has imported TensorFlow.

The import takes seconds, and most commands need it. A fork has arguments, environment,
folder, output, signals and exit status of its own, and imports the package itself. Only
a new interpreter, by `subprocess`, shows what depends on the order of imports or on the
seed of hashes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import multiprocessing
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection

ROOT = pathlib.Path(__file__).parents[1]
# Of other projects only, so that each fork imports the package as a command does.
IMPORTED = ("tensorflow", "tensorflow_probability", "keras")
LARGEST_REQUEST = 2**17  # In bytes; most of it is the environment.


class Fork:
    """A running script, with what tests use of `subprocess.Popen`.

    Args:
        command: The script and its arguments, or `-m`, a module and its arguments.
        folder: The working directory.
        is_merged: Whether the standard error goes into the output.
        environment: By default that of this process.
    """

    def __init__(
        self,
        command: list[str],
        folder: pathlib.Path = ROOT,
        is_merged: bool = False,
        environment: Mapping[str, str] | None = None,
    ):
        self.command, self.returncode = command, None
        # Unlike pipes, files take any amount of text without a reader.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._error = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = {**(environment or os.environ), "PYTHONPATH": str(ROOT)}
        request = {"command": command, "folder": str(folder), "env": environment}
        self._status, theirs = multiprocessing.Pipe()
        with theirs:
            error = self._output if is_merged else self._error
            files = [self._output.fileno(), error.fileno(), theirs.fileno()]
            socket.send_fds(_requests(), [json.dumps(request).encode()], files)
        self.pid = self._status.recv()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not self._status.poll(timeout):
                raise subprocess.TimeoutExpired(self.command, timeout)
            self.returncode = self._status.recv()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        for file in (self._output, self._error):
            file.seek(0)
        return self._output.read(), self._error.read()

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # It may have ended.
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _requests() -> socket.socket:
    """Starts the process that is forked, and returns its end for requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return ours


def serve(requests: socket.socket) -> None:
    """Starts a process for each request, until the other end of the pipe is closed."""
    while True:
        message, files, *_ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
        if not message:
            return
        watcher = os.fork()
        if not watcher:
            requests.close()
            watch(json.loads(message), *files)
        for file in files:
            os.close(file)


def watch(request: dict, output: int, error: int, status: int) -> None:
    """Runs the command in a fork, and tells its process id and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(status)
        run(request, output, error)
        sys.exit()
    os.close(output)
    os.close(error)
    with Connection(status) as told:
        told.send(pid)
        _, code = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):  # If the test has ended.
            told.send(os.waitstatus_to_exitcode(code))
    os._exit(0)


def run(request: dict, output: int, error: int) -> None:
    """Runs the command as if Python had been started with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output, 1)
    os.dup2(error, 2)
    os.close(output)
    os.close(error)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    script, *args = request["command"]
    if script == "-m":
        sys.argv = args
        runpy.run_module(args[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [script, *args]
        sys.path.insert(0, str(pathlib.Path(script).parent.absolute()))
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Watchers leave no zombies.
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # No fork looks for garbage in what is imported, which takes seconds.
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        serve(requests)
