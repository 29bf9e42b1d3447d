"""Runs commands in separate processes, and reads what a run logs."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]


def start(script: str, *args: Any) -> subprocess.Popen:
    """Starts a script of the checkout, such as `launch/train.py`."""
    return subprocess.Popen(
        [sys.executable, script, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Waits for a process to succeed, and returns its output."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def run(script: str, *args: Any) -> subprocess.CompletedProcess:
    """Runs a script of the checkout, whether it succeeds or fails."""
    return subprocess.run(
        [sys.executable, script, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


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
