"""What the processes of bench/peers.py have in common; needs Python alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def timed(step: Callable[[str], float]) -> Callable[[str], tuple[float, float]]:
    """Returns a step that also returns its seconds, before the loss."""

    def run(kind: str) -> tuple[float, float]:
        start = time.perf_counter()
        loss = step(kind)
        return time.perf_counter() - start, loss

    return run


def answer(step: Callable[[str], float]) -> None:
    """Makes a step for each line of the standard input, which names its kind.

    Each answer is a line `[seconds, loss]`. All else that is printed goes to the
    standard error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    run = timed(step)
    for line in sys.stdin:
        print(json.dumps(run(line.strip())), file=answers, flush=True)
