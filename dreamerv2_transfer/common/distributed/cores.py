"""The cores that this process may use."""

from __future__ import annotations

import os


def count() -> int:
    """Returns how many cores this process may use.

    Linux says which of the machine's cores these are, as `taskset` may leave it a few.
    Other systems, such as macOS, say only how many the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
