"""How long the jobs of a study take, and how much of the disk."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Sequence

from dreamerv2_transfer.common import config
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger

# Seconds per unit for `minatar small`, on a core of a virtual AMD EPYC (Zen 5) at 3 to
# 4 GHz; used until jobs of the study itself have been timed.
SECONDS = {
    "step of an agent": 9e-4,
    "step collected": 1e-4,
    "update of a world model": 0.04,
    "update of an agent": 0.09,
    "episode evaluated": 0.1,
    "frame analysed": 2e-3,
    "report": 10.0,
}
# How many times as long other blocks take, by their operations and by measurements; for
# those that are not here, nothing is guessed.
SLOWER = {
    ("minatar",): 25,
    ("minatar", "small"): 1,
    ("minatar", "small_v1"): 1,
    ("atari",): 60,
}
# Mebibytes per unit: the episodes, or a run's checkpoints, videos and logs.
MEBIBYTES = {"step collected": 3e-4, "update of an agent": 6e-3}
NEEDS = 3  # Needed jobs that are listed.


def describe(
    jobs: Sequence[Job],
    logdir: pathlib.Path,
    ledger: Ledger,
    blocks: tuple[str, ...],
    parallel: int,
) -> str:
    """Returns a table of the jobs, and what the rest will take on this machine.

    Args:
        jobs: The jobs, done or not.
        logdir: The study's folder, which need not exist.
        ledger: What is done.
        blocks: The blocks of `configs.yaml`.
        parallel: Jobs at the same time.
    """
    known, factor = ledger.costs(), SLOWER.get(blocks)
    guessed = {unit: x * factor for unit, x in SECONDS.items()} if factor else {}
    costs = guessed | known
    rows, total, disk = [("job", "work", "minutes", "needs")], 0.0, 0.0
    lacks = False  # Whether the time of a job is unknown.
    for job in jobs:
        minutes = "done"
        if not ledger.is_done(job):
            disk += job.units * MEBIBYTES.get(job.unit, 0)
            if job.unit in costs:
                seconds = job.units * costs[job.unit]
                minutes = f"{seconds / 60:.1f}"
                total += seconds
            else:
                minutes, lacks = "unknown", True
        more = ", ..." if len(job.needs) > NEEDS else ""
        needs = ", ".join(job.needs[:NEEDS]) + more
        rows.append((job.name, f"{job.units:,.0f} x {job.unit}", minutes, needs))
    source = "as measured here" if known else "guessed from another machine"
    left = total / 60 / parallel
    time = f"{left / 60:.1f} hours" if left >= 60 else f"{left:.1f} minutes"
    told = f"About {time}, {parallel} at a time ({source})"
    if lacks and total:
        told += ", plus jobs whose time is unknown"
    elif lacks:
        told = "The time is unknown until jobs have been timed here"
    existing = next(path for path in (logdir, *logdir.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    return (
        config.table(f"{len(jobs)} jobs in {logdir}:", rows)
        + f"\n{told}; {disk / 1024:.1f} GiB of disk, {free:.1f} are free."
    )
