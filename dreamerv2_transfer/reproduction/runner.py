"""Runs stages as processes, several at a time, and remembers which are done.

Each stage is a command that goes on from its last checkpoint, so whatever ended this
process, the same call goes on: what is done is in `reproduce.json`, what was under way
is started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
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
from dreamerv2_transfer.reproduction.stages import Stage

STATE = "reproduce.json"
LAUNCH = pathlib.Path(__file__).resolve().parents[2] / "launch"
POLL = 0.5  # Seconds between two looks at the processes.
PR_SET_PDEATHSIG = 1  # Of Linux' prctl.h.


class StudyError(UserError):
    """Stages failed, or another process runs them."""


class Runner:
    """Runs the stages of a study.

    Args:
        logdir: Holds `reproduce.json` and a log a stage, in `logs/`.
        parallel: Stages at the same time.
        cores: Of the machine, shared out among them.
        gpus: Names of the GPUs, of which each stage gets one; none on a CPU.
    """

    def __init__(
        self,
        logdir: pathlib.Path,
        parallel: int,
        cores: int,
        gpus: Sequence[str] = (),
    ):
        self.logdir = logdir
        # A place for a stage, and its GPU.
        self._free = [gpus[i % len(gpus)] if gpus else "" for i in range(parallel)]
        self._threads = max(1, cores // parallel)
        self._done = read(logdir / STATE)
        self._running: dict[subprocess.Popen, tuple[Stage, float, str]] = {}
        self._failed: list[str] = []

    def is_done(self, stage: Stage) -> bool:
        """Whether this very command has been run to its end, after the same others.

        A figure of three seeds is another than that of two, by the same command.
        """
        done = self._done.get(stage.name, {})
        same = done.get("needs", list(stage.needs)) == list(stage.needs)
        return same and done.get("command") == _command(stage)

    def costs(self) -> dict[str, float]:
        """Seconds a unit of work, of the stages that are done, by unit."""
        totals: dict[str, list[float]] = {}
        for done in filter(has_ended, self._done.values()):
            seconds, units = totals.setdefault(done["unit"], [0.0, 0.0])
            totals[done["unit"]] = [seconds + done["seconds"], units + done["units"]]
        return {unit: s / units for unit, (s, units) in totals.items() if units}

    def run(self, stages: Sequence[Stage]) -> bool:
        """Runs what is not done yet; returns whether all of it is.

        A stage that fails holds up those that need it, and no others. Ctrl-C stops the
        stages at their next checkpoint.

        Raises:
            StudyError: Stages failed, or another process runs this study.
        """
        left = [stage for stage in stages if not self.is_done(stage)]
        used = StudyError(f"Another process runs the study in {self.logdir}.")
        with atomic.writing(self.logdir):
            (self.logdir / "logs").mkdir(parents=True, exist_ok=True)
        with locks.locked(self.logdir, used), interrupt.caught() as stopped:
            done = len(stages) - len(left)
            with Progress(len(stages), done, "Stages", "stage") as bar:
                while not stopped() and self._step(left, stages, bar):
                    time.sleep(POLL)
                self._stop()
        if self._failed:
            raise StudyError("\n".join(self._failed))
        return all(self.is_done(stage) for stage in stages)

    def _step(self, left: list[Stage], stages: Sequence[Stage], bar: Progress) -> bool:
        """Starts and collects processes; returns whether any are running."""
        self._collect(bar)
        self._start(left, stages)
        return bool(self._running)

    def _start(self, left: list[Stage], stages: Sequence[Stage]) -> None:
        """Starts what can be started, and takes it off what is left."""
        names = {stage.name for stage in stages if not self.is_done(stage)}
        for stage in list(left):
            if not self._free:
                break
            if not names.intersection(stage.needs):
                left.remove(stage)
                gpu = self._free.pop(0)
                process = self._launch(stage, gpu)
                self._running[process] = stage, time.monotonic(), gpu
                tell(f"Started  {stage.name}")

    def _launch(self, stage: Stage, gpu: str) -> subprocess.Popen:
        threads = str(self._threads)
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        env |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
        if gpu:
            env["CUDA_VISIBLE_DEVICES"] = gpu
        with open(self.log(stage), "ab") as log:
            return subprocess.Popen(
                [sys.executable, LAUNCH / f"{stage.script}.py", *stage.args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C reaches it through us, once.
                preexec_fn=_stop_with_parent(),
            )

    def _collect(self, bar: Progress) -> None:
        """Notes down which processes have ended."""
        for process in [p for p in self._running if p.poll() is not None]:
            stage, start, gpu = self._running.pop(process)
            self._free.append(gpu)
            seconds = time.monotonic() - start
            if process.returncode:
                self._note_spent(stage, seconds)
                self._failed.append(self._failure(stage, process.returncode))
                tell(f"Failed   {stage.name}")
                continue
            self._remember(stage, seconds)
            bar.update()
            tell(f"Finished {stage.name} in {seconds / 60:.1f} minutes")

    def _remember(self, stage: Stage, seconds: float) -> None:
        self._done[stage.name] = {
            "command": _command(stage),
            "needs": list(stage.needs),
            "seconds": self._spent(stage) + seconds,
            "units": stage.units,
            "unit": stage.unit,
        }
        self._write()

    def _note_spent(self, stage: Stage, seconds: float) -> None:
        """Of a stage that was stopped; what a kill ends is not counted."""
        spent = self._spent(stage) + seconds
        self._done[stage.name] = {"under_way": _command(stage), "seconds": spent}
        self._write()

    def _spent(self, stage: Stage) -> float:
        """What the earlier parts of a stage took."""
        held = self._done.get(stage.name, {})
        return held["seconds"] if held.get("under_way") == _command(stage) else 0.0

    def _write(self) -> None:
        with atomic.atomic_write(self.logdir / STATE) as file:
            file.write(json.dumps(self._done, indent=1).encode())

    def _stop(self) -> None:
        """Asks the stages to stop, and waits until they have."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        for process, (stage, start, _) in self._running.items():
            process.wait()
            self._note_spent(stage, time.monotonic() - start)
            tell(f"Stopped  {stage.name}; the same command goes on")
        self._running.clear()

    def _failure(self, stage: Stage, status: int) -> str:
        path = self.log(stage)
        lines = path.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it printed nothing"
        return f"{stage.name} failed with status {status}: {last} (see {path})"

    def log(self, stage: Stage) -> pathlib.Path:
        """Where a stage's output goes."""
        return self.logdir / "logs" / f"{stage.name.replace('/', '.')}.log"


def has_ended(held: dict) -> bool:
    """Whether what is remembered of a stage is its end; else it was stopped."""
    return "units" in held


def tell(line: str) -> None:
    """Prints a line with the time of day, without breaking the bar."""
    progress.write(f"{time.strftime('%H:%M:%S')} {line}")


def _command(stage: Stage) -> list[str]:
    """What tells whether a stage is still the same, wherever the code lies."""
    return [stage.script, *stage.args]


def read(path: pathlib.Path) -> dict[str, dict]:
    """What is done; nothing if the file is missing or damaged: it costs a look."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _stop_with_parent() -> Callable[[], None] | None:
    """Has Linux tell a child to stop when this process is killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGINT)
