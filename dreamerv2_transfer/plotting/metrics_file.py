"""Reads `metrics.jsonl`, even if it is cut off or damaged."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Mapping

import numpy as np

from dreamerv2_transfer.common.files import documents
from dreamerv2_transfer.plotting.curves import Series

BYTES = 2**32  # Of a file.
LARGEST = 1e100
NAMED = 8  # Metrics that a note lists.


def read(path: pathlib.Path) -> tuple[dict[str, Series], list[str]]:
    """Reads the metrics of a run.

    Args:
        path: A file with one JSON object per line, each with a finite `step`.

    Returns:
        The series by name, with finite numbers only; if a step was logged twice, its
        last value. And a sentence about each kind of damage.

    Raises:
        OSError: The file cannot be read.
    """
    rows = [parse(line) for line in documents.read(path, BYTES).splitlines()]
    damaged = [number for number, row in enumerate(rows, 1) if row is None]
    notes = []
    if damaged and damaged[-1] == len(rows):
        damaged.pop()
        notes.append("the last line is cut off and was left out.")
    if damaged:
        notes.append(
            f"{len(damaged)} damaged lines were left out, the first is {damaged[0]}."
        )
    columns: dict[str, dict[float, float]] = collections.defaultdict(dict)
    gaps: collections.Counter[str] = collections.Counter()
    for row in filter(None, rows):
        for key, value in row.items():
            if is_number(value):
                columns[key][row["step"]] = value
            else:
                gaps[key] += 1
    columns.pop("step", None)
    if gaps:
        counts = [f"{key:.80} {count}" for key, count in gaps.most_common(NAMED)]
        counts += [f"of {len(gaps) - NAMED} more"] if len(gaps) > NAMED else []
        listed = ", ".join(counts)
        notes.append(f"values that are not finite numbers were left out: {listed}.")
    return {key: series(points) for key, points in columns.items()}, notes


def series(points: Mapping[float, float]) -> Series:
    """Returns the values by step as a series, in the order of the steps."""
    steps = sorted(points)
    values = [points[step] for step in steps]
    return np.array(steps, np.float64), np.array(values, np.float64)


def parse(line: bytes | str) -> dict | None:
    """Returns the values of a line; {} if it is blank, None if it is damaged."""
    if not line.strip():
        return {}
    try:
        row = documents.parse_json(line, unique=False, finite=False)
        valid = isinstance(row, dict) and is_number(row.get("step"))
    except ValueError:
        valid = False
    return row if valid else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and not so large that sums are infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -LARGEST < value < LARGEST
