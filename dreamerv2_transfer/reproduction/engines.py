"""What runs the jobs of a study: processes of this machine, or a Ray cluster.

An engine starts jobs, says which have ended, and stops them. A job that dies (its
process is killed, or its node lost) ends with a negative status, and may start again
from its last checkpoint, wherever there is a place.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Protocol

from dreamerv2_transfer.common.distributed import cores as cores_lib
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.processes import Ended, Processes, visible_gpus

LOCAL, RAY = "local", "ray"


class Engine(Protocol):
    """Runs jobs, each with its cores or its GPU."""

    @property
    def places(self) -> int:
        """How many jobs run at once."""

    @property
    def has_place(self) -> bool:
        """Whether another job may start."""

    @property
    def running(self) -> list[Job]:
        """The jobs that have not ended."""

    def start(self, job: Job, log: pathlib.Path) -> None:
        """Starts a job and appends its output to a file, without waiting.

        Raises:
            OutputError: The file cannot be written.
        """

    def ended(self) -> Iterator[Ended]:
        """Yields the jobs that have ended since the last call."""

    def stop(self, job: Job) -> None:
        """Asks a running job to stop at its next checkpoint, without waiting."""

    def stop_all(self) -> Iterator[Ended]:
        """Asks all jobs to stop, and yields each of them once it has."""


def make(name: str, parallel: int, cores: int, is_shared: bool = True) -> Engine:
    """Returns an engine.

    Args:
        name: `local`, or `ray`.
        parallel: Jobs at once; 0 is one per GPU or else per core.
        cores: Cores of each job; 0 shares them out.
        is_shared: Whether all nodes see the study's folder.

    Raises:
        RayError: Ray is not installed, or there is no cluster with room for a job.
    """
    if name == LOCAL:
        return local(parallel, cores)
    from dreamerv2_transfer.reproduction.ray_engine import RayEngine

    return RayEngine(parallel, cores, is_shared)


def places(parallel: int, name: str = LOCAL) -> int:
    """Returns how many jobs a plan expects to run at once.

    Args:
        parallel: What the user asks for; 0 is one per GPU or else per core of this
            machine, and one job on a cluster, which is not asked.
        name: The engine, `local` or `ray`.
    """
    if name == RAY:
        return parallel or 1
    return parallel or len(visible_gpus()) or cores_lib.count()


def local(parallel: int, cores: int) -> Processes:
    """Returns the engine of this machine.

    Args:
        parallel: Jobs at once, see `places`.
        cores: Cores of each job; 0 shares out all of them.
    """
    number = places(parallel)
    shared = cores * number or cores_lib.count()
    return Processes(number, shared, visible_gpus())
