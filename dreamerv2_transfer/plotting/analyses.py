"""What `launch/analyze.py` left in a run's folder: findings, numbers and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import documents, paths
from dreamerv2_transfer.common.files.documents import Schema, SchemaError
from dreamerv2_transfer.common.files.paths import PathError
from dreamerv2_transfer.plotting import analysis_tables, labels, pictures
from dreamerv2_transfer.plotting.pictures import Picture
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.tables import Table

TEXT = {"type": "string"}
FIGURE = {
    "type": "object",
    "required": ["file", "title", "caption"],
    "properties": {"file": TEXT, "title": TEXT, "caption": TEXT},
}
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["findings", "figures"],
        "properties": {
            "findings": {"type": "array", "items": TEXT},
            "figures": {"type": "array", "items": FIGURE},
        },
    }
)


@dataclasses.dataclass(frozen=True)
class Part:
    """What was found in a game, or in all games together.

    Attributes:
        title: The game's name.
        text: What was measured; may be ''.
        tables: Its numbers.
        pictures: Its figures and dreams.
    """

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What was found in a run's world model.

    Attributes:
        run: Name of the run.
        findings: Sentences.
        overview: A row per game; None if the numbers are missing or cannot be read.
        parts: The games, and all games together.
    """

    run: str
    findings: tuple[str, ...]
    overview: Table | None
    parts: tuple[Part, ...]


def read(run: Run) -> tuple[list[Analysis], list[str]]:
    """Reads a run's `analysis/`; also returns notes on what cannot be read."""
    file = run.folder / "analysis" / "analysis.json"
    if not file.exists():
        return [], []
    try:
        paths.check_within(file, run.folder)
        content = documents.parse_json(
            documents.read(file, documents.JSON_BYTES), unique=False, finite=False
        )
        SCHEMA.check(content)
    except PathError as error:
        return [], [f"{run.name} has an analysis that cannot be read: {error}"]
    except (ValueError, OSError) as error:
        reason = f"{file.name}, {error}"
        return [], [f"{run.name} has an analysis that cannot be read: {reason}."]
    shown, notes = [], []
    figures = [(x["file"], x["title"], x["caption"]) for x in content["figures"]]
    for name, title, caption in dict.fromkeys(figures):
        path = file.parent / name
        # Only files in this folder: a stranger's run must not show any others.
        if path.name != name or not path.is_file():
            notes.append(f"{run.name} lacks a figure of its analysis: {name}.")
            continue
        try:
            picture = pictures.read(path, run.folder, title, caption)
            shown.append((name, picture))
        except UserError as error:
            notes.append(f"{run.name} has a figure that is not shown: {error}")
    overview = None
    parts: tuple[Part, ...] = ()
    unread = f"{run.name} has an analysis whose numbers cannot be read"
    try:
        overview, parts = _numbers(content, shown)
    except SchemaError as error:
        notes.append(f"{unread}: {error}.")
    except analysis_tables.DAMAGE:
        notes.append(f"{unread}, as they do not fit each other.")
    if not overview:
        parts = (Part("", pictures=tuple(picture for _, picture in shown)),)
    return [Analysis(run.name, tuple(content["findings"]), overview, parts)], notes


def _numbers(
    content: dict[str, Any], shown: Sequence[tuple[str, Picture]]
) -> tuple[Table | None, tuple[Part, ...]]:
    """Returns the overview, and a part per game and for all games together.

    Args:
        content: Content of `analysis.json`.
        shown: The pictures, with the names of their files.
    """
    games = content.get("tasks") or {}
    if not games:
        return None, ()
    analysis_tables.SCHEMA.check(content)
    parts, rest = [], dict(shown)
    for task, numbers in games.items():
        own = []
        for name in [name for name in rest if name.startswith(f"{task}_")]:
            picture = rest.pop(name)
            # The game's name stands above its pictures; 0.1.0 wrote it as the task.
            title = picture.title.removeprefix(f"{labels.task_label(task)}: ")
            title = title.removeprefix(f"{task}: ")
            title = title[:1].upper() + title[1:]
            own.append(dataclasses.replace(picture, title=title))
        parts.append(
            Part(
                title=labels.task_label(task),
                text=analysis_tables.measured(numbers),
                tables=tuple(analysis_tables.of_game(numbers)),
                pictures=tuple(own),
            )
        )
    across = analysis_tables.across_games(content.get("transfer"))
    if across or rest:
        found = (across,) if across else ()
        parts.append(Part("All games together", "", found, tuple(rest.values())))
    return analysis_tables.overview(games), tuple(parts)
