"""Copies what a study leaves for others: small files, but nothing to resume from."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.plotting import metrics_file
from dreamerv2_transfer.reproduction.ledger import Ledger

MOST = 200  # About as many lines of updates are kept of a run; evaluations all are.
DIGITS = 5  # Significant digits of a metric.
BESIDE = ("config.yaml", "evaluation.json", "ported.json")
FOLDERS = ("figures", "analysis", "report")
TEXTS = (".yaml", ".json", ".html")
NAME = "STUDY"  # Replaces the path of the study's folder, which is this machine's.
TIMES = "stages.json"  # What published results call it.


class PublishError(UserError):
    """A study that cannot be published, or not to that folder."""


def publish(study: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Copies thinned runs, figures, analysis and report, and what each job took.

    In all texts, `STUDY` replaces the path of the study's folder.

    Args:
        study: Folder of runs, each with `metrics.jsonl`.
        out: Gets a folder per run, and `stages.json`.

    Returns:
        The folders of the runs.

    Raises:
        OutputError: A file cannot be written.
        PathError: A file is a link to somewhere outside of the study.
        PublishError: There is no run, or `out` is in the study.
    """
    study, out = study.resolve(), out.resolve()
    if out.is_relative_to(study):
        raise PublishError(f"The folder lies in the study itself. Received: {out}")
    runs = sorted(path.parent for path in study.rglob("metrics.jsonl"))
    if not runs:
        raise PublishError(f"There is no run to publish. Received: {study}")
    for run in runs:
        paths.check_within(run / "metrics.jsonl", study)
    files = [run / name for run in runs for name in BESIDE]
    for name in FOLDERS:
        files += [file for folder in study.rglob(name) for file in folder.rglob("*")]
    for file in filter(pathlib.Path.is_file, files):
        paths.check_within(file, study)
        content = file.read_bytes()
        if file.suffix in TEXTS:
            content = file.read_text("utf-8").replace(str(study), NAME).encode()
        _write(out / file.relative_to(study), content)
    for run in runs:
        lines = thinned((run / "metrics.jsonl").read_text("utf-8").splitlines())
        _write(out / run.relative_to(study) / "metrics.jsonl", "".join(lines).encode())
    took = {name: _rounded(entry) for name, entry in Ledger(study).finished().items()}
    _write(out / TIMES, f"{json.dumps(took, indent=1)}\n".encode())
    return [out / run.relative_to(study) for run in runs]


def thinned(lines: Iterable[str]) -> Iterator[str]:
    """Yields a run's lines of updates, or each n-th of more than `MOST`, and the last.

    All evaluations are kept.

    Args:
        lines: The lines of a `metrics.jsonl`; damaged ones are left out.
    """
    rows = list(filter(None, map(metrics_file.parse, lines)))
    updates = [row for row in rows if not _is_evaluation(row)]
    every = -(-len(updates) // MOST) or 1
    kept = {id(row) for row in (*updates[::every], *updates[-1:])}
    for row in rows:
        if _is_evaluation(row) or id(row) in kept:
            yield f"{json.dumps(_rounded(row))}\n"


def _is_evaluation(row: dict[str, Any]) -> bool:
    return any(name.startswith("eval_") for name in row)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row with its floats cut to `DIGITS`."""
    return {
        key: float(f"{x:.{DIGITS}g}") if isinstance(x, float) else x
        for key, x in row.items()
    }


def _write(path: pathlib.Path, content: bytes) -> None:
    with atomic.atomic_write(path) as file:
        file.write(content)
