"""Which jobs of a study are done, and how long they took."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from dreamerv2_transfer.common.files import atomic, documents
from dreamerv2_transfer.common.files.documents import Schema
from dreamerv2_transfer.reproduction.jobs import Job

FILE = "reproduce.json"
COMMAND = {"type": "array", "items": {"type": "string"}}
AMOUNT = {"type": "number", "minimum": 0, "maximum": 1e18}
ENTRY = {
    "type": "object",
    "required": ["seconds"],
    "properties": {
        "command": COMMAND,
        "under_way": COMMAND,
        "needs": COMMAND,
        "seconds": AMOUNT,
        "units": AMOUNT,
        "unit": {"type": "string"},
    },
    "dependencies": {"units": ["unit"]},
}
SCHEMA = Schema({"type": "object", "additionalProperties": ENTRY})


class Ledger:
    """Remembers in a file what was done.

    A missing or damaged file counts as empty, and a damaged one is named: the jobs then
    run again, and end at once.

    Args:
        logdir: The study's folder.
        file: Name of the file in it.
    """

    def __init__(self, logdir: pathlib.Path, file: str = FILE):
        self._path = logdir / file
        self._entries: dict[str, dict[str, Any]] = {}
        try:
            content = documents.read(self._path, documents.JSON_BYTES)
            self._entries = SCHEMA.parse(content)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            print(f"{self._path} counts as empty, as it is damaged: {error}.")

    def is_done(self, job: Job) -> bool:
        """Whether this very command has ended, after the same other jobs.

        One command may draw a figure of two seeds, and later another of three.
        """
        entry = self._entries.get(job.name, {})
        same = entry.get("needs", list(job.needs)) == list(job.needs)
        return same and entry.get("command") == _command(job)

    def finish(self, job: Job, seconds: float) -> None:
        """Notes that a job is done, `seconds` after its last start."""
        self._write(
            job,
            {
                "command": _command(job),
                "needs": list(job.needs),
                "seconds": self.spent(job) + seconds,
                "units": job.units,
                "unit": job.unit,
            },
        )

    def stop(self, job: Job, seconds: float) -> None:
        """Notes that a job was stopped, `seconds` after its last start."""
        seconds += self.spent(job)
        self._write(job, {"under_way": _command(job), "seconds": seconds})

    def finished(self) -> dict[str, dict[str, Any]]:
        """Returns `units`, `unit` and `seconds` of the jobs that are done, by name."""
        keys = ("units", "unit", "seconds")
        return {
            name: {key: entry[key] for key in keys}
            for name, entry in self._entries.items()
            if "units" in entry
        }

    def costs(self) -> dict[str, float]:
        """Returns the seconds that a unit of work took, by unit."""
        totals: dict[str, tuple[float, float]] = {}
        for entry in self.finished().values():
            seconds, units = totals.get(entry["unit"], (0.0, 0.0))
            totals[entry["unit"]] = seconds + entry["seconds"], units + entry["units"]
        return {unit: s / units for unit, (s, units) in totals.items() if units}

    def spent(self, job: Job) -> float:
        """Returns how long a job ran until it was stopped.

        Seconds that were not noted, as before a kill, are lost.
        """
        entry = self._entries.get(job.name, {})
        return entry["seconds"] if entry.get("under_way") == _command(job) else 0.0

    def seconds(self, job: Job) -> float:
        """Returns how long a job ran, whether it is done or was stopped."""
        return self._entries.get(job.name, {}).get("seconds", 0.0)

    def _write(self, job: Job, entry: dict[str, Any]) -> None:
        self._entries[job.name] = entry
        atomic.write_text(self._path, json.dumps(self._entries, indent=1))


def _command(job: Job) -> list[str]:
    """What identifies a command, wherever the code lies."""
    return [job.script, *job.args]
