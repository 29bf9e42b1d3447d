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


FIRST = '{"type": "worker", "index": 0}'
ONE = '{"worker": ["a:1"]}'


@pytest.mark.parametrize(
    ("workers", "task"),
    [
        ('{"worker": "ab"}', FIRST),
        ('{"worker": {"a:1": 1}}', FIRST),
        ('{"worker": ["a:1", 3]}', FIRST),
        ('{"worker": [""]}', FIRST),
        ('{"worker": ["a:1"], "ps": ["b:1"]}', FIRST),
        ('{"worker": ["a:1"], "worker": ["b:1"]}', FIRST),
        ("[" * 100_000, FIRST),
        ('{"worker": ["\\ud800"]}', FIRST),
        ('{"worker": ["\udcff"]}', FIRST),
        (ONE, '{"type": "worker", "index": 0.7}'),
        (ONE, '{"type": "worker", "index": false}'),
        (ONE, '{"type": "worker", "index": Infinity}'),
        (ONE, '{"type": "worker", "index": [0]}'),
        (ONE, '{"type": ["worker"], "index": 0}'),
        (ONE, "0"),
    ],
)
def test_whatever_is_no_cluster_is_one_sentence(monkeypatch, workers, task):
    told = f'{{"cluster": {workers}, "task": {task}}}'
    monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(ConfigError, match="host2:2222.*Received: TF_CONFIG=") as error:
        cluster.task()
    assert len(str(error.value)) < 800 and str(error.value).isprintable()


def test_an_index_in_quotes_and_other_keys_of_tensorflow_are_taken(monkeypatch):
    told = '{"cluster": {"worker": ["a:1", "b:2"]}, "environment": "cloud", '
    told += '"task": {"type": "worker", "index": "1", "trial": "7"}}'
    monkeypatch.setenv("TF_CONFIG", told)
    assert cluster.task() == (["a:1", "b:2"], 1)
