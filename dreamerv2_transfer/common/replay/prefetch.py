"""Batches prepared in the background."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

from dreamerv2_transfer.common.replay.offline import Batch, OfflineDataset


class Prefetch:
    """Prepares batches in a thread, ahead of the one who trains on them."""

    def __init__(self, dataset: OfflineDataset, depth: int = 2):
        """Starts the thread; `depth` batches at most wait for their turn."""
        self._dataset = dataset
        self._state = dataset.state()
        self._queue: queue.Queue = queue.Queue(maxsize=max(1, depth))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def next(self) -> Batch:
        """Returns the next batch; raises what went wrong while preparing it."""
        if self._stopped.is_set():
            raise RuntimeError("This prefetcher is closed.")
        batch, state, error = self._queue.get()
        if error:
            self.close()
            raise error
        self._state = state
        return batch

    def state(self) -> dict[str, Any]:
        """The dataset's state as of the last batch that `next` returned."""
        return self._state

    def close(self) -> None:
        """Ends the thread; batches that nobody took are dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            self._drop()
            self._thread.join(0.01)

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                batch = self._dataset.next()
                self._queue.put((batch, self._dataset.state(), None))
        except BaseException as error:
            self._queue.put((None, None, error))

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_) -> None:
        self.close()
