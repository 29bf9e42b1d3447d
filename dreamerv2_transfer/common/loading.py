"""Makes the import of TensorFlow and of what builds on it quiet and short.

TensorFlow's notes come from C++ before any log level is read, so a process of its own
filters what is written to the standard error meanwhile: this file, run as a script. All
other lines are passed on, even those of an import that crashes.

Keras imports scikit-learn, Matplotlib and pandas where they are installed, for a few
modules that training does not use; TensorFlow Probability imports all distributions
there are, and Keras 2. That takes as long as half of TensorFlow. It is imported at its
first use instead.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Of absl and of the log levels I (information) and W (warning).
NOTES = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} ")


def prepare_tensorflow() -> None:
    """Makes the import of TensorFlow, now or later, quiet and short."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Once it is imported.
    if "tensorflow" in sys.modules:
        return
    waiting = {type(finder) for finder in sys.meta_path}
    for kind in {_Quiet, _Lazy} - waiting:
        sys.meta_path.insert(0, kind())


class _Quiet(importlib.abc.MetaPathFinder):
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
            with contextlib.suppress(ImportError):
                # After TensorFlow it would import even its experimental parts.
                importlib.import_module("tensorflow_probability")
            with filtered_stderr():
                execute(module)

        spec.loader.exec_module = execute_filtered
        return spec


class _Lazy(importlib.abc.MetaPathFinder):
    """Finds modules as Python does, but executes less of them than their import asks.

    Those of `foreign.UNUSED` are executed when an attribute of theirs is first used.
    The packages of `foreign.COLLECTIONS` import each name when it is first used.
    """

    def __init__(self):
        # Not above: this file is also a script outside the package.
        from dreamerv2_transfer.common import foreign

        self._unused, self._collections = foreign.UNUSED, foreign.COLLECTIONS

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name not in (*self._unused, *self._collections):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            lazy = importlib.util.LazyLoader if name in self._unused else _Collection
            spec.loader = lazy(spec.loader)
        return spec


class _Collection(importlib.abc.Loader):
    """Loads a package that only collects names of modules, and imports none of these.

    Args:
        loader: Reads the package's source.
    """

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        places = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.parse(self._loader.get_source(module.__name__)).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

        def find(name: str) -> Any:
            if name not in places:
                text = f"module {module.__name__!r} has no attribute {name!r}"
                raise AttributeError(text)
            place, original = places[name]
            value = getattr(importlib.import_module(place), original)
            setattr(module, name, value)
            return value

        module.__dict__.update(__getattr__=find, __all__=list(places))


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
