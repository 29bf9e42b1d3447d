"""Says what is in a dataset, without reading its images."""

import collections
import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from dreamerv2_transfer.common.replay import packed, store
from dreamerv2_transfer.data import disk, folders

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
UNKNOWN = "?"  # Who acted.


class Outline(NamedTuple):
    """What one episode amounts to; `policies` are steps by index of the policy."""

    steps: int
    total: float
    policies: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What a task's folder holds.

    Attributes:
        name: of the folder.
        returns: sums of the rewards, float [episodes].
        lengths: environment steps, int [episodes].
        policies: steps by the name of who acted; `?` where nothing says it.
        seeds: of the collections.
        versions: of the packages that wrote it, by name.
        size: bytes on disk, in whole blocks.
        damaged: a line for each file that cannot be read.
    """

    name: str
    returns: np.ndarray
    lengths: np.ndarray
    policies: dict[str, int]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    size: int
    damaged: tuple[str, ...]

    def table(self) -> str:
        """All of it for a person, in a few lines."""
        episodes, steps = len(self.lengths), int(self.lengths.sum())
        versions = (f"{name} {version}" for name, version in self.versions.items())
        each = f", {self.size / steps:,.0f} bytes a step" if steps else ""
        rows = [
            ("return", _distribution(self.returns)),
            ("length", _distribution(self.lengths)),
            *self._policy_rows(),
            ("seeds", ", ".join(map(str, self.seeds)) or "not told"),
            ("versions", ", ".join(versions) or "not told"),
            ("disk", f"{self.size / 2**20:,.1f} MiB{each}"),
        ]
        rows += [("damaged", str(len(self.damaged)))] if self.damaged else []
        lines = [f"  {label:9}{text}" for label, text in rows]
        title = f"{self.name}: {episodes:,} episodes, {steps:,} steps"
        return "\n".join([title, *lines])

    def _policy_rows(self) -> list[tuple[str, str]]:
        width = max(map(len, self.policies), default=0)
        total = max(sum(self.policies.values()), 1)
        told = [
            f"{name:{width}} {steps:>11,} steps {steps / total:6.1%}"
            for name, steps in self.policies.items()
        ]
        labels = ["policies"] + [""] * len(told)
        return list(zip(labels, told or ["not told"], strict=False))


def info(directory: str | os.PathLike) -> list[TaskInfo]:
    """Takes stock of a dataset's task folders.

    Only rewards and policies are read; `verify` is what reads everything.

    Args:
        directory: a folder of task folders, or one of these.

    Raises:
        DatasetError: there is no episode.
    """
    found = folders.task_folders(directory)
    return [task_info(name, folder) for name, folder in found.items()]


def task_info(name: str, folder: pathlib.Path) -> TaskInfo:
    """Takes stock of a task's folder."""
    manifest, fault = folders.manifest_or_fault(folder)
    outlines, damaged = outline(folder)
    return TaskInfo(
        name=name,
        returns=np.array([x.total for x in outlines]),
        lengths=np.array([x.steps for x in outlines], int),
        policies=_steps_by_name(outlines, store.listed_policies(manifest)),
        seeds=_seeds(manifest),
        versions=manifest.get("versions", {}),
        size=disk.used(folder, "*.npz"),
        damaged=(*([fault] if fault else []), *damaged),
    )


def outline(folder: pathlib.Path) -> tuple[list[Outline], list[str]]:
    """What each episode of a folder amounts to, and a line for each damaged file."""
    paths = folders.episode_files(folder)
    outlines, damaged = [], []
    processes = packed.count_processes(paths)
    title = f"read {folder.name}"
    for good, bad in packed.each_chunk(_outline_chunk, paths, title, processes):
        outlines += good
        damaged += bad
    return outlines, damaged


def steps_by_policy(outlines: list[Outline]) -> dict[int, int]:
    """Steps by index of the policy; -1 stands for episodes that do not say it."""
    counts: dict[int, int] = {}
    for one in outlines:
        told = enumerate(one.policies) if one.policies else [(-1, one.steps)]
        for index, steps in told:
            counts[index] = counts.get(index, 0) + steps
    return {index: steps for index, steps in sorted(counts.items()) if steps}


def _outline_chunk(paths: list[str]) -> tuple[list[Outline], list[str]]:
    good, bad = [], []
    for path in paths:
        try:
            good.append(_outline_file(path))
        except Exception as error:  # Damaged bytes raise nearly anything.
            bad.append(f"{path} cannot be read: {error!r}")
    return good, bad


def _outline_file(path: str) -> Outline:
    with np.load(path, allow_pickle=False) as file:
        total = float(file["reward"].sum(dtype=np.float64))
        steps = len(file["reward"]) - 1
        acted = file[folders.POLICY] if folders.POLICY in file.files else None
    if acted is None:
        return Outline(steps, total, None)
    return Outline(steps, total, tuple(np.bincount(acted[acted >= 0]).tolist()))


def _steps_by_name(
    outlines: list[Outline], policies: list[dict[str, Any]]
) -> dict[str, int]:
    names = [x["name"] for x in policies]
    counts = steps_by_policy(outlines)
    untold = counts.pop(-1, 0)
    named: collections.Counter[str] = collections.Counter()
    for index, steps in counts.items():
        named[names[index] if index < len(names) else UNKNOWN] += steps
    if len(policies) == 1:
        # An older manifest; what goes beyond its steps came from a training.
        only = min(untold, policies[0].get("steps", untold))
        named[names[0]] += only
        untold -= only
    named[UNKNOWN] += untold
    return {name: steps for name, steps in named.items() if steps}


def _seeds(manifest: dict[str, Any]) -> tuple[int, ...]:
    told = [manifest.get("recipe", {}), *store.listed_policies(manifest)]
    return tuple(sorted({x["seed"] for x in told if "seed" in x}))


def _distribution(values: np.ndarray) -> str:
    if not len(values):
        return "no readable episode"
    quantiles = zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    spread = "  ".join(f"{q:.0%} {_number(x)}" for q, x in quantiles)
    low, high = _number(values.min()), _number(values.max())
    return f"mean {_number(values.mean())}  min {low}  {spread}  max {high}"


def _number(value: float) -> str:
    return (
        f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    )
