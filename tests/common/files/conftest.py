"""Fixtures of the tests of URLs."""

import fsspec
import pytest

from tests.stores import Recorded


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.register_implementation("recorded", Recorded, clobber=True)
    for kept in (Recorded.store, Recorded.calls, Recorded.failing):
        kept.clear()
    return fsspec.filesystem("recorded")


@pytest.fixture
def another_machine(monkeypatch, tmp_path):
    return lambda name="other": monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path / name)
    )
