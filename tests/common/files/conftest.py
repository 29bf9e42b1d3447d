"""Fixtures of the tests of URLs."""

import pytest

from tests import stores


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return stores.empty()


@pytest.fixture
def another_machine(monkeypatch, tmp_path):
    return lambda name="other": monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path / name)
    )
