"""The user's cache folder, whose files can be computed or fetched again."""

from __future__ import annotations

import os
import pathlib

from dreamerv2_transfer.common.files import paths


def folder() -> pathlib.Path:
    """Returns `$XDG_CACHE_HOME/dreamerv2_transfer`, by default below `~/.cache`."""
    caches = paths.local(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches / "dreamerv2_transfer"
