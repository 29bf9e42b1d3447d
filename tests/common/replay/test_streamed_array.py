import contextlib
import threading

import numpy as np
import pytest

from dreamerv2_transfer.common.files.mirror import RemoteError
from dreamerv2_transfer.common.replay import array_file, packed_index, streamed_array
from dreamerv2_transfer.common.replay.streamed_array import Streamed

VALUES = np.arange(400, dtype=np.int32).reshape(100, 4)  # 16 bytes a row.


class Index:
    """An index whose only array is in memory; it tells which ranges were read."""

    url = "store://index"
    is_damaged = False

    def __init__(self, values):
        self.values, self.ranges, self.waits = values, [], 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read(self, names, starts, stops):
        assert self.may_answer.wait(10)
        self.ranges += zip(names, starts, stops, strict=True)
        if self.values is None:
            raise RemoteError("gone")
        return [self._answer(*x) for x in zip(names, starts, stops, strict=True)]

    def _answer(self, name, start, stop):
        rows = 20 * int(name.rpartition(".")[2])  # A part has 20 rows.
        return self.values[rows : rows + 20].tobytes()[start:stop]

    @contextlib.contextmanager
    def urgent(self):
        yield

    def wait_for_turn(self):
        self.waits += 1


@pytest.fixture
def open_array(monkeypatch, tmp_path):
    monkeypatch.setattr(array_file, "BLOCK", 64)  # 4 rows.
    monkeypatch.setattr(streamed_array, "PART_BYTES", 320)
    monkeypatch.setattr(streamed_array, "RANGE_BYTES", 192)
    path = packed_index.array_path(tmp_path, "a/b")
    np.save(path, np.zeros_like(VALUES))

    def opened(index):
        stored = packed_index.map_array(path)
        return Streamed(index, stored, path, array_file.checksums(VALUES))

    return opened


def test_rows_are_read_with_their_blocks_and_only_once(open_array):
    index = Index(VALUES)
    array = open_array(index)
    for _ in range(2):
        assert np.array_equal(array.take(np.array([[41, 46]])), VALUES[[[41, 46]]])
        # Blocks of 4 rows, the first and second of the third part: 128 bytes.
        assert index.ranges == [("key-a%2Fb.npy.00002", 0, 128)]


def test_ranges_are_short_and_within_a_part(open_array):
    index = Index(VALUES)
    assert np.array_equal(open_array(index)[2:30], VALUES[2:30])
    first, second = ("key-a%2Fb.npy.0000" + x for x in "01")
    assert index.ranges == [
        (first, 0, 192),
        (first, 192, 320),
        (second, 0, 192),
    ]


def test_what_is_here_is_not_read_again(open_array):
    open_array(Index(VALUES)).complete()
    index = Index(None)
    assert np.array_equal(open_array(index)[:], VALUES) and index.ranges == []


def test_all_is_copied_in_turn(open_array):
    index = Index(VALUES)
    array = open_array(index)
    array.complete()
    assert array._seen.all() and index.waits == 3  # 12 blocks a turn.


def test_copying_passes_over_what_cannot_be_read(open_array):
    index = Index(None)
    array = open_array(index)
    array.complete()
    assert not array._seen.any() and len(index.ranges) > 3
    index.values = VALUES
    assert np.array_equal(array[:], VALUES)


def test_a_block_that_another_thread_brings_is_not_read_twice(open_array):
    index = Index(VALUES)
    index.may_answer.clear()
    array = open_array(index)
    array.ask(np.array([0, 1]))
    while not array._coming:
        pass
    found = []
    taking = threading.Thread(target=lambda: found.append(array.take(np.array([1]))))
    taking.start()
    index.may_answer.set()
    taking.join(10)
    assert found[0].tolist() == VALUES[[1]].tolist()
    assert index.ranges == [("key-a%2Fb.npy.00000", 0, 64)]
