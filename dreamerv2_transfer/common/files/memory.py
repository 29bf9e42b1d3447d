"""Finds the memory that this process may still take."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

MEMINFO = pathlib.Path("/proc/meminfo")
LIMITS = (  # A container's memory, in versions 2 and 1 of Linux's control groups.
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def free_and_total(
    meminfo: pathlib.Path = MEMINFO, limits: Sequence[pathlib.Path] = LIMITS
) -> tuple[int, int] | None:
    """Returns the free and the total bytes, within a container's limit.

    Returns:
        None where the system does not tell, as on macOS.
    """
    if not meminfo.exists():
        return None
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.M))
    free, total = (1024 * int(kilobytes[x]) for x in ("MemAvailable", "MemTotal"))
    texts = [path.read_text().strip() for path in limits if path.exists()]
    limit = min([total, *(int(x) for x in texts if x.isdigit())])  # Or `max`.
    return min(free, limit), limit
