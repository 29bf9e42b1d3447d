"""The memory that this process may still take, and whether it keeps what it freed."""

from __future__ import annotations

import contextlib
import ctypes
import pathlib
import re
from collections.abc import Sequence

MEMINFO = pathlib.Path("/proc/meminfo")
LIMITS = (  # A container's memory, in versions 2 and 1 of Linux's control groups.
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # Of glibc's malloc.h.


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


def keep_freed() -> None:
    """Makes the C library keep freed memory for later allocations; glibc only.

    By default it returns large tensors to the system, which must then clear each page
    again for the next tensor: a seventh of an update's time on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_MMAP_MAX, 0)
