"""Runs the jobs of a study on a Ray cluster, each with its cores or a GPU.

    study ── one actor a job ──▶ a node with room ── starts ──▶ the job's process

An actor ends with its node, and its process with the actor. The job then counts as
died, so that the runner starts it again where there is room. All nodes have this
package, and see the study's folder under the same path. If only the runs are shared, by
a URL, jobs that write into the study's folder run on this node.
"""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic, remote
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.processes import Ended

PACKAGES = pathlib.Path(__file__).resolve().parents[2]  # Where nodes look for ours.
PATIENCE = 10.0  # Seconds for the head of the cluster to answer; Ray waits 2 minutes.
LOST = -9  # The status of a job whose node is lost: as if by SIGKILL.
FAILED = 1  # That of a job whose process could not be started.
SAID = 2**20  # Bytes of a job's output that travel to the study's folder, the last.


class RayError(UserError):
    """Ray is not installed, or there is no cluster with room for a job."""


class Place:
    """Starts the process of a job on its node; becomes an actor.

    Args:
        program: The command before a job's own arguments.
        threads: Threads of TensorFlow.
    """

    def __init__(self, program: Sequence[str], threads: int):
        self._program = [sys.executable, *program]
        self._threads = threads
        self._process: subprocess.Popen | None = None
        self._is_stopped = False
        self._starting = threading.Lock()  # Each call has a thread of its own.

    def ready(self) -> None:
        """Returns once the actor has its node."""

    def run(self, job: Job, log: pathlib.Path | None) -> tuple[int, bytes]:
        """Runs a job to its end.

        Args:
            job: What to run.
            log: The file to which its output is appended; None returns the output.

        Returns:
            The exit status, and the output if it has no file.
        """
        # The process of a worker that was killed here may take seconds to save.
        while job.store and remote.is_written(job.store) and not self._is_stopped:
            time.sleep(processes.POLL)
        with tempfile.TemporaryDirectory() as folder:
            file = log or pathlib.Path(folder, "log")
            with self._starting:
                if self._is_stopped:
                    return cli.INTERRUPTED, b""
                self._process = processes.start(
                    job, file, self._threads, "", self._program
                )
            # In the thread that started it: Linux stops the process when that ends.
            status = self._process.wait()
            return status, b"" if log else file.read_bytes()[-SAID:]

    def stop(self) -> None:
        """Asks the process to stop at its next checkpoint."""
        with self._starting:
            self._is_stopped = True
            if self._process:
                self._process.send_signal(signal.SIGINT)


class _Running(NamedTuple):
    actor: Any
    ready: Any
    result: Any
    log: pathlib.Path
    begun: float


class RayEngine:
    """Runs jobs on a Ray cluster.

    Args:
        parallel: Most jobs at once; 0 is as many as the nodes have room for.
        cores: Cores of each job; 0 is one, or the share of a GPU where there are some.
        is_shared: Whether all nodes see the study's folder.

    Raises:
        RayError: Ray is not installed, or there is no cluster with room for a job.
    """

    def __init__(self, parallel: int, cores: int, is_shared: bool = True):
        self._ray = _connect(os.environ.get("RAY_ADDRESS") or "auto")
        nodes = self._nodes()
        self._parallel = parallel
        self._is_shared = is_shared
        self._gpus = int(any(_gpus(node) for node in nodes))
        self._cores = cores or _share(nodes)
        self._running: dict[Job, _Running] = {}
        if not any(map(self._room, nodes)):
            there = ", ".join(f"{_cores(x)} cores and {_gpus(x)} GPUs" for x in nodes)
            gpu = " and a GPU" if self._gpus else ""
            raise RayError(
                f"No node of the Ray cluster has room for a job of {self._cores} cores"
                f"{gpu}. Lower --cores, or add a node. The nodes have: {there}."
            )

    @property
    def places(self) -> int:
        """How many jobs run at once on the nodes that there are now.

        At least one: while there is no node, a job waits for the next.
        """
        room = max(1, sum(map(self._room, self._nodes())))
        return min(self._parallel or room, room)

    @property
    def has_place(self) -> bool:
        """Whether another job may start."""
        return len(self._running) < self.places

    @property
    def running(self) -> list[Job]:
        """The jobs that have not ended, some of which may wait for room."""
        return [*self._running]

    def start(self, job: Job, log: pathlib.Path) -> None:
        """Gives a job to the cluster; its output is appended to a file.

        Raises:
            OutputError: The file cannot be written.
        """
        with atomic.writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        sees_folder = self._is_shared or job.here
        taken = {"num_cpus": self._cores, "num_gpus": self._gpus}
        if not self._is_shared and job.here:
            taken = self._on_this_node()
        kind = self._ray.remote(**taken, max_concurrency=2)
        actor = kind(Place).remote(processes.PROGRAM[1:], self._cores)
        ready = actor.ready.remote()
        result = actor.run.remote(job, log if sees_folder else None)
        self._running[job] = _Running(actor, ready, result, log, time.monotonic())

    def ended(self) -> Iterator[Ended]:
        """Yields the jobs that have ended since the last call."""
        for job, run in [*self._running.items()]:
            if self._is_there(run.result):
                yield self._end(job)

    def stop(self, job: Job) -> None:
        """Asks a running job to stop at its next checkpoint, without waiting."""
        run = self._running[job]
        if self._is_there(run.ready):
            run.actor.stop.remote()
        else:  # It waits for room, and has nothing to save.
            self._ray.kill(run.actor)

    def stop_all(self) -> Iterator[Ended]:
        """Asks all jobs to stop, and yields each of them once it has."""
        for job in self._running:
            self.stop(job)
        for job in [*self._running]:
            yield self._end(job)

    def _nodes(self) -> list[Mapping[str, float]]:
        """Returns what each node has, by the names of resources."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _on_this_node(self) -> dict[str, Any]:
        """Returns the options of an actor on this node, even if it has no room."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = self._ray.get_runtime_context().get_node_id()
        only = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        return {"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": only}

    def _room(self, node: Mapping[str, float]) -> int:
        """Returns how many jobs a node runs at once."""
        room = _cores(node) // self._cores
        return min(room, _gpus(node)) if self._gpus else room

    def _is_there(self, result: Any) -> bool:
        return bool(self._ray.wait([result], timeout=0)[0])

    def _end(self, job: Job) -> Ended:
        """Waits for a job's status and frees its place.

        What its process said elsewhere, or why it has no status, is appended to the
        log.
        """
        run, errors = self._running[job], self._ray.exceptions
        try:
            status, said = self._ray.get(run.result)
        except errors.RayError as error:
            is_ours = isinstance(error, errors.RayTaskError)
            fails = is_ours or getattr(error, "actor_init_failed", False)
            status = FAILED if fails else LOST
            lines = str(error).strip().splitlines() or [type(error).__name__]
            said = f"Ray: {lines[-1] if fails else lines[0]}\n".encode()
        with atomic.writing(run.log), run.log.open("ab") as file:
            file.write(said)
        del self._running[job]
        self._ray.kill(run.actor)
        return Ended(job, time.monotonic() - run.begun, status)


def _cores(node: Mapping[str, float]) -> int:
    return int(node.get("CPU", 0))


def _gpus(node: Mapping[str, float]) -> int:
    return int(node.get("GPU", 0))


def _share(nodes: Sequence[Mapping[str, float]]) -> int:
    """Returns the cores for each GPU, the least of all nodes; 1 without GPUs."""
    shares = (_cores(node) // _gpus(node) for node in nodes if _gpus(node))
    return max(1, min(shares, default=1))


def _connect(address: str) -> Any:
    """Returns the module `ray`, connected to a cluster."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RayError(
            "--engine ray needs Ray: pip install 'dreamerv2_transfer[ray]'."
        ) from error
    try:
        _check_answers(address)
        ray.init(
            address=address,
            # What this process imports, before what the node has.
            runtime_env={"env_vars": {"PYTHONPATH": f"{PACKAGES}:${{PYTHONPATH}}"}},
            ignore_reinit_error=True,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RayError(
            "Cannot join a Ray cluster. Start one by `ray start --head`, and run this "
            "on one of its nodes; RAY_ADDRESS=HOST:PORT names another cluster than "
            "that of this machine. "
            f"Received: RAY_ADDRESS {address}; {describe(error)}"
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Tries to reach a cluster's head, if the address names it.

    Raises:
        OSError: It does not answer.
        ValueError: The address has no valid port.
    """
    place = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    if place.port:
        socket.create_connection((place.hostname, place.port), PATIENCE).close()
