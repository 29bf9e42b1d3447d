"""Averages of metrics between two log lines; a checkpoint can save them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat


class Averages:
    """Weighted means by name."""

    def __init__(self):
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, metrics: Mapping[str, SupportsFloat], weight: float = 1.0) -> None:
        """Counts each value `weight` times; a weight of 0 leaves no trace."""
        if not weight:
            return
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def result(self) -> dict[str, float]:
        """Returns the means and starts again from nothing."""
        means = {name: self._sums[name] / self._weights[name] for name in self._sums}
        self._sums, self._weights = {}, {}
        return means

    def state(self) -> dict:
        """Returns the state for a checkpoint, as JSON, which keeps floats exactly."""
        return {"sums": self._sums, "weights": self._weights}

    def load_state(self, state: dict) -> None:
        """Restores what `state` returned."""
        self._sums, self._weights = dict(state["sums"]), dict(state["weights"])
