import json

import pytest

from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.distributed import cluster

WORKERS = ["a:1", "b:2"]


def tell(monkeypatch, index=0, kind="worker", workers=WORKERS):
    told = {"cluster": {"worker": workers}, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(told))


@pytest.mark.parametrize(("index", "chief"), [(0, True), (1, False)])
def test_the_first_worker_is_the_chief(monkeypatch, index, chief):
    tell(monkeypatch, index)
    assert cluster.task() == (WORKERS, index)
    assert cluster.is_chief(Config({"strategy": "multiworker"})) == chief


def test_one_process_is_the_chief_whatever_is_told(monkeypatch):
    tell(monkeypatch, 1)
    assert cluster.is_chief(Config({"strategy": "mirrored"}))


@pytest.mark.parametrize(
    "changes", [{"index": 2}, {"index": -1}, {"kind": "ps"}, {"workers": 3}]
)
def test_a_task_that_is_none_of_the_workers_is_named(monkeypatch, changes):
    tell(monkeypatch, **changes)
    with pytest.raises(ConfigError, match="Received: TF_CONFIG='{"):
        cluster.task()


@pytest.mark.parametrize("told", ["", "{", "3", '{"cluster": {}}'])
def test_a_missing_cluster_is_an_error_with_an_example(monkeypatch, told):
    monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(ConfigError, match="host2:2222.*Received"):
        cluster.task()
