"""What a study leaves for others: small files, and none that a run goes on from."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.reproduction import runner

EVERY = 5  # Lines of metrics of which one is kept; evaluations all are.
DIGITS = 5  # Significant ones of a metric.
BESIDE = ("config.yaml", "evaluation.json", "ported.json")
FOLDERS = ("figures", "analysis", "report")
TEXTS = (".yaml", ".json", ".html")
NAME = "STUDY"  # Stands for the study's folder, which is this machine's.


class PublishError(UserError):
    """A study that cannot be published, or not there."""


def publish(study: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Copies runs thinned, figures, analysis and report, and what each stage took.

    In all texts, `STUDY` stands for the study's folder.

    Args:
        study: Folder of runs, with `metrics.jsonl` and more each.
        out: Gets a folder a run.

    Returns:
        The folders of the runs.

    Raises:
        OutputError: A file cannot be written.
        PublishError: There is no run, or `out` is in the study.
    """
    study, out = study.resolve(), out.resolve()
    if out.is_relative_to(study):
        raise PublishError(f"The folder lies in the study itself. Received: {out}")
    runs = sorted(path.parent for path in study.rglob("metrics.jsonl"))
    if not runs:
        raise PublishError(f"There is no run to publish. Received: {study}")
    for run in runs:
        target = out / run.relative_to(study)
        lines = "".join(thinned((run / "metrics.jsonl").read_text().splitlines()))
        _write(target / "metrics.jsonl", lines)
        for name in BESIDE:
            if (run / name).exists():
                _copy(run / name, target / name, study)
    for name in FOLDERS:
        for folder in study.rglob(name):
            for file in filter(pathlib.Path.is_file, sorted(folder.rglob("*"))):
                _copy(file, out / file.relative_to(study), study)
    _write(out / "stages.json", json.dumps(_stages(study), indent=1) + "\n")
    return [out / run.relative_to(study) for run in runs]


def _copy(file: pathlib.Path, target: pathlib.Path, study: pathlib.Path) -> None:
    if file.suffix in TEXTS:
        _write(target, file.read_text().replace(str(study), NAME))
    else:
        with atomic.atomic_write(target) as copy:
            copy.write(file.read_bytes())


def _stages(study: pathlib.Path) -> dict[str, dict]:
    """What the stages that are done took: units of work, and seconds."""
    done = runner.read(study / runner.STATE)
    wanted = ("units", "unit", "seconds")
    return {
        name: {k: _short(held[k]) for k in wanted}
        for name, held in done.items()
        if runner.has_ended(held)
    }


def _write(path: pathlib.Path, text: str) -> None:
    with atomic.atomic_write(path) as file:
        file.write(text.encode())


def thinned(lines: list[str]) -> Iterator[str]:
    """Each `EVERY`-th line of a run's updates and the last, and all evaluations.

    Args:
        lines: Of a `metrics.jsonl`; damaged ones are left out.
    """
    rows = [row for row in map(_row, lines) if row]
    updates = [row for row in rows if not _is_evaluation(row)]
    kept = {id(row) for row in (*updates[::EVERY], *updates[-1:])}
    for row in rows:
        if _is_evaluation(row) or id(row) in kept:
            yield json.dumps({k: _short(v) for k, v in row.items()}) + "\n"


def _row(line: str) -> dict:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and "step" in row else {}


def _is_evaluation(row: dict) -> bool:
    return any(name.startswith("eval_") for name in row)


def _short(value):
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
