"""Which checkpoints a run has. TensorFlow, which writes them, is not needed."""

from __future__ import annotations

import os
import pathlib
import re

PART = re.compile(
    r"ckpt-(?P<step>\d+)\.(index|data-\d+-of-\d+)(?P<temporary>\.tempstate\d+)?"
)


def steps(directory: str | os.PathLike) -> list[int]:
    """Returns the steps of the checkpoints in a folder, the newest first."""
    parts = (
        PART.fullmatch(path.name) for path in pathlib.Path(directory).glob("*.index")
    )
    return sorted((int(part["step"]) for part in parts if part), reverse=True)
