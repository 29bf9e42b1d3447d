"""The exceptions that a launch script turns into a line for a person."""


class UserError(Exception):
    """Something that the person who typed the command can put right.

    The message names what was received (a key, a file, a folder) and what to do
    about it. `launch/` scripts print it without a traceback and exit with status 2;
    every more specific error of the package derives from it.
    """


class EnvError(UserError):
    """An environment that does not exist, cannot be used, or did what it must not."""


def describe(error: BaseException) -> str:
    """An exception of somebody else's code, on one line: its type and its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."
