import json
import os

import numpy as np
import pytest

from dreamerv2_transfer.common.replay import array_file, store


def save(path, values):
    np.save(path, values)
    return array_file.ArrayFile(path)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(30, dtype=np.uint8),
        np.arange(120, dtype=np.float32).reshape(30, 2, 2),
        np.arange(60).reshape(30, 2) % 3 == 0,
    ],
)
def test_rows_are_those_of_the_array(tmp_path, values):
    array = save(tmp_path / "x.npy", values)
    assert (len(array), array.shape, array.nbytes) == (30, values.shape, values.nbytes)
    index = np.array([[3, 4, 5, 29], [0, 0, 1, 7], [8, 9, 10, 11]])
    for got, wanted in [
        (array.take(index), values[index]),
        (array.take(index[:0]), values[index[:0]]),
        (array[4:9], values[4:9]),
        (array[25:40], values[25:]),
        (array[30:40], values[:0]),
    ]:
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        assert np.array_equal(got, wanted)


def test_rows_that_follow_each_other_are_read_at_once(tmp_path, monkeypatch):
    array, reads = save(tmp_path / "x.npy", np.arange(100)), []
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: reads.append(1) or read(*args))
    array.take(np.array([[5, 6, 7], [8, 20, 21]]))
    assert len(reads) == 2


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="Not on this system.")
def test_rows_that_are_asked_for_are_read_ahead(tmp_path, monkeypatch):
    array, asked = save(tmp_path / "x.npy", np.arange(100)), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *args: asked.append(args))
    array.ask(np.array([[5, 6, 7], [8, 20, 21]]))
    # The header takes 128 bytes, and a row 8.
    ahead = os.POSIX_FADV_WILLNEED
    assert asked == [(128 + 5 * 8, 4 * 8, ahead), (128 + 20 * 8, 2 * 8, ahead)]


@pytest.mark.skipif(not array_file.AT_ONCE, reason="Not on this system.")
def test_cached_rows_are_no_longer_asked_for_until_one_is_not(tmp_path, monkeypatch):
    array, asked = save(tmp_path / "x.npy", np.arange(100)), []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *args: asked.append(args))
    rows, read, answers = np.array([5, 6]), os.preadv, []

    def preadv(file, buffers, place, flags=0):
        if flags and answers:
            raise BlockingIOError(answers.pop())
        return read(file, buffers, place)

    monkeypatch.setattr(os, "preadv", preadv)
    for _ in range(array_file.ASKED):
        array.ask(rows)
        array.take(rows)
    assert len(asked) == array_file.ASKED
    array.ask(rows)
    assert len(asked) == array_file.ASKED
    answers.append("the rows are not cached")
    assert array.take(rows).tolist() == [5, 6]
    array.ask(rows)
    assert len(asked) == array_file.ASKED + 1


def test_what_was_read_belongs_to_the_reader(tmp_path):
    array = save(tmp_path / "x.npy", np.arange(5))
    array.take(np.array([1, 2]))[:] = 0
    assert array[0:5].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("index", [[-1], [5], [4, 5]])
def test_rows_that_are_not_there_are_refused(tmp_path, index):
    array = save(tmp_path / "x.npy", np.arange(5))
    with pytest.raises(IndexError, match="x.npy has 5 rows"):
        array.take(np.array(index))


def test_rows_are_written_in_place(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 2), np.float32))
    array = array_file.ArrayFile(tmp_path / "x.npy", writable=True)
    array.write(2, np.ones((2, 2)))
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [0, 0, 1, 1, 0]
    with pytest.raises(IndexError, match="row=4"):
        array.write(4, np.ones((2, 2)))


def test_truncated_files_are_refused(tmp_path):
    array = save(tmp_path / "x.npy", np.arange(5))
    os.truncate(tmp_path / "x.npy", 150)
    with pytest.raises(store.DatasetError, match="x.npy became shorter"):
        array[0:5]
    with pytest.raises(ValueError, match="mmap|size"):
        array_file.ArrayFile(tmp_path / "x.npy")


def test_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}, json], object)[:1], allow_pickle=True)
    with pytest.raises(ValueError, match="objects"):
        array_file.ArrayFile(tmp_path / "x.npy")


def test_files_are_closed_with_their_arrays(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    arrays = [save(tmp_path / f"{i}.npy", np.arange(5)) for i in range(9)]
    assert len(os.listdir("/proc/self/fd")) == before + 9
    del arrays
    assert len(os.listdir("/proc/self/fd")) == before


def test_decoded_rows(tmp_path):
    values = np.arange(10, dtype=np.uint8)
    array = array_file.Decoded(save(tmp_path / "x.npy", values), lambda x: x * 2.0)
    assert array[2:4].tolist() == [4.0, 6.0]
    assert array.take(np.array([[7, 8]])).tolist() == [[14.0, 16.0]]


def test_joined_slices_are_read_and_saved_as_one_array(tmp_path):
    whole = np.arange(60, dtype=np.int32).reshape(20, 3)
    pieces = [whole[:1], whole[1:8], whole[8:8], whole[8:20]]
    joined = array_file.Joined(pieces)
    assert (len(joined), joined.shape, joined.nbytes) == (20, (20, 3), whole.nbytes)
    for start in range(21):
        for stop in range(21):
            assert np.array_equal(joined[start:stop], whole[start:stop])
    assert array_file.checksums(joined) == array_file.checksums(whole)
    array_file.save(tmp_path / "ours.npy", joined)
    np.save(tmp_path / "numpys.npy", whole)
    ours, numpys = (tmp_path / f"{x}.npy" for x in ("ours", "numpys"))
    assert ours.read_bytes() == numpys.read_bytes()


def test_arrays_of_many_blocks_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(array_file, "BLOCK", 16)
    values = np.arange(50) % 3 == 0
    array_file.save(tmp_path / "x.npy", values)
    assert np.array_equal(np.load(tmp_path / "x.npy"), values)
