import threading
import time

import pytest

from dreamerv2_transfer.common.replay.prefetch import Prefetch
from tests.replays import dataset as make
from tests.replays import on_disk, same

MIB = 2**20


def test_prefetch_returns_the_same_batches():
    expected, dataset = make(), make()
    with Prefetch(dataset, depth=3) as prefetch:
        assert all(same(expected.next(), prefetch.next()) for _ in range(20))


def test_prefetch_state_is_that_of_the_batch_consumed():
    with Prefetch(make(), depth=4) as prefetch:
        states = [prefetch.state()]
        for _ in range(5):
            time.sleep(0.02)  # For the thread to run ahead.
            prefetch.next()
            states.append(prefetch.state())
        following = prefetch.next()
    reference = make()
    for state in states:
        assert reference.state() == state
        batch = reference.next()
    assert same(batch, following)


def test_a_state_is_restored_before_the_first_batch():
    reference = make()
    for _ in range(3):
        reference.next()
    with Prefetch(make(), depth=4) as prefetch:
        prefetch.load_state(reference.state())
        assert prefetch.state() == reference.state()
        assert all(same(prefetch.next(), reference.next()) for _ in range(3))


def test_errors_while_preparing_reach_the_consumer(monkeypatch):
    dataset = make()
    good, calls = dataset.next, []

    def fail_at_third():
        calls.append(None)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return good()

    monkeypatch.setattr(dataset, "next", fail_at_third)
    prefetch = Prefetch(dataset, depth=1)
    prefetch.next()
    prefetch.next()
    with pytest.raises(OSError, match="the disk is gone"):
        prefetch.next()


def test_closing_ends_the_thread():
    before = threading.active_count()
    prefetch = Prefetch(make(), depth=1)
    prefetch.next()
    prefetch.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        prefetch.next()


def test_prefetch_and_evaluation_read_a_capped_dataset_together(tmp_path):
    dataset, reference = (
        make(on_disk(tmp_path, MIB), holdout=3),
        make(on_disk(tmp_path, 0), holdout=3),
    )
    expected = reference.eval_batches("long", 4)
    with Prefetch(dataset, depth=2) as prefetch:
        for _ in range(20):
            assert same(prefetch.next(), reference.next())
            found = dataset.eval_batches("long", 4)
            assert all(same(a, b) for a, b in zip(found, expected, strict=True))
