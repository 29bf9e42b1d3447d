"""Runs commands in separate processes, and reads what a run logs."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

from tests.forks import ROOT, Fork


def start(script: str, *args: Any, fresh: bool = False) -> subprocess.Popen | Fork:
    """Starts a script of the checkout, such as `launch/train.py`.

    Args:
        script: The path in the checkout.
        *args: The arguments.
        fresh: Whether in a new interpreter, instead of a fork; takes seconds longer.
    """
    command = [script, *map(str, args)]
    if not fresh:
        return Fork(command, is_merged=True)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen | Fork) -> str:
    """Waits for a process to succeed, and returns its output."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def run(
    script: str, *args: Any, folder: pathlib.Path = ROOT
) -> subprocess.CompletedProcess:
    """Runs a script in a folder, or `-m` and a module, whether it succeeds or fails."""
    command = [script, *map(str, args)]
    process = Fork(command, folder)
    try:
        output, error = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, error)


def rows(logdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns what was logged, except for the speed, which differs in every run."""
    lines = (logdir / "metrics.jsonl").read_text().splitlines()
    loaded = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k != "fps"} for row in loaded]


def series(logdir: pathlib.Path, name: str) -> list[Any]:
    """Returns the values that were logged under a name."""
    return [row[name] for row in rows(logdir) if name in row]


def wait_for_step(logdir: pathlib.Path, step: int) -> None:
    """Waits until a process has logged a step, or a later one."""
    path = logdir / "metrics.jsonl"
    for _ in range(3000):
        # As text, since the last line may be incomplete.
        text = path.read_text() if path.exists() else ""
        if any(int(x) >= step for x in re.findall(r'"step": (\d+),', text)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"No step {step} in {logdir}")
