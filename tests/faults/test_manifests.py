"""A manifest or a ledger that a stranger wrote: a result or a named error."""

import copy
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamerv2_transfer.common.files.mirror import NOTE
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import inspect, verify
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger
from tests import fakes
from tests.faults.test_metrics import anything, places

EARLIER = pathlib.Path(__file__).parents[1] / "earlier_layout"
MANIFEST = json.loads(
    (EARLIER / "pretrain/dataset/minatar_breakout/manifest.json").read_text()
)
ENTRIES = {
    "done": {"command": ["a"], "needs": [], "seconds": 2.5, "units": 3, "unit": "b"},
    "stopped": {"under_way": ["a"], "seconds": 1.0},
}
odd = anything | st.sampled_from([10**400, -1, 1e308, "x" * 9999, [[]], {"": {}}])


def changed(value, path: tuple, other) -> object:
    """Returns a copy of a value in which one within it is another."""
    if not path:
        return other
    made = copy.deepcopy(value)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("dataset") / "minatar_breakout"
    folder.mkdir()
    store.save_episode(folder, fakes.episode(5))
    return folder


def read(folder: pathlib.Path, content: bytes) -> dict:
    """Reads a manifest as all readers do; {} where it is refused by name."""
    (folder / store.MANIFEST).write_bytes(content)
    printed = []
    assert inspect.task_info("minatar_breakout", folder).table()
    verified = verify.verify(folder, printed.append)
    try:
        manifest = store.read_manifest(folder)
    except DatasetError as error:
        assert str(folder / store.MANIFEST) in str(error) and len(str(error)) < 700
        assert str(error).encode() and "\n" not in str(error)
        assert verified.damaged and any(store.MANIFEST in line for line in printed)
        return {}
    store.listed_policies(manifest)
    Recipe.from_manifest(manifest)
    return manifest


@given(st.sampled_from(list(places(MANIFEST))), odd)
@settings(max_examples=60)
def test_a_manifest_in_which_a_value_is_another(folder, path, other):
    read(folder, json.dumps(changed(MANIFEST, path, other)).encode())


@given(st.binary(max_size=99) | anything.map(lambda x: json.dumps(x).encode()))
def test_any_file_in_place_of_a_manifest(folder, content):
    read(folder, content)


# Notes that this project keeps for itself.

JOB = Job("done", "train", ("x",), (), pathlib.Path("x"), 3, "b")


@given(st.sampled_from(list(places(ENTRIES))), odd)
def test_a_ledger_in_which_a_value_is_another(tmp_path, path, other):
    content = json.dumps(changed(ENTRIES, path, other))
    (tmp_path / "reproduce.json").write_text(content)
    ledger = Ledger(tmp_path)
    ledger.is_done(JOB)
    assert all(seconds >= 0 for seconds in ledger.costs().values())
    ledger.finish(JOB, 1.0)
    assert Ledger(tmp_path).finished()["done"]["units"] == 3


def test_a_damaged_ledger_is_named_and_counts_as_empty(tmp_path, capsys):
    assert Ledger(tmp_path).finished() == {} and not capsys.readouterr().out
    (tmp_path / "reproduce.json").write_text('{"a": {"seconds": "long"}}')
    assert Ledger(tmp_path).finished() == {}
    assert "a.seconds must be number" in capsys.readouterr().out


@given(anything)
def test_a_note_beside_a_mirror_is_whole_or_refused(value):
    note = {"tokens": ["a"], "files": {"b": ["c", [1, 2]], "d": ["", None]}}
    NOTE.check(note)
    for key in note:
        try:
            NOTE.check({**note, key: value})
        except ValueError as error:
            assert key in str(error)
