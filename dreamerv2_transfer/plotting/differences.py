"""In which settings runs differ."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from dreamerv2_transfer.plotting import arms, labels
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.tables import Row, Strong, Table

# Keys in which runs may differ and still be alike: place, seed, and other stages.
BESIDE = ("logdir", "seed", "stages")
ORIGIN = "init.path"
COLUMNS = 6  # Kinds side by side; more of them get tables of their own.


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Runs grouped by configuration, whatever their seeds.

    Attributes:
        runs: The runs, by kind.
        differences: Each key in which the kinds differ, with the value of each kind.
    """

    runs: list[list[Run]]
    differences: list[tuple[str, list[str]]]


def kinds(found: Sequence[Run]) -> Kinds:
    """Groups runs by their configuration and lists the keys in which groups differ.

    Runs whose weights come from models of their own seeds are of one kind. Runs without
    a configuration are in no group.
    """
    groups: dict[tuple, list[Run]] = {}
    places: dict[tuple, str] = {}
    configured = [run for run in found if run.config]
    for run, place in zip(configured, arms.origins(configured), strict=True):
        alike = tuple((_settings(run) | {ORIGIN: place}).items())
        groups.setdefault(alike, []).append(run)
        places[alike] = place
    settings = [_settings(runs[0]) for runs in groups.values()]
    for flat, (alike, runs) in zip(settings, groups.items(), strict=True):
        if len({_settings(run).get(ORIGIN) for run in runs}) > 1:
            flat[ORIGIN] = places[alike]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    rows = [(key, [flat.get(key, "") for flat in settings]) for key in keys]
    return Kinds(
        runs=[*groups.values()],
        differences=[(key, values) for key, values in rows if len({*values}) > 1],
    )


def table(of: Kinds) -> list[Table]:
    """Returns the differences as tables that are a few kinds wide.

    What most kinds do not have stands out.
    """
    names = [title(runs) for runs in of.runs]
    marked = {}
    for key, values in of.differences:
        ((usual, _),) = collections.Counter(values).most_common(1)
        marked[key] = [x if x == usual else Strong(x) for x in values]
    found = []
    for start in range(0, len(names), COLUMNS):
        part = slice(start, start + COLUMNS)
        rows = [Row((key, *cells[part])) for key, cells in marked.items()]
        found.append(Table(("key", *names[part]), tuple(rows), texts=1 + COLUMNS))
    return found


def title(runs: Sequence[Run]) -> str:
    """Returns what to call runs of one kind."""
    game = labels.task_label(arms.task_of(runs[0])) or "unknown game"
    arm = labels.arm_label(arms.arm_of(runs[0]))
    seeds = [arms.seed_of(run) for run in runs]
    return f"{game}, {arm}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"


def _settings(run: Run) -> dict[str, str]:
    flat = run.config.flat
    keys = [key for key in flat if key.split(".")[0] not in BESIDE]
    return {
        key: ", ".join(map(str, flat[key]))
        if isinstance(flat[key], tuple | list)
        else str(flat[key])
        for key in keys
    }
