"""What the commands share: `--configs`, and errors as one line of text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from dreamerv2_transfer.common import flags, quiet
from dreamerv2_transfer.common.errors import UserError

FAILED = 2
CUT_SHORT = 141  # What a shell reports for a process whose output pipe was closed.
INTERRUPTED = 130  # What a shell reports for a process that Ctrl-C ended.


def split_configs(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Splits a command line into the names after `--configs` and the other flags."""
    parsed, remaining = flags.Flags(configs=["defaults"]).parse_known(argv)
    return parsed.configs, remaining


def run(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Runs a command's main function and returns the exit status.

    A `UserError` becomes one line without a traceback. Other exceptions are bugs, and
    keep their traceback. TensorFlow's notes at its import are left out.

    Args:
        main: Takes the arguments and returns the exit status.
        argv: The arguments; by default those of this process.
    """
    quiet.hush_tensorflow()
    try:
        return main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        print(
            "Interrupted; run the same command to resume.", file=sys.stderr, flush=True
        )
        return INTERRUPTED
    except BrokenPipeError:  # As of `... | head`, which reads only the first lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT
