"""Episodes on disk and in memory, and the batches that are drawn from them."""

from __future__ import annotations

from dreamerv2_transfer.common.replay.online import Replay

__all__ = ["Replay"]
