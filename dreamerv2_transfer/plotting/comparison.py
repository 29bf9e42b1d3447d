"""Runs compared: what is wrong with them, what they gain, and the paper's claims."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from dreamerv2_transfer.common import config
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import (
    aggregates,
    arms,
    claims,
    gains_table,
    pairs,
    plot,
)
from dreamerv2_transfer.plotting import runs as runs_lib
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import Arm

GAINS = (
    "Against training from scratch, with 95% intervals by Student's t over seeds (none "
    "with one seed) and the share of simulated studies that they hold for:"
)
AGGREGATES = (
    "All games together: areas over scratch's mean, with 95% intervals by a stratified "
    "bootstrap over the seeds of each game:"
)
PAIRS = "Against fine-tuning with nothing frozen, paired by the pre-trained model:"
CLAIMS = "Areas under the curves against training from scratch, the paper's and ours:"


def read(
    paths: Sequence[str],
    layouts: Sequence[str] = (),
    files: tuple[str, ...] = runs_lib.FILES,
) -> tuple[list[Run], list[str]]:
    """Reads the runs to compare.

    Args:
        paths: Runs, or folders to search for runs.
        layouts: The same, with folders TASK/METHOD/SEED that state these.
        files: Patterns of the files to fetch from a URL.

    Returns:
        The runs, each of them once, and sentences about everything that is wrong with
        them.

    Raises:
        RunError: A path does not exist, or there is no run with metrics.
    """
    found, skipped = runs_lib.find(paths, layouts, files)
    damage = [note for run in found for note in run.notes]
    return found, [*skipped, *damage, *arms.doubts(found)]


class Comparison:
    """Runs compared with training from scratch, and with the paper.

    Args:
        found: The runs.
        panels: Their curves.
        threshold: A return to be reached, see `gains.compare`.

    Attributes:
        gains: The results of `gains.compare` for each arm.
        notes: Sentences about arms that cannot be compared.
        aggregates: The same over several games, where an arm has them.
        pairs: Arms against the fine-tuned one, where they share models.
        colors: The colour of each arm.
        claims: Ours and the paper's ratios, where its curves are on the panels.
    """

    def __init__(
        self,
        found: Sequence[Run],
        panels: Sequence[Panel],
        threshold: float | None = None,
    ):
        self.gains = gains_table.numbers(panels, threshold)
        self.notes = gains_table.notes(panels)
        self.aggregates = aggregates.make(self.gains)
        self.pairs = pairs.make(panels)
        self.claims = claims.make(panels)
        self.colors = {n: color for n, (color, _) in plot.arm_styles(panels).items()}
        self._found = found
        self._panels = panels

    def tables(self) -> list[str]:
        """Returns all comparisons as text; nothing where there are none."""
        tables = (
            (GAINS, gains_table, self.gains),
            (AGGREGATES, aggregates, self.aggregates),
            (PAIRS, pairs, self.pairs),
            (CLAIMS, claims, self.claims),
        )
        return [
            config.table(title, [kind.HEADINGS, *map(kind.row, found)])
            for title, kind, found in tables
            if found
        ]

    def numbers(self) -> dict[str, Any]:
        """Returns runs, curves, gains and claims as values for JSON."""
        return {
            "runs": [
                {
                    "name": run.name,
                    "folder": str(run.folder),
                    "task": arms.task_of(run),
                    "arm": arms.arm_of(run),
                    "seed": arms.seed_of(run),
                    "notes": run.notes,
                }
                for run in self._found
            ],
            "curves": [
                {"metric": panel.metric, "task": panel.task, "arm": name, **_lists(arm)}
                for panel in self._panels
                for name, arm in panel.arms.items()
            ],
            # The key is that of published results.
            "transfer": self.gains,
            "games": [aggregates.plain(found) for found in self.aggregates],
            "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
            "paper": [claims.plain(claim) for claim in self.claims],
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes `numbers` as JSON.

        Raises:
            OutputError: The file cannot be written.
        """
        with atomic.atomic_write(path) as file:
            file.write(json.dumps(self.numbers(), allow_nan=False).encode() + b"\n")


def _lists(arm: Arm) -> dict[str, Any]:
    """Returns the curve of an arm as lists; None where one run has no interval."""
    names = [run.name for run in arm.runs]
    if arm.band is None:
        lines = [[steps.tolist(), values.tolist()] for steps, values in arm.lines]
        return {"runs": names, "lines": lines}
    columns = {key: x.tolist() for key, x in dataclasses.asdict(arm.band).items()}
    lists = {k: [None if x != x else x for x in v] for k, v in columns.items()}
    return {"runs": names, **lists}
