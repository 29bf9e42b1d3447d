"""What a dataset takes on disk, and whether it may."""

import contextlib
import math
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

from dreamerv2_transfer.common.driver import Driver
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError, Episode
from dreamerv2_transfer.data.collection import MakeVectorEnv, Stopped
from dreamerv2_transfer.data.policies import Player, Schedule

GIB = 2**30
BLOCK = 4096  # Bytes that the smallest file takes.
SAMPLE_STEPS = 500  # That are played to know what a step takes.
INTERVAL = 30.0  # Seconds from one look at the disk to the next.


def check(
    directory: pathlib.Path,
    missing: Mapping[str, int],
    settings: Mapping[str, Mapping[str, Any]],
    disk: float,
    make_vector_env: MakeVectorEnv,
) -> None:
    """Says what a dataset's missing steps will take on disk.

    Args:
        directory: the dataset; made if it is missing.
        missing: steps by task.
        settings: of the environments, by task.
        disk: GiB that the dataset may take; 0 is what the disk has.
        make_vector_env: called as `make_vector_env(task, 1, **settings)`.

    Raises:
        DatasetError: it would take more than it may, or than there is.
    """
    missing = {task: steps for task, steps in missing.items() if steps}
    if not missing:
        return
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    needed = sum(
        steps * _bytes_a_step(task, settings[task], make_vector_env)
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
            f"{directory} would take about {needed / GIB:.2g} GiB more, and may take "
            f"{max(allowed, 0) / GIB:.2g} GiB. Free some space, collect fewer steps "
            f"(collect.steps), or raise collect.disk. Received: collect.disk={disk}"
        )


def used(folder: pathlib.Path, pattern: str = "**/*") -> int:
    """Bytes that a folder's files take on disk, in whole blocks."""
    total = 0
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # Written and renamed meanwhile.
            total += _in_blocks(path.stat().st_size)
    return total


def _bytes_a_step(
    task: str, settings: Mapping[str, Any], make_vector_env: MakeVectorEnv
) -> float:
    """What a step takes, by a short random play."""
    limit = settings.get("time_limit") or SAMPLE_STEPS
    short = {**settings, "time_limit": min(limit, SAMPLE_STEPS)}
    sizes: list[int] = []
    with contextlib.closing(make_vector_env(task, 1, **short)) as env:
        player = Player(env, Schedule((1.0,), 1, (0,)), [None], [(0, 0)])
        drive = Driver(env, player.start)
        drive.on_episode(lambda episode, worker: sizes.append(_size(episode)))
        drive(player.policy, steps=SAMPLE_STEPS, episodes=1)
        return sum(sizes) / player.steps[0]


def _size(episode: Episode) -> int:
    """Bytes of an episode's file, and of its part of the packed index."""
    packed = PackedEpisodes.from_episode(store.as_loaded(episode), "")
    return _in_blocks(len(store.encode(episode))) + packed.nbytes


def _in_blocks(size: int) -> int:
    return math.ceil(size / BLOCK) * BLOCK


class Limit:
    """Asks to stop where a person does, or where a dataset takes too much disk."""

    def __init__(self, directory: pathlib.Path, disk: float, stopped: Stopped):
        """Takes the dataset, its GiB (0 is no limit), and what asks for a person."""
        self._directory, self._disk, self._stopped = directory, disk, stopped
        self._due = time.monotonic() + INTERVAL
        self._exceeded = False

    def __call__(self) -> bool:
        """Whether to stop."""
        # Looking takes time that grows with the number of files.
        if self._disk and time.monotonic() > self._due:
            self._exceeded |= used(self._directory) > self._disk * GIB
            self._due = time.monotonic() + INTERVAL
        return self._exceeded or self._stopped()

    def check(self) -> None:
        """Raises DatasetError where the dataset takes too much."""
        if self._exceeded:
            raise DatasetError(
                f"{self._directory} takes more than collect.disk={self._disk} GiB. "
                "What is there is intact; raise collect.disk and the same command "
                "goes on."
            )
