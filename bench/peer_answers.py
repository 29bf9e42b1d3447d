"""What the processes of bench/peers.py have in common; needs Python alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO


def timed(step: Callable[[str], float]) -> Callable[[str], tuple[float, float]]:
    """Returns a step that also returns its seconds, before the loss."""

    def run(kind: str) -> tuple[float, float]:
        start = time.perf_counter()
        loss = step(kind)
        return time.perf_counter() - start, loss

    return run


def reserve_output() -> TextIO:
    """Returns the standard output; all else that is printed goes to the error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    return answers


def answer(step: Callable[[str], float], answers: TextIO) -> None:
    """Makes a step for each line of the standard input, which names its kind.

    Each answer is a line `[seconds, loss]`.
    """
    run = timed(step)
    for line in sys.stdin:
        print(json.dumps(run(line.strip())), file=answers, flush=True)
