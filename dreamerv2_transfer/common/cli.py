"""What the launch scripts share: reading `--configs`, and errors for a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from dreamerv2_transfer.common import flags
from dreamerv2_transfer.common.errors import UserError

FAILED = 2
CUT_SHORT = 141  # As a shell reports a process that writes where nobody reads.
INTERRUPTED = 130  # As a shell reports a process that Ctrl-C ended.


def split_configs(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Takes `--configs a b c` out of a command line: the names, and the other flags."""
    parsed, remaining = flags.Flags(configs=["defaults"]).parse_known(argv)
    return parsed.configs, remaining


def run(main: Callable[[list[str]], int]) -> int:
    """Runs a launch script's main function and returns the exit status.

    An error that the person at the keyboard can put right becomes one line without a
    traceback; all others are bugs, and keep theirs.
    """
    try:
        return main(sys.argv[1:])
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr, flush=True)
        return INTERRUPTED
    except BrokenPipeError:  # As of `... | head`, which has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT
