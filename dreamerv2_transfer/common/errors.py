"""Exceptions that a launch script prints as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 5  # Faults that a message names.


class UserError(Exception):
    """An error that the person who typed the command can fix.

    The message names what was received (a key, a file, a folder) and what to do about
    it. `launch/` scripts print it without a traceback and exit with status 2. Every
    more specific error of the package derives from it.
    """


class CheckpointError(UserError):
    """A checkpoint or a file of weights that cannot be read, written or used."""


class EnvError(UserError):
    """An environment that does not exist, cannot be used, or broke its own rules."""


class ModelError(UserError):
    """A trained model that cannot be used, or values that it cannot take."""


def describe(error: BaseException) -> str:
    """Returns the type and message of another library's exception on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."


def listed(faults: Sequence[str]) -> str:
    """Returns the first faults in a line, and how many more there are."""
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "; ".join(faults[:NAMED]) + more
