"""Estimates and limits a dataset's disk usage."""

from __future__ import annotations

import contextlib
import math
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import shards, store
from dreamerv2_transfer.common.replay.store import DatasetError, Episode
from dreamerv2_transfer.data import blind
from dreamerv2_transfer.data.collection import SHARD_STEPS, MakeVectorEnv
from dreamerv2_transfer.data.policies import MixedPolicy, Schedule
from dreamerv2_transfer.data.workers import Stopped

GIB = 2**30
BLOCK = 4096  # Bytes that the smallest file takes on disk.
SAMPLE_STEPS = 64  # Steps that are played to estimate the size of a step.
INTERVAL = 30.0  # Seconds between two looks at the disk.


def check(
    directory: pathlib.Path,
    missing: Mapping[str, int],
    settings: Mapping[str, Mapping[str, Any]],
    disk: float,
    make_vector_env: MakeVectorEnv,
) -> None:
    """Prints what a dataset's missing steps will take on disk, about.

    Args:
        directory: The dataset; created if it is missing.
        missing: Missing steps by task.
        settings: Settings of the environments by task.
        disk: Most GiB of the dataset; 0 for no limit but the free space.
        make_vector_env: Called as `make_vector_env(task, 1, **settings)`.

    Raises:
        DatasetError: The steps would take more than the limit or the free space.
    """
    missing = {task: steps for task, steps in missing.items() if steps}
    if not missing:
        return
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    needed = sum(
        steps * bytes_per_step(task, settings[task], make_vector_env)
        for task, steps in missing.items()
    )
    free = shutil.disk_usage(directory).free
    print(
        f"Collecting {sum(missing.values()):,} steps into {directory}: about "
        f"{needed / GIB:.2g} GiB. {free / GIB:.3g} GiB are free.",
        flush=True,
    )
    allowed = min(free, disk * GIB - used(directory)) if disk else free
    if needed > allowed:
        raise DatasetError(
            f"{directory} would take about {needed / GIB:.2g} GiB more, but may take "
            f"only {max(allowed, 0) / GIB:.2g} GiB. Free some space, collect fewer "
            "steps (collect.steps), or raise collect.disk. "
            f"Received: collect.disk={disk}"
        )


def used(folder: pathlib.Path, pattern: str = "**/*") -> int:
    """Returns the bytes that a folder's files take on disk, in whole blocks."""
    total = 0
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # Renamed meanwhile, or a link to itself.
            total += _in_blocks(path.stat().st_size)
    return total


def bytes_per_step(
    task: str, settings: Mapping[str, Any], make_vector_env: MakeVectorEnv
) -> float:
    """Estimates the bytes of a step, file and packed index, by a short random play."""
    limit = settings.get("time_limit") or SAMPLE_STEPS
    short = {**settings, "time_limit": min(limit, SAMPLE_STEPS)}
    episodes: list[Episode] = []
    with contextlib.closing(make_vector_env(task, 1, **short)) as env:
        policy = MixedPolicy(env, Schedule((1.0,), 1, (0,)), [None], [(0, 0)])
        drive = blind.make_driver(env, policy)
        drive.on_episode(lambda episode, worker: episodes.append(episode))
        drive(policy, steps=SAMPLE_STEPS, episodes=1)
    steps = sum(map(store.eplen, episodes))
    joined = shards.join(episodes)
    packed, written = shards.pack(joined, ""), len(store.encode(joined))
    # Half of a file's last block is empty.
    files = 1 / max(SHARD_STEPS, steps / len(episodes))
    return (written + packed.nbytes) / steps + files * BLOCK / 2


def _in_blocks(size: int) -> int:
    return math.ceil(size / BLOCK) * BLOCK


class Limit:
    """Tells to stop when a person asks to, or when a dataset takes too much disk.

    Args:
        directory: The dataset.
        disk: Most GiB of the dataset; 0 for no limit.
        stopped: Tells whether a person asked to stop.
    """

    def __init__(self, directory: pathlib.Path, disk: float, stopped: Stopped):
        self._directory, self._disk, self._stopped = directory, disk, stopped
        self._due = time.monotonic() + INTERVAL
        self._exceeded = False

    def __call__(self) -> bool:
        """Returns whether to stop."""
        # Measuring takes time that grows with the number of files.
        if self._disk and time.monotonic() > self._due:
            self._exceeded |= used(self._directory) > self._disk * GIB
            self._due = time.monotonic() + INTERVAL
        return self._exceeded or self._stopped()

    def check(self) -> None:
        """Raises DatasetError if the dataset takes too much disk."""
        if self._exceeded:
            raise DatasetError(
                f"{self._directory} takes more than collect.disk={self._disk} GiB. "
                "Its episodes are intact; raise collect.disk and run the same command "
                "to resume."
            )
