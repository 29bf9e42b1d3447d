"""Keeps the notes that TensorFlow prints at its import off the terminal.

They come from C++ before any log level is read, so a process of its own filters what
is written to the standard error meanwhile: this file, run as a script. All other lines
are passed on, even those of an import that crashes.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec

# Of absl and of the log levels I (information) and W (warning).
NOTES = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} ")


def hush_tensorflow() -> None:
    """Leaves out TensorFlow's notes when it is imported, now or later."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Once it is imported.
    is_waiting = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if "tensorflow" not in sys.modules and not is_waiting:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as Python does, and filters what its import writes."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def execute_filtered(module) -> None:
            with filtered_stderr():
                execute(module)

        spec.loader.exec_module = execute_filtered
        return spec


@contextlib.contextmanager
def filtered_stderr() -> Iterator[None]:
    """Filters the standard error, that of C++ code included."""
    before = os.dup(2)
    filtering = subprocess.Popen(
        [sys.executable, "-SE", __file__], stdin=subprocess.PIPE
    )
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        filtering.wait()


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        if not NOTES.match(line):
            os.write(2, line)
