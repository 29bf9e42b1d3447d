"""The user's cache folder: what can be made again, or is kept elsewhere too."""

import os
import pathlib


def folder() -> pathlib.Path:
    """`$XDG_CACHE_HOME/dreamerv2_transfer`, or `~/.cache/dreamerv2_transfer`."""
    caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches.expanduser() / "dreamerv2_transfer"
