"""Describes a dataset without reading its images."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from typing import NamedTuple

import numpy as np

from dreamerv2_transfer.common.replay import npz, packed, shards, store
from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.common.replay.rewards import Rewards
from dreamerv2_transfer.common.replay.store import EpisodeError
from dreamerv2_transfer.data import disk, folders

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_POLICIES = 10**6  # A larger number of a policy would take much memory to count.
UNKNOWN = "?"  # Name of the policy where nothing says which one acted.


class Outline(NamedTuple):
    """One episode in short.

    Attributes:
        steps: Environment steps.
        total: Sum of the rewards.
        rewarded: Transitions with a nonzero reward, int [rewards].
        policies: Steps by number of the policy; None if the episode does not say it.
    """

    steps: int
    total: float
    rewarded: np.ndarray
    policies: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What a task's folder holds.

    Attributes:
        name: Name of the folder.
        returns: Sums of the rewards, float [episodes].
        lengths: Environment steps, int [episodes].
        rewarded: Share of the transitions that hold a nonzero reward.
        presented: Share of those that training draws, see `Rewards.presented`; None if
            no episode is long enough to be drawn.
        policies: Steps by the name of the policy that acted; `?` where it is unknown.
        seeds: Seeds of the collections.
        versions: Versions of the packages that wrote it, by name.
        size: Bytes on disk, in whole blocks.
        damaged: A line for each file that cannot be read.
    """

    name: str
    returns: np.ndarray
    lengths: np.ndarray
    rewarded: float
    presented: float | None
    policies: dict[str, int]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    size: int
    damaged: tuple[str, ...]

    def table(self) -> str:
        """Returns a readable table of a few lines."""
        episodes, steps = len(self.lengths), int(self.lengths.sum())
        width = max(map(len, self.policies), default=0)
        total = sum(self.policies.values())
        policies = [
            f"{name:{width}} {count:>11,} steps {count / total:6.1%}"
            for name, count in self.policies.items()
        ] or ["not told"]
        versions = (f"{name} {version}" for name, version in self.versions.items())
        each = f", {self.size / steps:,.0f} bytes a step" if steps else ""
        rows = [
            ("return", _distribution(self.returns)),
            ("length", _distribution(self.lengths)),
            ("rewards", self._rewards()),
            ("policies", policies[0]),
            *(("", policy) for policy in policies[1:]),
            ("seeds", ", ".join(map(str, self.seeds)) or "not told"),
            ("versions", ", ".join(versions) or "not told"),
            ("disk", f"{_size(self.size)}{each}"),
        ]
        rows += [("damaged", str(len(self.damaged)))] if self.damaged else []
        lines = [f"  {label:9}{text}" for label, text in rows]
        title = f"{self.name}: {episodes:,} episodes, {steps:,} steps"
        return "\n".join([title, *lines])

    def _rewards(self) -> str:
        """Says how often there are rewards, and how often training sees them."""
        drawn = "no step" if self.presented is None else f"{self.presented:.2g}"
        return f"at {self.rewarded:.2g} of the steps, {drawn} of those that are drawn"


def info(directory: str | os.PathLike, law: Law | None = None) -> list[TaskInfo]:
    """Describes the task folders of a dataset.

    Reads only rewards and policies; `verify` reads everything.

    Args:
        directory: A folder of task folders, or one of these.
        law: How training draws pieces; None for `Law`'s defaults.

    Raises:
        DatasetError: There is no episode.
    """
    found = folders.task_folders(directory)
    return [task_info(name, folder, law) for name, folder in found.items()]


def task_info(name: str, folder: pathlib.Path, law: Law | None = None) -> TaskInfo:
    """Describes a task's folder; `law` is how training draws pieces."""
    manifest, fault = folders.manifest_or_fault(folder)
    outlines, damaged = outline(folder)
    policies = store.listed_policies(manifest)
    names = [x["name"] for x in policies]
    counts = steps_by_policy(outlines)
    unknown = counts.pop(-1, 0)
    named: collections.Counter[str] = collections.Counter()
    for number, steps in counts.items():
        named[names[number] if number < len(names) else UNKNOWN] += steps
    if len(policies) == 1:
        # An older manifest; the steps beyond its own came from a training.
        only = min(unknown, policies[0].get("steps", unknown))
        named[names[0]] += only
        unknown -= only
    named[UNKNOWN] += unknown
    totals = sum(x.steps + 1 for x in outlines)
    sources = [manifest.get("recipe", {}), *policies]
    return TaskInfo(
        name=name,
        returns=np.array([x.total for x in outlines]),
        lengths=np.array([x.steps for x in outlines], int),
        rewarded=sum(len(x.rewarded) for x in outlines) / max(totals, 1),
        presented=presented(outlines, law or Law()),
        policies={name: steps for name, steps in named.items() if steps},
        seeds=tuple(sorted({x["seed"] for x in sources if "seed" in x})),
        versions=manifest.get("versions", {}),
        size=disk.used(folder, "*.npz"),
        damaged=(*([fault] if fault else []), *damaged),
    )


def outline(folder: pathlib.Path) -> tuple[list[Outline], list[str]]:
    """Returns each episode of a folder in short, and a line for each damaged file."""
    paths = folders.episode_files(folder)
    outlines, damaged = [], []
    processes = packed.count_processes(paths)
    title = f"read {folder.name}"
    for good, bad in packed.each_chunk(_outline_chunk, paths, title, processes):
        outlines += good
        damaged += bad
    return outlines, damaged


def presented(outlines: list[Outline], law: Law) -> float | None:
    """Returns the share of the drawn steps that hold a nonzero reward.

    Counts all episodes, since which ones are held out depends on the training.

    Returns:
        As `Rewards.presented`; None if no episode is long enough to be drawn.
    """
    usable = [x for x in outlines if x.steps >= law.minlen]
    if not usable:
        return None
    totals = np.array([x.steps + 1 for x in usable])
    bases = np.cumsum(totals) - totals
    steps = [base + x.rewarded for base, x in zip(bases, usable, strict=True)]
    return Rewards(law, np.concatenate(steps), totals).presented()


def steps_by_policy(outlines: list[Outline]) -> dict[int, int]:
    """Returns steps by number of the policy; -1 for episodes that do not say it."""
    counts: dict[int, int] = {}
    for one in outlines:
        acted = enumerate(one.policies) if one.policies else [(-1, one.steps)]
        for number, steps in acted:
            counts[number] = counts.get(number, 0) + steps
    return {number: steps for number, steps in sorted(counts.items()) if steps}


def _outline_chunk(paths: list[str]) -> tuple[list[Outline], list[str]]:
    good, bad = [], []
    for path in paths:
        try:
            with store.reading(path):
                wanted = {"reward", folders.POLICY}.__contains__
                good += [_outline(x.episode) for x in shards.raw(path, wanted)]
        except EpisodeError as error:
            bad.append(str(error))
    return good, bad


def _outline(arrays: store.Episode) -> Outline:
    """Returns an episode in short; raises nearly any error if it is damaged."""
    reward, acted, counts = arrays["reward"], arrays.get(folders.POLICY), None
    if acted is not None:
        if acted.max(initial=0) >= MOST_POLICIES:
            raise npz.ArchiveError(f"log_policy holds {acted.max()}")
        counts = tuple(np.bincount(acted[acted >= 0]).tolist())
    total = float(reward.sum(dtype=np.float64))
    return Outline(len(reward) - 1, total, np.flatnonzero(reward), counts)


def _distribution(values: np.ndarray) -> str:
    if not len(values):
        return "no readable episode"
    quantiles = zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    spread = "  ".join(f"{q:.0%} {_number(x)}" for q, x in quantiles)
    low, high = _number(values.min()), _number(values.max())
    return f"mean {_number(values.mean())}  min {low}  {spread}  max {high}"


def _size(size: int) -> str:
    """Returns a number of bytes in the larger unit that it fills."""
    is_small = size < 2**20
    return f"{size / 2**10:,.1f} KiB" if is_small else f"{size / 2**20:,.1f} MiB"


def _number(value: float) -> str:
    whole = abs(value) >= 1000 or value == int(value)
    return f"{value:,.0f}" if whole else f"{value:.3g}"
