"""Reads `metrics.jsonl`, even if it is cut off or damaged."""

from __future__ import annotations

import collections
import json
import math
import pathlib

import numpy as np

from dreamerv2_transfer.plotting.curves import Series


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
    rows = [parse(line) for line in path.read_bytes().splitlines()]
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
            if _is_finite(value):
                columns[key][row["step"]] = value
            else:
                gaps[key] += 1
    columns.pop("step", None)
    if gaps:
        counts = ", ".join(f"{key} {count}" for key, count in gaps.items())
        notes.append(f"values that are not finite numbers were left out: {counts}.")
    metrics = {}
    for key, points in columns.items():
        steps = sorted(points)
        values = [points[step] for step in steps]
        metrics[key] = np.array(steps, np.float64), np.array(values, np.float64)
    return metrics, notes


def parse(line: bytes | str) -> dict | None:
    """Returns the values of a line; {} if it is blank, None if it is damaged."""
    if not line.strip():
        return {}
    try:
        row = json.loads(line)
        valid = isinstance(row, dict) and _is_finite(row.get("step"))
    except (ValueError, RecursionError):
        valid = False
    return row if valid else None


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer too large for a float.
        return False
