"""Jobs as processes, several at a time, which share the machine's cores and GPUs.

Each job is a command that resumes from its last checkpoint. If this process is killed,
Linux asks its jobs to stop, as a closed terminal does.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dreamerv2_transfer.common import interrupt, progress
from dreamerv2_transfer.common.distributed import gpus
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.reproduction.jobs import Job

PROGRAM = [sys.executable, "-m", "dreamerv2_transfer"]
POLL = 0.5  # Seconds between two looks at the processes.
PR_SET_PDEATHSIG = 1  # Of Linux' prctl.h.
HEARD = (signal.SIGINT, interrupt.HANGUP)  # What asks a job to stop.


class Ended(NamedTuple):
    """A job whose process has ended, after how many seconds, and its exit status."""

    job: Job
    seconds: float
    status: int

    @property
    def has_died(self) -> bool:
        """Whether a signal ended it, such as that of Linux out of memory."""
        return self.status < 0


@dataclasses.dataclass(frozen=True)
class _Running:
    process: subprocess.Popen
    begun: float
    gpu: str


class Processes:
    """The processes of jobs.

    Args:
        parallel: Jobs at the same time.
        cores: The machine's cores, which the jobs share.
        gpus: Names of the GPUs, which the jobs share; none on a CPU.
    """

    def __init__(self, parallel: int, cores: int, gpus: Sequence[str] = ()):
        # A place per job, with its GPU.
        self._free = [gpus[i % len(gpus)] if gpus else "" for i in range(parallel)]
        self._threads = max(1, cores // parallel)
        self._running: dict[Job, _Running] = {}

    @property
    def places(self) -> int:
        """How many jobs run at once."""
        return len(self._free) + len(self._running)

    @property
    def has_place(self) -> bool:
        """Whether another job may start."""
        return bool(self._free)

    @property
    def running(self) -> list[Job]:
        """The jobs that have not ended."""
        return [*self._running]

    def seconds(self, job: Job) -> float:
        """Returns how long a running job has been running."""
        return time.monotonic() - self._running[job].begun

    def start(self, job: Job, log: pathlib.Path) -> None:
        """Starts a job in a free place and appends its output to a file.

        Raises:
            OutputError: The file cannot be written.
        """
        with atomic.writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
        gpu = self._free.pop(0)
        process = start(job, log, self._threads, gpu)
        self._running[job] = _Running(process, time.monotonic(), gpu)

    def ended(self) -> Iterator[Ended]:
        """Yields the jobs that have ended since the last call."""
        done = [x for x, run in self._running.items() if run.process.poll() is not None]
        for job in done:
            yield self._end(job)

    def stop(self, job: Job) -> None:
        """Asks a running job to stop at its next checkpoint, without waiting."""
        with contextlib.suppress(ProcessLookupError):
            self._running[job].process.send_signal(signal.SIGINT)

    def stop_all(self) -> Iterator[Ended]:
        """Asks all jobs to stop, and yields each of them once it has."""
        for job in self._running:
            self.stop(job)
        for job in [*self._running]:
            self._running[job].process.wait()
            yield self._end(job)

    def _end(self, job: Job) -> Ended:
        seconds, run = self.seconds(job), self._running.pop(job)
        self._free.append(run.gpu)
        return Ended(job, seconds, run.process.returncode)


def start(
    job: Job,
    log: pathlib.Path,
    threads: int,
    gpu: str,
    program: Sequence[str] = (),
) -> subprocess.Popen:
    """Starts the process of a job.

    Args:
        job: What to run.
        log: The file to which its output is appended.
        threads: Threads of TensorFlow.
        gpu: Name of the GPU that it sees; '' leaves that to the environment.
        program: The command before the job's own arguments; by default `PROGRAM`.
    """
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    env |= dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
    )
    if gpu:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*(program or PROGRAM), job.script, *job.args],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # So that Ctrl-C reaches it once, through us.
            preexec_fn=_listening() if interrupt.HANGUP else None,
        )


def log_of(folder: pathlib.Path, job: Job) -> pathlib.Path:
    """Returns the file in a study's folder that gets a job's output."""
    return folder / "logs" / f"{job.name.replace('/', '.')}.log"


def last_line(log: pathlib.Path) -> str:
    """Returns the last line that a job printed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def tell(line: str) -> None:
    """Prints a line with the time of day, without breaking the bar."""
    progress.write(f"{time.strftime('%H:%M:%S')} {line}")


def visible_gpus() -> list[str]:
    """Returns the names of the GPUs to use, as in `CUDA_VISIBLE_DEVICES`.

    Without that variable, all that NVIDIA's driver lists: TensorFlow would take seconds
    to say so.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    return [str(i) for i in range(len(list(gpus.FOLDER.glob("*"))))]


def _listening() -> Callable[[], None]:
    """Returns what makes a child hear signals, and get one when this process is killed.

    A shell's background process ignores SIGINT, `nohup` SIGHUP, and a worker of Ray
    blocks SIGINT; children inherit that. Linux sends the signal for each thread of this
    process that ends; as a second SIGINT would keep a job from saving, it is SIGHUP.
    """
    is_linux = sys.platform.startswith("linux")
    prctl = ctypes.CDLL(None).prctl if is_linux else None

    def listen() -> None:
        for number in HEARD:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        if prctl:
            prctl(PR_SET_PDEATHSIG, interrupt.HANGUP)

    return listen
