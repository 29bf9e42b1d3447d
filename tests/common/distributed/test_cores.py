"""The cores that this process may use."""

import os

import pytest

from dreamerv2_transfer.common.distributed import cores


def test_cores_are_those_that_linux_allows_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores.count() == 2


@pytest.mark.parametrize(("told", "count"), [(8, 8), (None, 1)])
def test_cores_are_those_of_the_machine_where_the_system_tells_no_more(
    monkeypatch, told, count
):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # As on macOS.
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert cores.count() == count
