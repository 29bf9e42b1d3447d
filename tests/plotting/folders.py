"""Folders as runs leave them, for tests."""

import json

from dreamerv2_transfer.common import blocks as blocks_lib

ROWS = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "train_return": 3}]


def write(folder, rows=ROWS, end="\n", **settings):
    """Writes a run: ours if there are settings, else one without a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, rows)) + end
    (folder / "metrics.jsonl").write_text(text)
    if settings:
        names = ["minatar", "debug", settings.pop("stage")]
        blocks = settings.pop("blocks", [])
        config = blocks_lib.load_config([*names, *blocks]).update(settings)
        config.save(folder / "config.yaml")
    return folder


def values(series):
    """Steps and values as lists."""
    return tuple(part.tolist() for part in series)
