"""What the commands share: `--configs`, and errors as one line of text."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from dreamerv2_transfer.common import flags, interrupt, loading, progress
from dreamerv2_transfer.common.errors import UserError, describe

FAILED = 2
CUT_SHORT = 141  # What a shell reports for a process whose output pipe was closed.
INTERRUPTED = 130  # What a shell reports for a process that Ctrl-C ended.

_results: TextIO | None = None  # Where results go while all else is hidden.


def split_configs(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Splits a command line into the names after `--configs` and the other flags."""
    reader = flags.Flags(configs=["defaults"])
    reader.paths = ["configs"]
    parsed, remaining = reader.parse_known(argv)
    return parsed.configs, remaining


def show(result: str) -> None:
    """Prints what a command is run for, even where all else is hidden."""
    print(result, file=_results, flush=True)


def show_error(text: str) -> None:
    """Prints an error, with a red head on a terminal that has colours."""
    if not sys.stderr.isatty():
        print(f"Error: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("Error:", "bold red"), f" {text}")
    Console(stderr=True, soft_wrap=True).print(line)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hides progress and what is printed, but for errors and for `show`."""
    global _results
    with open(os.devnull, "w") as nowhere, progress.hidden():
        _results = sys.stdout
        try:
            with contextlib.redirect_stdout(nowhere):
                yield
        finally:
            _results = None


def run(main: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Runs a command's main function and returns the exit status.

    A `UserError` becomes one line without a traceback, as does Ctrl-C, SIGTERM or
    SIGHUP. Other exceptions are bugs, and keep their traceback. TensorFlow's notes at
    its import are left out.

    Args:
        main: Takes the arguments and returns the exit status.
        argv: The arguments; by default those of this process.
    """
    loading.prepare_tensorflow()
    _print_anything()
    try:
        with interrupt.raised():
            return main(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        show_error(str(error))
        return FAILED
    except KeyboardInterrupt:
        print(
            "Interrupted; run the same command to resume.", file=sys.stderr, flush=True
        )
        return INTERRUPTED
    except BrokenPipeError:  # As of `... | head`, which reads only the first lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT
    except Exception as error:
        if not _is_lack_of_memory(error):
            raise
        show_error(
            f"Not enough memory: {describe(error)} Choose smaller batches or networks, "
            "such as those of the block small, fewer environments or a smaller replay."
        )
        return FAILED


def _print_anything() -> None:
    """Makes output escape characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_lack_of_memory(error: Exception) -> bool:
    """Returns whether Python, NumPy or TensorFlow could not allocate memory."""
    name = type(error).__name__  # TensorFlow takes seconds to import.
    return isinstance(error, MemoryError) or name == "ResourceExhaustedError"
