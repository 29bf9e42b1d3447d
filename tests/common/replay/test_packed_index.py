import errno
import os

import numpy as np
import pytest

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.replay import packed_index
from dreamerv2_transfer.common.replay.array_file import ArrayFile
from tests.replays import dataset, pack, same

EPISODES = pack([3, 4, 5, 6])
OPENERS = [packed_index.map_array, ArrayFile]


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_saved_index_holds_the_same_episodes(tmp_path, on_disk):
    packed_index.save(tmp_path / "index", EPISODES)
    found = packed_index.find([tmp_path / "x", tmp_path / "index"], "some", on_disk)
    assert found.fingerprint == EPISODES.fingerprint
    assert found.source == "some"
    assert isinstance(found.arrays["image"], ArrayFile if on_disk else np.ndarray)
    assert all(same(found.episode(i), EPISODES.episode(i)) for i in range(4))


def test_without_an_index_none_is_found(tmp_path):
    assert packed_index.find([tmp_path / "index"], "some", False) is None


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    "name", ["index.json", "offsets.npy", "digests.npy", "key-image.npy"]
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_index_is_named_and_not_used(
    tmp_path, capsys, on_disk, name, share
):
    packed_index.save(tmp_path / "index", EPISODES)
    content = (tmp_path / "index" / name).read_bytes()
    (tmp_path / "index" / name).write_bytes(content[: int(share * len(content))])
    assert packed_index.find([tmp_path / "index"], "some", on_disk) is None
    printed = capsys.readouterr().out
    assert f"the packed index {tmp_path / 'index'} is damaged" in printed


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("key-action", lambda x: x + 7, "action"),  # No such action.
        ("key-reward", lambda x: x[1:], "reward"),
        ("key-reward", lambda x: x.astype(np.float64), "reward"),
        ("key-image", lambda x: x[:, :-1], "image"),
        ("offsets", lambda x: x[::-1], "offsets"),
        ("digests", lambda x: x[1:], "digests"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_damage(
    tmp_path, opener, name, change, named
):
    packed_index.save(tmp_path / "index", EPISODES)
    path = tmp_path / "index" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(ValueError, match=f"^{named}$"):
        packed_index.open_whole(tmp_path / "index", "some", opener)


def test_only_the_latest_index_stays(tmp_path, monkeypatch):
    other, unrelated = tmp_path / ("1" * 32), tmp_path / "notes"
    with monkeypatch.context() as killed:
        killed.setattr(os, "getpid", lambda: 2**22 + 1)  # No process has this number.
        leftover = atomic.temporary_for(tmp_path / ("0" * 32))
    for folder in (leftover, other, unrelated):
        folder.mkdir()
    packed_index.save(tmp_path / ("2" * 32), EPISODES)
    assert {x.name for x in tmp_path.iterdir()} == {"2" * 32, "notes"}


def test_an_index_that_another_process_writes_stays(tmp_path):
    with packed_index.creating(tmp_path / ("0" * 32)) as temporary:
        packed_index.save(tmp_path / ("1" * 32), EPISODES)
        assert temporary.is_dir()


def test_a_failed_write_leaves_the_former_index(tmp_path):
    packed_index.save(tmp_path / "index", EPISODES)
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError), packed_index.creating(tmp_path / "index") as temporary:
        (temporary / "half").touch()
        raise full
    assert [x.name for x in tmp_path.iterdir()] == ["index"]
    assert packed_index.find([tmp_path / "index"], "some", False)


def test_arrays_are_allocated_before_they_are_written(tmp_path):
    packed_index.allocate(tmp_path, EPISODES.without_arrays())
    opened = packed_index.load(tmp_path, "some", packed_index.map_array)
    for key, values in EPISODES.arrays.items():
        assert opened.arrays[key].shape == values.shape
        assert opened.arrays[key].dtype == values.dtype
        assert not opened.arrays[key].any()


def test_any_key_has_a_file(tmp_path):
    path = packed_index.array_path(tmp_path, "a/../b c")
    assert path == tmp_path / "key-a%2F..%2Fb%20c.npy"


@pytest.mark.parametrize("array", OPENERS)
def test_batches_of_arrays_that_are_compared_when_used_are_the_same(tmp_path, array):
    whole = pack([20, 30, 40])
    packed_index.save(tmp_path / "index", whole)
    opened = packed_index.open_whole(tmp_path / "index", "some folder", array, 0)
    assert opened.is_on_disk == (array is ArrayFile)
    assert opened.with_plain("action").is_on_disk == opened.is_on_disk
    for parts in (
        opened,
        opened.with_small_in_memory(100),
        opened.with_plain("action"),
    ):
        ours, theirs = (dataset({"a": x}) for x in (parts, whole))
        for _ in range(3):
            batch, expected = ours.next(), theirs.next()
            assert all(np.array_equal(batch[k], expected[k]) for k in expected)


def test_an_array_that_does_not_fit_its_tables_is_allocated_anew(tmp_path):
    packed_index.save(tmp_path, EPISODES)
    kept = packed_index.array_path(tmp_path, "action").read_bytes()
    np.save(packed_index.array_path(tmp_path, "reward"), np.ones(3))
    packed_index.array_path(tmp_path, "image").unlink()
    packed_index.allocate_missing(tmp_path)
    found = packed_index.load(tmp_path, "some", packed_index.map_array)
    assert packed_index.array_path(tmp_path, "action").read_bytes() == kept
    for key in ("image", "reward"):
        assert found.arrays[key].shape == EPISODES.arrays[key].shape
        assert not found.arrays[key].any()


def test_the_file_of_an_array_tells_its_key(tmp_path):
    for key in ("image", "a/b.npy", "key-x", "é %2F"):
        assert packed_index.key_of(packed_index.array_path(tmp_path, key)) == key
