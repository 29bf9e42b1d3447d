"""Decide when something is due: every so many steps, once, or until a step."""


class Every:
    """True at the first call, then once for each `every` steps that have passed.

    When several intervals have passed since the last call, the calls that follow
    are true until they have caught up, as in DreamerV2.

    Args:
        every: Interval in steps; 0 or None means never.
    """

    def __init__(self, every: int | None):
        self._every = every
        self._last = None

    def __call__(self, step: int) -> bool:
        step = int(step)
        if not self._every:
            return False
        if self._last is None:
            self._last = step
            return True
        if step < self._last + self._every:
            return False
        self._last += self._every
        return True

    def state(self) -> dict:
        """What a checkpoint keeps, as JSON."""
        return {"last": self._last}

    def load_state(self, state: dict) -> None:
        """Goes on from what `state` returned; the interval stays this object's."""
        self._last = state["last"]


class Once:
    """True at the first call only."""

    def __init__(self):
        self._once = True

    def __call__(self) -> bool:
        due, self._once = self._once, False
        return due

    def state(self) -> dict:
        """What a checkpoint keeps, as JSON."""
        return {"once": self._once}

    def load_state(self, state: dict) -> None:
        """Goes on from what `state` returned."""
        self._once = state["once"]


class Until:
    """True while the step is below `until`.

    Args:
        until: First step at which it is false; 0 or None means always true.
    """

    def __init__(self, until: int | None):
        self._until = until

    def __call__(self, step: int) -> bool:
        return not self._until or int(step) < self._until

    def state(self) -> dict:
        """Empty: it depends on nothing but the step."""
        return {}

    def load_state(self, state: dict) -> None:
        """Nothing to load; here so that all three are used alike."""
