"""The one exception that a launch script turns into a line for a person."""


class UserError(Exception):
    """Something that the person who typed the command can put right.

    The message names what was received (a key, a file, a folder) and what to do
    about it. `launch/` scripts print it without a traceback and exit with status 2;
    every more specific error of the package derives from it.
    """
