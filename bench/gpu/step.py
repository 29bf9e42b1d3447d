"""Compiles an exported step and times it, in its turn (see turns.py).

    python bench/gpu/step.py PATH PLATFORM STEPS [--profile]

PLATFORM is cpu or gpu, PATH that of the exported files without an ending. With 0 STEPS
only the numbers of the first two are told.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import jax
import numpy as np
import profiles
import turns
from program import Program

WARM_UP = 3  # Untimed steps, after the two that give the numbers to compare.
PROFILED = 3  # Steps.


def main(path: str, platform: str, steps: str, *options: str) -> None:
    device = jax.devices(platform)[0]
    made = []

    def prepare() -> dict:
        start = time.perf_counter()
        made.append(Program(path, device))
        seconds = time.perf_counter() - start
        return {"compile_seconds": seconds, "device": device.device_kind}

    def measure() -> dict:
        return measured(made[0], device, int(steps), "--profile" in options)

    turns.take(prepare, measure)


def measured(
    program: Program, device: jax.Device, steps: int, is_profiled: bool
) -> dict:
    """Returns seconds of steps, their numbers, memory, and where the time goes."""
    program.fill()
    # A step overwrites what the one before it returned.
    numbers = [program.metrics(program.step()) for _ in range(2)]
    if not steps:
        return {"numbers": numbers}
    for _ in range(WARM_UP):
        jax.block_until_ready(program.step())
    waited = [seconds(program, 1) for _ in range(steps)]
    together = seconds(program, steps)
    last = program.metrics(program.step())
    stats = device.memory_stats() or {}
    result = {
        "seconds": statistics.median(waited),
        "fastest_seconds": min(waited),
        # Without waiting for each, as training does.
        "steps_a_second": steps / together,
        "numbers": numbers,
        # In float16 the first gradients may overflow, until the loss scale fits.
        "is_finite": bool(
            np.isfinite([v for k, v in last.items() if k.endswith("_loss")]).all()
        ),
        "memory": program.memory(),
        "peak_memory": stats.get("peak_bytes_in_use"),
    }
    if is_profiled:
        result["profile"] = profiled(program)
    return result


def profiled(program: Program) -> dict:
    """Returns where the time of some steps goes, or why that is not known."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                seconds(program, PROFILED)
            return profiles.summary(folder, PROFILED)
    except Exception as error:  # A profiler needs rights that a container may lack.
        return {"error": f"{type(error).__name__}: {error}"}


def seconds(program: Program, steps: int) -> float:
    """Returns the time of steps, waiting for the last."""
    start = time.perf_counter()
    for _ in range(steps):
        outputs = program.step()
    jax.block_until_ready(outputs)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
