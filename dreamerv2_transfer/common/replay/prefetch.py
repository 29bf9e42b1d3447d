"""Batches prepared in the background."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

from dreamerv2_transfer.common.replay.offline import Batch, OfflineDataset


class Prefetch:
    """Prepares batches in a thread, ahead of their use; a context manager.

    The thread starts at the first `next`, so that `load_state` can come before it.

    Args:
        dataset: Where the batches come from; the thread alone may call its `next`.
        depth: Most batches that wait to be used.
    """

    def __init__(self, dataset: OfflineDataset, depth: int = 2):
        self._dataset = dataset
        self._state = dataset.state()
        self._queue: queue.Queue = queue.Queue(maxsize=max(1, depth))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._prepare, daemon=True)

    def _prepare(self) -> None:
        try:
            while not self._stopped.is_set():
                batch = self._dataset.next()
                self._queue.put((batch, self._dataset.state(), None))
        except BaseException as error:
            self._queue.put((None, None, error))

    def next(self) -> Batch:
        """Returns the next batch.

        Raises:
            Exception: What the dataset raised while it prepared the batch.
        """
        if self._stopped.is_set():
            raise RuntimeError("This prefetcher is closed.")
        if self._thread.ident is None:
            self._thread.start()
        batch, state, error = self._queue.get()
        if error:
            self.close()
            raise error
        self._state = state
        return batch

    def state(self) -> dict[str, Any]:
        """Returns the dataset's state after the last batch that `next` returned."""
        return self._state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned; to be called before the first `next`.

        Raises:
            DatasetError: The state is of another dataset.
        """
        self._dataset.load_state(state)
        self._state = state

    def close(self) -> None:
        """Ends the thread and drops the batches that were not used."""
        self._stopped.set()
        while self._thread.is_alive():
            # The thread may wait for a place in the queue.
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(0.01)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_) -> None:
        self.close()
