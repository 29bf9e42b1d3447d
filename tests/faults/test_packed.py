"""Packed episodes under flipped bits, and under files that were made up.

Whatever happens to them, the episodes come out bit for bit: from the index, or from
their files again. Of an index that is too large to compare when it is opened, a damaged
block is named when it is first used.
"""

import json
import random
import re
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from dreamerv2_transfer.common.replay import array_file, packed, packed_index, store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import verify
from tests import fakes

FLIPS = {0: 300, 2**20: 50}  # By memory cap: under one, each start takes longer.


@pytest.fixture
def folder(tmp_path):
    """A task's folder with an index beside its episodes."""
    for number in range(6):
        store.save_episode(tmp_path, fakes.episode(9 + number, number))
    packed.write_index(tmp_path)
    return tmp_path


def index_files(folder):
    return sorted(path for path in folder.glob(".packed/*/*"))


def contents(opened):
    return [
        {key: value.tobytes() for key, value in opened.episode(i).items()}
        for i in range(len(opened))
    ]


def flips(folder, count):
    """Flips a bit in the index, again and again; yields after each."""
    rng, files = random.Random(0), index_files(folder)
    before = {path: path.read_bytes() for path in files}
    bits = [(path, bit) for path in files for bit in range(8 * len(before[path]))]
    for path, bit in rng.sample(bits, count):
        flipped = bytearray(before[path])
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        yield path
        for other, content in before.items():
            if not other.exists() or other.read_bytes() != content:
                other.parent.mkdir(exist_ok=True)
                other.write_bytes(content)


@pytest.mark.parametrize("memory", FLIPS)
def test_a_flipped_bit_changes_no_episode(folder, capsys, memory):
    expected, noticed = contents(packed.open_task(folder)), 0
    for path in flips(folder, FLIPS[memory]):
        capsys.readouterr()
        opened = packed.open_task(folder, folder / ".packed", memory)
        assert contents(opened) == expected
        printed = capsys.readouterr().out
        noticed += "is damaged" in printed or "is older" in printed
        if path.name.startswith("key-"):
            assert printed or path.read_bytes()[:128].count(b" ") < 80
    assert noticed > 0.9 * FLIPS[memory]  # The others are in the headers' padding.


@pytest.mark.parametrize("memory", FLIPS)
def test_a_flipped_bit_of_a_large_index_is_named_at_first_use(
    folder, capsys, monkeypatch, memory
):
    monkeypatch.setattr(packed_index, "AT_ONCE", 0)
    monkeypatch.setattr(packed_index.open_whole, "__defaults__", (0,))
    expected, named = contents(packed.open_task(folder)), 0
    for path in flips(folder, FLIPS[memory]):
        try:
            opened = packed.open_task(folder, folder / ".packed", memory)
            assert contents(opened) == expected
        except DatasetError as error:
            assert str(path) in str(error) and "wrong checksum" in str(error)
            named += 1
    assert named > 0.5 * FLIPS[memory]


def test_verify_names_a_damaged_index(folder):
    lines = []
    assert not verify.verify(folder, lines.append).damaged
    path = next(x for x in index_files(folder) if x.name == "key-reward.npy")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    (line,) = verify.verify(folder, lines.append).damaged
    assert line == (
        f"{path.parent} is damaged (ValueError: wrong checksum of reward). Remove it: "
        "the next training builds it anew from the episodes."
    )


def test_an_older_index_is_no_damage(folder):
    (index,) = (folder / ".packed").iterdir()
    header = json.loads((index / "index.json").read_text())
    earlier = {"fields": header["fields"], "damaged": []}
    (index / "index.json").write_text(json.dumps(earlier))
    assert not verify.verify(folder, lambda line: None).damaged


def test_other_indices_than_that_of_the_folder_are_not_compared(folder):
    (index,) = (folder / ".packed").iterdir()
    shutil.copytree(index, index.with_name("0" * 32))
    (index.with_name("0" * 32) / "index.json").write_text("{")
    assert not verify.verify(folder, lambda line: None).damaged
    shutil.rmtree(folder / ".packed")
    assert not verify.verify(folder, lambda line: None).damaged


JSON = strategies.recursive(
    strategies.one_of(
        strategies.none(),
        strategies.booleans(),
        strategies.integers(),
        strategies.floats(),
        strategies.text(max_size=5),
    ),
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3),
        strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3),
    ),
    max_leaves=8,
)


def sealed(header):
    """A header with the checksum that it should have, as a forger would write it."""
    rest = {key: value for key, value in header.items() if key != "checksum"}
    return {**rest, "checksum": packed_index._header_checksum(rest)}


@hypothesis.given(data=strategies.data())
def test_a_header_that_was_made_up_is_refused(folder, data):
    (index,) = (folder / ".packed").iterdir()
    before = (index / "index.json").read_text()
    header = json.loads(before)
    key = data.draw(strategies.sampled_from(sorted(header)))
    place = header
    while (
        isinstance(place[key], dict) and place[key] and data.draw(strategies.booleans())
    ):
        place, key = place[key], data.draw(strategies.sampled_from(sorted(place[key])))
    place[key] = data.draw(JSON)
    (index / "index.json").write_text(json.dumps(sealed(header)))
    opened = packed.open_task(folder, folder / ".packed")
    assert len(opened) == 6
    assert contents(opened) == contents(packed.open_task(folder))
    index.mkdir(exist_ok=True)
    (index / "index.json").write_text(before)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("action", {"shape": [100_000]}),  # Each index would become 400 KB.
        ("action", {"dtype": "U100000000"}),
        ("action", {"dtype": "V8"}),
        ("action", {"shape": [3, 2]}),
        ("image", {"dtype": "float64"}),
        ("image", {"shape": [-10, -10, 10]}),
        ("image", {"shape": [True, 10, 100]}),
        ("reward", {"coding": "sparse"}),
    ],
)
def test_a_field_that_is_not_as_it_is_stored_is_refused(folder, capsys, key, changes):
    (index,) = (folder / ".packed").iterdir()
    header = json.loads((index / "index.json").read_text())
    header["fields"][key].update(changes)
    (index / "index.json").write_text(json.dumps(sealed(header)))
    assert packed_index.find([index], "some", False) is None
    assert "is damaged" in capsys.readouterr().out


@hypothesis.given(content=strategies.binary(max_size=200), data=strategies.data())
def test_arbitrary_bytes_are_refused(folder, content, data):
    path = data.draw(strategies.sampled_from(index_files(folder)))
    expected, before = contents(packed.open_task(folder)), path.read_bytes()
    path.write_bytes(content)
    assert contents(packed.open_task(folder, folder / ".packed")) == expected
    path.write_bytes(before)


def test_blocks_are_compared_once_and_only_where_they_are_read(tmp_path, monkeypatch):
    values = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    np.save(tmp_path / "a.npy", values)
    monkeypatch.setattr(array_file, "BLOCK", 1600)  # 100 rows.
    told = array_file.checksums(values)
    assert len(told) == 10
    for stored in (values, array_file.ArrayFile(tmp_path / "a.npy")):
        checked = array_file.Checked(stored, "a.npy", [*told[:9], told[9] + 1])
        assert np.array_equal(checked[150:320], values[150:320])
        index = np.array([[3, 4], [899, 30]])
        assert np.array_equal(checked.take(index), values[index])
        assert checked._seen.tolist() == [i in (0, 1, 2, 3, 8) for i in range(10)]
        damaged = pytest.raises(DatasetError, match=re.escape("a.npy is damaged"))
        with damaged:
            checked[890:901]
        with damaged:
            checked.take(np.array([950]))
        monkeypatch.setattr(array_file, "_checksum", None)
        assert np.array_equal(checked[150:320], values[150:320])
        monkeypatch.undo()
        monkeypatch.setattr(array_file, "BLOCK", 1600)
    with pytest.raises(ValueError, match="checksums of a.npy"):
        array_file.Checked(values, "a.npy", told[:9])
