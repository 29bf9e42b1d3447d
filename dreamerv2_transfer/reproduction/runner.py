"""Runs the jobs of a study as processes, several at a time.

Each job is a command that resumes from its last checkpoint. So whatever ended this
process, the same call resumes the study: `reproduce.json` has what is done, and what
was under way is started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from dreamerv2_transfer.common import interrupt, progress
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, locks
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger

PROGRAM = [sys.executable, "-m", "dreamerv2_transfer"]
POLL = 0.5  # Seconds between two looks at the processes.
PR_SET_PDEATHSIG = 1  # Of Linux' prctl.h.


class StudyError(UserError):
    """Jobs failed, or another process runs them."""


class Runner:
    """Runs the jobs of a study.

    Args:
        logdir: The study's folder; gets `reproduce.json`, and a log per job in `logs/`.
        parallel: Jobs at the same time.
        cores: The machine's cores, which the jobs share.
        gpus: Names of the GPUs, which the jobs share; none on a CPU.

    Attributes:
        ledger: What is done.
    """

    def __init__(
        self,
        logdir: pathlib.Path,
        parallel: int,
        cores: int,
        gpus: Sequence[str] = (),
    ):
        self.ledger = Ledger(logdir)
        self._logdir = logdir
        # A place per job, with its GPU.
        self._free = [gpus[i % len(gpus)] if gpus else "" for i in range(parallel)]
        self._threads = max(1, cores // parallel)
        self._running: dict[subprocess.Popen, tuple[Job, float, str]] = {}
        self._failed: list[str] = []

    def run(self, jobs: Sequence[Job]) -> bool:
        """Runs what is not done yet; returns whether all of it is.

        A job that fails holds up only those that need it. Ctrl-C stops the jobs at
        their next checkpoint.

        Raises:
            StudyError: Jobs failed, or another process runs this study.
        """
        left = [job for job in jobs if not self.ledger.is_done(job)]
        used = StudyError(f"Another process runs the study in {self._logdir}.")
        with atomic.writing(self._logdir):
            (self._logdir / "logs").mkdir(parents=True, exist_ok=True)
        with locks.locked(self._logdir, used), interrupt.caught() as stopped:
            done = len(jobs) - len(left)
            with Progress(len(jobs), done, "Jobs", "job") as bar:
                while not stopped():
                    self._collect(bar)
                    self._start(left, jobs)
                    if not self._running:
                        break
                    time.sleep(POLL)
                self._stop()
        if self._failed:
            raise StudyError("\n".join(self._failed))
        return all(self.ledger.is_done(job) for job in jobs)

    def log(self, job: Job) -> pathlib.Path:
        """Returns the file that gets a job's output."""
        return self._logdir / "logs" / f"{job.name.replace('/', '.')}.log"

    def _start(self, left: list[Job], jobs: Sequence[Job]) -> None:
        """Starts the jobs that can run now, and removes them from those left."""
        waiting = {job.name for job in jobs if not self.ledger.is_done(job)}
        for job in list(left):
            if not self._free:
                break
            if not waiting.intersection(job.needs):
                left.remove(job)
                gpu = self._free.pop(0)
                process = start(job, self.log(job), self._threads, gpu)
                self._running[process] = job, time.monotonic(), gpu
                tell(f"Started  {job.name}")

    def _collect(self, bar: Progress) -> None:
        """Takes note of the processes that have ended."""
        for process in [x for x in self._running if x.poll() is not None]:
            job, begun, gpu = self._running.pop(process)
            self._free.append(gpu)
            seconds = time.monotonic() - begun
            if process.returncode:
                self.ledger.stop(job, seconds)
                lines = self.log(job).read_text(errors="replace").strip().splitlines()
                last = lines[-1] if lines else "it printed nothing"
                self._failed.append(
                    f"{job.name} failed with status {process.returncode}: {last} "
                    f"(see {self.log(job)})"
                )
                tell(f"Failed   {job.name}")
            else:
                self.ledger.finish(job, seconds)
                bar.update()
                tell(f"Finished {job.name} in {seconds / 60:.1f} minutes")

    def _stop(self) -> None:
        """Asks the jobs to stop, and waits until they have."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process, (job, begun, _) in self._running.items():
            process.wait()
            self.ledger.stop(job, time.monotonic() - begun)
            tell(f"Stopped  {job.name}; the same command resumes it")
        self._running.clear()


def start(job: Job, log: pathlib.Path, threads: int, gpu: str) -> subprocess.Popen:
    """Starts the process of a job.

    Args:
        job: What to run.
        log: The file to which its output is appended.
        threads: Threads of TensorFlow.
        gpu: Name of the GPU that it sees; '' leaves that to the environment.
    """
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    env |= dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
    )
    if gpu:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*PROGRAM, job.script, *job.args],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # So that Ctrl-C reaches it once, through us.
            preexec_fn=_stopping_with_parent(),
        )


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
    folder = pathlib.Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(folder.glob("*"))))]


def _stopping_with_parent() -> Callable[[], None] | None:
    """Returns what makes Linux stop a child when this process is killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGINT)
