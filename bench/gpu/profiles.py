"""Sums up what JAX's profiler saw."""

from __future__ import annotations

import collections
import pathlib
import re

from jax.profiler import ProfileData

TOP = 30  # Kinds of kernels.
# Lines of a GPU's plane with what ran, and of a CPU's.
STREAMS = re.compile(r"Stream")
WORKERS = re.compile(r"XLA|Eigen|pjrt|Client", re.IGNORECASE)


def summary(folder: str, steps: int) -> dict:
    """Returns where the time went in a trace of some steps.

    Returns:
        `kernels` a step; the milliseconds from the first to the last, and those in
        which one ran; and milliseconds and calls a step by kind of kernel.
    """
    path = next(pathlib.Path(folder).rglob("*.xplane.pb"))
    planes = list(ProfileData.from_file(str(path)).planes)
    gpus = [x for x in planes if x.name.startswith("/device:GPU")]
    wanted = STREAMS if gpus else WORKERS
    events = [
        event
        for plane in gpus or planes
        for line in plane.lines
        if wanted.search(line.name)
        for event in line.events
        if event.duration_ns > 0
    ]
    if not events:
        raise ValueError(f"The trace has no kernels: {[x.name for x in planes]}")
    time, calls = collections.Counter(), collections.Counter()
    for event in events:
        kind = re.sub(r"[._]?\d+$", "", event.name)
        time[kind] += event.duration_ns / 1e6 / steps
        calls[kind] += 1 / steps
    spans = sorted((x.start_ns, x.start_ns + x.duration_ns) for x in events)
    first, last = min(spans)[0], max(end for _, end in spans)
    return {
        "kernels": len(events) / steps,
        "milliseconds": (last - first) / 1e6 / steps,
        "busy_milliseconds": covered(spans) / 1e6 / steps,
        "top": [
            {"kind": kind, "milliseconds": time[kind], "calls": calls[kind]}
            for kind, _ in time.most_common(TOP)
        ],
    }


def covered(spans: list[tuple[float, float]]) -> float:
    """Returns how long at least one of the sorted spans lasted."""
    total, until = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
